package adapt_test

import (
	"fmt"
	"math/rand/v2"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

const (
	minute  = 60 * port.Second
	fallEnd = 2 * minute
)

// scenes are the conditions that a single viewer meets, each with the figures to hold.
func scenes(l adapt.Ladder) (all []scene) {
	all = append(all, starts(l)...)
	all = append(all, falls(l)...)
	all = append(all, noise(l)...)
	all = append(all, clocks(l)...)
	all = append(all, uplinks(l)...)
	all = append(all, narrow(l)...)
	all = append(all, halts(l)...)
	return append(all, silent(l)...)
}

// top is the highest rung and its rate.
func top(l adapt.Ladder) (rung int, rate float64) { return len(l) - 1, float64(l[len(l)-1].Rate) }

// starts are viewers of whom nothing is known.
func starts(l adapt.Ladder) []scene {
	top, rate := top(l)
	low := func(_ *publisher, v *viewer) {
		v.have = l.StartRung(300_000)
		v.s.Start(v.clock.Now(), v.have, 1)
	}
	return []scene{{
		name: "start low on a wide link", rates: netpath.Always(3 * rate), buffer: 0.3, until: 90, setup: low,
		check: func(v *viewer, b *bars) {
			b.atMost("top, s", v.tally.reached(0, func(r int) bool { return r == top }), 30)
		},
	}, {
		name: "start low on a narrow link", rates: netpath.Always(400_000), buffer: 0.3, until: 90, setup: low,
		check: func(v *viewer, b *bars) {
			b.atMost("switches in the first 30 s", float64(len(v.tally.switches)-v.tally.after(settledAt)), 4)
			b.atMost("switches later", float64(v.tally.after(settledAt)), 2)
		},
	}}
}

// fell checks a fall of the link's rate after a minute, and its recovery after another.
func fell(top int, down, queue float64) func(*viewer, *bars) {
	return func(v *viewer, b *bars) {
		b.atMost("down, s", v.tally.reached(minute, func(r int) bool { return r < top }), down)
		if queue > 0 {
			b.atMost("queue, s", v.tally.queued.Seconds(), queue)
		}
		b.atMost("top, s", v.tally.reached(fallEnd, func(r int) bool { return r == top }), 25)
	}
}

func falls(l adapt.Ladder) []scene {
	top, rate := top(l)
	to := func(share float64) netpath.Schedule { return steps(0, 2*rate, 60, share*rate, 120, 2*rate) }
	return []scene{
		{name: "fall to 40 %, 0.3 s", rates: to(0.4), buffer: 0.3, until: 180, check: fell(top, 1.2, 1.5)},
		{name: "fall to 40 %, 1.5 s", rates: to(0.4), buffer: 1.5, until: 180, check: fell(top, 3.5, 4)},
		{name: "fall to 80 %, 0.3 s", rates: to(0.8), buffer: 0.3, until: 180, check: fell(top, 2.5, 0)},
		{
			name: "10, 0.8, 10 Mbit/s", rates: steps(0, 10e6, 60, 0.8e6, 120, 10e6), buffer: 0.3, until: 180,
			check: fell(top, 1.2, 1.5),
		},
	}
}

// wide is a scene on a link of three times the top rung, with stages after it.
func wide(l adapt.Ladder, name string, check func(*viewer, *bars), path func(*rand.Rand) netpath.Stage) scene {
	top, rate := top(l)
	c := scene{name: name, rates: netpath.Always(3 * rate), buffer: 0.3, until: 300}
	c.check = func(v *viewer, b *bars) {
		check(v, b)
		if name != "policer" {
			b.atMost("rungs below the top", float64(top-v.have), 0)
		}
	}
	if path != nil {
		c.path = func(r *rand.Rand) netpath.Path { return netpath.Path{path(r)} }
	}
	return c
}

func switches(most float64) func(*viewer, *bars) {
	return func(v *viewer, b *bars) { b.atMost("switches", float64(v.tally.after(settledAt)), most) }
}

// well checks a viewer who is well.
func well(v *viewer, b *bars) {
	switches(0)(v, b)
	b.atMost("RTCP datagrams a second", v.tally.rtcp(), 7)
}

func noise(l adapt.Ladder) []scene {
	_, rate := top(l)
	jitter := func(ms port.Time, reorder bool) func(*rand.Rand) netpath.Stage {
		return func(r *rand.Rand) netpath.Stage {
			return &netpath.Jitter{Deviation: ms * port.Millisecond, Reorder: reorder, Rand: r}
		}
	}
	all := []scene{
		wide(l, "well, Chromium", well, nil),
		wide(l, "well, Firefox", well, nil),
		wide(l, "random loss 1 %", well, func(r *rand.Rand) netpath.Stage {
			return &netpath.Loss{Of: netpath.Always(0.01), Rand: r}
		}),
		wide(l, "random loss 2 %", switches(0), func(r *rand.Rand) netpath.Stage {
			return &netpath.Loss{Of: netpath.Always(0.02), Rand: r}
		}),
		wide(l, "jitter 10 ms", well, jitter(5, false)),
		wide(l, "jitter 20 ms", switches(0), jitter(10, false)),
		wide(l, "jitter 20 ms, reordering", switches(0), jitter(10, true)),
		wide(l, "bursts of loss", switches(3), func(r *rand.Rand) netpath.Stage {
			return &netpath.Bursts{Fail: 0.001, Recover: 0.2, InBad: 0.5, Rand: r}
		}),
		wide(l, "policer", switches(3), func(*rand.Rand) netpath.Stage {
			return &netpath.TokenBucket{Rate: netpath.Always(0.7 * rate), Burst: 30_000}
		}),
	}
	all[1].setup = func(_ *publisher, v *viewer) { v.far.browser = firefox }
	long := wide(l, "well for half an hour", well, nil)
	long.until = 1800 // longer than moments last
	all = append(all, long)
	for _, from := range []browser{chromium, firefox} {
		both := wide(l, "jitter 10 ms, loss 1 %, "+from.name, well, nil)
		both.path = func(r *rand.Rand) netpath.Path {
			return netpath.Path{&netpath.Loss{Of: netpath.Always(0.01), Rand: r}, jitter(5, false)(r)}
		}
		both.setup = func(_ *publisher, v *viewer) {
			v.far.browser = from
			v.far.estimate = v.far.unsettled(rate)
		}
		all = append(all, both)
	}
	return all
}

// once allows one step down and the way back within ten seconds.
func once(top int) func(*viewer, *bars) {
	return func(v *viewer, b *bars) {
		switches(2)(v, b)
		b.atMost("rungs below the top at the end", float64(top-v.have), 0)
		var left port.Time
		for _, c := range v.tally.switches {
			switch {
			case c.at < settledAt:
			case c.from == top:
				left = c.at
			case c.to == top:
				b.atMost("back, s", (c.at - left).Seconds(), 10)
			}
		}
	}
}

func clocks(l adapt.Ladder) (all []scene) {
	top, _ := top(l)
	for _, ppm := range []float64{250, -250} {
		c := wide(l, fmt.Sprintf("clock %+.0f ppm", ppm), switches(0), nil)
		c.setup = func(_ *publisher, v *viewer) { v.far.clock.Drift = ppm * 1e-6 }
		all = append(all, c)
	}
	for _, jump := range []float64{30, -30} {
		c := wide(l, fmt.Sprintf("clock jumps %+.0f s", jump), once(top), nil)
		c.setup = func(_ *publisher, v *viewer) { v.far.clock.Jump = steps(0, 0, 60, jump) }
		c.until = 120
		all = append(all, c)
	}
	for _, longer := range []float64{0.1, 0.4} {
		c := wide(l, fmt.Sprintf("route %+.0f ms", 1000*longer), once(top), func(*rand.Rand) netpath.Stage {
			return &netpath.Delay{Of: steps(0, 0, 60, longer)}
		})
		c.until = 120
		all = append(all, c)
	}
	return all
}

func uplinks(l adapt.Ladder) []scene {
	_, rate := top(l)
	lossy := wide(l, "uplink loses 5 %", well, nil)
	lossy.setup = func(p *publisher, _ *viewer) { p.loss = 0.05 }
	spreading := wide(l, "uplink spreads", switches(0), nil)
	spreading.setup = func(p *publisher, _ *viewer) { p.spread = 2 * port.Millisecond }
	paused := wide(l, "publisher pauses", switches(0), nil)
	paused.setup = func(p *publisher, _ *viewer) { p.paused = [2]port.Time{100 * port.Second, 110 * port.Second} }
	narrow := scene{
		name: "publisher pauses, narrow link", rates: netpath.Always(0.55 * rate), buffer: 0.3, until: 200,
		setup: func(p *publisher, _ *viewer) {
			p.paused = [2]port.Time{100 * port.Second, 160 * port.Second}
		},
		check: func(v *viewer, b *bars) {
			b.atMost("switches after the pause", float64(v.tally.after(160*port.Second)), 0)
		},
	}
	return []scene{lossy, spreading, paused, narrow}
}

// fits checks for a steady rung, at the end no more than one below the one that certainly fits.
func fits(rung int) func(*viewer, *bars) {
	return func(v *viewer, b *bars) {
		switches(3)(v, b)
		b.atMost("rungs too low", float64(rung-v.have), 1)
	}
}

// narrow are links of about the rate of each rung.
func narrow(l adapt.Ladder) (all []scene) {
	for i := 1; i < len(l); i++ {
		for _, c := range []struct{ share, keyframe float64 }{{0.95, 0}, {0.97, 0}, {0.99, 0}, {1.2, 8}} {
			all = append(all, scene{
				name:  fmt.Sprintf("rung %d at %.2f, keyframes × %.0f", i, c.share, c.keyframe),
				rates: netpath.Always(1.045 * c.share * float64(l[i].Rate)), buffer: 0.3, until: 330,
				check: fits(l.StartRung(c.share * float64(l[i].Rate) / 1.4)),
				setup: func(p *publisher, _ *viewer) {
					if c.keyframe > 0 {
						p.gop, p.keyframe = 2*port.Second, c.keyframe
					}
				},
			})
		}
	}
	return all
}

// silent are viewers without reports, and those whom the link leaves only audio.
func silent(l adapt.Ladder) []scene {
	top, rate := top(l)
	deaf := func(_ *publisher, v *viewer) { v.far.deaf = true }
	blind := scene{
		name: "blind, fall to 40 %", rates: steps(0, 2*rate, 60, 0.4*rate, 120, 2*rate), buffer: 0.3, until: 400,
		setup: deaf, check: func(v *viewer, b *bars) {
			b.atMost("down, s", v.tally.reached(minute, func(r int) bool { return r < top }), 5)
			low := v.tally.rungAt(fallEnd, top)
			b.atMost("up, s", v.tally.reached(fallEnd, func(r int) bool { return r > low }), 60)
		},
	}
	idle := wide(l, "blind", switches(0), nil)
	idle.setup = deaf
	guessing := wide(l, "blind, asks for packets that came", switches(0), nil)
	guessing.setup = func(_ *publisher, v *viewer) { v.far.deaf, v.far.guesses = true, true }
	mute := wide(l, "blind, no receiver reports, asks for packets that came", switches(0), nil)
	mute.setup = func(_ *publisher, v *viewer) { v.far.deaf, v.far.unreported, v.far.guesses = true, true, true }
	persistent := blind
	persistent.name = "blind, no receiver reports, asks again, fall to 40 %"
	persistent.setup = func(_ *publisher, v *viewer) { v.far.deaf, v.far.unreported, v.far.repeats = true, true, true }
	estimated := blind
	estimated.name, estimated.buffer = "blind, REMB, fall to 40 %", 1.5
	estimated.setup = func(_ *publisher, v *viewer) {
		v.far.deaf = true
		v.far.estimate = func() float64 {
			if now := v.clock.Now(); now > minute+port.Second && now < fallEnd {
				return 0.35 * rate
			}
			return 2 * rate
		}
	}
	audio := scene{
		name: "audio only and back", rates: steps(0, 2*rate, 60, 0.4*float64(l[0].Rate), 120, 2*rate), buffer: 4,
		until: 300, check: func(v *viewer, b *bars) {
			b.atMost("audio only, s", v.tally.reached(minute, func(r int) bool { return r == adapt.AudioOnly }), 30)
			b.atMost("video, s", v.tally.reached(fallEnd, func(r int) bool { return r >= 0 }), 30)
			b.atMost("top, s", v.tally.reached(fallEnd, func(r int) bool { return r == top }), 90)
		},
	}
	return []scene{blind, idle, guessing, mute, persistent, estimated, audio}
}

// halts are those of a server that is late by itself. Nobody goes down for them, but for a narrow link as ever.
func halts(l adapt.Ladder) []scene {
	top, rate := top(l)
	halting := func(halt, every port.Time, lossy float64) func(*publisher, *viewer) {
		return func(p *publisher, _ *viewer) {
			p.halt, p.every, p.lossy = halt*port.Millisecond, every*port.Millisecond, lossy
		}
	}
	often := wide(l, "server halts 150 ms each 700 ms", well, nil)
	often.setup = halting(150, 700, 0.5)
	long := wide(l, "server halts 900 ms each 1.9 s", switches(0), nil)
	long.setup = halting(900, 1900, 0.9)
	squeezed := scene{
		name: "server halts, fall to 40 %", rates: steps(0, 2*rate, 60, 0.4*rate, 120, 2*rate), buffer: 0.3, until: 180,
		setup: halting(150, 700, 0.2), check: fell(top, 2, 1.5),
	}
	return []scene{often, long, squeezed}
}
