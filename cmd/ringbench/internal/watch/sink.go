package watch

// A Sink counts the media of counted viewers where that costs less than at their sockets, and drops it there. All other
// datagrams must pass. A viewer is diverted to it after the first keyframe; from then on the sink's counts make its
// reports. All loops call the methods at the same time. They call Count some twenty times a second for each viewer, so
// it should be no system call.
type Sink interface {
	// Name names the sink in the report.
	Name() string
	// Divert counts RTP to a local UDP port from 0, in place of passing it. ssrc is the video's; the sink follows its
	// numbering. It only counts the packets of other sources.
	Divert(port uint16, ssrc uint32) error
	// Count returns the counts since the port was diverted; false if it is not.
	Count(port uint16) (Count, bool)
	// Arrivals appends the arrivals of packets with a transport-wide number, by their place among these: from one
	// place up to before another that Count returned. The oldest of more than 64 may be left out.
	Arrivals(dst []Arrival, port uint16, from, to uint32) []Arrival
	// Release passes RTP to the port again.
	Release(port uint16)
}

// An Arrival is a packet with a transport-wide number. At is in Unix time, in ns.
type Arrival struct {
	Number uint16
	At     int64
}

// Count holds a Sink's counts of one port.
type Count struct {
	// Packets and Bytes are of RTP from all sources, in UDP payload.
	Packets, Bytes uint64
	// Media counts packets of the source whose numbering the sink follows, and Sequence is the highest number of them.
	Media    uint64
	Sequence uint16
	// Numbered counts packets of all sources that carried a transport-wide number, modulo 2^32.
	Numbered uint32
}
