package adapt_test

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// An rfcCase is a test case of RFC 8867 section 5. Its link has a queue of 300 ms.
type rfcCase struct {
	name  string
	rates netpath.Schedule // bits a second
	// ways and starts are each flow's one-way delay in milliseconds and begin in seconds.
	ways, starts []port.Time
	until        port.Time // seconds
	lossy        float64   // share of reports that are lost
	// cross adds transfers. They may take half the link.
	cross  func(c *netpath.Clock, link netpath.Path)
	unused float64 // most that may be unused, in percent
	// pause are the seconds between which the first flow sends nothing.
	pause [2]port.Time
}

var rfcCases = []rfcCase{
	{
		name: "5.1 variable capacity, one flow", rates: steps(0, 1e6, 40, 2.5e6, 60, 0.6e6, 80, 1e6),
		ways: []port.Time{50}, starts: []port.Time{0}, until: 100, unused: 65,
	},
	{
		name:  "5.2 variable capacity, two flows",
		rates: steps(0, 4e6, 25, 2e6, 50, 3.5e6, 75, 1e6, 100, 2e6),
		ways:  []port.Time{50, 50}, starts: []port.Time{0, 0}, until: 125, unused: 65,
	},
	{
		name: "5.3 congested feedback", rates: steps(0, 2e6, 20, 1e6, 40, 2e6, 60, 0.8e6, 80, 2e6),
		ways: []port.Time{50}, starts: []port.Time{0}, until: 100, lossy: 0.2, unused: 75,
	},
	{
		name: "5.4 competing flows", rates: netpath.Always(3.5e6),
		ways: []port.Time{50, 50, 50}, starts: []port.Time{0, 20, 40}, until: 120, unused: 65,
	},
	{
		name: "5.5 round trip fairness", rates: netpath.Always(4e6),
		ways: []port.Time{10, 25, 50, 100, 150}, starts: []port.Time{0, 10, 20, 30, 40}, until: 300, unused: 65,
	},
	{
		name: "5.6 long transfer", rates: netpath.Always(2e6),
		ways: []port.Time{50}, starts: []port.Time{0}, until: 120, unused: 95,
		cross: func(c *netpath.Clock, link netpath.Path) {
			netpath.NewCubic(c, netpath.Transfer{
				Path: link, Back: 50 * port.Millisecond, Start: 10 * port.Second, Stop: 120 * port.Second,
			})
		},
	},
	{
		name: "5.7 short transfers", rates: netpath.Always(2e6),
		ways: []port.Time{50}, starts: []port.Time{0}, until: 300, unused: 90,
		cross: func(c *netpath.Clock, link netpath.Path) {
			for t := port.Time(10); t < 300; t += 10 {
				netpath.NewCubic(c, netpath.Transfer{
					Path: link, Back: 50 * port.Millisecond,
					Start: t * port.Second, Stop: t*port.Second + port.Second/2,
				})
			}
		},
	},
	{
		name: "5.8 pause and resume", rates: netpath.Always(3.5e6),
		ways: []port.Time{50, 50, 50}, starts: []port.Time{0, 0, 0}, until: 120, unused: 65,
		pause: [2]port.Time{40, 60},
	},
}

func TestRFC8867(t *testing.T) {
	for _, c := range rfcCases {
		t.Run(c.name, func(t *testing.T) {
			b := newBars(t)
			for b.seed = range allSeeds {
				c.play(b)
			}
			t.Logf("%d seeds: %s", *seeds, b)
		})
	}
}

func (c *rfcCase) play(b *bars) {
	p := newPublisher(b.seed, nine)
	p.delays = true
	highest, bits := 0.0, 0.0
	for i, r := range c.rates {
		end := c.until
		if i+1 < len(c.rates) {
			end = c.rates[i+1].From / port.Second
		}
		highest = max(highest, r.Value)
		bits += r.Value * float64(end-r.From/port.Second)
	}
	link := &netpath.Bottleneck{Rate: c.rates, Limit: int(highest * 0.3 / 8)}
	for i, way := range c.ways {
		path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(way.Seconds() * 1e6)}}
		p.clock.At((c.starts[i]+1)*port.Second, func() {
			v := p.join(b.seed*10+uint64(i), path, way*port.Millisecond, 5)
			v.far.lossy = c.lossy
			if i == 0 {
				v.paused = [2]port.Time{(c.pause[0] + 1) * port.Second, (c.pause[1] + 1) * port.Second}
			}
		})
	}
	p.start()
	if c.cross != nil {
		c.cross(p.clock, netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.05)}})
	}
	p.clock.Run((c.until + 1) * port.Second)
	c.check(p, b, bits)
}

func (c *rfcCase) check(p *publisher, b *bars, bits float64) {
	got, least := 0.0, 1e9
	var queues []port.Time
	for i, v := range p.viewers {
		rate := float64(v.tally.got) * 8 / float64(c.until-c.starts[i])
		got += float64(v.tally.got) * 8
		least = min(least, rate)
		for _, d := range v.tally.delays {
			queues = append(queues, d-c.ways[i]*port.Millisecond)
		}
		minutes := float64(c.until-c.starts[i]) / 60
		b.atMost("switches a flow and minute", float64(len(v.tally.switches))/minutes, 10)
		if *trace {
			fmt.Println(c.name, i, &v.tally, int(rate))
		}
	}
	b.atMost("unused, %", 100-100*got/bits, c.unused)
	if c.cross == nil {
		b.atMost("queue p95, ms", percentile(queues, 95), 400)
	}
	b.atMost("100,000 over the least flow's rate", 100_000/least, 1)
}
