package main

import (
	"ringcast/testenv/bench/session"
	"ringcast/testenv/bench/sink"
)

func openSink(device string, loseEvery int) (*sink.Sink, error) {
	return sink.Attach(sink.Config{Device: device, TransportID: session.TransportID, Spared: session.RTXTypes(), LoseEvery: loseEvery})
}
