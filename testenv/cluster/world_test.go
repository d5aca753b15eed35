package cluster

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"ringcast/signaling/cluster/directory"
)

// World owns the clock, the queue of events and the nodes.
type World struct {
	now    time.Time
	queue  events
	number uint64
	rand   *rand.Rand
	nodes  []*Node
	byID   map[directory.NodeID]*Node
	wires  wires
	fanout int

	// serving and listening are the interest in each stream, as a server knows it.
	serving, listening map[string]map[*Node]bool

	messages, pulls, refusals uint64
	// joins are the times of viewers' joins. dark are the times that viewers of an edge saw nothing, and failovers the
	// part of these after a publisher was back.
	joins, dark, failovers []time.Duration
	republished            map[string]time.Time
	// lag is the most by which a message is late. Messages of one way stay in order, by the last arrival there.
	lag  time.Duration
	last map[[2]*Node]time.Time
	// check is called after each event, where it is set.
	check func()
}

// wires is the kind of the network.
type wires uint8

const (
	server wires = iota
	static
)

type event struct {
	at     time.Time
	number uint64
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	if !e[i].at.Equal(e[j].at) {
		return e[i].at.Before(e[j].at)
	}
	return e[i].number < e[j].number
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	(*e)[last] = event{}
	*e = (*e)[:last]
	return x
}

const regions = 4

func newWorld(kind wires, size int, seed uint64) *World {
	w := &World{
		now: time.Unix(1_800_000_000, 0), rand: rand.New(rand.NewPCG(seed, 1)), wires: kind, fanout: 16,
		last: make(map[[2]*Node]time.Time),
		byID: make(map[directory.NodeID]*Node), republished: make(map[string]time.Time),
		serving: make(map[string]map[*Node]bool), listening: make(map[string]map[*Node]bool),
	}
	for i := range size {
		n := &Node{
			w: w, index: i, streams: make(map[string]*stream), waiters: make(map[uint64]func(directory.Answer)),
			cut: make(map[*Node]bool),
			self: directory.Node{
				ID: directory.NodeID(fmt.Sprintf("n%04d", i)), URL: fmt.Sprintf("https://n%04d.example:8443", i),
				Region: fmt.Sprintf("r%d", i%regions),
			},
		}
		cfg := directory.BookConfig{Takeover: true, Poll: kind == static}
		n.book = directory.NewBook(cfg, n.self, rand.New(rand.NewPCG(seed, uint64(i)+2)))
		w.nodes = append(w.nodes, n)
		w.byID[n.self.ID] = n
		n.pump()
	}
	return w
}

// after calls do once a time has passed.
func (w *World) after(d time.Duration, do func()) {
	w.number++
	heap.Push(&w.queue, event{w.now.Add(d), w.number, do})
}

// run lets time pass.
func (w *World) run(d time.Duration) {
	end := w.now.Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(end) {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		e.do()
		if w.check != nil {
			w.check()
		}
	}
	w.now = end
}

// maxDelay is the longest way between two nodes.
const maxDelay = 44 * time.Millisecond

// delay is the time of one way between two nodes. It is the same for all messages, which so stay in order.
func (w *World) delay(a, b *Node) time.Duration {
	d := 40 * time.Millisecond
	if a.self.Region == b.self.Region {
		d = time.Millisecond
	}
	return d + d*time.Duration((a.index*31+b.index*17)%10)/100
}

// send calls do at another node, once the way has been passed. Nothing arrives at a node that is dead or cut off.
func (w *World) send(from, to *Node, do func()) {
	w.messages++
	d := w.delay(from, to)
	if w.lag > 0 {
		way := [2]*Node{from, to}
		d = max(d+w.vary(w.lag), w.last[way].Sub(w.now))
		w.last[way] = w.now.Add(d)
	}
	w.after(d, func() {
		if from.reaches(to) {
			do()
		}
	})
}

// spread calls do at all other nodes of to, as send does. Those that are equally far away share an event.
func (w *World) spread(from *Node, to []*Node, do func(*Node)) {
	var delays []time.Duration
	groups := make(map[time.Duration][]*Node)
	for _, other := range to {
		switch d := w.delay(from, other); {
		case other == from:
			continue
		case w.lag > 0:
			w.send(from, other, func() { do(other) })
			continue
		case groups[d] == nil:
			delays = append(delays, d)
			fallthrough
		default:
			groups[d] = append(groups[d], other)
			w.messages++
		}
	}
	for _, d := range delays {
		w.after(d, func() {
			for _, other := range groups[d] {
				if from.reaches(other) {
					do(other)
				}
			}
		})
	}
}

// someone returns a node that is alive and takes new sessions.
func (w *World) someone() *Node {
	for {
		if n := w.nodes[w.rand.IntN(len(w.nodes))]; !n.dead && !n.self.Draining {
			return n
		}
	}
}

// vary returns a time from nothing to d.
func (w *World) vary(d time.Duration) time.Duration {
	return time.Duration(w.rand.Int64N(int64(d) + 1))
}
