package udp

import (
	"time"

	"ringcast/engine/port"
)

// started is a moment of this process, epoch the same moment in the ports' time.
var (
	started = time.Now()
	epoch   = epochOf(started)
)

// Now is the monotonic clock of these ports. On Linux it is CLOCK_MONOTONIC.
func Now() port.Time { return epoch + port.Time(time.Since(started)) }

// maxAge bounds how far before now an arrival is believed to lie: further back, the wall clock was set.
const maxAge = port.Second

// clampArrival holds an arrival time between now and a second before it.
func clampArrival(arrival, now port.Time) port.Time {
	return max(now-maxAge, min(arrival, now))
}
