package main

import (
	"ringcast/testenv/bench/session"
	"ringcast/testenv/bench/sink"
)

func openSink(device string, loseEvery int) (*sink.Sink, error) {
	return sink.Attach(sink.Config{Device: device, TransportID: session.TransportID, RTX: session.VP8RTX, LoseEvery: loseEvery})
}
