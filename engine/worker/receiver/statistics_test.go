package receiver

import (
	"math"
	"math/rand/v2"
	"testing"

	"ringcast/engine/port"
)

// rfcReport is RFC 3550 appendix A.3, with its names, on extended sequence numbers counted from 0.
type rfcReport struct {
	baseSeq, max                           uint32 // max with cycles
	received, expectedPrior, receivedPrior uint32
}

func (r *rfcReport) take(ext uint32) {
	if r.received == 0 {
		r.baseSeq, r.max = ext, ext
	}
	r.max = max(r.max, ext)
	r.received++
}

func (r *rfcReport) block() (lost int32, fraction uint8, highest uint32) {
	expected := r.max - r.baseSeq + 1
	lost = int32(expected) - int32(r.received)
	expectedInterval := expected - r.expectedPrior
	r.expectedPrior = expected
	receivedInterval := r.received - r.receivedPrior
	r.receivedPrior = r.received
	lostInterval := int32(expectedInterval) - int32(receivedInterval)
	if expectedInterval != 0 && lostInterval > 0 {
		fraction = uint8(min(uint32(lostInterval)<<8/expectedInterval, 255))
	}
	return lost, fraction, r.max
}

func TestReportAgainstRFC3550(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 1))
	r := newReceiver(90000)
	var want rfcReport
	ext := uint32(65000)
	now := port.Time(0)
	for range 200 {
		loss := rng.Float64() * 0.5
		if rng.IntN(5) == 0 {
			loss = 0
		}
		for range 500 {
			if rng.Float64() >= loss {
				accept(r, uint16(ext), now)
				want.take(ext)
			}
			ext++
		}
		now += port.Second
		b := r.Report(now)
		lost, fraction, highest := want.block()
		if b.Lost != lost || b.FractionLost != fraction || b.Highest != highest {
			t.Fatalf("at %d: lost %d, fraction %d, highest %d; RFC 3550 gives %d, %d, %d",
				ext, b.Lost, b.FractionLost, b.Highest, lost, fraction, highest)
		}
	}
}

func TestReportOfNothingNew(t *testing.T) {
	r := newReceiver(90000)
	accept(r, 1, 0)
	r.Report(0)
	if b := r.Report(port.Second); b.FractionLost != 0 || b.Lost != 0 {
		t.Errorf("an idle second: %+v", b)
	}
	accept(r, 10, 0)
	for seq := uint16(2); seq < 10; seq++ {
		accept(r, seq, 0)
	}
	if b := r.Report(2 * port.Second); b.FractionLost != 0 || b.Lost != 0 {
		t.Errorf("all holes filled: %+v", b)
	}
}

func TestReportLastSR(t *testing.T) {
	r := newReceiver(90000)
	accept(r, 1, 0)
	if b := r.Report(port.Second); b.LastSR != 0 || b.Delay != 0 {
		t.Errorf("before any sender report: %+v", b)
	}
	r.NoteSenderReport(0x9999_1234_5678_9999, 2*port.Second)
	if b := r.Report(2*port.Second + 250*port.Millisecond); b.LastSR != 0x12345678 || b.Delay != 65536/4 {
		t.Errorf("a quarter of a second later: %+v", b)
	}
}

// The interarrival jitter against RFC 3550 section 6.4.1 in floating point: it comes to within a few
// units once the start has decayed.
func TestJitterAgainstRFC3550(t *testing.T) {
	for _, rate := range []uint32{90000, 48000} {
		rng := rand.New(rand.NewPCG(uint64(rate), 1))
		r := newReceiver(rate)
		want, last := 0.0, 0.0
		at := 1000 * port.Second
		ts := uint32(math.MaxUint32 - 100*rate) // soon to wrap around
		for n := range 5000 {
			span := port.Time(20 * port.Millisecond)
			at += span
			ts += uint32(uint64(rate) * 20 / 1000)
			arrival := at + port.Time(rng.Int64N(int64(15*port.Millisecond)))
			// S and R of the RFC, R in timestamp units; the wrap cancels out in the difference.
			transit := float64(arrival)/1e9*float64(rate) - float64(n)*float64(rate)*0.02
			if n > 0 {
				want += (math.Abs(transit-last) - want) / 16
			}
			last = transit
			r.Accept(arrival, &Packet{Sequence: uint16(n), Timestamp: ts, Arrival: arrival, NACK: true})
			if got := float64(r.Report(arrival).Jitter); n > 200 && math.Abs(got-want) > 3+want/50 {
				t.Fatalf("rate %d, packet %d: jitter %v; RFC 3550 gives %.1f", rate, n, got, want)
			}
		}
	}
}

// The delay since a sender report wraps like its field, and not before.
func TestReportDelayAfterADay(t *testing.T) {
	const hours = 3600 * port.Second
	r := newReceiver(90000)
	r.Accept(0, &Packet{Sequence: 1})
	r.NoteSenderReport(1<<16, port.Second)
	if b := r.Report(40*hours + port.Second); b.Delay != uint32(40*3600<<16&math.MaxUint32) {
		t.Errorf("40 h after the sender report the delay is %d; expected %d",
			b.Delay, uint32(40*3600<<16&math.MaxUint32))
	}
}
