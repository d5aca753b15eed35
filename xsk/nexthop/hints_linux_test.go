package nexthop

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
)

// asked is a roster that asks the kernel of a host.
func asked(t *testing.T) *roster {
	t.Helper()
	a, _ := pair(t)
	r := &roster{local: 7000, name: "v"}
	a.inside(func() (err error) {
		r.asker, err = newAsker()
		return err
	})
	t.Cleanup(r.asker.close)
	return r
}

// enter follows one more path.
func (r *roster) enter(p port.Path) *way {
	w := &way{path: p}
	r.add([]*way{w})
	return w
}

// turn asks as one turn does.
func (r *roster) turn(t *testing.T) {
	t.Helper()
	if _, err := r.ask(Link{}); err != nil {
		t.Fatal(err)
	}
}

// Many peers share an address, and somebody forges hints about it without end. The number of waiting ways stays
// bounded. A new way is asked for in the next turn, and all others within twice as many turns as without hints.
func TestHintsWithoutEnd(t *testing.T) {
	r := asked(t)
	const peers, turns = 5 * waysAtMost, 40
	first := r.enter(path("198.18.0.1", "198.18.0.2:1"))
	for i := range peers {
		r.enter(path("198.18.0.1", fmt.Sprintf("198.18.0.2:%d", i+2)))
	}
	for r.pending() {
		r.turn(t)
	}
	flooded := func() {
		r.hint(first.path.Remote.Addr())
		r.turn(t)
	}
	for i := range turns {
		flooded()
		w := r.enter(path("198.18.0.1", fmt.Sprintf("198.18.0.3:%d", i+1)))
		flooded()
		if w.answer.Load() == nil {
			t.Fatalf("turn %d: a new way waits for %d others, want it asked for in its first turn", i, len(r.urgent))
		}
		if n := len(r.urgent) + len(r.named); n > len(r.all) {
			t.Fatalf("turn %d: %d ways wait, want no more than the %d that there are", i, n, len(r.all))
		}
	}
	r.askAll()
	for n := 0; r.left > 0; n++ {
		if most := 2 * (len(r.all)/waysAtMost + 1); n > most {
			t.Fatalf("%d of %d ways were not asked for in %d turns", r.left, len(r.all), most)
		}
		flooded()
	}
}

// Of hints that are all the same no more are read in a turn than of others. They are heeded once, and then there is
// room again.
func TestSameHints(t *testing.T) {
	r := asked(t)
	w := r.enter(path("198.18.0.1", "198.18.0.2:1"))
	r.turn(t)
	w.answer.Store(&answer{})
	for i := range hintsAtMost {
		if r.hinted() {
			t.Fatalf("no room after %d hints, want room for %d", i, hintsAtMost)
		}
		r.hint(w.path.Remote.Addr())
	}
	if !r.hinted() {
		t.Errorf("room for more after %d hints in one turn, want none", hintsAtMost)
	}
	r.turn(t)
	if got := *w.answer.Load(); got == (answer{}) || r.hinted() || r.pending() {
		t.Errorf("after the turn: answer %+v, no room %t, pending %t; want another answer, false, false", got,
			r.hinted(), r.pending())
	}
}
