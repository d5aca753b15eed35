package worker

import (
	"math"
	"math/big"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
)

const hour = 3600 * port.Second

func TestTicks(t *testing.T) {
	for _, rate := range []uint32{8000, 48000, 90000, 1 << 16} {
		for _, span := range []port.Time{
			0, 1, port.Second - 1, 28 * hour, 29 * hour, -29 * hour, 365 * 24 * hour, -1, math.MaxInt64, math.MinInt64,
		} {
			x := new(big.Int).Mul(big.NewInt(int64(span)), big.NewInt(int64(rate)))
			x.Quo(x, big.NewInt(int64(port.Second))).And(x, big.NewInt(math.MaxUint32))
			if got, want := ticks(int64(span), rate), uint32(x.Uint64()); got != want {
				t.Errorf("%d ns at %d Hz are %d ticks modulo 2^32; expected %d", span, rate, got, want)
			}
		}
	}
}

// A stream that comes back after more than a day goes on where time is.
func TestTimestampsAfterADay(t *testing.T) {
	for _, pause := range []port.Time{hour, 27 * hour, 30 * hour, 680 * hour} {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		s := l.watch(1, watched(false)...)
		p.frame(0, 1000, true)
		l.now += pause
		l.tell(bus.Message{Kind: bus.PublicationClosed, Stream: 1, Generation: 1})
		q := l.publish(1, 2, published()...)
		q.frame(0, 0x7000_0000, true)
		got := s.media(subVideo)
		if len(got) != 2 {
			t.Fatalf("%d packets; expected 2", len(got))
		}
		want := uint32(int64(pause/port.Second) * 90_000)
		if d := got[1].Timestamp - got[0].Timestamp; d != want {
			t.Errorf("after a pause of %d h the timestamp moved by %d; expected %d", pause/hour, d, want)
		}
	}
}

// The delay since a sender report wraps like its field, and not before.
func TestReportDelayAfterADay(t *testing.T) {
	r := newReceiver(90000)
	r.accept(1, 0, false)
	r.lastSR, r.lastSRArrival = 1, port.Second
	if b := r.report(40*hour + port.Second); b.Delay != uint32(40*3600<<16&math.MaxUint32) {
		t.Errorf("40 h after the sender report the delay is %d; expected %d", b.Delay, uint32(40*3600<<16&math.MaxUint32))
	}
}
