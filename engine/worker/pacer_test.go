package worker

import "testing"

// A burst is as long as the pacer says, or longer if the turns would not suffice for all pending packets.
func TestPacerBursts(t *testing.T) {
	p := pacer{burst: 16, turns: 10}
	for _, c := range []struct{ pending, most uint64 }{
		{0, 16}, {1, 16}, {160, 16}, {169, 16}, {170, 17}, {1000, 100}, {1009, 100},
	} {
		n := uint64(0)
		for !p.full(n+1, c.pending) {
			n++
		}
		if n != c.most {
			t.Errorf("a burst of %d pending packets has %d; expected %d", c.pending, n, c.most)
		}
	}
}
