package main

import (
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/cmd/ringbench/internal/sink"
)

func openSink(device string, loseEvery int) (*sink.Sink, error) {
	return sink.Attach(sink.Config{Device: device, TransportID: session.TransportID, Spared: session.RTXTypes(), LoseEvery: loseEvery})
}
