package engine_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/testenv/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// configured returns the default configuration with changes.
func configured(changes ...func(*engine.Config)) engine.Config {
	cfg := engine.DefaultConfig()
	for _, change := range changes {
		change(&cfg)
	}
	return cfg
}

func start(t *testing.T, changes ...func(*engine.Config)) *engine.Engine {
	t.Helper()
	cfg := configured(changes...)
	cfg.Listen = netip.AddrPortFrom(loopback, 0)
	e, err := engine.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func shutdown(t *testing.T, e *engine.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// publish connects a publisher and sends until the test says stop.
func publish(t *testing.T, e *engine.Engine, stream string) (p *peer.Peer, stop func()) {
	t.Helper()
	p, err := peer.New(peer.Config{}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	local, err := e.Publish(t.Context(), stream, p.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, local)
	return p, send(t, p, func(n uint64) []byte { return peer.Packet(n, 500) })
}

// send sends a connected publisher's packets until the test calls stop.
func send(t *testing.T, p *peer.Peer, packet func(n uint64) []byte) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := uint64(1); ; n++ {
			select {
			case <-tick.C:
				if err := p.SendRTP(packet(n), 12, n); err != nil {
					t.Error(err)
				}
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-ended }
}

func watch(t *testing.T, e *engine.Engine, stream string, got *atomic.Int64) *peer.Peer {
	t.Helper()
	p, err := peer.New(peer.Config{OnRTP: func(*peer.Peer, []byte) { got.Add(1) }}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	local, err := e.Subscribe(t.Context(), stream, p.Offer(peer.Video()))
	if err != nil {
		t.Fatal(err)
	}
	connect(t, p, local)
	return p
}

func connect(t *testing.T, p *peer.Peer, local api.Local) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Connect(ctx, local); err != nil {
		t.Fatal(err)
	}
}

// patience bounds every wait for something that must come, on a machine that others use too.
const patience = time.Minute

// until waits for something that must come.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// A stream's life on several workers: it is published, watched, published again, and shut down with a goodbye to every
// peer. Nothing is left running.
func TestLife(t *testing.T) {
	e := start(t, func(c *engine.Config) { c.Workers = 3 })
	var ended atomic.Int64
	e.OnEnded(func(api.SessionID, api.Reason) { ended.Add(1) })

	if _, err := e.Subscribe(t.Context(), "life", api.Offer{}); err != api.ErrNoPublisher {
		t.Errorf("subscribed to nothing: %v", err)
	}
	first, stop := publish(t, e, "life")
	const viewers = 8
	var got [viewers]atomic.Int64
	var peers []*peer.Peer
	until(t, "stream", func() bool { _, ok := e.Stream("life"); return ok })
	for i := range viewers {
		peers = append(peers, watch(t, e, "life", &got[i]))
	}
	all := func(n int64) func() bool {
		return func() bool {
			for i := range got {
				if got[i].Load() < n {
					return false
				}
			}
			return true
		}
	}
	until(t, "first publication at all viewers", all(50))
	if st, ok := e.Stream("life"); !ok || st.Subscribers != viewers || st.Active[0] != peer.TypeVP8 {
		t.Errorf("stream: %+v, %v", st, ok)
	}
	stop()
	e.Close(first.Local.ID)
	until(t, "goodbye to the publisher", func() bool {
		_, ok := e.Stream("life")
		return !ok && ended.Load() == 1
	})
	first.Close()

	for i := range got {
		got[i].Store(0)
	}
	second, stop := publish(t, e, "life")
	until(t, "second publication at all viewers", all(50))
	stop()
	shutdown(t, e)
	for i, p := range append(peers, second) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := p.AwaitClose(ctx); err != nil {
			t.Errorf("peer %d was not told goodbye: %v", i, err)
		}
		cancel()
		p.Close()
	}
	if n := ended.Load(); n != viewers+2 {
		t.Errorf("%d sessions ended, want %d", n, viewers+2)
	}
	if _, err := e.Publish(context.Background(), "life", api.Offer{}); err != api.ErrClosing {
		t.Errorf("published after shutdown: %v", err)
	}
}
