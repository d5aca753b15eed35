package nexthop

import (
	"fmt"
	"testing"
)

// Many peers share an address, and somebody forges hints about it without end. What waits for its turn stays bounded,
// and a new way is asked for in the next turn.
func TestHintsWithoutEnd(t *testing.T) {
	a, _ := pair(t)
	var asker *asker
	a.inside(func() (err error) {
		asker, err = newAsker()
		return err
	})
	t.Cleanup(asker.close)
	const peers, turns = 5 * waysAtMost, 40
	r := roster{asker: asker, local: 7000, name: "v"}
	follow := func(peer string) *way {
		w := &way{path: path("198.18.0.1", peer)}
		r.add([]*way{w})
		return w
	}
	turn := func() {
		t.Helper()
		if _, err := r.ask(Link{}); err != nil {
			t.Fatal(err)
		}
	}
	first := follow("198.18.0.2:1")
	for i := range peers {
		follow(fmt.Sprintf("198.18.0.2:%d", i+2))
	}
	for r.pending() {
		turn()
	}
	for i := range turns {
		r.hint(first.path.Remote.Addr())
		turn()
		w := follow(fmt.Sprintf("198.18.0.3:%d", i+1))
		r.hint(first.path.Remote.Addr())
		turn()
		if w.answer.Load() == nil {
			t.Fatalf("turn %d: a new way waits behind %d others, want it asked for in its first turn", i, len(r.urgent))
		}
		if n := len(r.urgent) + len(r.named); n > len(r.all) {
			t.Fatalf("turn %d: %d ways wait, want no more than the %d that there are", i, n, len(r.all))
		}
	}
	// Whatever hints come, all have their turn within twice as many turns as without any.
	r.askAll()
	for n := 0; r.left > 0; n++ {
		if most := 2 * (len(r.all)/waysAtMost + 1); n > most {
			t.Fatalf("%d of %d ways were not asked for in %d turns", r.left, len(r.all), most)
		}
		r.hint(first.path.Remote.Addr())
		turn()
	}
	// The hints are not forgotten.
	first.answer.Store(&answer{})
	r.hint(first.path.Remote.Addr())
	for r.pending() {
		turn()
	}
	if *first.answer.Load() == (answer{}) {
		t.Error("a way to the address of a hint was not asked for")
	}
}
