package adapt

import (
	"ringcast/engine/port"
	"ringcast/engine/prefetch"
	"ringcast/engine/rtcp"
)

// Numbering says which packets carry transport-wide sequence numbers.
type Numbering uint8

const (
	// NumberSome numbers one train in 950 ms, which watches over a viewer who is well. Answers to NACKs carry no
	// numbers: each would cost a report.
	NumberSome Numbering = iota
	// NumberAll numbers all video, and answers to NACKs.
	NumberAll
)

// A Selector chooses the rung for one viewer of a track with several.
//
// Start comes first. These calls feed it:
//
//   - Sent after each fill of video.
//   - Report, Lost, NACKed and REMB for the viewer's feedback.
//   - Switched when another rung is sent.
//   - HandleTimeout when Deadline has come, and when the ladder changed.
//   - Choose when somebody chose a rung. From then on the Setting's Ladder ends at that rung.
//
// Number is asked before each fill, Burst and Pad at each fill. Want, Stop and Deadline are asked after each call that
// feeds it. Times never go back.
type Selector struct {
	// A fill without numbers touches these alone: one line of the cache.
	clock     clock
	counts    counts
	mean      uint16 // size of a frame, in sizeUnit
	frame     uint16 // size of the frame in hand, so far
	numbering Numbering
	probes    uint8 // padded trains still to be measured
	choice    choice
	awaited   uint8 // trains whose reports are due at markOverdue
	blind     bool  // no reports come
	random    uint16

	alarms   alarms
	trains   sentTrains
	delays   delays
	losses   losses
	after    aftermath
	capacity capacity
	climb    climb
	backoff  backoff

	rtt     uint16 // ms, without the queue; it contains the distance of reports
	sampled uint16 // first number of the newest train that is a sample
}

// choice is the rung, and how it came to be.
type choice struct {
	want, have int8
	from       int8 // want before the last change
	cause      Cause
	halted     bool // the rung that was left may not be sent any more
	trial      bool // probation
}

// A Fill is the packets of video that one viewer is sent at one time.
type Fill struct {
	// Packets is their number, Size the mean size in bytes.
	Packets, Size int
	// First is the first packet's transport-wide number, if Numbered is set.
	First    uint16
	Numbered bool
}

const (
	calmSpan    = 5 * second     // before a step up
	trialCalm   = 3 * second     // in probation, where all is measured
	trialSpan   = 6 * second     // probation
	startSpan   = 5 * second / 2 // all carries numbers after the start, if all is well
	winSpan     = 60 * second    // a rung that holds for so long was no mistake
	foreignSpan = 120 * second
	crampedSpan = 1500 * milli // a queue that stands so long after a step up leaves no room for keyframes

	// foreignGrowth is the growth during four buckets up to which a queue may be somebody else's.
	foreignGrowth = 80 * milli

	frameSpan    = 2 << momentShift // packets of one frame come within it
	stepDistance = 750 * milli      // between two steps down
	probeTrains  = 5
	maxBackoff   = 6

	// judgedBuckets: from the third on, a whole one has passed since all packets carry numbers.
	judgedBuckets = 3

	standingLow  = 10 * milli
	standingHigh = 30 * milli
	standingMore = 50 * milli
	standingMost = 200 * milli

	slowLoss  = 0.05
	fastLoss  = 0.10
	floorMost = 0.15
)

// Start begins with a rung, in probation. random spreads the decisions of viewers who would act at once.
func (s *Selector) Start(now port.Time, rung int, random uint32) {
	r := int8(min(max(rung, AudioOnly), MaxRungs-1))
	*s = Selector{
		choice:    choice{want: r, have: r, from: r, cause: CauseStart, trial: true},
		backoff:   backoff{failed: MaxRungs},
		numbering: NumberAll,
		random:    uint16(random) | 1,
	}
	s.clock.start(now)
	s.clock.set(markAll, startSpan)
	s.clock.set(markTrial, trialSpan)
	s.delays.restart()
}

// Want is the rung that the viewer should be on, or AudioOnly.
func (s *Selector) Want() int { return int(s.choice.want) }

// Stop reports whether the present rung must not be sent any more, though the wanted one has no keyframe yet. Its
// packets would make a queue grow that is too long already.
func (s *Selector) Stop() bool {
	return s.choice.want < s.choice.have && (s.choice.halted || s.delays.standing() > standingMost)
}

// Numbering says which packets carry numbers now.
func (s *Selector) Numbering() Numbering { return s.numbering }

// Cause is the reason for the last change of Want.
func (s *Selector) Cause() Cause { return s.choice.cause }

// Have is the rung that the viewer is sent, as Switched and Start said.
func (s *Selector) Have() int { return int(s.choice.have) }

// Alarm is the sign of trouble for which all video carries numbers, or CauseNone.
func (s *Selector) Alarm() Cause { return s.alarms.pending }

// Queue is the standing queue. It is 0 where nothing is known of it.
func (s *Selector) Queue() port.Time { return port.Time(s.delays.standing()) * tick }

// Burst is how many packets of a frame may leave at once. As many more may leave 5 ms later.
func (s *Selector) Burst() int {
	if s.choice.trial {
		return maxTrain / 2
	}
	return maxTrain
}

// Switched notes that the viewer is sent a rung from now on.
func (s *Selector) Switched(now port.Time, rung int) {
	s.turn(now)
	r := int8(min(max(rung, AudioOnly), MaxRungs-1))
	if s.choice.have == r {
		return
	}
	if s.Stop() {
		s.clock.set(markHeard, 0) // nothing was sent that could be reported
	}
	s.choice.have, s.choice.halted = r, false
	s.clock.set(markChanged, 0)
	if s.choice.trial {
		s.clock.set(markTrial, trialSpan)
		s.numberAll(trialSpan)
	}
}

// Prefetch asks for the memory of a fill without numbers. One with numbers needs the whole Selector.
func (s *Selector) Prefetch() { prefetch.Of(&s.clock) }

// turn moves the time, for a call that may look at trains and delays.
func (s *Selector) turn(now port.Time) {
	s.clock.turn(now)
	s.trains.forget(s.clock.now)
	if n := s.clock.leak(); n > 0 {
		s.delays.leak(n)
	}
}

// settled reports whether the viewer is sent the rung that is wanted.
func (s *Selector) settled() bool { return s.choice.want == s.choice.have }

// spread makes a span up to 30 % longer or shorter.
func (s *Selector) spread(span ticks) ticks { return span*7/10 + s.draw(span*6/10) }

// draw returns a random part of a span.
func (s *Selector) draw(span ticks) ticks {
	s.random ^= s.random << 7
	s.random ^= s.random >> 9
	s.random ^= s.random << 8
	return ticks(uint64(span) * uint64(s.random) >> 16)
}

// Number reports whether the next fill's packets carry numbers.
func (s *Selector) Number(now port.Time) bool {
	if s.numbering == NumberAll {
		return true
	}
	s.clock.turn(now)
	return s.clock.passed(markNext) && s.clock.since(markFrame, frameSpan) // the rest of a frame may be one packet
}

// Sent notes a fill. One without numbers decides nothing.
func (s *Selector) Sent(now port.Time, source *Source, f Fill) {
	s.clock.turn(now)
	s.count(f.Packets)
	source.count(now, f.Packets*f.Size)
	paused := s.pausing()
	s.large(now, source, f.Packets*f.Size)
	if !f.Numbered {
		return
	}
	s.turn(now)
	s.trains.add(s.clock.now, f.First)
	s.capacity.sent(f)
	if s.numbering != NumberSome {
		return
	}
	switch {
	case s.alarms.confirm > 0:
		s.clock.set(markNext, confirmDistance)
	case paused: // as were all other viewers, whose reports should not come at one time from now on
		s.clock.set(markNext, s.draw(watchDistance))
	default:
		s.clock.set(markNext, watchDistance+s.spread(watchSpread))
	}
	if s.awaited == 0 {
		s.await()
	}
}

// count counts packets sent, by quarters of a second.
func (s *Selector) count(n int) {
	if s.clock.since(markTurned, second/4) {
		s.counts[1], s.counts[0] = s.counts[0], 0
		s.clock.set(markTurned, 0)
	}
	s.counts[0] = uint16(min(int(s.counts[0])+n, noSample))
}

// large keeps the queue that a frame makes by itself from being taken for a standing one. Frames to other viewers of
// the source wait in the same queue.
func (s *Selector) large(now port.Time, source *Source, size int) {
	if s.clock.since(markFrame, frameSpan) {
		if s.pausing() {
			s.clock.set(markHeard, 0) // nothing was sent that could be reported
		}
		s.mean = uint16(int(s.mean) + (int(s.frame)-int(s.mean))/16)
		s.frame = 0
		s.clock.set(markFrame, 0)
	}
	s.frame = uint16(min(int(s.frame)+size/sizeUnit, noSample))
	if s.mean == 0 {
		s.mean = s.frame
	}
	if int(s.frame) <= 3*int(s.mean) {
		return
	}
	span := ticks(second / 2)
	rate := s.measured()
	if rate > 0 {
		span = ticks(min(2*float64(s.frame)*sizeUnit*8/rate, 2) * second)
	}
	s.clock.extend(markHushed, source.wait(now, float64(size)*8, rate, span))
}

// pausing reports whether no video has been sent for long, although there is a rung.
func (s *Selector) pausing() bool {
	return s.choice.have != AudioOnly && s.clock.since(markFrame, blindSpan)
}

// measured is the capacity by samples of the last ten seconds, in bits a second; 0 without any.
func (s *Selector) measured() float64 {
	if s.clock.since(markMeasured, 10*second) {
		s.capacity.forget()
	}
	return s.capacity.median()
}

// numberAll numbers all video for a span.
func (s *Selector) numberAll(span ticks) {
	if s.numbering != NumberAll {
		s.numbering = NumberAll
		s.clock.set(markBegan, 0)
		s.clock.set(markAll, span)
		s.clock.set(markHeard, 0)
		s.afresh()
	}
	s.clock.extend(markAll, span)
	s.alarms.confirm, s.awaited = 0, 0
}

// relax numbers less where nothing has to be known. After the start that is soon: while a crowd joins, reports on all
// video would take more of the server than the viewers do. Viewers who share a link are watched for the whole trial.
func (s *Selector) relax(source *Source) {
	trial := s.choice.trial && (s.choice.cause != CauseStart || source != nil)
	busy := trial || s.probes > 0 || !s.settled()
	if s.numbering == NumberSome || busy || !s.clock.passed(markAll) || !s.clock.since(markCalm, second) {
		return
	}
	s.alarms.settle(s.clock.since(markCalm, 2*second))
	s.numbering = NumberSome
	s.clock.set(markNext, watchDistance+s.spread(watchSpread))
}

// afresh makes only later samples count.
func (s *Selector) afresh() {
	s.losses.restart()
	s.delays.forget()
}

// Report takes in the viewer's report on packets that carried numbers.
func (s *Selector) Report(now port.Time, g Setting, r rtcp.TransportReport) {
	s.turn(now)
	s.stay(g)
	s.clock.set(markHeard, 0)
	s.blind = false
	for st := (rtcp.Status{}); r.Next(&st); {
		s.status(now, g, st, r.Left())
	}
	s.losses.end()
	s.awaited = 0
	s.decide(now, g)
}

// status takes in the status of one packet. later is how many packets after it the report covers.
func (s *Selector) status(now port.Time, g Setting, st rtcp.Status, later int) {
	at := ticks(st.At)
	if st.Received {
		s.arrival(now, g, at)
	}
	news := s.losses.status(st.Number, st.Received, later)
	if !st.Received {
		return
	}
	if s.capacity.arrived(st.Number, at) {
		s.clock.set(markMeasured, 0)
		s.probed(g)
	}
	t, ok := s.trains.find(s.clock.now, st.Number)
	if !news || !ok || int16(t.first-s.sampled) <= 0 && s.delays.known() {
		return
	}
	s.sampled = t.first
	s.sample(now, g, t, at)
}

// arrival ends buckets of the receiver's clock.
func (s *Selector) arrival(now port.Time, g Setting, at ticks) {
	n := s.delays.turn(at)
	if n == 0 {
		return
	}
	s.losses.turn(n)
	s.losses.full = min(s.losses.full+1, judgedBuckets+1)
	if s.choice.want < s.choice.have && s.losses.full >= judgedBuckets-1 {
		s.correct(g.Ladder)
	}
	if s.losses.full >= judgedBuckets && s.numbering == NumberAll {
		s.judge(now, g)
	}
}

// sample takes in the way of one train.
func (s *Selector) sample(now port.Time, g Setting, t train, at ticks) {
	age := s.clock.now - t.sent
	owd := at - t.sent
	if t.early {
		owd = s.delays.base + age // as long as memory goes back: a long queue, not silence
		s.clock.set(markGuessed, 0)
	}
	queue, ok := s.delays.sample(owd)
	if !ok {
		s.trains.clear()
		return
	}
	if !t.early {
		s.rtt = uint16(min((age-min(ticks(queue), age))/milli, 2000))
	}
	if s.numbering == NumberSome {
		switch {
		case s.alarms.watch(queue):
			s.alarm(CauseDelay)
		case s.alarms.confirm > 0:
			s.clock.set(markNext, 0)
		}
	}
	s.choice.halted = s.choice.halted || s.choice.want < s.choice.have && queue > standingMost
	s.urgent(now, g, t, queue)
}

// alarm numbers everything, to see the reason.
func (s *Selector) alarm(cause Cause) {
	s.numberAll(2 * second)
	s.alarms.pending = cause
	s.clock.set(markCalm, 0)
}

// stay keeps want on an active rung of the ladder. A rung that fell silent is taken again when it comes back: the
// viewer's network had no part in that.
func (s *Selector) stay(g Setting) {
	want := int(s.choice.want)
	if from := int(s.choice.from); s.choice.cause == CauseLadder && from > want && g.Ladder.rate(from) > 0 {
		s.set(from, CauseLadder)
		s.choice.trial = true
		s.clock.set(markTrial, trialSpan)
		s.numberAll(trialSpan)
		return
	}
	if want == AudioOnly || g.Ladder.rate(want) > 0 || g.Ladder.lowest() == AudioOnly {
		return
	}
	s.set(g.Ladder.nearest(want), CauseLadder)
	s.choice.trial, s.choice.halted, s.probes = false, false, 0
}

// Choose takes a rung at once, or the nearest that is sent. A higher one than before is on trial. The Setting's Ladder
// ends at the chosen rung, here and in later calls: congestion may go below it, and nothing goes above. The whole
// Ladder gives the choice back.
func (s *Selector) Choose(now port.Time, g Setting, rung int) {
	s.turn(now)
	want := int(s.choice.want)
	to := g.Ladder.nearest(rung)
	if to == want || to == AudioOnly {
		return
	}
	s.set(to, CauseChoice)
	s.choice.halted, s.probes = false, 0
	s.choice.trial = to > want
	if s.choice.trial {
		g.Source.rise(now, g.Ladder.rate(to)-g.Ladder.rate(want))
		s.clock.set(markTrial, trialSpan)
		s.numberAll(trialSpan)
	}
}

// set changes the wanted rung.
func (s *Selector) set(to int, cause Cause) {
	s.choice.from, s.choice.want, s.choice.cause = s.choice.want, int8(to), cause
	s.clock.set(markChanged, 0)
	s.clock.set(markCalm, 0)
}
