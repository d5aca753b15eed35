package history

import (
	"testing"

	"ringcast/engine/budget"
)

// A worker that holds less than its share does not shorten its own for others'.
func TestShareOfTheBudget(t *testing.T) {
	b := budget.New(100 * pageSize)
	small, large := NewMemory(b), NewMemory(b)
	var pages []*page
	for i := range 92 {
		m := large
		if i < 10 {
			m = small
		}
		pages = append(pages, m.take())
	}
	if small.tight(2) || !large.tight(2) {
		t.Errorf("with 10 and 82 of 100 pages, tight %t and %t; expected false and true",
			small.tight(2), large.tight(2))
	}
	for _, p := range pages[40:] {
		large.give(p)
	}
	if n := len(large.free); n != 52 {
		t.Fatalf("%d pages are free; expected 52", n)
	}
	large.Trim() // tight: all go back
	if len(large.free) != 0 || b.Held() != 40*pageSize || large.tight(2) {
		t.Errorf("trimmed, %d pages are free and %d bytes drawn; expected 0 and %d",
			len(large.free), b.Held(), 40*pageSize)
	}
}

// Pages that were not needed for a while go back by and by; a steady turnover keeps its own.
func TestTrim(t *testing.T) {
	m := NewMemory(budget.New(1 << 30))
	var pages []*page
	for range 100 {
		pages = append(pages, m.take())
	}
	for _, p := range pages {
		m.give(p)
	}
	m.Trim() // begins to watch
	for range 10 {
		p := m.take()
		m.give(p)
		before := len(m.free)
		m.Trim()
		if before > 1 && len(m.free) >= before {
			t.Fatalf("%d free pages of %d are left after a pause", len(m.free), before)
		}
	}
	if n := len(m.free); n > 1 {
		t.Errorf("%d free pages are left where one is used; expected at most 1", n)
	}
	if got := m.budget.Held(); got != int64(len(m.free)*pageSize) {
		t.Errorf("%d bytes are drawn for %d free pages", got, len(m.free))
	}
}
