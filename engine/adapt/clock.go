package adapt

import "ringcast/engine/port"

// ticks are times and spans in units of 250 µs, as transport-wide feedback counts them, modulo 2^32.
type ticks uint32

const (
	tick   = 250 * port.Microsecond
	milli  = 4
	second = 1000 * milli
	minute = 60 * second
)

// moment is a time in units of 16 ms, modulo 2^16. Two moments compare well while they are less than 524 s apart.
type moment uint16

const (
	momentShift  = 6
	momentSecond = second >> momentShift // rounded down by 0.8 %
	// staleSpan bounds the age of a mark. It is longer than every span that a mark is compared with.
	staleSpan = 128 * second
)

// A mark names a time that the Selector remembers.
type mark uint8

const (
	markChanged   mark = iota // last change of want, or of have
	markCalm                  // nothing was wrong since then
	markUncertain             // loss and a standing queue did not coincide since then
	markAll                   // all video carries numbers until then
	markBegan                 // all video carries numbers since then
	markRetry                 // no step up before
	markTrial                 // probation ends
	markHeard                 // last report
	markNext                  // the next train carries numbers, or is padded
	markForeign               // the queue counts as somebody else's until then
	markHushed                // our own large frame explains delay until then
	markGuessed               // a queue was last longer than the memory of trains
	markLeaked                // base last rose by itself
	markMeasured              // newest sample of the capacity
	markAsked                 // the window of NACKs began
	markMost                  // the window of REMB's maximum began
	markFrame                 // the frame in hand began
	markTurned                // the window of sent packets began
	markOverdue               // the report of a train is overdue
	markMinute                // last housekeeping of once a minute
	numMarks
)

// clock holds the time of the call in hand and all marks.
type clock struct {
	now   ticks
	marks [numMarks]moment
}

// start sets all marks to now.
func (c *clock) start(now port.Time) {
	c.now = ticks(now / tick)
	for m := range c.marks {
		c.set(mark(m), 0)
	}
}

// turn moves the time. After a pause that moments cannot express, it starts again.
func (c *clock) turn(now port.Time) {
	t := ticks(now / tick)
	if int32(t-c.now) > 2*staleSpan || int32(t-c.now) < 0 {
		c.start(now)
	}
	c.now = t
}

// set puts a mark a span after now.
func (c *clock) set(m mark, span ticks) { c.marks[m] = moment((c.now + span) >> momentShift) }

// extend puts a mark a span after now, unless it is later already.
func (c *clock) extend(m mark, span ticks) {
	if !c.since(m, 0) && int16(c.marks[m]-moment((c.now+span)>>momentShift)) > 0 {
		return
	}
	c.set(m, span)
}

// passed reports whether a mark has come.
func (c *clock) passed(m mark) bool { return c.since(m, 0) }

// since reports whether a span has passed after a mark.
func (c *clock) since(m mark, span ticks) bool {
	return int16(moment(c.now>>momentShift)-c.marks[m]-moment(span>>momentShift)) >= 0
}

// refresh keeps old marks comparable.
func (c *clock) refresh() {
	for m := range c.marks {
		if c.since(mark(m), staleSpan) {
			c.marks[m] = moment((c.now - staleSpan) >> momentShift)
		}
	}
}

// leak is how many seconds have passed after markLeaked, which moves along.
func (c *clock) leak() ticks {
	n := (moment(c.now>>momentShift) - c.marks[markLeaked]) / momentSecond
	c.marks[markLeaked] += n * momentSecond
	return ticks(n)
}
