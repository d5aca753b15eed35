package adapt_test

import (
	"fmt"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// TestSharedLink puts 20 viewers on one link. Those of one address share it. Those of many addresses do not know of
// each other, and nobody yields to another: their bars are lower.
func TestSharedLink(t *testing.T) {
	for _, of := range []string{"one address", "many addresses"} {
		t.Run(of, func(t *testing.T) {
			b := newBars(t)
			for b.seed = range allSeeds {
				share(b, of == "one address")
			}
			t.Logf("%d seeds: %s", *seeds, b)
		})
	}
}

func share(b *bars, known bool) {
	const viewers, rate = 20, 20e6
	p := newPublisher(b.seed, three)
	p.delays = true
	link := &netpath.TokenBucket{Rate: netpath.Always(rate), Burst: 16_000, Limit: rate / 8 * 0.3}
	source := new(adapt.Source)
	for i := range uint64(viewers) {
		path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}
		v := p.join(b.seed*100+i, path, 20*port.Millisecond, 2)
		if known {
			v.source = source
		}
	}
	p.start()
	p.clock.Run(minute)
	before := int64(0)
	for _, v := range p.viewers {
		before += v.tally.got
		v.tally.delays = v.tally.delays[:0]
	}
	p.clock.Run(4 * minute)
	got, switches := int64(0), 0
	var delays []port.Time
	rungs := make(map[int]int)
	for _, v := range p.viewers {
		got += v.tally.got
		switches += v.tally.after(minute)
		delays = append(delays, v.tally.delays...)
		rungs[v.have]++
	}
	if *trace {
		b.t.Logf("seed %d ends on %v", b.seed, rungs)
	}
	unused, most, queue := 20.0, 1.0, 150.0
	if !known {
		unused, most, queue = 50, 2, 200
	}
	b.atMost("unused, %", 100-100*float64(got-before)*8/(3*minute.Seconds()*rate), unused)
	b.atMost("switches a viewer and minute", float64(switches)/viewers/3, most)
	b.atMost("queue p95, ms", percentile(delays, 95)-20, queue)
}

// TestSeparateLinks puts five viewers of one address on links of their own: nobody keeps another down for long.
func TestSeparateLinks(t *testing.T) {
	b := newBars(t)
	for b.seed = range allSeeds {
		p := newPublisher(b.seed, three)
		source := new(adapt.Source)
		for i := range uint64(5) {
			link := &netpath.Bottleneck{Rate: netpath.Always(6e6), Limit: 6e6 / 8 * 0.3}
			path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}
			p.join(b.seed*100+i, path, 20*port.Millisecond, 0).source = source
		}
		p.start()
		p.clock.Run(5 * minute)
		last := 0.0
		for _, v := range p.viewers {
			last = max(last, v.tally.reached(0, func(r int) bool { return r == 2 }))
		}
		b.atMost("all on top, s", last, 300)
	}
	t.Logf("%d seeds: %s", *seeds, b)
}

// TestSqueezed squeezes a crowd to 40 % at random times of one minute, and some viewers are well. The publisher is
// asked for a keyframe at most each five seconds. Until then viewers are on a rung that does not fit any more.
func TestSqueezed(t *testing.T) {
	b := newBars(t)
	for b.seed = range allSeeds {
		squeeze(b)
	}
	t.Logf("%d seeds of %d viewers: %s", *seeds, *crowd, b)
}

func squeeze(b *bars) {
	const begin = 40 * port.Second
	p := newPublisher(b.seed, three)
	p.budget = 5 * port.Second
	var fell []port.Time
	join := func(rates netpath.Schedule, limit int) *viewer {
		link := &netpath.Bottleneck{Rate: rates, Limit: limit}
		path := netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}
		return p.join(b.seed*10_000+uint64(len(p.viewers)), path, 20*port.Millisecond, 2)
	}
	for range *crowd {
		at := begin + port.Time(p.rand.Int64N(int64(minute)))
		fell = append(fell, at)
		join(netpath.Schedule{{Value: 3.6e6}, {From: at, Value: 0.72e6}}, 60_000)
	}
	for range max(*crowd/20, 5) {
		join(netpath.Always(3.6e6), 135_000)
	}
	squeezed, well := p.viewers[:*crowd], p.viewers[*crowd:]
	bytes := func() (n int64) {
		for _, v := range well {
			n += v.tally.got
		}
		return n
	}
	p.start()
	p.clock.Run(begin / 2)
	before := -bytes()
	p.clock.Run(begin)
	before += bytes()
	keyframes, during := -p.keyframes, -bytes()
	p.clock.Run(begin + minute)
	keyframes += p.keyframes
	during += bytes()
	b.atMost("keyframes in the minute", float64(keyframes), 12)
	b.atMost("more bytes to the well, %", 100*(float64(during)/3/float64(before)-1), 5)
	p.clock.Run(begin + minute + 10*port.Second)
	moved := 0
	for _, v := range well {
		moved += v.tally.after(settledAt)
	}
	b.atMost("switches of the well", float64(moved), 0)
	var down []port.Time
	for i, v := range squeezed {
		s := v.tally.reached(fell[i], func(r int) bool { return r < 2 })
		down = append(down, port.Time(s*float64(port.Second)))
	}
	b.atMost("down p95, s", percentile(down, 95)/1000, 6.5)
}

// TestCrossTraffic puts a bulk transfer beside a viewer: one that fills the queue, and one that does not.
func TestCrossTraffic(t *testing.T) {
	for _, l := range []adapt.Ladder{three, nine} {
		for _, c := range []struct {
			name  string
			begin func(*netpath.Clock, netpath.Transfer) *netpath.Flow
		}{{"CUBIC", netpath.NewCubic}, {"BBR", netpath.NewBBR}} {
			t.Run(fmt.Sprint(len(l), " ", c.name), func(t *testing.T) {
				b := newBars(t)
				for b.seed = range allSeeds {
					beside(l, b, c.begin)
				}
				t.Logf("%d seeds: %s", *seeds, b)
			})
		}
	}
}

// beside plays five minutes of a viewer and a transfer on one link.
func beside(l adapt.Ladder, b *bars, begin func(*netpath.Clock, netpath.Transfer) *netpath.Flow) {
	const until = 330 * port.Second
	p := newPublisher(b.seed, l)
	link := &netpath.Bottleneck{Rate: netpath.Always(10e6), Limit: 10e6 / 8 * 0.3}
	path := func() netpath.Path { return netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}} }
	v := p.join(b.seed, path(), 20*port.Millisecond, len(l)-1)
	p.start()
	begin(p.clock, netpath.Transfer{
		Path: path(), Back: 20 * port.Millisecond, Start: 30 * port.Second, Stop: until,
	})
	p.clock.Run(until)
	v.tally.onRung[v.have] += until - v.tally.since
	low := port.Time(0)
	for r, span := range v.tally.onRung {
		if r < len(l)/2 {
			low += span
		}
	}
	b.atMost("below the middle, %", 100*low.Seconds()/300, 50)
}
