package adapt_test

import (
	"fmt"
	"slices"
	"strings"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
)

// settledAt is when the start of a scene is over.
const settledAt = 31 * port.Second

// A tally is the history of one viewer.
type tally struct {
	switches []change
	onRung   map[int]port.Time
	since    port.Time // the last change
	got      int64     // bytes
	delays   []port.Time
	// datagrams are the times of RTCP without NACKs.
	datagrams []port.Time
	numbered  int // fills
	fills     int
	queued    port.Time // more than 200 ms waited at the link, after the first minute
}

type change struct {
	at       port.Time
	from, to int
	cause    adapt.Cause
}

func (a *tally) change(now port.Time, from, to int, cause adapt.Cause) {
	a.switches = append(a.switches, change{now, from, to, cause})
	a.onRung[from] += now - a.since
	a.since = now
}

// rtcp is the most datagrams a second during any 60 seconds after settledAt.
func (a *tally) rtcp() float64 {
	most, from := 0, 0
	for i, t := range a.datagrams {
		for a.datagrams[from] < max(t-minute, settledAt) && from < i {
			from++
		}
		most = max(most, i-from)
	}
	return float64(most) / minute.Seconds()
}

// after counts the switches after a time.
func (a *tally) after(t port.Time) (n int) {
	for _, c := range a.switches {
		if c.at >= t {
			n++
		}
	}
	return n
}

// reached is how long it took from a time to a rung, in seconds; 1e9 if it was not reached.
func (a *tally) reached(after port.Time, ok func(rung int) bool) float64 {
	for _, c := range a.switches {
		if c.at >= after && ok(c.to) {
			return (c.at - after).Seconds()
		}
	}
	return 1e9
}

// rungAt is the rung at a time.
func (a *tally) rungAt(t port.Time, start int) int {
	for _, c := range a.switches {
		if c.at <= t {
			start = c.to
		}
	}
	return start
}

func (a *tally) String() string {
	var b strings.Builder
	for _, c := range a.switches {
		fmt.Fprintf(&b, " %.1f:%d→%d(%v)", c.at.Seconds(), c.from, c.to, c.cause)
	}
	return b.String()
}

// percentile is that of all packets' delays, in milliseconds.
func percentile(delays []port.Time, percent int) float64 {
	slices.Sort(delays)
	return 1000 * delays[(len(delays)-1)*percent/100].Seconds()
}
