package main

import (
	"context"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"ringcast/engine/host"
)

const (
	// collectAfter is how much garbage may gather before a collection, at least. Each join makes a tenth of a megabyte.
	// By Go's own default a storm of joins on a small heap means 20 collections a second, of which each stops the media
	// threads twice.
	collectAfter = 32 << 20
	// collectorTick is how often the target follows the live heap.
	collectorTick = 10 * time.Second
	// Go's default percentage, and the one at which Go collects a heap of next to nothing at 32 MB.
	leastPercent, mostPercent = 100, 800
)

// manageMemory sets the collector's limit and target, each unless the operator has. The limit is three quarters of the
// memory that this process may use. The rest is for memory outside of Go's heap: AF_XDP's packets and the kernel's
// buffers. Near the limit the runtime collects more often.
func manageMemory(ctx context.Context) {
	ram := host.RAM()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(ram / 4 * 3)
	}
	if os.Getenv("GOGC") == "" {
		tuneCollector(ctx, ram)
	}
}

// tuneCollector sets the collector's percentage, and then keeps it fitting to the live heap until ctx ends.
func tuneCollector(ctx context.Context, ram int64) {
	percent := collectorPercent(liveHeap(), ram)
	debug.SetGCPercent(percent)
	go func() {
		ticker := time.NewTicker(collectorTick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			// Setting it stops the world, so small changes wait.
			if p := collectorPercent(liveHeap(), ram); 3*p > 4*percent || 4*p < 3*percent {
				percent = p
				debug.SetGCPercent(p)
			}
		}
	}()
}

// collectorPercent returns the percentage of the live heap that may gather as garbage. It allows as much as is live,
// and at least collectAfter, or a sixteenth of the memory if that is less.
func collectorPercent(live uint64, ram int64) int {
	floor := math.Min(collectAfter, float64(ram)/16)
	return int(math.Max(leastPercent, math.Min(100*floor/math.Max(float64(live), 1), mostPercent)))
}

// liveHeap is the memory that the last collection left.
func liveHeap() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return sample[0].Value.Uint64()
}
