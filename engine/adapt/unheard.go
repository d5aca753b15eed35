package adapt

import "ringcast/engine/port"

const (
	holdSpan    = second / 2
	heldSpan    = 30 * second // a rung that a viewer is on for so long is one to start with
	blindSpan   = 2 * second
	blindCalm   = 20 * second
	blindMost   = 4 // doublings of blindCalm
	silenceSpan = 500 * milli
	floodedSpan = 130 * milli
	quietSpan   = 10 * second // without reasons for an estimate that is too low
	answerSpan  = 100 * milli // a report of trains that carry numbers since an alarm may be lost, not all of them

	// watchSpan is the distance of timeouts while all video carries numbers.
	watchSpan = 50 * port.Millisecond
)

// Lost notes the share of packets, in 1/256, that the viewer's last receiver report shows as lost (RFC 3550 section
// 6.4.1).
func (s *Selector) Lost(share uint8) { s.alarms.lossy = share >= leastLost }

// NACKed notes that the viewer asked for packets that it was really sent and that are still known. It asked for some of
// them for the first time, and for others again.
//
// GStreamer guesses when each packet should come, and asks for those that come later. It may ask for most of all
// packets and lack none, and then sends hardly any receiver reports. Where many packets are lost, many of those sent
// again are lost too. So only packets that are asked for again move a viewer without transport-wide reports, until its
// receiver reports show losses.
func (s *Selector) NACKed(now port.Time, g Setting, first, again int) {
	s.turn(now)
	s.stay(g)
	a := &s.alarms
	span := ticks(second / 2)
	if s.blind {
		span = 2 * second
	}
	if s.clock.since(markAsked, span) {
		a.nacked = 0
		s.clock.set(markAsked, 0)
	}
	n := first
	if s.blind && !a.lossy {
		n = again
	}
	a.nacked = uint16(min(int(a.nacked)+max(n, 0), noSample))
	nacked := int(a.nacked)
	least := alarmNACKs << a.raised(CauseNACK)
	switch {
	case s.numbering == NumberSome && nacked >= least && 100*nacked >= 8*s.counts.recent()<<a.raised(CauseNACK):
		s.alarm(CauseNACK)
	case s.blind && nacked >= 2*alarmNACKs && nacked*10 >= 4*s.counts.recent():
		a.nacked = 0
		s.fall(now, g, symptoms{cause: CauseNACK})
	}
	s.silence(now, g)
}

// flooded reports whether so much is asked for again that the link may be far too narrow, or that packets overtake
// each other by far.
func (s *Selector) flooded() bool {
	return !s.clock.since(markAsked, second/2) && s.alarms.nacked >= 2*alarmNACKs && s.asked() >= 0.3
}

// REMB notes the rate, in bits a second, that the viewer believes it can receive.
func (s *Selector) REMB(now port.Time, g Setting, rate float64) {
	s.turn(now)
	s.stay(g)
	a := &s.alarms
	kbits := uint16(min(max(rate/1000, 1), noSample))
	if s.clock.since(markMost, 5*second) {
		a.most = kbits
		s.clock.set(markMost, 0)
	}
	a.most = max(a.most, kbits)
	if float64(kbits)*1000 >= g.Ladder.rate(int(s.choice.want)) {
		return
	}
	quiet := ticks(quietSpan) << a.raised(CauseREMB)
	switch {
	case s.blind:
		if s.clock.since(markChanged, blindSpan) {
			s.fall(now, g, symptoms{cause: CauseREMB, rate: float64(kbits) * 1000})
		}
	case s.numbering == NumberSome && float64(kbits) < 0.85*float64(a.most):
		answered := !s.clock.since(markAsked, quietSpan) // answers without numbers confuse the receiver's estimate
		if !answered && s.clock.since(markChanged, quietSpan) && s.clock.since(markAll, quiet) {
			s.alarm(CauseREMB)
		}
	}
}

// HandleTimeout decides where no report does.
func (s *Selector) HandleTimeout(now port.Time, g Setting) {
	s.turn(now)
	s.stay(g)
	s.clock.refresh()
	if s.awaited > 0 && s.clock.passed(markOverdue) {
		s.overdue(now, g)
	}
	g.Source.present(now, int(s.choice.want))
	if s.settled() && s.clock.since(markChanged, heldSpan) {
		g.Source.hold(now, g.Ladder, int(s.choice.want))
	}
	s.silence(now, g)
	if s.clock.since(markMinute, minute) {
		s.everyMinute()
	}
	idle := s.Stop() || s.pausing() // there is nothing to report
	if s.numbering == NumberAll && s.clock.since(markHeard, blindSpan) && !s.blind && !idle {
		s.blind, s.alarms.nacked = true, 0
		s.clock.set(markCalm, 0)
	}
	switch {
	case s.blind:
		s.riseBlindly(g)
	case !s.clock.since(markHeard, holdSpan), s.numbering != NumberAll:
		s.decide(now, g)
	}
}

// await expects the report of a train, or of one more.
func (s *Selector) await() {
	s.awaited++
	s.clock.set(markOverdue, s.patience())
}

// patience is the time from a train to its report, at most.
func (s *Selector) patience() ticks { return ticks(s.rtt)*milli + overdueSpan }

// overdue is called when a report did not come in time. More trains have to be missed where that was no sign of trouble
// before.
func (s *Selector) overdue(now port.Time, g Setting) {
	if g.excuses(now, s.patience()) {
		s.awaited = 0
		return
	}
	if s.awaited <= s.alarms.raised(CauseOverdue) {
		s.clock.set(markNext, 0)
		s.await()
		return
	}
	s.alarm(CauseOverdue)
}

// everyMinute forgives a part of the past.
func (s *Selector) everyMinute() {
	s.clock.set(markMinute, 0)
	s.alarms.lower()
	s.after.floor /= 2
	s.delays.rebased = 0
	if s.clock.since(markCalm, winSpan) {
		s.backoff.forgive()
	}
}

// silence goes down when a train is not reported for long: its queue must be long, or nothing arrives at all. A viewer
// who is sent nothing before the lower rung's keyframe has nothing to report.
func (s *Selector) silence(now port.Time, g Setting) {
	if s.numbering != NumberAll || s.blind || s.Stop() || !s.losses.begun || s.clock.since(markHeard, blindSpan) {
		return
	}
	span, rate := ticks(silenceSpan), g.Ladder.rate(int(s.choice.have))*2/5
	if s.flooded() {
		span, rate = floodedSpan, (1-s.asked())*rate*2/3
	}
	rtt := ticks(s.rtt) * milli
	if s.trains.waiting(s.clock.now, s.losses.reported) < rtt+span || !s.clock.since(markBegan, rtt+answerSpan) ||
		g.excuses(now, rtt+span) {
		return
	}
	s.fall(now, g, symptoms{cause: CauseOverdue, rate: rate, queue: silenceSpan})
}

// riseBlindly goes up after a long calm: nothing better is known of a viewer without reports.
func (s *Selector) riseBlindly(g Setting) {
	want := int(s.choice.want)
	next := g.Ladder.above(want)
	calm := ticks(blindCalm) << min(s.backoff.level, blindMost)
	if next == want || !s.settled() || !s.clock.since(markChanged, calm) || !s.clock.passed(markRetry) {
		return
	}
	s.set(next, CauseCalm)
	s.choice.trial = true
	s.clock.set(markTrial, trialSpan)
}

// Deadline is when HandleTimeout has to be called next. It also has to be called when the ladder changes.
func (s *Selector) Deadline(now port.Time) port.Time {
	switch {
	case s.pausing():
	case s.numbering == NumberAll && !s.blind:
		return now + watchSpan
	case s.awaited > 0:
		left := int16(s.clock.marks[markOverdue] - moment(s.clock.now>>momentShift))
		return now + port.Time(max(left, 1))<<momentShift*tick
	}
	return now + port.Second
}
