package park

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A way is a candidate: how a worker's thread could sleep.
type way struct {
	name   string
	locked bool // to its thread
	sleep  func(*Place, time.Duration)
}

var ways = []way{
	{"doze", false, (*Place).Doze},
	{"doze-locked", true, (*Place).Doze},
	{"rest", false, (*Place).Rest},
	{"rest-locked", true, (*Place).Rest},
	{"known", false, known},
	{"known-after-1ms", true, knownLater},
	{"rest-after-300us", false, restLater},
}

// known is a call that the runtime knows of.
func known(p *Place, span time.Duration) {
	left := unix.NsecToTimespec(int64(span))
	n, _ := unix.Ppoll(p.Fds, &left, nil)
	p.heed(n)
}

// knownLater begins with a call that the runtime does not know of.
func knownLater(p *Place, span time.Duration) {
	const first = time.Millisecond
	p.Doze(min(first, span))
	if span > first && !p.found() {
		known(p, span-first)
	}
}

// restLater dozes for a moment, and then rests.
func restLater(p *Place, span time.Duration) {
	const first = 300 * time.Microsecond
	p.Doze(min(first, span))
	if span > first && !p.found() {
		p.Rest(span - first)
	}
}

// found reports whether the last sleep was ended by a descriptor.
func (p *Place) found() bool {
	return slices.ContainsFunc(p.Fds, func(f unix.PollFd) bool { return f.Revents != 0 })
}

// longest is how long the sleeper of a benchmark sleeps at most. A worker with media has a deadline about so near.
const longest = 20 * time.Millisecond

// BenchmarkSleep measures the CPU time of the whole process for each arrival, with the runtime's monitor, and how late
// the sleeper notices an arrival. Another process sends at random moments, with a mean gap.
func BenchmarkSleep(b *testing.B) {
	for _, gap := range []time.Duration{30 * time.Millisecond, 3 * time.Millisecond, 300 * time.Microsecond} {
		for _, w := range ways {
			b.Run(fmt.Sprintf("%v/%s", gap, w.name), func(b *testing.B) { w.receive(b, gap) })
		}
	}
}

func (w *way) receive(b *testing.B, gap time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3)) // as a server with one worker
	p, r, stop := arrivals(b, gap)
	defer stop()
	done := make(chan struct{})
	late := make([]time.Duration, 0, b.N)
	turns := 0
	var began, ended time.Duration
	go func() {
		defer close(done)
		if w.locked {
			runtime.LockOSThread()
		}
		var stamps [64]time.Duration
		for len(late) < b.N {
			w.sleep(p, longest)
			turns++
			n := read(r, unsafe.Pointer(&stamps), unsafe.Sizeof(stamps))
			now := monotonic()
			for _, at := range stamps[:n/unsafe.Sizeof(now)] {
				late = append(late, now-at)
			}
			if began == 0 && n > 0 { // the other process is there
				began = cpuTime()
				b.ResetTimer()
			}
		}
		ended = cpuTime()
	}()
	<-done
	b.StopTimer()
	report(b, "late", late)
	used := ended - began
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(100*used.Seconds()/b.Elapsed().Seconds(), "cpu-%")
	b.ReportMetric(float64(turns)/float64(b.N), "turns/op")
}

// BenchmarkStop measures how long a stop-the-world takes while a thread sleeps, with few and with many arrivals.
func BenchmarkStop(b *testing.B) {
	for _, gap := range []time.Duration{30 * time.Millisecond, 300 * time.Microsecond} {
		for _, w := range ways {
			b.Run(fmt.Sprintf("%v/%s", gap, w.name), func(b *testing.B) { w.stop(b, gap) })
		}
	}
}

func (w *way) stop(b *testing.B, gap time.Duration) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	p, r, stop := arrivals(b, gap)
	defer stop()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if w.locked {
			runtime.LockOSThread()
		}
		var stamps [512]byte
		for ctx.Err() == nil {
			w.sleep(p, longest)
			read(r, unsafe.Pointer(&stamps), unsafe.Sizeof(stamps))
		}
	}()
	var stats runtime.MemStats
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		time.Sleep(time.Millisecond) // until the thread sleeps
		began := time.Now()
		runtime.ReadMemStats(&stats)
		took = append(took, time.Since(began))
	}
	cancel()
	<-done
	report(b, "stop", took)
}

// read returns how many bytes were there. The runtime does not know of this call either.
func read(fd int, to unsafe.Pointer, room uintptr) uintptr {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(to), room)
	if errno != 0 {
		return 0
	}
	return n
}

// report adds the median and the 99th percentile.
func report(b *testing.B, what string, spans []time.Duration) {
	slices.Sort(spans)
	at := func(p int) float64 { return float64(spans[(len(spans)-1)*p/100].Nanoseconds()) / 1000 }
	b.ReportMetric(at(50), what+"-p50-µs")
	b.ReportMetric(at(99), what+"-p99-µs")
	b.ReportMetric(0, "ns/op")
}

// writerGap is set in the environment of the process that writes.
const writerGap = "RINGCAST_PARK_GAP"

func TestMain(m *testing.M) {
	if gap, err := time.ParseDuration(os.Getenv(writerGap)); err == nil {
		write(gap)
		return
	}
	m.Run()
}

// arrivals makes a place with a pipe, into which another process writes.
func arrivals(b *testing.B, gap time.Duration) (p *Place, r int, stop func()) {
	b.Helper()
	p, r, w := open(b)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerGap+"="+gap.String())
	own, err := unix.Dup(w)
	if err != nil {
		b.Fatal(err)
	}
	pipe := os.NewFile(uintptr(own), "pipe")
	defer pipe.Close()
	cmd.Stdout = pipe
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return p, r, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// write writes the time to the standard output, until that is closed.
func write(gap time.Duration) {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	random := rand.New(rand.NewPCG(1, 2))
	for {
		pause := unix.NsecToTimespec(int64(random.ExpFloat64() * float64(gap)))
		_ = unix.Nanosleep(&pause, nil)
		now := monotonic()
		stamp := (*[unsafe.Sizeof(now)]byte)(unsafe.Pointer(&now))
		if _, err := unix.Write(1, stamp[:]); err != nil && err != unix.EAGAIN {
			return
		}
	}
}

// monotonic is a time that all processes share.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return time.Duration(t.Nano())
}

// cpuTime is that of this process so far.
func cpuTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
