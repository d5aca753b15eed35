package history

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// BenchmarkAppend stores packets of one size at a steady pace.
func BenchmarkAppend(b *testing.B) {
	h := New(NewMemory(nil), capVideo)
	payload := make([]byte, 1150)
	var p bus.Packet
	b.ReportAllocs()
	for b.Loop() {
		p.Number++
		p.Arrival += port.Millisecond
		h.Append(&p, nil, payload)
	}
}
