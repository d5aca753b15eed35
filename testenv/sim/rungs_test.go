package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/testenv/netpath"
)

// Layers become silent and return. A viewer whose layer is silent is sent the next lower one, or else the next higher,
// and its own again when that is back.
func TestSilentLayers(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprint("keyed apart: ", apart), func(t *testing.T) {
			x := newLayered(t, Config{}, Simulcast{Apart: apart})
			rates := []float64{10, 1.2, 0.35}
			for worker := range 2 {
				for _, r := range rates {
					x.watch(worker, browserOf(Chromium), Link{Rate: mbit(r)})
				}
			}
			x.span(36)
			expect := func(when string, want ...int) {
				t.Helper()
				for i, s := range x.subs {
					if got := s.Browser.Layer(x.Now()); got != want[i%3] {
						t.Errorf("viewer %d on %.2f Mbit/s %s: layer %d, want %d; moves %s", i, rates[i%3], when, got,
							want[i%3], s.Browser.moves(0))
					}
				}
			}
			expect("at first", 2, 1, 0)
			pause := func(layer int, on bool, seconds float64) {
				x.pub.layers[layer].paused = on
				x.span(seconds)
			}
			pause(1, true, 4)
			expect("while the middle layer is silent", 2, 0, 0)
			pause(1, false, 14)
			expect("after the middle layer came back", 2, 1, 0)
			pause(2, true, 4)
			expect("while the top layer is silent", 1, 1, 0)
			pause(2, false, 14)
			expect("after the top layer came back", 2, 1, 0)
			from := x.Now()
			x.end()
			checkLayered(t, x, from)
		})
	}
}

// A publisher starts again while its viewers are on several layers. They go on with the new one, each on the layer
// that its network carries.
func TestRepublishedLayers(t *testing.T) {
	x := newLayered(t, Config{}, Simulcast{})
	rates := []float64{10, 1.2, 0.35}
	for worker := range 2 {
		for _, r := range rates {
			x.watch(worker, browserOf([]*Manner{Chromium, Firefox}[worker]), Link{Rate: mbit(r)})
		}
	}
	for range 2 {
		x.span(36)
		for i, s := range x.subs {
			if age := x.Now() - s.Browser.last; age > port.Second {
				t.Errorf("viewer %d: no picture for %.1f s", i, age.Seconds())
			}
			if got, want := s.Browser.Layer(x.Now()), 2-i%3; got != want {
				t.Errorf("viewer %d on %.2f Mbit/s: layer %d, want %d; moves %s", i, rates[i%3], got, want,
					s.Browser.moves(0))
			}
		}
		if n := crowded(x.pub.requests(x.Now()-35*port.Second), requestSpan); n > maxRequests {
			t.Errorf("%d keyframes were asked for within %.0f s", n, requestSpan.Seconds())
		}
		x.pub.Stop()
		x.pub = x.PublishSimulcast(theStream, Simulcast{Rungs: Three})
	}
	x.span(10)
	from := x.Now()
	x.end()
	checkLayered(t, x, from)
}

// Random loss, jitter and a longer route move nobody from the top layer.
func TestNoiseMovesNobody(t *testing.T) {
	for _, c := range []struct {
		name string
		link Link
	}{
		{"loss of 1 %", Link{Rate: mbit(10), Loss: netpath.Always(0.01)}},
		{"jitter of 10 ms", Link{Rate: mbit(10), Jitter: 5 * port.Millisecond}},
		{"100 ms more", Link{
			Rate: mbit(10), Delay: netpath.Schedule{{Value: 0.02}, {From: 30 * port.Second, Value: 0.12}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newLayered(t, Config{}, Simulcast{})
			for i, m := range []*Manner{Chromium, Firefox} {
				x.watch(i, browserOf(m), c.link)
			}
			x.span(15)
			from := x.Now()
			before := make([]int, len(x.subs))
			for i, s := range x.subs {
				before[i] = s.Browser.Datagrams
			}
			x.span(40)
			x.end()
			checkLayered(t, x, from)
			for i, s := range x.subs {
				if n := s.Browser.Switches(from, x.Now()); n > 0 {
					t.Errorf("viewer %d: %d switches; moves %s", i, n, s.Browser.moves(0))
				}
				if rate := float64(s.Browser.Datagrams-before[i]) / (x.Now() - from).Seconds(); rate > 7 {
					t.Errorf("viewer %d: %.1f RTCP datagrams a second, want at most 7", i, rate)
				}
			}
		})
	}
}
