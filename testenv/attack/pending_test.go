package attack

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"ringcast/signaling"
	"ringcast/testenv/peer"
)

// via is a handler as a client at an address reaches it.
type via struct {
	http.Handler
	address string
}

func (v via) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI, in.RemoteAddr = r.URL.RequestURI(), v.address
	w := httptest.NewRecorder()
	v.ServeHTTP(w, in)
	res := w.Result()
	res.Request = r
	return res, nil
}

// offers is one client that sends offers as fast as it can, and nothing follows them.
type offers struct {
	client        *http.Client
	sent, refused atomic.Int64
}

func (o *offers) start(t *testing.T) (stop func()) {
	t.Helper()
	sdp := offer(t, obsOffer)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			default:
			}
			status, err := post(t.Context(), o.client, fmt.Sprint("http://server/whip/flood-", o.sent.Load()), sdp)
			o.sent.Add(1)
			switch {
			case err != nil:
				t.Error(err)
				return
			case status == http.StatusServiceUnavailable:
				o.refused.Add(1)
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// One address sends offers as fast as it can, and nothing follows them. From every other address publishers and
// viewers join at their first try, and the attacker has no more than its share.
func TestPendingFlood(t *testing.T) {
	const limit, share, guests = 400, 100, 8
	cfg := engineConfig()
	cfg.Sessions.MaxPending = limit
	a := newArena(t, cfg)
	h := signaling.New(signaling.Config{Log: discard}, a.Engine).Handler()
	f := a.feed("flooded")
	defer f.stop()
	sdp := offer(t, obsOffer)

	flood := &offers{client: &http.Client{Transport: via{h, "198.18.66.66:6666"}}}
	stop := flood.start(t)
	// The attacker's share is full before the first guest comes.
	until(t, "refusals", func() bool { return flood.refused.Load() > 0 })
	most := 0.0
	for i := range guests {
		client := &http.Client{Transport: via{h, fmt.Sprintf("198.18.1.%d:1000", i+1)}}
		p, err := peer.New(peer.Config{}, loopback)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		v := newViewer(t)
		defer v.Close()
		for _, x := range []struct {
			*peer.Peer
			path, offer string
		}{
			{p, fmt.Sprint("/whip/guest-", i), sdp},
			{v.Peer, "/whep/flooded", offer(t, viewOffer)},
		} {
			local, _, err := x.Post(t.Context(), client, "http://server"+x.path, x.offer)
			if err != nil {
				t.Fatalf("guest %d beside %d offers of the attacker: %v", i, flood.sent.Load(), err)
			}
			connect(t, x.Peer, local)
		}
		v.flows(t, 20)
		most = max(most, a.scrape()[`ringcast_sessions{role="publisher",state="pending"}`])
	}
	stop()
	if most > share+1 { // and a guest
		t.Errorf("%v sessions were pending; expected at most %d of the attacker", most, share)
	}
	m := a.scrape()
	busy := m[`ringcast_sessions_refused_total{reason="source_busy"}`]
	if busy != float64(flood.refused.Load()) || m[`ringcast_sessions_refused_total{reason="busy"}`] != 0 {
		t.Errorf("%v refusals were counted as the source's; expected all %d", busy, flood.refused.Load())
	}
	a.sane()
	t.Logf("%d offers of one address, %d refused, %v evicted, at most %v pending: %d publishers and viewers joined",
		flood.sent.Load(), flood.refused.Load(), m["ringcast_sessions_evicted_total"], most, 2*guests)
}
