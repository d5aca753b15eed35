package cluster

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"ringcast/signaling/cluster/directory"
)

var (
	nodeCount   = flag.Int("nodes", 50, "nodes of the storms")
	streamCount = flag.Int("streams", 2_000, "streams of the storms")
	viewerCount = flag.Int("viewers", 20_000, "viewers of the storms")
	seed        = flag.Uint64("seed", 1, "seed")
)

// quantiles prints times.
func quantiles(of []time.Duration) string {
	if len(of) == 0 {
		return "none"
	}
	of = slices.Sorted(slices.Values(of))
	at := func(q float64) time.Duration { return of[int(q*float64(len(of)-1))].Round(time.Millisecond) }
	return fmt.Sprintf("p50 %v, p99 %v, p99.9 %v, max %v", at(0.5), at(0.99), at(0.999), at(1))
}

// whole fails the test where a tree is none: for a loop, too many children, too great a depth.
func (w *World) whole(t *testing.T) (edges, deepest, widest int) {
	t.Helper()
	for _, n := range w.nodes {
		for name, s := range n.streams {
			path, _ := s.branch.Path()
			if n.dead || len(path) == 0 {
				continue
			}
			widest, deepest = max(widest, len(s.branch.Children())), max(deepest, path.Depth())
			if !s.origin {
				edges++
			}
			at := n
			for i := len(path) - 1; i >= 0; i-- {
				if at == nil || at.self.ID != path[i] || at.dead {
					t.Fatalf("%s at %s: got the path %v, want the nodes that it comes from", name, n.self.ID, path)
				}
				at = at.streams[name].upstream
			}
		}
	}
	if widest > w.fanout || deepest > directory.MaxDepth {
		t.Errorf("got %d children and depth %d, want %d and %d at most", widest, deepest, w.fanout, directory.MaxDepth)
	}
	return edges, deepest, widest
}

// storm runs the world and prints what happened.
func (w *World) storm(t *testing.T, name string, viewers int, d time.Duration, begin func()) {
	t.Helper()
	begun, messages, pulls, refusals := time.Now(), w.messages, w.pulls, w.refusals
	var before, after directory.Counts
	w.counts(&before)
	w.joins, w.dark, w.failovers = nil, nil, nil
	begin()
	w.run(d)
	w.counts(&after)
	edges, deepest, widest := w.whole(t)
	if len(w.joins) != viewers {
		t.Errorf("%s: got %d viewers that joined, want %d", name, len(w.joins), viewers)
	}
	t.Logf("%s: %d joins in %s; edges dark for %s (%d), of these after the publisher's return %s (%d)", name,
		len(w.joins), quantiles(w.joins), quantiles(w.dark), len(w.dark), quantiles(w.failovers), len(w.failovers))
	t.Logf("%s: %d questions, %d messages, %d pulls, %d refused for lack of room; %d edges, depth %d, %d children; %v",
		name, after.Questions-before.Questions, w.messages-messages, w.pulls-pulls, w.refusals-refusals, edges, deepest,
		widest, time.Since(begun).Round(time.Millisecond))
}

func (w *World) counts(sum *directory.Counts) {
	for _, n := range w.nodes {
		sum.Questions += n.book.Counts.Questions
		sum.Refused += n.book.Counts.Refused
	}
}

// inUse returns the bytes of the heap that are in use.
func inUse() uint64 {
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}

// beats returns the bytes that a node needs for the beats of all others. Nodes share these here.
func (w *World) beats() uint64 {
	news := make([]directory.News, len(w.nodes))
	before := inUse()
	for i, n := range w.nodes {
		news[i], _ = directory.ReadNews(n.beat)
	}
	after := inUse()
	runtime.KeepAlive(news)
	return max(after, before) - before
}

// A million viewers join in ten seconds. A tenth of the nodes vanishes, and another tenth drains.
func TestStorms(t *testing.T) {
	w := newWorld(server, *nodeCount, *seed)
	names := make([]string, *streamCount)
	for i := range names {
		names[i] = fmt.Sprintf("stream%06d", i)
		w.after(w.vary(5*time.Second), func() { w.someone().publish(names[i]) })
	}
	w.run(10 * time.Second)

	popular := rand.NewZipf(w.rand, 1.1, 10, uint64(len(names)-1))
	w.storm(t, "join", *viewerCount, 20*time.Second, func() {
		for range *viewerCount {
			w.after(w.vary(10*time.Second), func() { w.someone().stream(names[popular.Uint64()]).join(w.now) })
		}
	})
	if edges, _, _ := w.whole(t); uint64(edges) != w.pulls {
		t.Errorf("got %d pulls for %d edges, want one for each stream and node", w.pulls, edges)
	}
	all, beats := inUse(), w.beats()
	each := all/uint64(len(w.nodes)) + beats
	t.Logf("memory: %d MB of heap; %d KB for each node, with %d KB of beats that nodes share here", all>>20, each>>10,
		beats>>10)
	if each > 64<<20 {
		t.Errorf("got %d KB for each node, want 64 MB at most", each>>10)
	}

	tenth := len(w.nodes) / 10
	moved := 0
	for _, n := range w.nodes[:tenth] {
		moved += n.sessions
	}
	w.storm(t, "failover", moved, 20*time.Second, func() {
		for _, n := range w.nodes[:tenth] {
			w.kill(n)
		}
	})
	if slow := slices.DeleteFunc(w.failovers, func(d time.Duration) bool { return d <= 3*time.Second }); len(slow) > 0 {
		t.Errorf("failover: got %s for %d edges, want 3 s at most", quantiles(slow), len(slow))
	}

	moved = 0
	for _, n := range w.nodes[tenth : 2*tenth] {
		moved += n.sessions
	}
	w.storm(t, "drain", moved, 25*time.Second, func() {
		for _, n := range w.nodes[tenth : 2*tenth] {
			n.drain(10 * time.Second)
		}
	})
	w.settled(t)
}

// settled fails the test where viewers see nothing, though their stream has a publisher.
func (w *World) settled(t *testing.T) {
	t.Helper()
	for _, n := range w.nodes {
		for name, s := range n.streams {
			if !n.dead && s.viewers+len(s.waiting) > 0 && !s.live() {
				t.Fatalf("%s at %s: got %d viewers without a path at the end, want none", name, n.self.ID, s.viewers)
			}
		}
	}
	var sum directory.Counts
	if w.counts(&sum); sum.Refused > 0 {
		t.Errorf("got %d messages that could not be read, want 0", sum.Refused)
	}
}

// kill ends a node without a farewell. Its publishers come back after one to two seconds, and its viewers once they
// notice.
func (w *World) kill(n *Node) {
	n.die()
	for _, s := range n.byName() {
		if s.origin {
			w.republish(s.name, time.Second+w.vary(time.Second))
		}
		for range s.viewers {
			w.after(noticed+w.vary(2*time.Second), func() { w.someone().stream(s.name).join(w.now) })
		}
		for _, began := range s.waiting {
			w.after(noticed, func() { w.someone().stream(s.name).join(began) })
		}
	}
}

func (w *World) republish(name string, after time.Duration) {
	w.after(after, func() {
		w.republished[name] = w.now
		w.someone().publish(name)
	})
}

// byName returns the streams of a node in one order.
func (n *Node) byName() []*stream {
	var all []*stream
	for _, s := range n.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(x, y *stream) int {
		if x.name < y.name {
			return -1
		}
		return 1
	})
	return all
}

// drain lets the viewers of a node go within a time, and then its publishers and pulls.
func (n *Node) drain(span time.Duration) {
	w := n.w
	n.self.Draining = true
	for _, s := range n.byName() {
		for range s.viewers {
			w.after(w.vary(span), func() {
				s.viewers--
				n.sessions--
				w.someone().stream(s.name).join(w.now)
			})
		}
	}
	w.after(span, func() {
		for _, s := range n.byName() {
			if s.origin {
				n.unpublish(s.name)
				w.republish(s.name, w.vary(time.Second))
			}
			s.detach()
			s.branch.Lose()
			s.watch(false)
			for _, id := range s.branch.Children() { // they get a close_notify
				s.branch.Leave(id)
				c := w.byID[id].stream(s.name)
				w.send(n, c.n, func() {
					if c.upstream == n {
						c.upstream = nil
						c.broke()
					}
				})
			}
		}
		n.pump()
	})
}

// cutOff cuts the ways between two sets of nodes, or mends them.
func (w *World) cutOff(some, others []*Node, cut bool) {
	for _, a := range some {
		for _, b := range others {
			a.cut[b], b.cut[a] = cut, cut
			for _, pair := range [][2]*Node{{a, b}, {b, a}} {
				w.noticeCut(pair[0], pair[1], cut)
			}
		}
	}
}

// noticeCut lets a node notice what became of its way to another.
func (w *World) noticeCut(n, other *Node, cut bool) {
	if !cut { // static peers notice within 750 ms
		w.after(250*time.Millisecond+w.vary(500*time.Millisecond), func() {
			n.book.Up(w.now, "")
			n.pump()
		})
		return
	}
	for _, s := range ofUpstream(n, other) {
		w.after(noticed, func() {
			if s.upstream == other && n.cut[other] {
				s.upstream = nil
				s.broke()
			}
		})
		w.after(5*time.Second, func() {
			if n.cut[other] {
				other.stream(s.name).branch.Leave(n.self.ID)
			}
		})
	}
}

// A partition of two and three nodes for 20 s. Both sides serve their streams. Then a node needs one new pull of a
// stream at most, and of two publishers the older one has ended within a second.
func TestPartition(t *testing.T) {
	for _, size := range []int{2, 3} {
		for s := range uint64(20) {
			w := newWorld(static, size, *seed+s)
			a, last := w.nodes[0], w.nodes[size-1]
			w.run(time.Second)
			a.publish("cut")
			a.publish("twice")
			last.publish("other")
			w.run(time.Second)
			for _, n := range w.nodes {
				for _, name := range []string{"cut", "twice", "other"} {
					n.stream(name).join(w.now)
				}
			}
			w.run(5 * time.Second)
			w.cutOff(w.nodes[:1], w.nodes[1:], true)
			w.run(5 * time.Second)
			last.publish("twice") // its publisher has found another way
			w.run(15 * time.Second)
			for _, served := range []struct {
				n    *Node
				name string
			}{
				{a, "cut"},
				{a, "twice"},
				{last, "twice"},
				{last, "other"},
				{w.nodes[1], "twice"},
				{w.nodes[1], "other"},
			} {
				if !served.n.stream(served.name).live() {
					t.Errorf("%d nodes, seed %d: %s is dark at %s in the partition", size, *seed+s, served.name,
						served.n.self.ID)
				}
			}
			before := w.pulls
			w.cutOff(w.nodes[:1], w.nodes[1:], false)
			w.run(time.Second)
			if a.stream("twice").origin || !last.stream("twice").origin {
				t.Errorf("%d nodes, seed %d: got the older publisher a second later, want the newer", size, *seed+s)
			}
			w.run(5 * time.Second)
			// cut returns to all but a, twice and other return to a.
			if got, most := w.pulls-before, uint64(size-1+2); got > most {
				t.Errorf("%d nodes, seed %d: got %d new pulls, want %d at most", size, *seed+s, got, most)
			}
			w.whole(t)
			w.settled(t)
		}
	}
}

// cycle returns the nodes that pull the stream from each other in a circle.
func (w *World) cycle(name string) map[*Node]bool {
	in := make(map[*Node]bool)
	for _, n := range w.nodes {
		at := n
		for range w.nodes {
			if at = at.stream(name).upstream; at == nil || at == n {
				break
			}
		}
		if at == n {
			in[n] = true
		}
	}
	return in
}

// Nodes leave their upstream for one by chance, a thousand times, often several at once. A circle ends as soon as one
// message has gone around it.
func TestLoops(t *testing.T) {
	w := newWorld(server, 12, *seed)
	w.lag = 200 * time.Millisecond
	w.nodes[0].publish("live")
	w.run(time.Second)
	for _, n := range w.nodes[1:] {
		n.stream("live").join(w.now)
	}
	w.run(5 * time.Second)
	since := make(map[*Node]time.Time)
	circles, longest := 0, time.Duration(0)
	w.check = func() {
		in := w.cycle("live")
		if len(in) > 0 && len(since) == 0 {
			circles++
		}
		for n := range in {
			if _, ok := since[n]; !ok {
				since[n] = w.now
			}
		}
		for n, at := range since {
			if longest = max(longest, w.now.Sub(at)); !in[n] {
				delete(since, n)
			}
		}
	}
	moved := 0
	for i := range 20_000 { // bursts of forty
		w.after(time.Duration(i/40)*time.Second+w.vary(50*time.Millisecond), func() {
			s := w.nodes[1+w.rand.IntN(len(w.nodes)-1)].stream("live")
			to := w.nodes[w.rand.IntN(len(w.nodes))].stream("live")
			path, g := to.branch.Path()
			if moved == 1000 || s.busy || !s.live() || to == s || len(path) == 0 {
				return
			}
			moved++
			s.detach()
			s.branch.Lose()
			s.spread()
			s.busy = true
			s.places = []directory.Place{{
				Node: to.n.self.ID, URL: to.n.self.URL, Generation: g, Path: path,
			}}
			s.try()
		})
	}
	w.run(10 * time.Minute)
	if moved != 1000 {
		t.Errorf("got %d nodes that moved, want 1000", moved)
	}
	t.Logf("%d pulls, %d refused, %d circles, the longest for %v", w.pulls, w.refusals, circles, longest)
	if around := (directory.MaxDepth + 1) * (maxDelay + w.lag); longest > around {
		t.Errorf("got a circle for %v, want it ended after one message around it, %v", longest, around)
	}
	w.whole(t)
	w.settled(t)
}
