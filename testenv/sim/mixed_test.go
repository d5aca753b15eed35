package sim

import (
	"slices"
	"testing"

	"ringcast/engine/port"
)

// Viewers who are well get the same packets, as soon, with and without others whose links are too narrow for the top
// layer.
func TestMixedCrowd(t *testing.T) {
	const well, most = 6, 80 * port.Millisecond
	play := func(squeezed bool) (*layered, port.Time) {
		x := newLayered(t, Config{Faults: Faults{Delay: 15 * port.Millisecond}}, Simulcast{})
		for i := range well {
			x.watch(i%2, browserOf([]*Manner{Chromium, Firefox}[i/2%2]), Link{Rate: mbit(10)})
		}
		if squeezed {
			for i := range well {
				rate := []float64{0.8, 0.35}[i/2%2]
				later := x.rates(10, [2]float64{5 + float64(i), rate}, [2]float64{20, 10}, [2]float64{30, rate})
				x.watch(i%2, browserOf([]*Manner{Chromium, Firefox, Blind}[i%3]), Link{Rate: later})
			}
		}
		from := x.Now() + 9*port.Second // all are on top
		x.Run(from + 40*port.Second)
		x.end()
		checkLayered(t, x, from)
		return x, from
	}
	for _, squeezed := range []bool{false, true} {
		x, from := play(squeezed)
		until := x.ended - port.Second
		sent := x.pub.layers[2].stamp
		for i, s := range x.subs[:well] {
			got := s.Video.stamps(2, from, until)
			if n := len(got); n == 0 || got[n-1]-got[0] != uint64(n-1) || sent < got[n-1] {
				t.Errorf("squeezed %v, viewer %d: %d packets of the top layer, not all between the first and the last",
					squeezed, i, n)
			}
			if n := s.Browser.Switches(from, until); n > 0 || s.way.Lost > 0 {
				t.Errorf("squeezed %v, viewer %d: %d switches, %d lost", squeezed, i, n, s.way.Lost)
			}
			if frozen := s.Browser.Frozen(from, until); frozen > 0 {
				t.Errorf("squeezed %v, viewer %d: frozen for %.2f s", squeezed, i, frozen.Seconds())
			}
			late := s.lateness(x.pub, from, until)
			t.Logf("squeezed %v, viewer %d: delay %s", squeezed, i, spread(late))
			if worst := late[len(late)-1]; worst > 2*x.Network.Faults.Delay+most {
				t.Errorf("squeezed %v, viewer %d: a packet came after %.0f ms", squeezed, i, worst.Seconds()*1000)
			}
		}
	}
}

// lateness is the time from the capture to the arrival of each packet that came in a time, sorted.
func (s *Subscriber) lateness(p *Publisher, from, until port.Time) (late []port.Time) {
	for _, x := range s.Video.Packets {
		if x.Stamp != 0 && from <= x.At && x.At < until {
			late = append(late, x.At-p.layers[x.layerOf()].captured[x.Stamp&0xFFFF_FFFF-1])
		}
	}
	slices.Sort(late)
	return late
}

// A link that carries the sound alone gets the sound alone, without a loss. The picture comes back when the link has
// room again.
func TestSoundAloneAndBack(t *testing.T) {
	x := newLayered(t, Config{}, Simulcast{})
	rates := x.rates(10, [2]float64{15, 0.11}, [2]float64{50, 10})
	for i, m := range []*Manner{Chromium, Firefox} {
		x.watch(i, browserOf(m), Link{Rate: rates})
	}
	fall, rise := rates[1].From, rates[2].From
	x.Run(rise + 61*port.Second)
	x.end()
	checkLayered(t, x, rise)
	for i, s := range x.subs {
		settled := fall + 20*port.Second
		video, audio, top := 0, 0, port.Never
		for _, p := range s.Video.Packets {
			switch {
			case settled <= p.At && p.At < rise:
				video++
			case p.At >= rise && p.Key && p.layerOf() == 2:
				top = min(top, p.At)
			}
		}
		for _, p := range s.Audio.Packets {
			if settled <= p.At && p.At < rise {
				audio++
			}
		}
		sent := int((rise - settled) / audioInterval)
		up := top - rise
		t.Logf("viewer %d: %d packets of video, %d of %d of audio, on top after %.1f s;%s", i, video, audio, sent,
			up.Seconds(), s.Browser.moves(fall))
		if audio < sent*97/100 {
			t.Errorf("viewer %d: %d packets of audio on a link for it alone, want %d", i, audio, sent)
		}
		if video > 100 {
			t.Errorf("viewer %d: %d packets of video on a link for audio alone", i, video)
		}
		if up > 60*port.Second {
			t.Errorf("viewer %d: on top after %.0f s", i, up.Seconds())
		}
	}
}

// Feedback that lies harms nobody but the liar.
func TestLiars(t *testing.T) {
	const well = 4
	x := newLayered(t, Config{}, Simulcast{})
	for i := range well {
		x.watch(i%2, browserOf(Chromium), Link{Rate: mbit(10)})
	}
	for l := range lies {
		for i := range 2 {
			s := x.watch(i, browserOf(Chromium), Link{Rate: mbit(4)})
			x.at(x.Now()+2*port.Second, func() { s.Lie(l) })
		}
	}
	from := x.Now() + 4*port.Second
	x.Run(from + 30*port.Second)
	x.end()
	logCounters(t, x.World)
	checkLayered(t, x, from)
	until := x.ended - port.Second
	for i, s := range x.subs {
		if why, ended := x.control.ended[s.spec.ID]; ended {
			t.Errorf("viewer %d was ended: %v", i, why)
		}
		if i >= well {
			t.Logf("viewer %d lies: %v; moves %s", i, Lie((i-well)/2), s.Browser.moves(0))
			if s.Browser.Layer(until) < 0 {
				t.Errorf("viewer %d, who lies, sees nothing", i)
			}
			continue
		}
		if n, frozen := s.Browser.Switches(from, until), s.Browser.Frozen(from, until); n > 0 || frozen > 0 {
			t.Errorf("viewer %d, who is well: %d switches, frozen for %.2f s", i, n, frozen.Seconds())
		}
	}
}
