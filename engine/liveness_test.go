package engine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ringcast/engine"
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

// A publisher keeps its stream while it is heard. One that fell silent gives way, so that a crashed
// encoder can come back, and one that never connected does so at once.
func TestPublisherGivesWay(t *testing.T) {
	e := start(t, engine.Config{Workers: 2})
	defer shutdown(t, e)
	for i := range 3 {
		if err := offer(t, e, "nobody"); err != nil {
			t.Errorf("publisher %d after some that never connected: %v", i, err)
		}
	}

	p, stop := publish(t, e, "somebody")
	defer p.Close()
	until(t, "stream", func() bool { _, ok := e.Stream("somebody"); return ok })
	if err := offer(t, e, "somebody"); !errors.Is(err, engine.ErrStreamTaken) {
		t.Errorf("beside a live publisher: %v", err)
	}
	silent := time.Now()
	stop()
	until(t, "the stream's next publisher", func() bool {
		err := offer(t, e, "somebody")
		if err != nil && !errors.Is(err, engine.ErrStreamTaken) {
			t.Fatal(err)
		}
		return err == nil
	})
	took := time.Since(silent)
	t.Logf("a silent publisher gave way after %v", took)
	if took < time.Second {
		t.Errorf("it gave way after %v, want 2 s at least", took)
	}
}

// Sessions whose peers are still to connect have a cap of their own; who has connected does not count, and
// each that connects or gives up makes room for another.
func TestPendingSessions(t *testing.T) {
	const limit = 5
	e := start(t, engine.Config{Workers: 2, MaxPending: limit})
	defer shutdown(t, e)
	p, stop := publish(t, e, "connected")
	defer p.Close()
	defer stop()
	until(t, "stream", func() bool { _, ok := e.Stream("connected"); return ok })
	for i := range limit {
		if err := offer(t, e, fmt.Sprint("pending", i)); err != nil {
			t.Fatalf("pending session %d: %v", i, err)
		}
	}
	if err := offer(t, e, "one more"); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("a publisher beside %d that are pending: %v", limit, err)
	}
	v, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := e.Subscribe(t.Context(), "connected", v.Offer(peer.Video())); !errors.Is(err, engine.ErrBusy) {
		t.Errorf("a viewer beside %d that are pending: %v", limit, err)
	}
	full := time.Now()
	until(t, "room", func() bool {
		local, err := e.Subscribe(t.Context(), "connected", v.Offer(peer.Video()))
		if err == nil {
			connect(t, v, local)
		} else if !errors.Is(err, engine.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Logf("room after %v", time.Since(full))
}

// With Takeover the newest publisher wins.
func TestTakeover(t *testing.T) {
	e := start(t, engine.Config{Workers: 1, Takeover: true})
	defer shutdown(t, e)
	p, stop := publish(t, e, "contested")
	defer p.Close()
	defer stop()
	until(t, "stream", func() bool { _, ok := e.Stream("contested"); return ok })
	if err := offer(t, e, "contested"); err != nil {
		t.Errorf("the newest publisher: %v", err)
	}
}
