package adapt

import "ringcast/engine/port"

// A push is a probe of half a second at the rate that a step up needs. It comes before a step where trains promised too
// much before: a policer lets bursts through, and a radio sends packets together.
const (
	pushPads  = 15 // trains of padding, one each pushDistance
	pushWait  = 2 * second / 3
	pushQueue = 100 * milli
	pushLoss  = 0.03

	// While Selector.probes is pushLast or more, a push is under way.
	pushLast     = probeTrains + 1
	pushDistance = frameSpan
)

// pushing reports whether a push is under way.
func (s *Selector) pushing() bool { return s.probes >= pushLast }

// push begins a push on a link of some capacity, if there is room for the padding too.
func (s *Selector) push(now port.Time, g Setting, capacity float64) {
	if !g.Source.roomFor(pushMore(g.Ladder, int(s.choice.want)), capacity, s.backoff.denied) {
		s.deny(g)
		return
	}
	if !g.Source.mayProbe(now) {
		return
	}
	s.probes = pushLast + pushPads
	s.clock.set(markNext, 0)
	s.numberAll(3 * second)
}

// pushMore is the rate that a step up from a rung needs beyond that of the rung, in bits a second.
func pushMore(l Ladder, rung int) float64 { return riseMargin*l.rate(l.above(rung)) - l.rate(rung) }

// pushPad is the padding that makes up for the rate that the present rung lacks. It begins when losses are judged.
func (s *Selector) pushPad(g Setting) (packets, size int, ok bool) {
	if s.losses.full < judgedBuckets || s.probes == pushLast {
		return 0, 0, false
	}
	s.probes--
	s.clock.set(markNext, pushDistance)
	if s.probes == pushLast {
		s.clock.set(markNext, ticks(s.rtt)*milli+pushWait)
	}
	s.clock.extend(markHushed, 700*milli)
	bytes := int(pushMore(g.Ladder, int(s.choice.want)) / 8 * float64(pushDistance) / second)
	packets = min(max((bytes+1199)/1200, 1), maxTrain)
	return packets, min(max(bytes/packets, paddingSize), 1200), true
}

// pushed steps up if a push is over and nothing was wrong.
func (s *Selector) pushed(now port.Time, g Setting) {
	if s.probes > pushLast || !s.clock.passed(markNext) {
		return
	}
	if s.clock.since(markNext, second) {
		s.deny(g) // no report came in time
		return
	}
	s.probes = 0
	g.Source.probed()
	if next := g.Ladder.above(int(s.choice.want)); next != int(s.choice.want) {
		s.climbTo(now, g, next)
	}
}

// pushedBack ends a push that the link did not carry.
func (s *Selector) pushedBack(g Setting) {
	s.backoff.penalize(s.backoff.failed)
	s.deny(g)
	s.afresh() // the padding made these losses
	s.clock.set(markRetry, s.spread(s.backoff.wait()))
}
