package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// The link of a viewer falls from 10 to 0.8 Mbit/s for half a minute. The viewer is sent less within 1.5 s, and the
// most again half a minute after the recovery at the latest. The picture freezes for a second on average.
func TestFallAndRecovery(t *testing.T) {
	var frozen []port.Time
	for i, c := range []Simulcast{
		{Codec: rtp.VP8}, {Codec: rtp.VP8, Apart: true}, {Codec: rtp.H264}, {Codec: rtp.H264, Apart: true},
	} {
		t.Run(fmt.Sprint(c.Codec, ", layers are keyed apart: ", c.Apart), func(t *testing.T) {
			x := newLayered(t, Config{}, c)
			v := browserOf([]*Manner{Chromium, Firefox, Firefox, Chromium}[i])
			v.Codecs = []rtp.Codec{rtp.VP8, rtp.H264}
			x.watch(1-i%2, v, Link{Rate: mbit(10)})
			rates := x.rates(10, [2]float64{30, 0.8}, [2]float64{60, 10})
			f := fall{x.watch(i%2, v, Link{Rate: rates}), rates[1].From, rates[2].From}
			x.Run(f.recovery + 31*port.Second)
			x.end()
			checkLayered(t, x, f.at)
			frozen = append(frozen, f.check(t, x.ended))
		})
	}
	mean := port.Time(0)
	for _, f := range frozen {
		mean += f / port.Time(len(frozen))
	}
	if mean > port.Second {
		t.Errorf("the pictures froze for %.2f s, want at most 1", mean.Seconds())
	}
}

// A fall is of one viewer's link, which has its old rate again after the recovery.
type fall struct {
	*Subscriber
	at, recovery port.Time
}

// check returns how long the picture froze.
func (f *fall) check(t *testing.T, until port.Time) (frozen port.Time) {
	t.Helper()
	b := f.Browser
	if got := b.Layer(f.at); got != 2 {
		t.Errorf("worker %d: layer %d on a wide link, want 2", f.owner(), got)
	}
	down := b.Reached(f.at, func(l int) bool { return l < 2 }) - f.at
	up := b.Reached(f.recovery, func(l int) bool { return l == 2 }) - f.recovery
	frozen = b.Frozen(f.at, until)
	queued := f.way.Longer(f.at, until, 200*port.Millisecond)
	t.Logf("worker %d: down after %.2f s, on top after %.1f s, frozen %.2f s, queue above 200 ms for %.2f s;%s",
		f.owner(), down.Seconds(), up.Seconds(), frozen.Seconds(), queued.Seconds(), b.moves(f.at))
	if down > 1500*port.Millisecond || up > 30*port.Second || frozen > 5*port.Second/4 {
		t.Errorf("worker %d: down after %.2f s, on top after %.1f s, frozen for %.2f s; want at most 1.5, 30, 1.25",
			f.owner(), down.Seconds(), up.Seconds(), frozen.Seconds())
	}
	if n := b.Switches(f.at, until); n > 6 {
		t.Errorf("worker %d: %d switches", f.owner(), n)
	}
	return frozen
}

// A viewer on a constant link comes to the layer that fits, and stays there. Its queue is short.
func TestConstantLinks(t *testing.T) {
	for _, c := range []struct {
		rate  float64
		layer int
	}{{10, 2}, {1.2, 1}, {0.35, 0}} {
		t.Run(fmt.Sprint(c.rate), func(t *testing.T) {
			x := newLayered(t, Config{}, Simulcast{})
			for i, m := range []*Manner{Chromium, Firefox} {
				x.watch(i%2, browserOf(m), Link{Rate: mbit(c.rate)})
			}
			x.span(30)
			from := x.Now()
			x.span(30)
			x.end()
			checkLayered(t, x, from)
			for i, s := range x.subs {
				waits := s.way.Waits(from, x.ended)
				if got := s.Browser.Layer(x.ended); got != c.layer {
					t.Errorf("viewer %d: layer %d, want %d; moves %s", i, got, c.layer, s.Browser.moves(0))
				}
				if n := s.Browser.Switches(from, x.ended); n > 2 {
					t.Errorf("viewer %d: %d switches in half a minute", i, n)
				}
				if p95 := waits[len(waits)*95/100]; p95 > 200*port.Millisecond {
					t.Errorf("viewer %d: queue p95 %.0f ms", i, p95.Seconds()*1000)
				}
			}
		})
	}
}
