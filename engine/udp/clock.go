package udp

import (
	"time"

	"ringcast/engine/port"
)

// started is a moment of this process, and epoch is the same moment on the ports' clock.
var (
	started = time.Now()
	epoch   = epochOf(started)
)

// Now is the monotonic clock of these ports. On Linux it is CLOCK_MONOTONIC.
func Now() port.Time { return epoch + port.Time(time.Since(started)) }

// maxAge bounds the age of an arrival. An older one means that the wall clock was set.
const maxAge = port.Second

// clampArrival holds an arrival time between now and a second before it.
func clampArrival(arrival, now port.Time) port.Time {
	return max(now-maxAge, min(arrival, now))
}
