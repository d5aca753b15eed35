package cluster

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
)

// onePlace is a directory that finds one place for each stream.
type onePlace struct {
	directory.Directory
	mu                 sync.Mutex
	failed, unanswered int
}

func (*onePlace) Where(context.Context, string, netip.Addr) directory.Answer {
	return directory.Answer{Verdict: directory.Found, Places: []directory.Place{
		{Node: "origin", URL: "https://origin.example"},
	}}
}

func (*onePlace) Viewers(string) int { return 0 }

func (*onePlace) Watch(string, func(directory.Place)) func() { return func() {} }

func (d *onePlace) Failed(directory.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed++
}

func (d *onePlace) Unanswered(directory.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unanswered++
}

func (d *onePlace) failures() (failed, unanswered int) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed, d.unanswered
}

// noted is a directory that has no stream, and notes for which clients it looked.
type noted struct {
	directory.Directory
	sources []netip.Addr
}

func (*noted) Viewers(string) int { return 0 }

func (d *noted) Where(_ context.Context, _ string, source netip.Addr) directory.Answer {
	d.sources = append(d.sources, source)
	return directory.Answer{Verdict: directory.Nowhere}
}

// A look-up counts for the client, not for the proxy that all clients share: one of them would use up all look-ups.
func TestLookUpsOfProxiedClients(t *testing.T) {
	d, s := &noted{}, newServer(t, newNetwork(), "edge.example")
	s.node.Join(d, nil)
	web := signaling.New(signaling.Config{
		Log: slog.New(slog.DiscardHandler), Find: s.node.Find,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, // that of httptest's requests
	}, s.node).Handler()
	r := httptest.NewRequest(http.MethodPost, "/whep/"+stream, strings.NewReader(viewerOffer()))
	r.Header.Set("Content-Type", "application/sdp")
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	web.ServeHTTP(httptest.NewRecorder(), r)
	if want := netip.MustParseAddr("198.51.100.7"); len(d.sources) != 1 || d.sources[0] != want {
		t.Errorf("got look-ups for %v, want one for %v", d.sources, want)
	}
}

// silent is a directory that answers no publisher until it may.
type silent struct {
	onePlace
	may chan struct{}
}

func (d *silent) Admit(context.Context, string, directory.Publisher) error {
	<-d.may
	return nil
}

// Publishers that wait for the directory keep no viewer waiting.
func TestAdmissionTakesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, s := &silent{may: make(chan struct{})}, newServer(t, newNetwork(), "edge.example")
		s.node.Join(d, nil)
		s.engine.publish(stream)
		go func() {
			r := httptest.NewRequest(http.MethodPost, "/whip/other",
				strings.NewReader(strings.ReplaceAll(viewerOffer(), "recvonly", "sendonly")))
			r.Header.Set("Content-Type", "application/sdp")
			s.web.ServeHTTP(httptest.NewRecorder(), r)
		}()
		synctest.Wait()
		began := time.Now()
		wantStatus(t, s.watch(), http.StatusCreated)
		if took := time.Since(began); took != 0 {
			t.Errorf("a viewer waited %v for a publisher's admission, want no time", took)
		}
		close(d.may)
	})
}

// A node whose stream has ended is not blamed for it, nor one that does not answer. One that lies, or whose media never
// come, is blamed.
func TestBlame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, d := newNetwork(), &onePlace{}
		origin := newServer(t, net, "origin.example")
		edge := newServer(t, net, "edge.example")
		edge.node.Join(d, net)
		wantStatus(t, edge.watch(), http.StatusConflict)
		time.Sleep(2 * longestRest)
		if got, _ := d.failures(); got != 0 {
			t.Errorf("got a node blamed %d times for a stream that it has not, want 0", got)
		}
		origin.engine.publish(stream)
		wantStatus(t, edge.watch(), http.StatusCreated)
		dialled := edge.engine.dials
		edge.engine.End(dialled[len(dialled)-1], api.ReasonUpstreamUnreachable)
		if got, _ := d.failures(); got != 1 {
			t.Errorf("got a node blamed %d times whose media did not come, want 1", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		net, d := newNetwork(), &onePlace{}
		newServer(t, net, "origin.example").engine.publish(stream)
		net.hosts["origin.example"] = hostile(net, func(string) string { return "hello" })
		edge := newServer(t, net, "edge.example")
		edge.node.Join(d, net)
		wantStatus(t, edge.watch(), http.StatusServiceUnavailable)
		if got, _ := d.failures(); got != 1 {
			t.Errorf("got a node blamed %d times for its garbage, want 1", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, edge := &onePlace{}, newServer(t, newNetwork(), "edge.example")
		edge.node.Join(d, roundTrip(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}))
		wantStatus(t, edge.watch(), http.StatusServiceUnavailable)
		if failed, unanswered := d.failures(); failed != 0 || unanswered != 1 {
			t.Errorf("got a silent node blamed %d times and unanswered %d times, want 0 and 1", failed, unanswered)
		}
	})
}
