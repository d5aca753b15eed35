package worker

import (
	"runtime"
	"testing"

	"ringcast/engine/port"
)

// liveBytes is how many bytes live on the heap.
func liveBytes() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// A stream with one viewer takes the memory of a second's packets, and little more. The bounds are a quarter above the
// measurements on 64 bits.
func TestStreamMemory(t *testing.T) {
	const n = 400
	measure := func(name string, most int, f func()) {
		t.Helper()
		before := liveBytes()
		f()
		got := (liveBytes() - before) / n
		t.Logf("%s: %d bytes", name, got)
		if got > most {
			t.Errorf("%s takes %d bytes; expected at most %d", name, got, most)
		}
	}
	h := newHerd(t, 1, n, n)
	measure("a connected publisher", 6700, func() { h.open(h.pubs) })
	measure("its viewer", 3100, func() { h.open(h.subs) })
	measure("a keyframe of one packet", 7300, func() {
		for i := range h.pubs {
			h.send(&h.pubs[i], true)
			h.drive()
		}
	})
	if h.frames != n {
		t.Errorf("%d packets reached %d viewers; expected one each", h.frames, n)
	}
	measure("a second with 20 packets of 1 KB", 26_600, func() {
		h.pass(port.Second, 50*port.Millisecond, func() {
			for i := range h.pubs {
				h.send(&h.pubs[i], false)
			}
		})
	})
	runtime.KeepAlive(h)
}
