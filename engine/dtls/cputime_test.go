package dtls

import (
	"runtime/metrics"
	"time"
)

// cpuTime is the processor time that the process's Go code has taken, as far as the runtime has
// accounted for it.
func cpuTime() time.Duration {
	sample := []metrics.Sample{{Name: "/cpu/classes/user:cpu-seconds"}}
	metrics.Read(sample)
	return time.Duration(sample[0].Value.Float64() * float64(time.Second))
}
