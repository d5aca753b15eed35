package adapt

import "ringcast/engine/port"

const (
	riseMargin   = 1.3 // the capacity that a step up needs, in rates of the next rung
	startMargin  = 1.5 // the same soon after the start, by the keyframe that came first
	startCalm    = second
	probePackets = 12
	probeSpan    = 0.04 // seconds that a padded train takes at the rate it is to show
	paddingSize  = 255  // bytes of padding-only RTX
)

// decide goes up where all is well, and looks again at how much carries numbers.
func (s *Selector) decide(now port.Time, g Setting) {
	if s.choice.trial && s.settled() && s.clock.passed(markTrial) {
		s.choice.trial = false
		g.Source.won()
	}
	if s.settled() {
		s.rise(now, g)
	}
	s.relax(g.Source)
}

// rise takes the highest rung that the link is seen to carry, or asks for padding to see more.
func (s *Selector) rise(now port.Time, g Setting) {
	if s.pushing() {
		s.pushed(now, g)
		return
	}
	l, want := g.Ladder, int(s.choice.want)
	next, margin := l.above(want), riseMargin
	calm := ticks(calmSpan)
	if s.choice.trial && s.choice.cause == CauseCapacity {
		calm = trialCalm
	}
	if s.choice.cause == CauseStart && !s.clock.since(markCalm, calmSpan) {
		calm, margin = startCalm, startMargin
	}
	if next == want || !s.clock.since(markCalm, calm) || !s.clock.passed(markRetry) || s.alarms.confirm > 0 {
		return
	}
	if !g.Source.mayRise(now, want) {
		return
	}
	rate := s.measured()
	switch {
	case rate == 0:
		if margin == riseMargin && s.probes == 0 && g.Source.mayProbe(now) {
			s.probes = probeTrains
			s.clock.set(markNext, 0)
			s.numberAll(2 * second)
		}
	case s.probes > 0: // more to come
	case rate < margin*l.rate(next), !g.Source.roomFor(l.rate(next)-l.rate(want), rate, s.backoff.denied):
		s.deny(g)
	case s.backoff.distrusts(next) && s.clock.passed(markForeign): // another's queue would fail a push
		s.push(now, g, rate)
	default:
		to := max(next, min(l.within(rate/margin), l.within(3*l.rate(want))))
		if s.backoff.distrusts(to) || !g.Source.roomFor(l.rate(to)-l.rate(want), rate, 0) {
			to = next
		}
		s.climbTo(now, g, to)
	}
}

// climbTo takes a higher rung, in probation.
func (s *Selector) climbTo(now port.Time, g Setting, to int) {
	g.Source.rise(now, g.Ladder.rate(to)-g.Ladder.rate(int(s.choice.want)))
	s.set(to, CauseCapacity)
	s.backoff.denied = 0
	s.choice.trial = true
	s.clock.set(markTrial, trialSpan)
	s.clock.set(markRetry, 0)
	s.numberAll(trialSpan)
}

// deny waits before the link is measured again.
func (s *Selector) deny(g Setting) {
	s.probes = 0
	g.Source.probed()
	s.capacity.forget()
	s.clock.set(markRetry, s.spread(calmSpan<<min(s.backoff.denied, 1)))
	s.backoff.denied = min(s.backoff.denied+1, 100)
}

// probed looks at a measured burst while padded trains are under way. One that shows too little ends them.
func (s *Selector) probed(g Setting) {
	if s.probes == 0 || s.pushing() {
		return
	}
	s.probes--
	s.clock.set(markNext, 0)
	if s.probes == 0 {
		g.Source.probed()
	}
	if s.capacity.newest() < g.Ladder.rate(g.Ladder.above(int(s.choice.want))) {
		s.deny(g)
	}
}

// Pad reports whether a train of padding is to be sent now, of how many packets and of which size. Its packets carry
// numbers. The caller sends it after the fill in hand, back to back, and notes it with Sent.
func (s *Selector) Pad(now port.Time, g Setting) (packets, size int, ok bool) {
	if s.probes == 0 && s.choice.have != AudioOnly {
		return 0, 0, false
	}
	s.turn(now)
	if !s.clock.passed(markNext) {
		return 0, 0, false
	}
	if s.pushing() {
		return s.pushPad(g)
	}
	if s.probes == 0 { // a packet a second takes the place of video
		s.clock.set(markNext, watchDistance+s.spread(watchSpread))
		return 1, paddingSize, true
	}
	if !s.clock.passed(markHushed) && s.probes == probeTrains {
		return 0, 0, false
	}
	s.clock.set(markNext, second/2) // unless it is measured before
	s.clock.extend(markHushed, 700*milli)
	rate := riseMargin * g.Ladder.rate(g.Ladder.above(int(s.choice.want)))
	return probePackets, max(paddingSize, min(int(rate*probeSpan/8/probePackets), 1200)), true
}
