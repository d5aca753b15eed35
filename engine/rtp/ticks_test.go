package rtp

import (
	"math"
	"math/big"
	"testing"
)

func TestTicks(t *testing.T) {
	const second, hour = 1_000_000_000, 3600 * 1_000_000_000
	for _, rate := range []uint32{8000, 48000, 90000, 1 << 16} {
		for _, span := range []int64{
			0, 1, second - 1, 28 * hour, 29 * hour, -29 * hour, 365 * 24 * hour, -1, math.MaxInt64, math.MinInt64,
		} {
			x := new(big.Int).Mul(big.NewInt(span), big.NewInt(int64(rate)))
			x.Quo(x, big.NewInt(second)).And(x, big.NewInt(math.MaxUint32))
			if got, want := Ticks(span, rate), uint32(x.Uint64()); got != want {
				t.Errorf("%d ns at %d Hz are %d ticks modulo 2^32; expected %d", span, rate, got, want)
			}
		}
	}
}
