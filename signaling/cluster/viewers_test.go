package cluster

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Every node says how many viewers a stream has at all of them, and the limit of viewers counts them all. Pulls are no
// viewers.
func TestViewersOfAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 3, 1) // so that the third node pulls from the second
		f.nodes[0].publish(stream)
		time.Sleep(time.Second)
		for i, n := range f.nodes {
			for range i + 1 {
				n.join()
			}
		}
		all := func(want int) {
			t.Helper()
			time.Sleep(3 * time.Second) // two beats, and a count before
			for i, n := range f.nodes {
				if s, _ := n.node.Stream(stream); s.Subscribers != want {
					t.Errorf("node %d: got %d viewers, want %d", i, s.Subscribers, want)
				}
				if l := n.node.Streams(); len(l) != 1 || l[0].Subscribers != want {
					t.Errorf("node %d: got the list %+v, want %d viewers", i, l, want)
				}
			}
		}
		all(6)
		for _, n := range f.nodes {
			n.limit = 7
		}
		wantStatus(t, f.nodes[0].public.watch(), http.StatusCreated)
		all(7)
		for i, n := range f.nodes {
			if v := n.public.watch(); v.status != http.StatusServiceUnavailable {
				t.Errorf("node %d: got status %d for an eighth viewer, want 503", i, v.status)
			}
		}
		f.nodes[2].kill()
		time.Sleep(15 * time.Second)
		f.nodes = f.nodes[:2]
		all(4)
	})
}

// An origin that drains does not wait for other nodes' pulls.
func TestDrainWithPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := plant(t, 2, 1)
		f.nodes[0].publish(stream)
		time.Sleep(time.Second)
		f.nodes[1].join()
		began := time.Now()
		f.nodes[0].clients.Drain(time.Minute)
		if took := time.Since(began); took != 0 {
			t.Errorf("the drain took %v, want no time: there are no viewers", took)
		}
	})
}
