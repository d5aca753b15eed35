package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// A Link describes one way between a peer and the server. The Network's Faults come on top.
type Link struct {
	// Rate is in bits a second, headers below UDP included; nil is no bound.
	Rate netpath.Schedule
	// Queue is the longest that a packet waits for the link; later ones are dropped. 0 stands for 300 ms.
	Queue port.Time
	// Shared, if set, stands for Rate and Queue: other ways go through it, too.
	Shared *netpath.Bottleneck
	// Loss is the chance of each packet, Delay the time that a packet takes, in seconds; nil is none.
	Loss, Delay netpath.Schedule
	// Jitter is the standard deviation of the time that is added to Delay. No packet overtakes another.
	Jitter port.Time
}

// longestQueue is the queue of a link that names none.
const longestQueue = 300 * port.Millisecond

// A Way is a Link in use. It records its queue.
type Way struct {
	link  *netpath.Bottleneck
	path  netpath.Path
	waits []wait
	// Lost counts packets that did not arrive.
	Lost int
}

// wait is the queue that a packet met.
type wait struct{ at, span port.Time }

// newWay builds a link of stages.
func newWay(l Link, r *rand.Rand) *Way {
	w := &Way{link: l.Shared}
	if l.Queue == 0 {
		l.Queue = longestQueue
	}
	if w.link == nil && l.Rate != nil {
		w.link = &netpath.Bottleneck{Rate: l.Rate, Longest: l.Queue}
	}
	if w.link != nil {
		w.path = append(w.path, w.link)
	}
	if l.Loss != nil {
		w.path = append(w.path, &netpath.Loss{Of: l.Loss, Rand: r})
	}
	if l.Delay != nil {
		w.path = append(w.path, &netpath.Delay{Of: l.Delay})
	}
	if l.Jitter > 0 {
		w.path = append(w.path, &netpath.Jitter{Deviation: l.Jitter, Rand: r})
	}
	return w
}

// Pass implements netpath.Stage.
func (w *Way) Pass(now port.Time, size int) (port.Time, bool) {
	if w.link != nil {
		w.waits = append(w.waits, wait{now, w.link.Delay(now)})
	}
	at, ok := w.path.Pass(now, size)
	if !ok {
		w.Lost++
	}
	return at, ok
}

// Waits returns the queues that the packets of a time met, sorted.
func (w *Way) Waits(from, until port.Time) (spans []port.Time) {
	for _, x := range w.waits {
		if from <= x.at && x.at < until {
			spans = append(spans, x.span)
		}
	}
	slices.Sort(spans)
	return spans
}

// Longer returns how long in all the queue was longer than a bound, by the packets that met it.
func (w *Way) Longer(from, until, bound port.Time) (sum port.Time) {
	for i, x := range w.waits[:max(0, len(w.waits)-1)] {
		if from <= x.at && x.at < until && x.span > bound {
			sum += min(w.waits[i+1].at-x.at, x.span)
		}
	}
	return sum
}

// Down makes what the server sends to a peer go over a link from now on.
func (w *World) Down(to peer, l Link) *Way { return w.lay(to.address(), false, l) }

// Up makes what a peer sends go over a link from now on.
func (w *World) Up(from peer, l Link) *Way { return w.lay(from.address(), true, l) }

func (w *World) lay(a netip.AddrPort, up bool, l Link) *Way {
	i := w.indexOf(a)
	n := uint64(2 * i)
	if up {
		n++
	}
	way := newWay(l, rand.New(rand.NewPCG(w.cfg.Seed, 100_000+n)))
	w.Network.links[flow{i, up}] = way
	return way
}
