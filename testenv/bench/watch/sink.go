package watch

// A Sink counts viewers' media before it reaches their sockets, which is where it costs least. It is told
// of each viewer once its path is known, and passes what it counts; once a counted viewer has seen a
// keyframe, its media ends in the sink, and the reports on it are made from the sink's counts. All that is
// not RTP always passes. Methods are called from all loops at a time, Count each 100 ms for each viewer:
// it should be no system call.
type Sink interface {
	// Name says what it is, for the report.
	Name() string
	// Divert counts RTP to a local UDP port from now on, anew, and drops it if drop is set.
	Divert(port uint16, drop bool) error
	// Count appends what has come to the port since it was diverted, by source.
	Count(port uint16, counts []Count) []Count
	// Release ends it.
	Release(port uint16)
}

// Count is what a Sink has seen of one source.
type Count struct {
	SSRC uint32
	// First and Highest are sequence numbers, Highest with the count of its cycles above.
	First, Highest uint32
	// Packets and Bytes of RTP, in UDP payload.
	Packets, Bytes uint64
}
