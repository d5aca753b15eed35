package watch

// A Sink counts the media of counted viewers where it costs less than at their sockets, and drops it
// there: all else must pass. A viewer is told to it once it has seen a keyframe, and reports on it are
// made from its counts from then on. Methods are called from all loops at a time, Count each 100 ms for
// each viewer: it should be no system call.
type Sink interface {
	// Name says what it is, for the report.
	Name() string
	// Divert begins to count RTP to a local UDP port, anew, instead of passing it. ssrc is the video's,
	// whose numbering the sink is to follow; of packets of other sources it counts that they came.
	Divert(port uint16, ssrc uint32) error
	// Count reads what has come to the port since it was diverted; false if it is not.
	Count(port uint16) (Count, bool)
	// Release ends it.
	Release(port uint16)
}

// Count is what a Sink has seen of one port.
type Count struct {
	// Packets and Bytes of RTP, in UDP payload, whatever the source.
	Packets, Bytes uint64
	// Media are the packets of the source whose numbering is followed, Sequence the highest's number,
	// and Transport the newest packet's transport-wide one, which only matters where that was negotiated.
	Media               uint64
	Sequence, Transport uint16
}
