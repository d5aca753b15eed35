package adapt_test

import (
	"testing"
	"unsafe"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// A Selector is kept per viewer: four cache lines.
func TestSize(t *testing.T) {
	if got := unsafe.Sizeof(adapt.Selector{}); got > 256 {
		t.Errorf("Selector has %d bytes, want at most 256", got)
	}
}

// hot is one Selector and a report on the fill that it was told of.
type hot struct {
	s      adapt.Selector
	g      adapt.Setting
	now    port.Time
	report rtcp.TransportReport
}

func newHot() *hot {
	h := &hot{g: adapt.Setting{Ladder: three, Source: new(adapt.Source)}, now: port.Second}
	var a rtcp.Arrivals
	for i := range uint16(12) {
		a.Note(i, int64(h.now)+int64(i)*int64(port.Millisecond))
	}
	b, _ := a.AppendFeedback(nil, mtu, 1, 2)
	r := rtcp.NewReader(b)
	var p rtcp.Packet
	r.Next(&p)
	h.report, _ = p.TransportReport()
	h.s.Start(h.now, 1, 1)
	return h
}

// calls makes each call once.
func (h *hot) calls() {
	h.now += 33 * port.Millisecond
	f := adapt.Fill{Packets: 12, Size: 1000, Numbered: h.s.Number(h.now)}
	h.s.Sent(h.now, h.g.Source, f)
	h.s.Report(h.now, h.g, h.report)
	h.s.Lost(1)
	h.s.NACKed(h.now, h.g, 3, 1)
	h.s.REMB(h.now, h.g, 1e6)
	h.s.HandleTimeout(h.now, h.g)
	h.s.Pad(h.now, h.g)
	h.s.Switched(h.now, h.s.Want())
}

func TestAllocs(t *testing.T) {
	h := newHot()
	if got := testing.AllocsPerRun(1000, h.calls); got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

// BenchmarkSent is the cost of a fill to a viewer who is well.
func BenchmarkSent(b *testing.B) {
	h := newHot()
	for b.Loop() {
		h.now += 33 * port.Millisecond
		h.s.Sent(h.now, h.g.Source, adapt.Fill{Packets: 7, Size: 1150})
	}
}

// BenchmarkReport is the cost of a report on one train.
func BenchmarkReport(b *testing.B) {
	h := newHot()
	for b.Loop() {
		h.now += 100 * port.Millisecond
		h.s.Report(h.now, h.g, h.report)
	}
}
