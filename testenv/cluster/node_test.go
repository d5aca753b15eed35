package cluster

import (
	"slices"
	"time"

	"ringcast/signaling/cluster/directory"
)

// noticed is the time after which a dead upstream is noticed: a second of silence and three checks.
const noticed = 1600 * time.Millisecond

// expiry is the time after which a server forgets the interest of a node that has vanished.
const expiry = 1500 * time.Millisecond

// Node is one node. Its directory and its branches are the real ones.
type Node struct {
	w              *World
	index          int
	self           directory.Node
	book           *directory.Book
	streams        map[string]*stream
	waiters        map[uint64]func(directory.Answer)
	cut            map[*Node]bool
	dead           bool
	ticks          time.Time // when the next tick is queued
	sessions, most int
	beat           []byte // the last
}

// stream is a node's part in a stream.
type stream struct {
	n        *Node
	name     string
	branch   *directory.Branch
	origin   bool
	upstream *Node
	busy     bool // a look-up or an attempt runs
	places   []directory.Place
	viewers  int
	waiting  []time.Time // when the joins of the viewers began that wait
	watching bool
	attempt  int
	since    time.Time // since when viewers see nothing
}

func (n *Node) reaches(other *Node) bool { return !n.dead && !other.dead && !n.cut[other] }

func (n *Node) stream(name string) *stream {
	s := n.streams[name]
	if s == nil {
		s = &stream{n: n, name: name, branch: directory.NewBranch(n.self, n.w.fanout)}
		n.streams[name] = s
	}
	return s
}

// pump does all that the Book wants, and queues its next tick.
func (n *Node) pump() {
	w := n.w
	for o := n.book.Output(); o.Kind != directory.OutputNone; o = n.book.Output() {
		switch o.Kind {
		case directory.OutputAsk:
			n.ask(o)
		case directory.OutputTell, directory.OutputBeat:
			n.tell(o)
		case directory.OutputServe:
			interest(w.serving, o.Stream)[n] = true
		case directory.OutputUnserve:
			delete(w.serving[o.Stream], n)
		case directory.OutputListen:
			interest(w.listening, o.Stream)[n] = true
		case directory.OutputUnlisten:
			delete(w.listening[o.Stream], n)
		case directory.OutputAnswer:
			if do := n.waiters[o.Number]; do != nil {
				delete(n.waiters, o.Number)
				do(o.Answer)
			}
		case directory.OutputCheck:
			n.check(o.Stream, o.Place.Node)
		case directory.OutputSuperseded:
			n.superseded(o.Stream)
		case directory.OutputFound:
			n.found(o.Stream, o.Place)
		}
	}
	next := n.book.Next()
	if !n.ticks.After(w.now) || next.Before(n.ticks) {
		n.ticks = next
		w.after(max(0, next.Sub(w.now)), func() {
			if n.ticks.Equal(next) && !n.dead {
				n.ticks = time.Time{}
				n.book.SetSelf(n.describe())
				n.book.Tick(w.now)
				n.pump()
			}
		})
	}
}

func (n *Node) describe() directory.Node {
	n.self.Load = directory.Load{Sessions: n.sessions, CPU: min(1000, n.sessions/20)}
	return n.self
}

func interest(m map[string]map[*Node]bool, name string) map[*Node]bool {
	if m[name] == nil {
		m[name] = make(map[*Node]bool)
	}
	return m[name]
}

// sorted returns nodes in one order, for the same seed to do the same.
func sorted(set map[*Node]bool) []*Node {
	nodes := make([]*Node, 0, len(set))
	for n := range set {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(x, y *Node) int { return x.index - y.index })
	return nodes
}

func (n *Node) others() []*Node {
	return slices.DeleteFunc(slices.Clone(n.w.nodes), func(o *Node) bool { return o == n })
}

// ask carries a question to the nodes that may know, and their answers back.
func (n *Node) ask(o directory.Output) {
	w := n.w
	to := n.others()
	if w.wires == server {
		if to = sorted(w.serving[o.Stream]); len(to) == 0 {
			w.after(2*time.Millisecond, func() { n.asked(o.Number, directory.Complete) })
			return
		}
	}
	left, heard := len(to), directory.Complete
	for _, other := range to {
		if !n.reaches(other) {
			// Over a server silence has no end but the Book's own.
			if left, heard = left-1, directory.Partial; left == 0 && w.wires == static {
				w.after(directory.Patience, func() { n.asked(o.Number, heard) })
			}
			continue
		}
		w.send(n, other, func() {
			answer, _, err := directory.Reply(other.self.ID, o.Message, other.named)
			if err != nil {
				panic(err)
			}
			w.send(other, n, func() {
				n.book.Answer(w.now, o.Number, answer)
				if left--; left == 0 {
					n.asked(o.Number, heard)
				}
				n.pump()
			})
		})
	}
}

func (n *Node) asked(number uint64, heard directory.Completeness) {
	n.book.Asked(n.w.now, number, heard)
	n.pump()
}

// named is the node's directory.Local.
func (n *Node) named(name string, asker directory.NodeID) []directory.Place {
	if s := n.streams[name]; s != nil {
		return s.branch.Where(asker)
	}
	return nil
}

// tell carries a message to the nodes that want it.
func (n *Node) tell(o directory.Output) {
	if o.Kind == directory.OutputBeat {
		n.beat = o.Message
	}
	to := n.w.nodes
	if n.w.wires == server && o.Kind == directory.OutputTell {
		both := make(map[*Node]bool)
		for _, m := range []map[*Node]bool{n.w.serving[o.Stream], n.w.listening[o.Stream]} {
			for other := range m {
				both[other] = true
			}
		}
		to = sorted(both)
	}
	news, err := directory.ReadNews(o.Message)
	if err != nil {
		panic(err)
	}
	n.w.spread(n, to, func(other *Node) {
		other.book.Heard(other.w.now, news)
		other.pump()
	})
}

// publish makes the node the origin of a stream, as the first media of a publisher does.
func (n *Node) publish(name string) {
	s := n.stream(name)
	s.detach()
	place := n.book.Announce(n.w.now, name, directory.Publisher{})
	s.origin = true
	s.branch.Publish(place.Generation)
	s.spread()
	s.alive()
	n.pump()
}

// unpublish ends the publisher here.
func (n *Node) unpublish(name string) {
	n.book.Withdraw(n.w.now, name)
	n.superseded(name)
	n.pump()
}

func (n *Node) superseded(name string) {
	s := n.stream(name)
	s.origin = false
	s.broke()
}

// check pulls a stream from a node that claims it. The pull fails after two seconds where nothing comes.
func (n *Node) check(name string, at directory.NodeID) {
	w := n.w
	checked := func(proof directory.Proof) {
		n.book.Checked(w.now, name, at, proof)
		n.pump()
	}
	i := slices.IndexFunc(w.nodes, func(o *Node) bool { return o.self.ID == at })
	if i < 0 || !n.reaches(w.nodes[i]) {
		w.after(2*time.Second, func() { checked(directory.Refuted) })
		return
	}
	other := w.nodes[i]
	w.send(n, other, func() {
		proof := directory.Refuted
		if other.stream(name).origin {
			proof = directory.Proven
		}
		w.send(other, n, func() { checked(proof) })
	})
}

// found takes a new origin of a stream that viewers wait for.
func (n *Node) found(name string, p directory.Place) {
	s := n.stream(name)
	if !s.live() && !s.busy && p.Path.Feeds(n.self.ID) {
		s.busy, s.places = true, []directory.Place{p}
		s.try()
	}
}

// die ends a node without a farewell.
func (n *Node) die() {
	n.dead = true
	w := n.w
	for _, other := range w.nodes {
		for _, s := range ofUpstream(other, n) {
			w.after(noticed, func() {
				if s.upstream == n {
					s.upstream = nil
					s.broke()
				}
			})
		}
	}
	w.after(expiry, func() {
		for name := range n.streams {
			delete(w.serving[name], n)
			delete(w.listening[name], n)
		}
	})
	for _, s := range n.streams {
		if up := s.upstream; up != nil {
			w.after(5*time.Second, func() { up.stream(s.name).branch.Leave(n.self.ID) })
		}
	}
}

// ofUpstream returns the streams of a node that it pulls from another, in one order.
func ofUpstream(n, up *Node) (of []*stream) {
	for _, s := range n.streams {
		if s.upstream == up {
			of = append(of, s)
		}
	}
	slices.SortFunc(of, func(x, y *stream) int {
		if x.name < y.name {
			return -1
		}
		return 1
	})
	return of
}
