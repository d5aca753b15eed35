package watch

import (
	"math/rand/v2"
	"testing"

	pion "github.com/pion/rtcp"
)

// received reads a feedback with pion: the arrival of each packet in steps of 250 µs, or -1.
func received(t *testing.T, b []byte) (base uint16, times []int64) {
	t.Helper()
	var p pion.TransportLayerCC
	if err := p.Unmarshal(b); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
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
	at := int64(p.ReferenceTime) * stepsPerEpoch
	for _, s := range symbols[:p.PacketStatusCount] {
		if s == notReceived {
			times = append(times, -1)
			continue
		}
		at += p.RecvDeltas[0].Delta / 250
		p.RecvDeltas = p.RecvDeltas[1:]
		times = append(times, at)
	}
	if len(p.RecvDeltas) != 0 {
		t.Errorf("%d deltas left", len(p.RecvDeltas))
	}
	return p.BaseSequenceNumber, times
}

// TestFeedback sends packets with losses, reordering and pauses, and reads the reports.
func TestFeedback(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var f feedback
		seq := uint16(random.Uint32())
		at := int64(1000 * deltaStep * (1 + round))
		first := true
		loss := random.Float64() * 0.5
		for report := range 20 {
			want := map[uint16]int64{}
			for range random.IntN(60) {
				if random.Float64() >= loss || first {
					want[seq] = at / deltaStep
					f.note(seq, at)
					first = false
				}
				seq++
				if random.IntN(10) == 0 {
					at += int64(random.IntN(300)) * 1_000_000
				} else {
					at += int64(random.IntN(2_000_000))
				}
			}
			b := f.appendFeedback(nil, 1, 2)
			if len(want) == 0 {
				if len(b) != 0 {
					t.Fatal("feedback on nothing")
				}
				continue
			}
			if len(b)%4 != 0 {
				t.Fatalf("%d bytes", len(b))
			}
			base, times := received(t, b)
			for i, got := range times {
				seq := base + uint16(i)
				if w, came := want[seq]; came && w != got || !came && got != -1 {
					t.Fatalf("round %d, report %d, packet %d: at %d, want %d (%v)", round, report, seq, got, w, came)
				}
				delete(want, seq)
			}
			if len(want) != 0 {
				t.Fatalf("round %d: not reported: %v", round, want)
			}
		}
	}
}

func TestFeedbackReordered(t *testing.T) {
	var f feedback
	const ms = 1_000_000
	for _, a := range []arrival{{65534, 640 * ms}, {1, 641 * ms}, {65535, 642 * ms}, {1, 643 * ms}, {65533, 644 * ms}} {
		f.note(a.seq, a.at)
	}
	base, times := received(t, f.appendFeedback(nil, 1, 2))
	if base != 65534 || len(times) != 4 || times[0] != 2560 || times[1] != 2568 || times[2] != -1 || times[3] != 2564 {
		t.Errorf("from %d: %v", base, times)
	}
	if b := f.appendFeedback(nil, 1, 2); len(b) != 0 {
		t.Error("reported again")
	}
	f.spread(5, 4, 700*ms, 704*ms)
	if base, times := received(t, f.appendFeedback(nil, 1, 2)); base != 2 || len(times) != 4 ||
		times[3]-times[0] != 12 {
		t.Errorf("spread: from %d: %v", base, times)
	}
}
