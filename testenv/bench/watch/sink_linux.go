package watch

import (
	"io"

	"ringcast/testenv/bench/sink"
)

// maxSources is how many sources of a port are looked at: more than any viewer has.
const maxSources = 8

// NewXDPSink lets an XDP program count.
func NewXDPSink(s *sink.Sink) Sink { return xdpSink{s} }

// OpenSink attaches an XDP program to a device, which must be the viewers', and loses every loseEvery-th
// media packet there on purpose, or none for 0. It wants root, and native XDP: a veth has it.
func OpenSink(device string, loseEvery int) (Sink, io.Closer, error) {
	s, err := sink.Attach(device, loseEvery)
	if err != nil {
		return nil, nil, err
	}
	return NewXDPSink(s), s, nil
}

type xdpSink struct{ sink *sink.Sink }

func (xdpSink) Name() string { return "XDP" }

func (x xdpSink) Divert(port uint16, drop bool) error {
	if drop {
		return x.sink.Set(port, sink.Drop)
	}
	return x.sink.Set(port, sink.Count)
}

func (x xdpSink) Count(port uint16, counts []Count) []Count {
	var room [maxSources]sink.Source
	for _, s := range x.sink.Read(port, room[:0]) {
		counts = append(counts, Count{SSRC: s.SSRC, First: s.First, Highest: s.Highest, Packets: s.Packets, Bytes: s.Bytes})
	}
	return counts
}

func (x xdpSink) Release(port uint16) {
	_ = x.sink.Set(port, sink.Pass) // every port has a place there
}
