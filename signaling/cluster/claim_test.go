package cluster

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
)

// claimed is the place of another node that claims the stream.
var claimed = directory.Place{Node: "origin", URL: "https://origin.example"}

// hiddenStream is the name of the stream that a check of it dials.
const hiddenStream = stream + " at origin"

// rivals starts two nodes with a publisher of the stream each. other claims it.
func rivals(t *testing.T) (net *network, other, ours *server) {
	t.Helper()
	net = newNetwork()
	other, ours = newServer(t, net, "origin.example"), newServer(t, net, "edge.example")
	other.engine.publish(stream)
	ours.engine.publish(stream)
	ours.node.Join(&onePlace{}, net)
	return net, other, ours
}

// checked are the results of a check, and the time that it took.
type checked struct {
	err  error
	took time.Duration
}

// check begins a check of the claim, and returns when it waits for media or has ended.
func (s *server) check(ctx context.Context) <-chan checked {
	result := make(chan checked, 1)
	began := time.Now()
	go func() {
		err := s.node.Serves(ctx, stream, claimed)
		result <- checked{err, time.Since(began)}
	}()
	synctest.Wait()
	return result
}

// wantPublishers fails the test unless nothing is left of a check.
func wantPublishers(t *testing.T, all ...*server) {
	t.Helper()
	synctest.Wait()
	for _, s := range all {
		if live, _ := s.engine.sessions(); live != 1 {
			t.Errorf("got %d sessions after the check, want the publisher's alone", live)
		}
		if _, there := s.engine.Stream(hiddenStream); there {
			t.Error("got the hidden stream after the check, want it gone")
		}
		s.node.mu.Lock()
		if n := len(s.node.dialled) + len(s.node.pulls); n != 0 {
			t.Errorf("got %d entries of dialled sessions and pulls, want none", n)
		}
		s.node.mu.Unlock()
	}
}

// labels returns the values of all labels of the node's metrics.
func (s *server) labels(t *testing.T) string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s.node)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				all.WriteString(l.GetValue() + "\n")
			}
		}
	}
	return all.String()
}

// A node that sends a packet of the stream that it claims has proven the claim. Nobody sees the stream of the check.
// The publisher here goes on.
func TestClaimWithMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, other, ours := rivals(t)
		result := ours.check(t.Context())
		if _, dials := ours.engine.sessions(); dials != 1 {
			t.Fatalf("got %d dials, want one", dials)
		}
		if list := ours.engine.Streams(); len(list) != 1 || list[0].Name != stream {
			t.Errorf("got the list %v, want this node's own stream", list)
		}
		d := &heard{}
		NewOrigins(directory.Node{}, ours.node).look(d)
		if len(d.announced) != 1 || d.announced[0] != stream {
			t.Errorf("announced %v, want this node's own stream", d.announced)
		}
		if status := ours.node.Status(); len(status.Pulls) != 0 {
			t.Errorf("got the pulls %+v, want none", status.Pulls)
		}
		if all := ours.labels(t); strings.Contains(all, stream) {
			t.Errorf("got a stream among the labels of metrics: %q", all)
		}
		if signaling.ValidStream(hiddenStream) {
			t.Error("clients can name the stream of a check")
		}
		time.Sleep(300 * time.Millisecond)
		ours.engine.begin(hiddenStream)
		if got := <-result; got.err != nil || got.took > 300*time.Millisecond+proofLook {
			t.Errorf("got error %v after %v, want none right after the first packet", got.err, got.took)
		}
		wantPublishers(t, ours)
		if a := ours.engine.lastAnswer(t); len(a.Tracks) != 2 {
			t.Errorf("got %d tracks of the other node, want 2", len(a.Tracks))
		}
		// The goodbye of a session that has keys is the engine's.
		if live, _ := other.engine.sessions(); live != 2 {
			t.Errorf("got %d sessions at the other node, want its publisher and our pull", live)
		}
	})
}

// A node that sends nothing has two seconds. It is to blame.
func TestClaimWithoutMedia(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, other, ours := rivals(t)
		got := <-ours.check(t.Context())
		if !errors.Is(got.err, errSilent) || errors.Is(got.err, directory.ErrUnchecked) || got.took != proofSpan {
			t.Errorf("got error %v after %v, want silence after %v", got.err, got.took, proofSpan)
		}
		wantPublishers(t, other, ours)
	})
}

// A node that has no publisher any more gets a second to say so. One that has no room is not to blame. Nor is one that
// does not answer, which is 0 here.
func TestClaimRefused(t *testing.T) {
	for status, blameless := range map[int]bool{
		http.StatusNotFound: false, http.StatusForbidden: false, http.StatusServiceUnavailable: true, 0: true,
	} {
		synctest.Test(t, func(t *testing.T) {
			net, other, ours := rivals(t)
			var refusal http.Handler
			if status != 0 {
				refusal = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			}
			net.setHandler("origin.example", refusal)
			got := <-ours.check(t.Context())
			if got.err == nil || errors.Is(got.err, directory.ErrUnchecked) != blameless || got.took != goneSpan {
				t.Errorf("%d: got error %v after %v, want one after %v, and blameless: %v", status, got.err, got.took,
					goneSpan, blameless)
			}
			wantPublishers(t, other, ours)
		})
	}
}

// A publisher that ends while its node is checked ends the check.
func TestClaimOfEndedPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ours := rivals(t)
		result := ours.check(t.Context())
		time.Sleep(500 * time.Millisecond)
		ours.engine.End(ours.engine.dials[0], api.ReasonClosed)
		got := <-result
		if want := 500*time.Millisecond + goneSpan; !errors.Is(got.err, errEnded) || got.took != want {
			t.Errorf("got error %v after %v, want the end of the session after %v", got.err, got.took, want)
		}
		wantPublishers(t, ours)
	})
}

// A node that cannot dial, or that ends, blames nobody and waits for nobody.
func TestClaimUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, _, ours := rivals(t)
		ctx, cancel := context.WithCancel(t.Context())
		result := ours.check(ctx)
		second := <-ours.check(t.Context()) // the stream of the first is live
		if !errors.Is(second.err, directory.ErrUnchecked) || second.took != goneSpan {
			t.Errorf("got error %v after %v, want %v after %v", second.err, second.took, directory.ErrUnchecked,
				goneSpan)
		}
		cancel()
		if first := <-result; first.err == nil || first.took != goneSpan {
			t.Errorf("got error %v after %v, want one at the end of the node", first.err, first.took)
		}
		wantPublishers(t, ours)
	})
}
