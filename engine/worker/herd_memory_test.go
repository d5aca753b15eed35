package worker

import (
	"net/netip"
	"runtime"
	"testing"

	"ringcast/engine/api"
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

// The choice of layers takes little memory: a Selector for each viewer, and a home for each address.
func TestSelectorMemory(t *testing.T) {
	for _, c := range []struct {
		name      string
		addresses int
		most      int
	}{{"256 viewers an address", 2, 300}, {"one viewer an address", 512, 300}} {
		t.Run(c.name, func(t *testing.T) {
			// fields is how much larger the allocation of a subscriber is for the choice of layers.
			const fields = 16
			off, on := selectorMemory(t, c.addresses, false), selectorMemory(t, c.addresses, true)
			got := on - off + fields
			if t.Logf("%d bytes a viewer", got); got > c.most {
				t.Errorf("the choice of layers takes %d bytes a viewer, want at most %d", got, c.most)
			}
		})
	}
}

// selectorMemory returns the bytes that each of 512 viewers from some addresses takes at a worker, peers included.
func selectorMemory(t *testing.T, addresses int, adapts bool) int {
	t.Helper()
	const n = 512
	l := newLab(t, 0, 1)
	l.w.cfg.Adapt = adapts
	p := l.publish(1, 1, simulcast()...)
	before := liveBytes()
	for i := range n {
		s := &sub{party: l.party(api.Subscriber, 1, watched(true)...)}
		a := i % addresses
		s.path.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 19, byte(a >> 8), byte(a)}), uint16(1024+i))
		s.connect()
	}
	p.layer(hiSSRC, 0, 0, vp8(true, true, ""))
	if len(l.sent) < n {
		t.Fatalf("%d packets to %d viewers", len(l.sent), n)
	}
	l.forget()
	clear(l.seals)
	after := liveBytes()
	runtime.KeepAlive(l)
	return (after - before) / n
}
