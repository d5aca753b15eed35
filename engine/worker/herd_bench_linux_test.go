package worker

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// BenchmarkHerd is 10,000 streams on several workers, driven one after another. Publishers are silent and nobody
// watches, or each has one viewer, at another worker, that waits, or they send ten packets a second. One iteration is
// a second. It reports the most thread CPU time of one call into a worker, by method. connecting is that of any method
// while peers connect. A Poll fills at most 256 frames. CPU time a second and heap are for each stream. The collector
// is off within a second.
func BenchmarkHerd(b *testing.B) {
	for _, workers := range []int{4, 16} {
		for _, streams := range []int{2500, 10_000} {
			for _, name := range []string{"idle", "waiting", "playing"} {
				b.Run(fmt.Sprintf("workers=%d/streams=%d/%s", workers, streams, name), func(b *testing.B) {
					viewers := streams
					if name == "idle" {
						viewers = 0
					}
					benchHerd(b, workers, streams, viewers, name == "playing")
				})
			}
		}
	}
}

func benchHerd(b *testing.B, workers, streams, viewers int, playing bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	h := newHerd(b, workers, streams, viewers)
	before := liveBytes()
	var calls [numHerdCalls][]time.Duration
	var total time.Duration
	h.turn = func(c herdCall, call func()) {
		start := threadTime(b)
		call()
		d := threadTime(b) - start
		total += d
		calls[c] = append(calls[c], d)
	}
	h.open(h.pubs)
	h.open(h.subs)
	connecting := slices.Max(slices.Concat(calls[:]...))
	memory := liveBytes() - before
	clear(calls[:])
	total = 0
	key := true
	b.ResetTimer()
	for b.Loop() {
		step := 0
		h.pass(port.Second, 10*port.Millisecond, func() {
			for i := step % 10; playing && i < len(h.subs); i += 10 {
				h.send(&h.pubs[i], key && step < 10)
			}
			step++
		})
		key = false
		runtime.GC()
	}
	for c, name := range [...]string{"message", "packet", "timeout", "poll"} {
		slices.Sort(calls[c])
		if n := len(calls[c]); n > 0 {
			b.ReportMetric(float64(calls[c][n*999/1000].Microseconds()), "µs-"+name+"-p99.9")
			b.ReportMetric(float64(calls[c][n-1].Microseconds()), "µs-"+name+"-most")
		}
	}
	b.ReportMetric(float64(connecting.Microseconds()), "µs-connecting")
	b.ReportMetric(float64(total.Microseconds())/float64(b.N)/float64(streams), "µs/s/stream")
	b.ReportMetric(float64(memory)/float64(streams), "B/stream")
	b.ReportMetric(float64(h.frames)/float64(b.N), "frames/s")
	b.ReportMetric(0, "ns/op")
}

func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
