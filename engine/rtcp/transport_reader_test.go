package rtcp

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	pion "github.com/pion/rtcp"
)

// transportPacket is feedback about packets from base on, with the given chunks and bytes of times.
func transportPacket(base uint16, count int, reference uint32, chunks []uint16, deltas ...byte) []byte {
	b := appendFeedback(nil, formatTransportCC, wireRTPFB, 1, 2, transportLen-feedbackLen)
	b = binary.BigEndian.AppendUint16(b, base)
	b = binary.BigEndian.AppendUint16(b, uint16(count))
	b = append(b, byte(reference>>16), byte(reference>>8), byte(reference), 7)
	for _, c := range chunks {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	b = append(b, deltas...)
	if pad := -len(b) & 3; pad > 0 {
		b = append(b, make([]byte, pad)...)
		b[len(b)-1] = byte(pad)
		b[0] |= 0x20
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	return b
}

// readTransport walks one piece of feedback.
func readTransport(p *Packet) (all []Status, ok, malformed bool) {
	r, ok := p.TransportReport()
	if !ok {
		return nil, false, false
	}
	for s := (Status{}); r.Next(&s); {
		all = append(all, s)
	}
	return all, true, r.Malformed()
}

func TestTransportReport(t *testing.T) {
	const reference = 3
	at := func(ticks uint32) uint32 { return reference*referenceTicks + ticks }
	came := func(n uint16, ticks uint32) Status { return Status{Number: n, Received: true, At: at(ticks)} }
	lost := func(n uint16) Status { return Status{Number: n} }
	for _, tt := range []struct {
		name      string
		packet    []byte
		want      []Status
		refused   bool
		malformed bool
	}{
		{name: "none", packet: transportPacket(9, 0, reference, nil)},
		{
			name:   "run, around the end of the numbers",
			packet: transportPacket(65535, 2, reference, []uint16{1<<13 | 2}, 4, 255),
			want:   []Status{came(65535, 4), came(0, 259)},
		},
		{
			name:   "run of lost ones, one with a time before the last",
			packet: transportPacket(7, 4, reference, []uint16{1<<13 | 1, 2, 2<<13 | 1}, 200, 0xFF, 0xFE),
			want:   []Status{came(7, 200), lost(8), lost(9), came(10, 198)},
		},
		{
			name:   "vector of one bit each, of which the last say nothing",
			packet: transportPacket(7, 3, reference, []uint16{1<<15 | 1<<13 | 1<<11}, 1, 1),
			want:   []Status{came(7, 1), lost(8), came(9, 2)},
		},
		{
			name:   "vector of two bits each",
			packet: transportPacket(7, 3, reference, []uint16{3<<14 | 1<<12 | 2<<8}, 5, 1, 0),
			want:   []Status{came(7, 5), lost(8), came(9, 261)},
		},
		{
			name:   "an empty run between",
			packet: transportPacket(7, 2, reference, []uint16{1<<13 | 1, 1 << 13, 1<<13 | 1}, 1, 1),
			want:   []Status{came(7, 1), came(8, 2)},
		},
		{
			name:   "chunks for fewer numbers",
			packet: transportPacket(7, 9, reference, []uint16{3 << 14, 1}), refused: true,
		},
		{
			name:   "times for fewer numbers",
			packet: transportPacket(7, 8, reference, []uint16{1<<13 | 8}, 1, 1), malformed: true,
			want: []Status{came(7, 1), came(8, 2)},
		},
		{name: "half a time", packet: transportPacket(7, 1, reference, []uint16{2<<13 | 1}, 1), malformed: true},
		{
			name:   "a reserved status",
			packet: transportPacket(7, 1, reference, []uint16{3<<13 | 1}, 1, 1), malformed: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := one(t, tt.packet)
			got, ok, malformed := readTransport(&p)
			if ok == tt.refused || malformed != tt.malformed {
				t.Fatalf("read %v, malformed %v; want %v, %v", ok, malformed, !tt.refused, tt.malformed)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
	short := one(t, AppendNACK(nil, 1, 2, []uint16{1}))
	if _, ok := short.TransportReport(); ok {
		t.Error("a NACK was read as transport-wide feedback")
	}
}

// Our reader finds what our writer was told, and what pion reads of the same bytes.
func TestTransportReportAgrees(t *testing.T) {
	for seed := range uint64(200) {
		transportAgrees(t, randomFeedback(seed))
	}
}

// randomFeedback is one piece of feedback about packets that were noted at random.
func randomFeedback(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 2))
	var a Arrivals
	number, now := uint16(r.Uint32()), r.Int64N(1<<55)
	for range 1 + r.IntN(300) {
		number += uint16(1 + r.IntN(1+r.IntN(20)))
		now += r.Int64N(1 + int64(1)<<r.IntN(28))
		a.Note(number-uint16(r.IntN(3)), now)
	}
	b, _ := a.AppendFeedback(nil, testRoom, 1, 2)
	return b
}

// transportAgrees compares with pion's reading, where pion can read it.
func transportAgrees(t *testing.T, data []byte) {
	t.Helper()
	var p Packet
	r := NewReader(data)
	if !r.Next(&p) || p.Type != TransportCC {
		return
	}
	got, ok, malformed := readTransport(&p)
	var theirs pion.TransportLayerCC
	if err := theirs.Unmarshal(data); err != nil || !ok || malformed {
		return
	}
	times, covered := arrivals(t, &theirs)
	if len(got) != len(covered) {
		t.Fatalf("%d numbers, pion reads %d", len(got), len(covered))
	}
	ours := make(map[uint16]uint32)
	for i, s := range got {
		if s.Number != covered[i] {
			t.Fatalf("number %d is %d, pion's %d", i, s.Number, covered[i])
		}
		if s.Received {
			ours[s.Number] = s.At
		}
	}
	if !maps.Equal(ours, times) {
		t.Fatalf("arrivals %v, pion reads %v", ours, times)
	}
}

func FuzzTransportReport(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomFeedback(seed))
	}
	f.Add(transportPacket(65535, 9, 1, []uint16{3<<14 | 1<<12 | 2<<8, 1<<15 | 1<<13}, 5, 1, 0, 2))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Packet
		r := NewReader(data)
		for r.Next(&p) {
			all, _, _ := readTransport(&p)
			if len(all) > 1<<16 {
				t.Fatalf("%d statuses", len(all))
			}
		}
		transportAgrees(t, data)
	})
}
