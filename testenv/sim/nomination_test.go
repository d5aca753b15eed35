package sim

import (
	"net/netip"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

// Subscribers nominate from two addresses, that hash to two workers, in the same instant. One worker becomes the owner,
// and from then on media goes to the address of the last nomination.
func TestTwoNominationsAtOnce(t *testing.T) {
	for _, x := range []struct {
		name   string
		faults Faults
	}{
		{"together", Faults{Delay: 15 * port.Millisecond}},
		{"jittered", Faults{Delay: 15 * port.Millisecond, Jitter: 3 * port.Millisecond, Loss: 0.02}},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: x.faults})
			pub := w.Publish(theStream, 60)
			w.Run(w.Now() + 200*port.Millisecond)
			var subs []*Subscriber
			var second []netip.AddrPort
			for i := range 48 {
				w.Run(w.Now() + 2*port.Millisecond)
				first := i % 4
				w.Place(first)
				s := w.Watch(Viewer{Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM})
				w.Place(anyone)
				other := s.another((first + 1 + i/4%3) % 4)
				s.probe(other, s.ice, true)
				subs, second = append(subs, s), append(second, other)
			}
			w.Run(w.Now() + 800*port.Millisecond)
			contested, moved := 0, 0
			for i, s := range subs {
				c := w.control.sessions[s.spec.ID]
				if c.claims == 2 {
					contested++
				}
				if c.owner != w.hash(s.addr) {
					moved++
				}
				if c.owner < 0 || c.keyed != 1 {
					t.Errorf("subscriber %d: owner %d, given keys %d times", i, c.owner, c.keyed)
				}
				s.silent = true
			}
			alternate(t, w, subs, second)
			for _, s := range subs {
				s.silent = false
				s.check()
			}
			high := settle(w, subs)
			pub.Stop()
			checkOracle(t, w)
			for i, s := range subs {
				checkWhole(t, i, s, high[i], [2]int{})
			}
			t.Logf("%d of %d sessions were claimed twice, %d went to the second address' worker", contested, len(subs),
				moved)
			if contested == 0 {
				t.Error("no claim was contested")
			}
		})
	}
}

// alternate lets the addresses of each subscriber take turns, on one occasion with media of the other in between.
func alternate(t *testing.T, w *World, subs []*Subscriber, second []netip.AddrPort) {
	t.Helper()
	for round := range 4 {
		to := make([]netip.AddrPort, len(subs))
		for i, s := range subs {
			to[i] = s.addr
			if (round+i)%2 == 0 {
				to[i] = second[i]
			}
			for range 3 { // in case of loss
				s.probe(to[i], s.ice, true)
			}
		}
		w.Run(w.Now() + 100*port.Millisecond)
		all := watchSenders(w)
		w.Run(w.Now() + 400*port.Millisecond)
		for i, s := range subs {
			all.check(t, i, s, to[i])
		}
	}
}
