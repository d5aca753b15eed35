package adapt

import "ringcast/engine/port"

// symptoms are the grounds for a step down.
type symptoms struct {
	cause Cause
	rate  float64 // that came through, in bits a second
	loss  float64 // 0 to 1
	queue uint16  // ticks
}

// judge looks at the buckets that ended.
func (s *Selector) judge(now port.Time, g Setting) {
	got, lost := s.losses.recent()
	ratio := float64(lost) / float64(max(got+lost, 1))
	s.learn()
	if lost == 0 {
		s.rebase()
		if !s.clock.passed(markForeign) && s.delays.standing() >= flatLeast {
			s.clock.set(markForeign, foreignSpan)
		}
	}
	queue := s.delays.standing()
	slow := s.losses.slowRatio() - s.after.foreignLoss()
	explained := s.hushed(now, g) || !s.clock.passed(markForeign)
	if !explained && queue >= standingLow || slow >= slowLoss {
		s.clock.set(markCalm, 0)
	}
	if queue < standingLow || slow < slowLoss {
		s.clock.set(markUncertain, 0)
	}
	sy := symptoms{rate: s.arrived(g.Ladder), loss: ratio, queue: queue}
	floor := s.after.foreignLoss()
	lossy := float64(lost) > (fastLoss+floor)*float64(got+lost)+4
	switch {
	case s.pushing():
		if queue > pushQueue || float64(lost) > (pushLoss+floor)*float64(got+lost)+2 {
			s.pushedBack(g)
		}
		return
	case s.delayed(now, g, queue):
		sy.cause = CauseDelay
	case s.probes == 0 && lossy, s.clock.since(markUncertain, 3*second):
		sy.cause = CauseLoss
	default:
		return
	}
	s.fall(now, g, sy)
}

// delayed reports whether the standing queue demands a step down.
func (s *Selector) delayed(now port.Time, g Setting, queue uint16) bool {
	if s.hushed(now, g) {
		s.delays.forgetRises()
		return false
	}
	d, rises := &s.delays, s.delays.rises()
	cramped := s.choice.trial && s.settled() && queue > standingMore && s.clock.since(markChanged, crampedSpan)
	if cramped && s.clock.passed(markForeign) || s.stubborn(queue) {
		return true
	}
	if d.draining() {
		return false
	}
	delayed := queue > standingMost && rises >= 1 || queue > standingMore && rises >= 2 ||
		queue > standingHigh && rises >= 3 || s.choice.trial && queue > standingMore && rises >= 1
	if !s.clock.passed(markForeign) { // their queue comes and goes: ours is one that grows fast
		delayed = delayed && (d.grown() > foreignGrowth || queue > standingMost)
	}
	if !s.choice.trial && queue <= standingMost && !g.Source.mayFall(now) {
		return false
	}
	return delayed
}

// hushed reports whether frames of our own explain delay.
func (s *Selector) hushed(now port.Time, g Setting) bool {
	return !s.clock.passed(markHushed) || g.Source.draining(now)
}

// stubborn reports whether a step down left a queue that does not go away.
func (s *Selector) stubborn(queue uint16) bool {
	return queue > standingMost && s.delays.lingers() && s.choice.want < s.choice.from &&
		s.clock.since(markChanged, 5*second) && s.clock.passed(markForeign)
}

// rebase takes a level queue for a longer way, or for somebody else's queue.
func (s *Selector) rebase() {
	if s.delays.standing() < flatLeast || !s.clock.since(markGuessed, second) {
		return
	}
	fell := s.settled() && s.choice.cause == CauseDelay && s.clock.since(markChanged, 3*second/2)
	switch {
	case fell && s.delays.rebaseStubborn():
		s.clock.set(markForeign, foreignSpan)
	case !fell:
		s.delays.rebase()
	}
}

// learn looks, some time after a step down, whether loss and queue are less at the lower rate.
func (s *Selector) learn() {
	if !s.settled() || s.choice.want > s.choice.from {
		return
	}
	if s.clock.since(markChanged, 2*second) {
		s.after.learnLoss(s.losses.slowRatio())
	}
	if !s.clock.since(markChanged, 3*second/2) || s.delays.grown() > foreignGrowth {
		return
	}
	if q := s.delays.standing(); s.after.learnQueue(q) {
		s.delays.raise(q)
		s.clock.set(markForeign, foreignSpan)
	}
}

// urgent goes down before buckets have shown more: the queue grows from train to train. A queue while much is asked
// for again is as urgent.
func (s *Selector) urgent(now port.Time, g Setting, t train, queue uint16) {
	before := s.climb.last
	share, certain := s.climb.sample(t.sent, queue)
	full := g.Ladder.rate(int(s.choice.have))
	rate := full / (1 + share)
	met := s.settled() && min(before, queue) > standingMore
	if s.losses.full < judgedBuckets && met && !s.clock.since(markAsked, second/2) {
		if ratio := s.asked(); ratio >= 0.25 {
			certain, rate = true, min(rate, (1-ratio)*full*2/3) // not all that is missing was asked for yet
			if s.flooded() {
				rate /= 2
			}
		}
	}
	if !certain || s.hushed(now, g) {
		return
	}
	if !s.choice.trial && queue < 3*standingMost/2 && !g.Source.mayFall(now) {
		return
	}
	if s.numbering == NumberSome {
		s.alarm(CauseDelay)
	}
	s.fall(now, g, symptoms{cause: CauseDelay, rate: 0.9 * rate, queue: queue})
}

// arrived is the rate that came through during the last half second, in bits a second.
func (s *Selector) arrived(l Ladder) float64 {
	if s.choice.have < 0 || int(s.choice.have) >= len(l) {
		return 0
	}
	got, _ := s.losses.recent()
	if s.losses.full < judgedBuckets+1 { // the bucket before is not whole
		got = 2 * int(s.losses.got[1])
	}
	const span = 2 * float64(1<<bucketShift) / second
	return float64(got) * float64(l[s.choice.have].Size) * 8 / span
}

// share is the part of the rate that comes through which the next rung may take. The queue is to go away, too.
func share(queue uint16) float64 { return max(0.85-float64(queue)/(2*second), 0.2) }

// fall goes to the highest rung that the rate has room for, at least one down.
func (s *Selector) fall(now port.Time, g Setting, sy symptoms) {
	lag := ticks(sy.queue) + ticks(s.rtt)*milli
	early := !s.clock.since(markChanged, stepDistance+lag)
	if early || s.choice.want == AudioOnly || g.Source.mustWait(now, s.choice.trial) {
		return
	}
	l, want := g.Ladder, int(s.choice.want)
	to := min(l.within(share(sy.queue)*sy.rate), l.below(want))
	if to == AudioOnly && want != l.lowest() {
		to = l.lowest()
	}
	if to == AudioOnly && (!s.lasting() || s.bearable(l, sy)) {
		return // the lowest rung is given time
	}
	s.after.queue = 0
	if l.rate(to) <= l.rate(want)*2/3 {
		s.after.expect(sy)
	}
	s.penalize(g)
	if from := l.nearest(int(s.choice.from)); s.choice.trial && from < want && from > to && sy.queue < standingMost {
		to = from // where it came from
	}
	s.set(to, sy.cause)
	s.choice.halted = sy.queue > standingMost
	s.choice.trial, s.probes = false, 0
	g.Source.fall(now)
	s.capacity.forget()
	s.numberAll(3 * second)
	s.afresh()
}

// lasting reports whether trouble goes on for long after the last change.
func (s *Selector) lasting() bool {
	return s.clock.since(markChanged, calmSpan) && s.clock.since(markBegan, calmSpan)
}

// bearable reports whether most of the lowest rung arrives, and in time.
func (s *Selector) bearable(l Ladder, sy symptoms) bool {
	return sy.rate >= 0.8*l.rate(l.lowest()) || sy.cause == CauseDelay && sy.queue <= standingMost
}

// correct lowers a wanted rung that is not sent yet, when more is known of the rate that comes through.
func (s *Selector) correct(l Ladder) {
	to := l.within(share(s.delays.standing()) * s.arrived(l))
	if to < int(s.choice.want) && s.choice.want != AudioOnly {
		s.choice.want = int8(max(to, l.lowest()))
	}
}

// penalize makes the next step up later, where the last one did not hold.
func (s *Selector) penalize(g Setting) {
	risen := s.choice.from < s.choice.want
	if s.choice.trial && risen {
		g.Source.lost()
	}
	if s.choice.trial || risen && !s.clock.since(markTrial, winSpan-trialSpan) {
		s.backoff.penalize(s.choice.want)
	}
	s.clock.set(markRetry, s.spread(s.backoff.wait()))
}
