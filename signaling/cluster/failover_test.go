package cluster

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/cluster/directory"
)

// A board is a directory whose places the test sets. It counts look-ups, and those who watch.
type board struct {
	directory.Directory
	mu      sync.Mutex
	answer  directory.Answer
	lookups int
	watches map[*func(directory.Place)]bool
}

func newBoard() *board { return &board{watches: make(map[*func(directory.Place)]bool)} }

func (b *board) Where(context.Context, string, netip.Addr) directory.Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lookups++
	return b.answer
}

func (b *board) Failed(directory.NodeID) {}

func (b *board) Unanswered(directory.NodeID) {}

func (b *board) Watch(_ string, found func(directory.Place)) func() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watches[&found] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watches, &found)
	}
}

func (b *board) Announce(string, directory.Publisher) directory.Place { return directory.Place{} }

func (*board) Viewers(string) int { return 0 }

func (b *board) Withdraw(string) {}

// at sets the hosts at which the stream is, or nowhere, with a generation.
func (b *board) at(generation uint64, hosts ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = directory.Answer{Verdict: directory.Nowhere}
	for _, host := range hosts {
		b.answer.Verdict = directory.Found
		name, _, _ := strings.Cut(host, ".")
		b.answer.Places = append(b.answer.Places, directory.Place{
			Node: directory.NodeID(name), URL: "https://" + host, Generation: directory.Generation{Count: generation},
		})
	}
}

// find reports the first place to those who watch.
func (b *board) find() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for found := range b.watches {
		(*found)(b.answer.Places[0])
	}
}

func (b *board) counts() (lookups, watches int) {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lookups, len(b.watches)
}

// edgeOf starts an edge that finds streams by a board, with one viewer.
func edgeOf(t *testing.T, net *network, b *board) *server {
	t.Helper()
	edge := newServer(t, net, "edge.example")
	edge.node.Join(b, net)
	wantStatus(t, edge.watch(), http.StatusCreated)
	return edge
}

// lose ends the edge's open pull.
func (s *server) lose(why api.Reason) {
	s.engine.mu.Lock()
	last := s.engine.dials[len(s.engine.dials)-1]
	s.engine.mu.Unlock()
	s.engine.End(last, why)
	synctest.Wait()
}

// A pull whose upstream is gone watches for the stream, and dials the new origin as soon as that is found. The old
// place is no news.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, b := newNetwork(), newBoard()
		newServer(t, net, "origin.example").engine.publish(stream)
		other := newServer(t, net, "other.example")
		b.at(1, "origin.example")
		edge := edgeOf(t, net, b)
		if _, watches := b.counts(); watches != 0 {
			t.Errorf("got %d watches while the pull is open, want none", watches)
		}
		b.at(1)
		edge.lose(api.ReasonUpstreamSilent)
		lookups, watches := b.counts()
		if lookups != 2 || watches != 1 || edge.phase() != resting {
			t.Fatalf("got %d look-ups, %d watches and the phase %v; want a look-up at once, one watch and a rest",
				lookups, watches, edge.phase())
		}
		b.at(1, "origin.example")
		b.find()
		if lookups, _ := b.counts(); lookups != 2 || edge.phase() != resting {
			t.Errorf("got %d look-ups and the phase %v after old news, want the rest to go on", lookups, edge.phase())
		}
		other.engine.publish(stream)
		b.at(2, "other.example")
		began := time.Now()
		b.find()
		synctest.Wait()
		last := net.posts[len(net.posts)-1]
		if took := time.Since(began); took != 0 || edge.phase() != open || last != "other.example" {
			t.Errorf("got the phase %v and POSTs to %v; want a pull of the new origin at once", edge.phase(), net.posts)
		}
		if live, _ := edge.engine.sessions(); live != 2 {
			t.Errorf("got %d sessions, want the viewer and the new pull", live)
		}
		if _, watches := b.counts(); watches != 0 {
			t.Errorf("got %d watches after the failover, want none", watches)
		}
	})
}

// While viewers wait and there is no news, the directory is asked again. The watch ends with the last viewer.
func TestFailoverWithoutNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, b := newNetwork(), newBoard()
		newServer(t, net, "origin.example").engine.publish(stream)
		b.at(1, "origin.example")
		edge := newServer(t, net, "edge.example")
		edge.node.Join(b, net)
		v := edge.watch()
		wantStatus(t, v, http.StatusCreated)
		b.at(1)
		edge.lose(api.ReasonBye)
		time.Sleep(10 * streamRest)
		if lookups, watches := b.counts(); lookups < 10 || lookups > 14 || watches != 1 {
			t.Errorf("got %d look-ups in ten seconds, and %d watches; want one each second, and one", lookups, watches)
		}
		edge.leave(t, v)
		time.Sleep(2 * streamRest)
		if _, watches := b.counts(); watches != 0 || edge.phase() != numPhases {
			t.Errorf("got %d watches and the phase %v without viewers, want none and no pull", watches, edge.phase())
		}
	})
}

// A place that fails is followed by the next at once: a viewer waits for no rest.
func TestNextPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, b := newNetwork(), newBoard()
		newServer(t, net, "empty.example")
		newServer(t, net, "origin.example").engine.publish(stream)
		net.hosts["liar.example"] = hostile(net, func(string) string { return "hello" })
		b.at(1, "liar.example", "empty.example", "origin.example")
		began := time.Now()
		edgeOf(t, net, b)
		if took := time.Since(began); took != 0 {
			t.Errorf("the third place came after %v, want no rest", took)
		}
		if lookups, _ := b.counts(); lookups != 1 {
			t.Errorf("got %d look-ups, want one for all places", lookups)
		}
	})
}

// The publisher of a node is superseded by one of another node. Its viewers get that, in their sessions, and so do
// nodes that pull from here.
func TestSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, b := newNetwork(), newBoard()
		loser, winner := newServer(t, net, "loser.example"), newServer(t, net, "winner.example")
		loser.node.Join(b, net)
		loser.engine.publish(stream)
		origins := NewOrigins(directory.Node{ID: "loser"}, loser.node)
		origins.look(b)
		wantStatus(t, loser.watch(), http.StatusCreated)
		relay, err := loser.node.Subscribe(t.Context(), stream, api.Offer{Relay: true})
		if err != nil {
			t.Fatal(err)
		}
		winner.engine.publish(stream)
		b.at(2, "winner.example")
		origins.Superseded(stream, directory.Place{})
		synctest.Wait()
		if _, live := loser.engine.View(relay.ID); !live {
			t.Error("the session of another node has ended, want it to go on")
		}
		st, ok := loser.engine.Stream(stream)
		if live, dials := loser.engine.sessions(); live != 3 || dials != 1 || !ok || !st.Pulled {
			t.Errorf("got %d sessions and %d dials, want a viewer, a node and a pull", live, dials)
		}
		st.Active = []int{111, 96} // its media come
		loser.engine.mu.Lock()
		loser.engine.streams[stream] = st
		loser.engine.mu.Unlock()
		origins.look(b)
		if got := origins.Places(stream, ""); len(got) != 0 {
			t.Errorf("got the places %v, want none: the stream is pulled", got)
		}
	})
}

// A publisher at a node that pulls the stream ends the pull. The node is then the stream's origin.
func TestPublisherAtEdge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net, b := newNetwork(), newBoard()
		newServer(t, net, "origin.example").engine.publish(stream)
		b.at(1, "origin.example")
		edge := edgeOf(t, net, b)
		edge.lose(api.ReasonLocalPublisher)
		edge.engine.publish(stream)
		synctest.Wait()
		if phase := edge.phase(); phase != numPhases {
			t.Errorf("got a pull in the phase %v, want none", phase)
		}
		origins := NewOrigins(directory.Node{ID: "edge"}, edge.node)
		origins.look(b)
		if got := origins.Places(stream, ""); len(got) != 1 {
			t.Errorf("got the places %v, want this node", got)
		}
	})
}
