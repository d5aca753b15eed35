package park

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(ends[0]); unix.Close(ends[1]) })
	return ends[0], ends[1]
}

// Poll sees what is there, and what comes while it dozes or sleeps deeper; nothing is allocated for it.
func TestPoll(t *testing.T) {
	r, w := pipe(t)
	fds := []unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}}
	for _, span := range []time.Duration{0, dozeFor / 2, dozeFor, 3 * dozeFor} {
		began := time.Now()
		for ; time.Since(began) < span; Poll(fds, span-time.Since(began)) { // again, if it was a signal
			if fds[0].Revents != 0 {
				t.Fatal("an empty pipe is readable")
			}
		}
	}
	for _, after := range []time.Duration{0, dozeFor / 2, 5 * dozeFor} {
		time.AfterFunc(after, func() { _, _ = unix.Write(w, []byte{1}) })
		for fds[0].Revents = 0; fds[0].Revents == 0; {
			Poll(fds, -1)
		}
		var b [1]byte
		_, _ = unix.Read(r, b[:])
	}
	if n := testing.AllocsPerRun(10, func() { Poll(fds, 2*dozeFor) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// The collector can stop a world in which all processors' threads are in Poll, dozing or longer.
func TestPollLetsCollect(t *testing.T) {
	r, w := pipe(t)
	fds := []unix.PollFd{{Fd: int32(r), Events: unix.POLLIN}}
	done := make(chan struct{})
	n := runtime.GOMAXPROCS(0)
	for i := range n {
		go func() {
			fds := append([]unix.PollFd(nil), fds...)
			for fds[0].Revents == 0 {
				span := dozeFor
				if i%2 > 0 {
					span = -1
				}
				Poll(fds, span)
			}
			done <- struct{}{}
		}()
	}
	for range 20 {
		runtime.GC() // or the test never ends
	}
	_, _ = unix.Write(w, []byte{1})
	for range n {
		<-done
	}
}
