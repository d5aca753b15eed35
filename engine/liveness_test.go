package engine_test

import (
	"context"
	"testing"
	"time"

	"ringcast/engine"
	"ringcast/engine/rtp"
	"ringcast/testenv/peer"
)

// offer opens a publisher's session that nobody connects.
func offer(t *testing.T, e *engine.Engine, stream string) error {
	t.Helper()
	p, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	_, err = e.Publish(t.Context(), stream, p.Offer(peer.Video()))
	return err
}

// With Takeover the newest publisher wins with its first media; requests alone do nothing. The previous publisher gets
// a goodbye, and a viewer sees one numbering.
func TestTakeover(t *testing.T) {
	e := start(t, func(c *engine.Config) { c.Workers = 2; c.Sessions.Takeover = true })
	defer shutdown(t, e)
	first, stop := publish(t, e, "contested")
	defer first.Close()
	defer stop()
	until(t, "stream", func() bool { _, ok := e.Stream("contested"); return ok })

	sequences := make(chan uint16, 100_000)
	v, err := peer.New(peer.Config{OnRTP: func(_ *peer.Peer, packet []byte) {
		var h rtp.Header
		if h.Parse(packet, nil) {
			sequences <- h.Sequence
		}
	}}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	local, err := e.Subscribe(t.Context(), "contested", v.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, v, local)
	next := func() uint16 {
		t.Helper()
		select {
		case seq := <-sequences:
			return seq
		case <-time.After(patience): // a long pause of the machine may have ended the sessions
			t.Fatalf("the viewer gets no packet within %v", patience)
			return 0
		}
	}
	last, n := next(), 1
	flows := func(more int) {
		for range more {
			seq := next()
			if seq != last+1 {
				t.Fatalf("sequence number %d follows %d after %d packets; expected no gap", seq, last, n)
			}
			last, n = seq, n+1
		}
	}
	flows(20)
	for range 3 {
		if err := offer(t, e, "contested"); err != nil {
			t.Errorf("a newcomer: %v; expected that it may try", err)
		}
	}
	flows(50)

	second, stopSecond := publish(t, e, "contested")
	defer second.Close()
	defer stopSecond()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := first.AwaitClose(ctx); err != nil {
		t.Errorf("the publisher that was replaced was not told goodbye: %v", err)
	}
	flows(len(sequences) + 50)
}
