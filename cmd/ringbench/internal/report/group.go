package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Group reports on the viewers of a crowd that have the same way to the server. All sums are over its viewers since
// each joined.
type Group struct {
	Name    string `json:"name"`
	Viewers int    `json:"viewers"` // that joined
	// Sampled viewers opened and checked every packet; all below but Traffic is of them.
	Sampled int    `json:"sampled"`
	Media   uint64 `json:"media_packets"`
	// Missing packets did not arrive, or only by retransmission. Squeezed ones were lost at this end's bottleneck.
	Missing  uint64 `json:"missing_packets"`
	Squeezed uint64 `json:"squeezed_packets"`

	Rungs    []Rung  `json:"rungs"` // the highest first
	Switches uint64  `json:"switches"`
	Freezes  uint64  `json:"freezes"` // more than 200 ms between whole frames
	Frozen   float64 `json:"frozen_ms"`
	// Expected packets follow from the numbering; of these, Unrecovered ones never came.
	Expected    uint64    `json:"expected_packets"`
	Unrecovered uint64    `json:"unrecovered_packets"`
	Delay       Quantiles `json:"delay"` // from the due time at the publisher to arrival, in the steady time
}

// A Rung is a size of pictures, and the time that viewers had them.
type Rung struct {
	Width   int     `json:"width"`
	Height  int     `json:"height"`
	Seconds float64 `json:"seconds"`
}

// Add adds time on a rung.
func (g *Group) Add(r Rung) {
	i, found := slices.BinarySearchFunc(g.Rungs, r, func(a, b Rung) int {
		return -cmp.Or(cmp.Compare(a.Height, b.Height), cmp.Compare(a.Width, b.Width))
	})
	if !found {
		g.Rungs = slices.Insert(g.Rungs, i, r)
		return
	}
	g.Rungs[i].Seconds += r.Seconds
}

// Since returns the growth since an earlier report on the same group. Delay is the later one's.
func (g *Group) Since(x *Group) Group {
	d := *g
	d.Media -= x.Media
	d.Missing -= min(x.Missing, d.Missing) // a late packet may fill a hole
	d.Expected -= x.Expected
	d.Unrecovered -= min(x.Unrecovered, d.Unrecovered)
	d.Squeezed -= x.Squeezed
	d.Switches -= x.Switches
	d.Freezes -= x.Freezes
	d.Frozen -= x.Frozen
	d.Rungs = nil
	for _, r := range g.Rungs {
		d.Add(r)
	}
	for _, r := range x.Rungs {
		r.Seconds = -r.Seconds
		d.Add(r)
	}
	return d
}

// Seconds is the time on all rungs.
func (g *Group) Seconds() (sum float64) {
	for _, r := range g.Rungs {
		sum += r.Seconds
	}
	return sum
}

// GroupHeads are the names of Row's columns.
var GroupHeads = []string{
	"viewers", "sampled", "loss", "loss after", "delay p50, p99 ms", "frozen", "freezes/min", "switches/min",
	"time on rungs",
}

// Row has the group's figures for people.
func (g *Group) Row() []string {
	seconds := max(g.Seconds(), 1e-9)
	var rungs []string
	for _, r := range g.Rungs {
		rungs = append(rungs, fmt.Sprintf("%dp %.1f %%", r.Height, 100*r.Seconds/seconds))
	}
	return []string{
		fmt.Sprint(g.Viewers), fmt.Sprint(g.Sampled), percent(share(g.Missing, g.Media+g.Missing)),
		percent(share(g.Unrecovered, g.Expected)), fmt.Sprintf("%.2f, %.2f", g.Delay.P50, g.Delay.P99),
		percent(g.Frozen / 1000 / seconds), fmt.Sprintf("%.2f", float64(g.Freezes)/seconds*60),
		fmt.Sprintf("%.2f", float64(g.Switches)/seconds*60), strings.Join(rungs, ", "),
	}
}
