package cluster

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster/directory"
)

// An operator of any node ends a stream everywhere: its publisher, the viewers at all nodes, and the pulls.
func TestKickStream(t *testing.T) {
	for asked := range 3 {
		synctest.Test(t, func(t *testing.T) {
			f := plant(t, 3, 2)
			f.nodes[0].publish(stream)
			f.nodes[0].publish("other")
			time.Sleep(time.Second)
			for _, n := range f.nodes {
				n.join()
			}
			at := f.nodes[asked]
			here := at.EndStream(stream, api.ReasonKicked)
			there, silent := at.kicks.EndStream(t.Context(), stream)
			if here+there < 4 || silent != 0 {
				t.Errorf("node %d: got %d and %d sessions ended, %d nodes silent; want 4 at least, and none", asked,
					here, there, silent)
			}
			time.Sleep(2 * idleSpan)
			for i, n := range f.nodes {
				want := 0
				if i == 0 {
					want = 1 // the other stream's publisher
				}
				if live, _ := n.sessions(); live != want || n.public.phase() != numPhases {
					t.Errorf("asked at %d: got %d sessions and a pull in phase %v at node %d, want %d and none", asked,
						live, n.public.phase(), i, want)
				}
			}
		})
	}
}

// A session of another node ends by the node's id and its number, once. A node that does not answer is named as such.
func TestKickSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 3, 2)
		here, there, mute := f.nodes[0], f.nodes[1], f.nodes[2]
		id := there.publish(stream)
		for _, want := range []bool{true, false} {
			if ended, err := here.kicks.EndSession(t.Context(), "n1", id); ended != want || err != nil {
				t.Errorf("got ended %v and error %v, want %v and none", ended, err, want)
			}
		}
		if _, err := here.kicks.EndSession(t.Context(), "nobody", 1); !errors.Is(err, signaling.ErrNoNode) {
			t.Errorf("got error %v for a node that is not there, want %v", err, signaling.ErrNoNode)
		}
		mute.mute.Store(true)
		began := time.Now()
		_, err := here.kicks.EndSession(t.Context(), "n2", 1)
		if took := time.Since(began); !errors.Is(err, signaling.ErrUpstream) || took != kickSpan {
			t.Errorf("got error %v after %v, want %v after %v", err, took, signaling.ErrUpstream, kickSpan)
		}
		there.publish(stream)
		if ended, silent := here.kicks.EndStream(t.Context(), stream); ended != 1 || silent != 1 {
			t.Errorf("got %d sessions ended and %d nodes silent, want 1 and 1", ended, silent)
		}
	})
}

// Many silent nodes take no longer than one.
func TestKickOfManySilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 1, 1)
		k := f.nodes[0].kicks
		f.nodes[0].mute.Store(true)
		const nodes = 3 * maxKicks
		k.cfg.Nodes = func() []directory.Node {
			all := make([]directory.Node, nodes)
			for i := range all {
				all[i] = f.nodes[0].node.tree.self
			}
			return all
		}
		began := time.Now()
		_, silent := k.EndStream(t.Context(), stream)
		if took := time.Since(began); silent != nodes || took != kickSpan {
			t.Errorf("got %d silent nodes after %v, want %d after %v", silent, took, nodes, kickSpan)
		}
	})
}

// Only nodes end sessions here, and only by one session or one stream.
func TestKickRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 2, 1)
		id := f.nodes[0].publish(stream)
		post := func(via http.RoundTripper, body string) int {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://n0.example"+PathKick,
				bytes.NewReader([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := via.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			return answer.StatusCode
		}
		if got := post(f.net, `{"stream":"live"}`); got != http.StatusUnauthorized {
			t.Errorf("got status %d without a node's token, want 401", got)
		}
		for _, body := range []string{``, `{}`, `{"session":1,"stream":"live"}`, `{"session":-1}`, `[`} {
			if got := post(f.nodes[1].node.nodes, body); got != http.StatusBadRequest {
				t.Errorf("%s: got status %d, want 400", body, got)
			}
		}
		if got := post(f.nodes[1].node.nodes, `{"stream":"none","later":true}`); got != http.StatusOK {
			t.Errorf("got status %d for a field of a later version, want 200", got)
		}
		if _, live := f.nodes[0].View(id); !live {
			t.Error("the publisher has ended, want it to stay")
		}
	})
}
