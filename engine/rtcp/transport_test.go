package rtcp

import (
	"math/rand/v2"
	"testing"

	"github.com/pion/interceptor/pkg/twcc"
	pion "github.com/pion/rtcp"
)

const testRoom = 1200

// feedbacks writes all that is to be reported, and reads it with pion.
func feedbacks(t testing.TB, a *Arrivals, room int) (all []*pion.TransportLayerCC) {
	t.Helper()
	for n := 0; ; n++ {
		b, more := a.AppendFeedback([]byte{1, 2, 3, 4}, room, 0x11, 0x22)
		if len(b) == 4 {
			if more {
				t.Fatal("nothing was written and there is more")
			}
			return all
		}
		if len(b)-4 > room {
			t.Fatalf("%d bytes; the room is %d", len(b)-4, room)
		}
		p, ok := unmarshal(t, b[4:])[0].(*pion.TransportLayerCC)
		if !ok || p.SenderSSRC != 0x11 || p.MediaSSRC != 0x22 {
			t.Fatalf("pion reads %v of %x", p, b[4:])
		}
		if x := one(t, b[4:]); x.Type != TransportCC || x.Media != 0x22 {
			t.Fatalf("our reader finds %v about %x", x.Type, x.Media)
		}
		all = append(all, p)
		if !more {
			return all
		}
		if n > 20_000 {
			t.Fatal("the feedback never ends")
		}
	}
}

// arrivals are the times, in ticks modulo 2^32, that a feedback reports by number, and all numbers that it covers.
func arrivals(t testing.TB, p *pion.TransportLayerCC) (times map[uint16]uint32, covered []uint16) {
	t.Helper()
	times = make(map[uint16]uint32)
	var symbols []uint16
	for _, c := range p.PacketChunks {
		switch c := c.(type) {
		case *pion.RunLengthChunk:
			for range c.RunLength {
				symbols = append(symbols, c.PacketStatusSymbol)
			}
		case *pion.StatusVectorChunk:
			symbols = append(symbols, c.SymbolList...)
		}
	}
	if len(symbols) < int(p.PacketStatusCount) {
		t.Fatalf("%d symbols for %d packets", len(symbols), p.PacketStatusCount)
	}
	at, deltas := p.ReferenceTime*referenceTicks, p.RecvDeltas
	for i := range p.PacketStatusCount {
		seq := p.BaseSequenceNumber + i
		covered = append(covered, seq)
		if symbols[i] == pion.TypeTCCPacketNotReceived {
			continue
		}
		if len(deltas) == 0 {
			t.Fatalf("no delta for number %d", seq)
		}
		at += uint32(deltas[0].Delta / pion.TypeTCCDeltaScaleFactor)
		times[seq] = at
		deltas = deltas[1:]
	}
	if len(deltas) != 0 {
		t.Fatalf("%d deltas are left", len(deltas))
	}
	return times, covered
}

func TestTransportFeedback(t *testing.T) {
	var a Arrivals
	const at = 1_000_000_000
	a.Note(65534, at)
	a.Note(65535, at+1_000_000)
	a.Note(2, at+1_000_000+80_000_000) // 0 and 1 are missing
	a.Note(3, at+1_000_000)            // arrived before
	a.Note(2, at+999_000_000)          // again
	all := feedbacks(t, &a, testRoom)
	if len(all) != 1 || all[0].BaseSequenceNumber != 65534 || all[0].PacketStatusCount != 6 || all[0].FbPktCount != 0 {
		t.Fatalf("feedback %+v; expected one of 6 packets from 65534", all)
	}
	times, _ := arrivals(t, all[0])
	want := map[uint16]uint32{65534: 4000, 65535: 4004, 2: 4324, 3: 4004}
	if len(times) != len(want) {
		t.Errorf("reported %v; expected %v", times, want)
	}
	for seq, at := range want {
		if times[seq] != at {
			t.Errorf("number %d at tick %d; expected %d", seq, times[seq], at)
		}
	}
	if again := feedbacks(t, &a, testRoom); len(again) != 0 {
		t.Errorf("with nothing new there is %+v", again)
	}
	// One that comes late is reported with those after it.
	a.Note(0, at+2_000_000)
	all = feedbacks(t, &a, testRoom)
	if len(all) != 1 || all[0].BaseSequenceNumber != 0 || all[0].PacketStatusCount != 4 || all[0].FbPktCount != 1 {
		t.Fatalf("feedback %+v; expected one of 4 packets from 0", all)
	}
	if times, _ = arrivals(t, all[0]); times[0] != 4008 || len(times) != 3 {
		t.Errorf("reported %v; expected 0 at 4008, and 2 and 3", times)
	}
}

// Each packet is reported with its time, in any order of arrival, by as many feedbacks as it takes.
func TestTransportFeedbackAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		arrivalsModel(t, rand.New(rand.NewPCG(seed, 0)), 60+int(seed)*8)
	}
}

func FuzzTransportFeedback(f *testing.F) {
	f.Add(uint64(1), uint16(200))
	f.Add(uint64(99), uint16(40))
	f.Fuzz(func(t *testing.T, seed uint64, room uint16) {
		arrivalsModel(t, rand.New(rand.NewPCG(seed, 1)), 40+int(room%1400))
	})
}

func arrivalsModel(t testing.TB, r *rand.Rand, room int) {
	var a Arrivals
	next, now := 1<<20+r.Uint64N(1<<16), r.Int64N(1<<55)
	ever := make(map[uint64]bool)
	pace := 1 + r.Int64N(20_000_000)
	for range 20 {
		// The arrivals between two feedbacks. Reordering stays within the least room.
		came := make(map[uint16]uint32)
		for range r.IntN(300) {
			now += r.Int64N(pace)
			switch r.IntN(60) {
			case 0:
				now += r.Int64N(20_000_000_000) // more than a delta can say
			case 1:
				next += r.Uint64N(200)
			case 2:
				pace = 1 + r.Int64N(20_000_000)
			}
			seq := next
			if late := r.Uint64N(8); r.IntN(4) == 0 && late > 0 {
				seq -= late
			} else {
				next++
			}
			a.Note(uint16(seq), now)
			if !ever[seq] { // the first counts
				came[uint16(seq)] = uint32(now / tick)
			}
			ever[seq] = true
		}
		told := make(map[uint16]uint32)
		for _, p := range feedbacks(t, &a, room) {
			times, _ := arrivals(t, p)
			for seq, at := range times {
				told[seq] = at
			}
		}
		for seq, at := range came {
			if got, ok := told[seq]; !ok || got != at {
				t.Fatalf("number %d was reported (%t) at tick %d; it came at %d", seq, ok, got, at)
			}
		}
	}
}

// Jumps of the numbers, up to half their range and back, cost bounded memory and never the future.
func TestTransportFeedbackJumps(t *testing.T) {
	var a Arrivals
	seq, at := uint16(0), int64(1)
	for i := range 2000 {
		seq += uint16(i * 977)
		at += 1_000_000
		a.Note(seq, at)
		if len(a.times) > maxArrivals {
			t.Fatalf("room for %d numbers; expected at most %d", len(a.times), maxArrivals)
		}
		if i%7 == 0 {
			feedbacks(t, &a, testRoom)
		}
	}
	feedbacks(t, &a, testRoom)
	a.Note(seq+1, at)
	if all := feedbacks(t, &a, testRoom); len(all) != 1 || all[0].PacketStatusCount != 1 {
		t.Errorf("after the jumps a packet is reported as %+v", all)
	}
}

func TestTransportFeedbackAllocatesNothing(t *testing.T) {
	var a Arrivals
	b := make([]byte, 0, 1500)
	seq, at := uint16(0), int64(0)
	run := func() {
		for range 40 {
			seq += 1 + seq%13/12
			at += 1_300_000
			a.Note(seq, at)
		}
		b, _ = a.AppendFeedback(b[:0], testRoom, 1, 2)
	}
	run()
	if n := testing.AllocsPerRun(100, run); n != 0 {
		t.Errorf("%v allocations a feedback", n)
	}
}

// BenchmarkTransportFeedback is a feedback on ten packets, as 2 Mbit/s make in 50 ms, by us and by pion.
func BenchmarkTransportFeedback(b *testing.B) {
	const packets = 10
	b.Run("ours", func(b *testing.B) {
		var a Arrivals
		dst := make([]byte, 0, 1500)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for n := range packets {
				a.Note(uint16(i*packets+n), int64(i*packets+n)*5_000_000)
			}
			dst, _ = a.AppendFeedback(dst[:0], testRoom, 1, 2)
		}
	})
	b.Run("pion", func(b *testing.B) {
		r := twcc.NewRecorder(1)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for n := range packets {
				r.Record(2, uint16(i*packets+n), int64(i*packets+n)*5000)
			}
			for _, p := range r.BuildFeedbackPacket() {
				if _, err := p.Marshal(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// The least room is enough for one packet at a time.
func TestTransportFeedbackInLittleRoom(t *testing.T) {
	var a Arrivals
	for i := range 100 {
		a.Note(uint16(i*3), int64(i)*70_000_000)
	}
	reported := 0
	for _, p := range feedbacks(t, &a, 32) {
		times, _ := arrivals(t, p)
		reported += len(times)
	}
	if reported != 100 {
		t.Errorf("%d packets of 100 were reported", reported)
	}
}
