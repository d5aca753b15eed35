package worker

import "testing"

func TestNTP(t *testing.T) {
	for _, ns := range []int64{0, 1, 999_999_999, 1e9, 3_900_000_000*1e9 + 123_456_789, 4_294_967_295 * 1e9} {
		if d := fromNTP(toNTP(ns)) - ns; d < -1 || d > 1 {
			t.Errorf("%d ns comes back %d off", ns, d)
		}
	}
}
