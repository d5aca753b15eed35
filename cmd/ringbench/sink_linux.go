package main

import (
	"ringcast/cmd/ringbench/internal/sink"
	"ringcast/signaling/client"
)

func openSink(device string, loseEvery int) (*sink.Sink, error) {
	return sink.Attach(sink.Config{
		Device: device, TransportID: client.TransportID, Spared: client.RTXTypes(),
		LoseEvery: loseEvery,
	})
}
