package sim

import (
	"testing"

	"ringcast/engine/port"
)

// knock sends one check with given credentials and reports whether it was answered.
func knock(w *World, a *agent, with ice, nominate bool) bool {
	before := a.answers[with.Ufrag]
	a.probe(a.addr, with, nominate)
	w.Run(w.Now() + 50*port.Millisecond)
	return a.answers[with.Ufrag] > before
}

// restart is a WHIP or WHEP PATCH that restarts ICE.
func restart(w *World, a *agent) ice {
	local, remote := w.control.restart(a.spec.ID)
	w.Run(w.Now() + 5*port.Millisecond) // the answer is on its way
	return ice{local, remote}
}

// During an ICE restart both the old and the new credentials are good. Once the peer nominates with the new, the old
// ones are dead. Media knows nothing of it. A session may restart many times, from any address, also without completing
// it.
func TestICERestart(t *testing.T) {
	for _, x := range []struct {
		name  string
		moves bool // to another worker's address with each restart, as a peer that changes its network
	}{
		{"same address", false},
		{"other worker", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
			pub := w.Publish(theStream, 60)
			w.Run(w.Now() + 200*port.Millisecond)
			subs := watchers(w, 6)
			w.Run(w.Now() + port.Second)
			agents := []*agent{&pub.agent, &subs[0].agent, &subs[1].agent, &subs[2].agent}
			for round := range 4 {
				for i, a := range agents {
					old := a.ice
					for range round { // restarts that the peer never completes
						restart(w, a)
					}
					fresh := restart(w, a)
					say := func(what string, ok, want bool) {
						t.Helper()
						if ok != want {
							t.Errorf("restart %d of agent %d (owner %d, address of worker %d): %s: "+
								"answered %v, want %v",
								round+1, i, a.owner(), w.hash(a.addr), what, ok, want)
						}
					}
					say("old before the nomination", knock(w, a, old, false), true)
					if x.moves {
						// It still hears at the old address too: make before break.
						a.addr = a.another((a.owner() + 1 + round) % 4)
					}
					say("new, no nomination", knock(w, a, fresh, false), true)
					say("old beside the new", knock(w, a, old, false), true)
					say("nomination with the new", knock(w, a, fresh, true), true)
					a.ice = fresh
					say("old after the nomination", knock(w, a, old, false), false)
					say("new after the nomination", knock(w, a, fresh, false), true)
				}
			}
			w.Run(w.Now() + 3*port.Second)
			high := settle(w, subs)
			pub.Stop()
			checkOracle(t, w)
			var pauses []port.Time
			for i, s := range subs {
				v, _ := checkWhole(t, i, s, high[i], [2]int{})
				pauses = append(pauses, v.Pause)
				if v.Pause > 60*port.Millisecond {
					t.Errorf("subscriber %d: a pause of %v s", i, v.Pause.Seconds())
				}
				if c := w.control.sessions[s.spec.ID]; c.claims != 1 || c.keyed != 1 {
					t.Errorf("subscriber %d: %d claims, given keys %d times", i, c.claims, c.keyed)
				}
			}
			t.Logf("longest pauses of video: %s", spread(pauses))
		})
	}
}
