package udp

import (
	"math"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// epochOf finds CLOCK_MONOTONIC at the moment start. Go's monotonic clock is the same clock, but shows differences
// only. So both are read closely together, a few times, and the closest reading counts.
func epochOf(start time.Time) port.Time {
	var epoch port.Time
	closest := time.Duration(math.MaxInt64)
	for range 8 {
		before := time.Since(start)
		var t unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
			return 0
		}
		after := time.Since(start)
		if after-before < closest {
			closest = after - before
			epoch = port.Time(t.Nano() - int64(before+after)/2)
		}
	}
	return epoch
}

// clocks reads the ports' clock and the wall clock (nanoseconds since 1970) at one moment.
func clocks() (now port.Time, wall int64) {
	t := time.Now()
	return epoch + port.Time(t.Sub(started)), t.UnixNano()
}
