package adapt_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// FuzzSelector makes random calls: numbers that were never sent, times that jump, floods, absurd rates, ladders that
// change under the viewer. Nothing may panic, and want stays on a rung that is sent, if there is one.
func FuzzSelector(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add([]byte("2022222222227777777777733333333333744444444444455555555555"))
	f.Add(lies())
	f.Fuzz(func(t *testing.T, calls []byte) {
		z := fuzzer{now: port.Second, ladder: three}
		z.s.Start(z.now, 2, 1)
		for len(calls) >= 4 {
			z.call(calls[0], binary.BigEndian.Uint16(calls[1:]), calls[3])
			calls = calls[4:]
			want := z.s.Want()
			if want < adapt.AudioOnly || want >= adapt.MaxRungs {
				t.Fatalf("want is %d, want a rung", want)
			}
			if want >= 0 && z.sent() && (want >= len(z.ladder) || z.ladder[want].Rate == 0) {
				t.Fatalf("want is %d, want no silent rung of %v", want, z.ladder)
			}
		}
	})
}

// lies are calls in an order that a hostile viewer could bring about: reports and floods between frames.
func lies() (calls []byte) {
	for i := range byte(200) {
		calls = append(calls, 0, 0, 33, 0, 2, 4, 176, 12, 3, i, i*7, i%3, 4, 0, 0, 0)
		switch i % 16 {
		case 3:
			calls = append(calls, 5, 255, 255, 0)
		case 7:
			calls = append(calls, 6, 0, 0, i/16)
		case 11:
			calls = append(calls, 9, i, i*31, i/16)
		case 15:
			calls = append(calls, 10, 0, 0, i/16, 8, 0, 0, i/16)
		}
	}
	return calls
}

type fuzzer struct {
	s        adapt.Selector
	source   adapt.Source
	now      port.Time
	ladder   adapt.Ladder
	arrivals rtcp.Arrivals
}

// sent reports whether any rung is.
func (z *fuzzer) sent() bool {
	return slices.ContainsFunc(z.ladder, func(r adapt.Rung) bool { return r.Rate > 0 })
}

func (z *fuzzer) call(op byte, a uint16, b byte) {
	g := adapt.Setting{Ladder: z.ladder, Source: &z.source}
	switch op % 12 {
	case 0:
		z.now += port.Time(a) * port.Millisecond
	case 1:
		z.now = min(z.now+port.Time(a)*port.Second<<(b%8), port.Never/2)
	case 2:
		z.s.Sent(z.now, g.Source, adapt.Fill{Packets: int(b), Size: int(a), First: a * 31, Numbered: z.s.Number(z.now)})
	case 3:
		z.arrivals.Note(a, int64(z.now)+int64(b)*int64(port.Second))
	case 4:
		z.report(g)
	case 5:
		z.s.Lost(b)
		z.s.NACKed(z.now, g, int(int16(a)), int(b))
	case 6:
		z.s.REMB(z.now, g, []float64{0, 10e12, -1, math.Inf(1), math.NaN(), float64(a) * 1000}[b%6])
	case 7:
		z.s.HandleTimeout(z.now, g)
		z.s.Deadline(z.now)
	case 8:
		z.s.Switched(z.now, int(int8(b)))
		z.s.Pad(z.now, g)
		z.s.Stop()
	case 9:
		z.turn(a, b)
		g.Ladder = z.ladder
		z.s.HandleTimeout(z.now, g)
	case 10:
		z.s.Choose(z.now, g, int(int8(b)))
		z.s.HandleTimeout(z.now, g)
	case 11:
		z.s = adapt.Selector{}
		z.s.Start(z.now, z.source.StartRung(z.now, z.ladder, float64(a)*1000), uint32(a))
		z.s.HandleTimeout(z.now, g)
	}
}

// turn changes the ladder: another one, a part of it, or the rate of a rung.
func (z *fuzzer) turn(a uint16, b byte) {
	many := make(adapt.Ladder, adapt.MaxRungs)
	for i := range many {
		many[i] = adapt.Rung{Rate: uint32(a) << (i % 16), Size: a}
	}
	z.ladder = slices.Clone([]adapt.Ladder{
		three, nine, three.Cut(int(a % 4)),
		{{Rate: 0, Size: 1}, {Rate: 1e6, Size: 1000}},
		nil,
		make(adapt.Ladder, 3), many, z.ladder,
	}[b%8])
	if n := len(z.ladder); n > 0 {
		z.ladder[int(a)%n].Rate = uint32(a>>8) << (a % 24)
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
