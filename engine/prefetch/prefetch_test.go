package prefetch

import "testing"

// Nothing is read, nothing faults where there is no memory, nothing is allocated.
func TestOf(t *testing.T) {
	Of[[300]byte](nil)
	b := new([300]byte)
	if n := testing.AllocsPerRun(100, func() { Of(b) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	if *b != [300]byte{} {
		t.Error("memory has changed")
	}
}
