package adapt_test

import (
	"encoding/binary"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// FuzzSelector makes random calls: numbers that were never sent, times that jump, floods, absurd rates, ladders that
// change. Nothing may panic, and want stays on an active rung.
func FuzzSelector(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add([]byte("2022222222227777777777733333333333744444444444455555555555"))
	f.Fuzz(func(t *testing.T, calls []byte) {
		z := fuzzer{now: port.Second, ladder: three}
		z.s.Start(z.now, 2, 1)
		for len(calls) >= 4 {
			z.call(calls[0], binary.BigEndian.Uint16(calls[1:]), calls[3])
			calls = calls[4:]
			want := z.s.Want()
			if want < adapt.AudioOnly || want >= len(z.ladder) {
				t.Fatalf("want is %d, want a rung of %d", want, len(z.ladder))
			}
			if want >= 0 && z.ladder[want].Rate == 0 && z.ladder.StartRung(1e9) != 0 {
				t.Fatalf("want is %d, want no silent rung of %v", want, z.ladder)
			}
		}
	})
}

type fuzzer struct {
	s        adapt.Selector
	source   adapt.Source
	now      port.Time
	ladder   adapt.Ladder
	arrivals rtcp.Arrivals
}

func (z *fuzzer) call(op byte, a uint16, b byte) {
	g := adapt.Setting{Ladder: z.ladder, Source: &z.source}
	switch op % 10 {
	case 0:
		z.now += port.Time(a) * port.Millisecond
	case 1:
		z.now += port.Time(a) * port.Second
	case 2:
		z.s.Sent(z.now, g, adapt.Fill{Packets: int(b), Size: int(a), First: a * 31, Numbered: z.s.Number(z.now)})
	case 3:
		z.arrivals.Note(a, int64(z.now)+int64(b)*int64(port.Second))
	case 4:
		z.report(g)
	case 5:
		z.s.NACKed(z.now, g, int(int16(a)))
	case 6:
		z.s.REMB(z.now, g, []float64{0, 10e12, -1, float64(a) * 1000}[b%4])
	case 7:
		z.s.HandleTimeout(z.now, g)
		z.s.Deadline(z.now)
	case 8:
		z.s.Switched(z.now, int(int8(b)))
		z.s.Pad(z.now, g)
		z.s.Stop()
	case 9:
		z.ladder = []adapt.Ladder{three, nine, three[:1], {{Rate: 0, Size: 1}, {Rate: 1e6, Size: 1000}}}[b%4]
		g.Ladder = z.ladder
		z.s.HandleTimeout(z.now, g)
	}
}

func (z *fuzzer) report(g adapt.Setting) {
	b, _ := z.arrivals.AppendFeedback(nil, mtu, 1, 2)
	r := rtcp.NewReader(b)
	for p := (rtcp.Packet{}); r.Next(&p); {
		if tr, ok := p.TransportReport(); ok {
			z.s.Report(z.now, g, tr)
		}
	}
}
