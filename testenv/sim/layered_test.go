package sim

import (
	"fmt"
	"slices"
	"testing"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// A world of three layers is one publisher, and viewers with manners.
type layered struct {
	*World
	pub   *Publisher
	subs  []*Subscriber
	ended port.Time
}

// newLayered makes a world in which each viewer gets what its network carries. The publisher is the first worker's.
func newLayered(t *testing.T, cfg Config, c Simulcast) *layered {
	t.Helper()
	cfg.Seed, cfg.Adapt = begin(t), true
	if cfg.Workers == 0 {
		cfg.Workers = 2
	}
	if cfg.Faults == (Faults{}) {
		cfg.Faults = calm
	}
	if c.Rungs == nil {
		c.Rungs = Three
	}
	x := &layered{World: newWorld(t, cfg)}
	x.Place(0)
	x.pub = x.PublishSimulcast(theStream, c)
	x.Place(anyone)
	x.Run(x.Now() + 500*port.Millisecond)
	return x
}

// watch adds a viewer of a worker on a link.
func (x *layered) watch(worker int, v Viewer, l Link) *Subscriber {
	x.Place(worker)
	s := x.Watch(v)
	x.Place(anyone)
	s.way = x.Down(s, l)
	x.subs = append(x.subs, s)
	x.Run(x.Now() + 20*port.Millisecond)
	return s
}

// end ends the media, and lets all of it arrive.
func (x *layered) end() {
	x.ended = x.Now()
	x.pub.Stop()
	x.span(1)
}

// span lets some seconds pass.
func (x *layered) span(seconds float64) { x.Run(x.Now() + port.Time(seconds*float64(port.Second))) }

// after is the rate of a link in Mbit/s now, and those from later times on, in seconds from now.
func (x *layered) rates(now float64, later ...[2]float64) netpath.Schedule {
	s := mbit(now)
	for _, p := range later {
		s = append(s, netpath.Step{From: x.Now() + port.Time(p[0]*float64(port.Second)), Value: p[1] * 1e6})
	}
	return s
}

// maxRequests is the most keyframes that may be asked of a publisher in 30 s. requestSpan leaves room for their ways.
const (
	maxRequests = 6
	requestSpan = 30*port.Second - 50*port.Millisecond
)

// requests are the times, from one on, at which keyframes were asked for, of one layer or of several at once. Those for
// viewers who join are beside the budget.
func (p *Publisher) requests(from port.Time) (times []port.Time) {
	for _, t := range p.PLIs {
		if n := len(times); t >= from && (n == 0 || t-times[n-1] > 5*port.Millisecond) {
			times = append(times, t)
		}
	}
	return times
}

// crowded is the most of some times that lie within a span.
func crowded(times []port.Time, span port.Time) (most int) {
	for i := range times {
		n := i
		for n < len(times) && times[n]-times[i] < span {
			n++
		}
		most = max(most, n-i)
	}
	return most
}

// checkLayered checks all that holds in any world of layers, since a time.
func checkLayered(t *testing.T, x *layered, from port.Time) {
	t.Helper()
	checkOracle(t, x.World)
	if n := crowded(x.pub.requests(from), requestSpan); n > maxRequests {
		t.Errorf("%d keyframes were asked for within %.0f s, want at most %d", n, requestSpan.Seconds(), maxRequests)
	}
	for i, s := range x.subs {
		logViewer(t, i, s, from, x.ended)
		checkOpening(t, i, s)
		v := s.Video.Judge(s.Video.High)
		v.Pictures = slices.DeleteFunc(v.Pictures, s.Video.skips)
		if len(v.Breaks)+len(v.Backwards)+len(v.Pictures) > 0 {
			t.Errorf("viewer %d: breaks %v, timestamps back %v, pictures %v", i, head(v.Breaks), head(v.Backwards),
				head(v.Pictures))
		}
	}
}

// skips reports whether a packet goes on with a later keyframe of the layer before it, where IDs of pictures may leave
// some out.
func (r *Reception) skips(e uint64) bool {
	p, last := r.Packets[e], r.Packets[e-1]
	return p.Key && p.layerOf() == last.layerOf() && p.Stamp > last.Stamp+1
}

// moves writes the switches since a time.
func (p *Player) moves(from port.Time) (s string) {
	for _, m := range p.Moves {
		if m.At >= from {
			s += fmt.Sprintf(" %+.1f:%d→%d", (m.At - from).Seconds(), m.From, m.To)
		}
	}
	return s
}

// stamps are the packets of a layer that a viewer got since a time, in order.
func (r *Reception) stamps(layer int, from, until port.Time) (all []uint64) {
	for _, p := range r.Packets {
		if p.Stamp != 0 && p.layerOf() == layer && from <= p.At && p.At < until {
			all = append(all, p.Stamp)
		}
	}
	slices.Sort(all)
	return all
}
