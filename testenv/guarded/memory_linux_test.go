package guarded

import (
	"runtime/debug"
	"testing"
	"unsafe"
)

// TestMemory writes all that may be written. One byte before the start or after the end is a fault.
func TestMemory(t *testing.T) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	faults := func(p unsafe.Pointer, offset int) (faulted bool) {
		defer func() { faulted = recover() != nil }()
		*(*byte)(unsafe.Add(p, offset))++
		return false
	}
	for _, n := range []int{1, 16, 1500, 4096, 5000} {
		start, end := Memory(t, n)
		for i := range n {
			start[i], end[i] = 1, 1
		}
		if len(start) != n || len(end) != n {
			t.Errorf("%d and %d bytes, want %d", len(start), len(end), n)
		}
		if !faults(unsafe.Pointer(&start[0]), -1) {
			t.Errorf("%d bytes: nothing guards their start", n)
		}
		if !faults(unsafe.Pointer(&end[0]), n) {
			t.Errorf("%d bytes: nothing guards their end", n)
		}
	}
}
