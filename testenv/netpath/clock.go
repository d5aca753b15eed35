package netpath

import (
	"container/heap"

	"ringcast/engine/port"
)

// A Clock plays events in the order of their times; those of one time in the order in which they were added.
type Clock struct {
	now    port.Time
	events events
	count  uint64
}

// NewClock starts at a time.
func NewClock(now port.Time) *Clock { return &Clock{now: now} }

// Now is the virtual time.
func (c *Clock) Now() port.Time { return c.now }

// At plays f at a time, or now if that has passed.
func (c *Clock) At(t port.Time, f func()) {
	c.count++
	heap.Push(&c.events, event{at: max(t, c.now), order: c.count, play: f})
}

// Next is the time of the next event, port.Never without one.
func (c *Clock) Next() port.Time {
	if len(c.events) == 0 {
		return port.Never
	}
	return c.events[0].at
}

// Run plays all events up to a time, which it is afterwards.
func (c *Clock) Run(until port.Time) {
	for len(c.events) > 0 && c.events[0].at <= until {
		e := heap.Pop(&c.events).(event)
		c.now = e.at
		e.play()
	}
	c.now = max(c.now, until)
}

type event struct {
	at    port.Time
	order uint64
	play  func()
}

// events is a heap, the earliest first.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
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
