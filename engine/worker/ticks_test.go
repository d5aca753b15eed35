package worker

import (
	"math"
	"math/big"
	"testing"

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

func TestNTP(t *testing.T) {
	for _, ns := range []int64{0, 1, 999_999_999, 1e9, 3_900_000_000*1e9 + 123_456_789, 4_294_967_295 * 1e9} {
		if d := fromNTP(toNTP(ns)) - ns; d < -1 || d > 1 {
			t.Errorf("%d ns comes back %d off", ns, d)
		}
	}
}
