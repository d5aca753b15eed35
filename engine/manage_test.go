package engine_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"ringcast/engine/api"
	"ringcast/testenv/peer"
)

// Operators list the sessions of a stream, limit its viewers, and end all of it: every peer gets a goodbye.
func TestManagement(t *testing.T) {
	e := start(t)
	defer shutdown(t, e)
	reasons := make(chan api.Reason, 2)
	e.OnEnded(func(_ api.SessionID, why api.Reason) { reasons <- why })
	publisher, stop := publish(t, e, "managed")
	until(t, "stream", func() bool { _, ok := e.Stream("managed"); return ok })
	var got atomic.Int64
	viewer := watch(t, e, "managed", &got)
	until(t, "media", func() bool { return got.Load() > 0 })
	stop()

	all := e.Sessions("managed")
	if len(all) != 2 || all[0].ID != publisher.Local.ID || !all[0].Live || all[1].ID != viewer.Local.ID {
		t.Errorf("got the sessions %+v, want the publisher's and the viewer's", all)
	}
	if l := e.SetLimits(func(l *api.Limits) { l.Viewers, l.Bitrate = 1, -5 }); l != (api.Limits{Viewers: 1}) {
		t.Errorf("got the limits %+v, want one viewer", l)
	}
	if _, err := e.Subscribe(t.Context(), "managed", api.Offer{}); !errors.Is(err, api.ErrStreamFull) {
		t.Errorf("a second viewer: got %v, want %v", err, api.ErrStreamFull)
	}
	if e.End(1<<40, api.ReasonKicked) || e.EndStream("unknown", api.ReasonKicked) != 0 {
		t.Error("unknown sessions were ended")
	}
	if n := e.EndStream("managed", api.ReasonKicked); n != 2 {
		t.Errorf("%d sessions were ended, want 2", n)
	}
	for _, p := range []*peer.Peer{publisher, viewer} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := p.AwaitClose(ctx); err != nil {
			t.Errorf("no goodbye: %v", err)
		}
		cancel()
		p.Close()
		if why := <-reasons; why != api.ReasonKicked {
			t.Errorf("a session ended because of %q, want %q", why, api.ReasonKicked)
		}
	}
}
