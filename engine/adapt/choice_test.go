package adapt_test

import (
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// choosing is a viewer on a link of its own.
func choosing(seed uint64, l adapt.Ladder, rates netpath.Schedule) (*publisher, *viewer) {
	p := newPublisher(seed, l)
	link := &netpath.Bottleneck{Rate: rates, Limit: int(rates[0].Value * 0.3 / 8)}
	v := p.join(seed, netpath.Path{link, &netpath.Delay{Of: netpath.Always(0.02)}}, 20*port.Millisecond, len(l)-1)
	p.start()
	return p, v
}

// choose cuts the viewer's ladder at a rung and takes it.
func (v *viewer) choose(rung int) {
	v.ceiling = rung
	v.s.Choose(v.clock.Now(), v.setting(), rung)
	v.look()
}

// automatic gives the choice back.
func (v *viewer) automatic() { v.ceiling = adapt.MaxRungs }

func wantRung(t *testing.T, seed uint64, when string, v *viewer, want int, cause adapt.Cause) {
	t.Helper()
	if v.s.Want() != want || v.s.Cause() != cause {
		t.Errorf("seed %d, %s: got rung %d because of %v, want %d because of %v:%v", seed, when, v.s.Want(),
			v.s.Cause(), want, cause, &v.tally)
	}
}

// TestChoose chooses rungs by hand on a wide link: a choice holds, and what was chosen is given back.
func TestChoose(t *testing.T) {
	for _, l := range []adapt.Ladder{three, nine} {
		for seed := range allSeeds {
			top, rate := top(l)
			p, v := choosing(seed, l, netpath.Always(3*rate))
			p.clock.Run(minute)
			v.choose(0)
			wantRung(t, seed, "down", v, 0, adapt.CauseChoice)
			p.clock.Run(2 * minute)
			wantRung(t, seed, "a minute later", v, 0, adapt.CauseChoice)
			v.choose(1)
			wantRung(t, seed, "up", v, 1, adapt.CauseChoice)
			p.clock.Run(3 * minute)
			wantRung(t, seed, "another minute later", v, 1, adapt.CauseChoice)
			v.automatic()
			p.clock.Run(3*minute + 30*port.Second)
			wantRung(t, seed, "automatic", v, top, adapt.CauseCapacity)
		}
	}
}

// TestChooseTooMuch chooses the top on a link that does not carry it: congestion goes below, and nothing above.
func TestChooseTooMuch(t *testing.T) {
	for _, l := range []adapt.Ladder{three, nine} {
		for seed := range allSeeds {
			top, rate := top(l)
			p, v := choosing(seed, l, netpath.Always(0.5*rate))
			p.clock.Run(minute)
			v.choose(top)
			wantRung(t, seed, "up", v, top, adapt.CauseChoice)
			p.clock.Run(minute + 3*port.Second)
			if v.s.Want() == top {
				t.Errorf("seed %d: got rung %d after 3 s, want a lower one:%v", seed, top, &v.tally)
			}
		}
	}
}

// TestChooseLowest chooses the only rung that is left, on a link that carries audio only.
func TestChooseLowest(t *testing.T) {
	for seed := range allSeeds {
		lowest := float64(three[0].Rate)
		p, v := choosing(seed, three, steps(0, 10e6, 60, 0.4*lowest, 120, 10e6))
		p.clock.Run(50 * port.Second)
		v.choose(0)
		p.clock.Run(2 * minute)
		if v.have != adapt.AudioOnly {
			t.Errorf("seed %d, narrow: got rung %d, want audio only:%v", seed, v.have, &v.tally)
		}
		p.clock.Run(3 * minute)
		wantRung(t, seed, "wide again", v, 0, adapt.CauseCapacity)
	}
}

// TestReturn puts viewers of an address on one rung more than was received there.
func TestReturn(t *testing.T) {
	for seed := range allSeeds {
		p, v := choosing(seed, nine, netpath.Always(0.5e6))
		v.source = new(adapt.Source)
		p.clock.Run(2 * minute)
		now := p.clock.Now()
		for _, tt := range []struct {
			name  string
			later port.Time
			l     adapt.Ladder
			want  int
		}{
			{"at once", 0, nine, v.have + 1},
			{"nearly two minutes later", adapt.SourceSpan - 2*port.Second, nine, v.have + 1},
			{"two minutes later", adapt.SourceSpan, nine, nine.StartRung(adapt.StartRate)},
			{"another ladder", 0, three, 1},
			{"one rung", 0, three[2:], 0},
		} {
			if got := v.source.StartRung(now+tt.later, tt.l, adapt.StartRate); got != tt.want {
				t.Errorf("seed %d, %s after rung %d: got rung %d, want %d", seed, tt.name, v.have, got, tt.want)
			}
		}
	}
}

// TestReturnFromTop remembers nothing that keeps a viewer low who received all there was.
func TestReturnFromTop(t *testing.T) {
	p, v := choosing(0, three[:2], netpath.Always(10e6))
	v.source = new(adapt.Source)
	p.clock.Run(2 * minute)
	want := three.StartRung(adapt.StartRate)
	if got := v.source.StartRung(p.clock.Now(), three, adapt.StartRate); v.have != 1 || got != want {
		t.Errorf("after rung %d: got rung %d, want %d", v.have, got, want)
	}
	var none *adapt.Source
	if got := none.StartRung(p.clock.Now(), three, adapt.StartRate); got != want {
		t.Errorf("without a source: got rung %d, want %d", got, want)
	}
}

// A viewer whose link falls is sent nothing while the publisher's keyframe does not come, and has nothing to report.
// That says nothing of its link: it is not cut to sound, though its estimate is low.
func TestLateKeyframe(t *testing.T) {
	for seed := range allSeeds {
		p, v := choosing(seed, three, steps(0, 10e6, 60, 0.8e6))
		v.far.estimate = func() float64 { return 30_000 }
		p.clock.Run(minute)
		p.lastKey, p.budget = p.clock.Now(), 8*port.Second
		p.clock.Run(minute + 20*port.Second)
		if v.tally.onRung[adapt.AudioOnly] > 0 || v.have < 0 || v.have == 2 {
			t.Errorf("seed %d: on rung %d, %.1f s without video:%v", seed, v.have,
				v.tally.onRung[adapt.AudioOnly].Seconds(), &v.tally)
		}
	}
}
