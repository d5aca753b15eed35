package budget

import (
	"math"
	"sync"
	"testing"
)

func TestBudget(t *testing.T) {
	b := New(1600)
	if !b.Take(1000) || !b.Take(500) || b.Take(1) {
		t.Errorf("of 1600 bytes %d are drawn; expected 1500 and no more", b.Held())
	}
	b.Overdraw(110)
	if b.Held() != 1610 || b.Take(0) || !b.Tight() || b.Ample() {
		t.Errorf("overdrawn: held %d, tight %t, ample %t; expected 1610, true, false", b.Held(), b.Tight(), b.Ample())
	}
	b.Give(310) // 1300 of 1600
	if b.Tight() || b.Ample() {
		t.Errorf("at %d of 1600: tight %t, ample %t; expected neither", b.Held(), b.Tight(), b.Ample())
	}
	b.Give(200)
	if !b.Ample() || !b.Take(400) {
		t.Errorf("at %d of 1600 it is not ample, or refuses 400", b.Held())
	}
}

func TestUnlimited(t *testing.T) {
	b := New(0)
	if !b.Take(1<<40) || b.Tight() || b.Limit() != math.MaxInt64 {
		t.Errorf("no limit: held %d of %d, tight %t", b.Held(), b.Limit(), b.Tight())
	}
}

// Threads that draw at once never hold more than there is.
func TestBudgetConcurrently(t *testing.T) {
	b := New(64)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 10_000 {
				if b.Take(60) {
					// Another's Take may be refused in between; none may succeed.
					if b.Take(60) {
						t.Error("120 bytes of 64 were drawn")
						b.Give(60)
					}
					b.Give(60)
				}
			}
		})
	}
	all.Wait()
	if b.Held() != 0 {
		t.Errorf("%d bytes are held; expected 0", b.Held())
	}
}
