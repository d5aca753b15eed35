package park

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open is a place with a pipe.
func open(t *testing.T) (p *Place, r, w int) {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		unix.Close(ends[0])
		unix.Close(ends[1])
	})
	if err := p.Add(ends[0]); err != nil {
		t.Fatal(err)
	}
	return p, ends[0], ends[1]
}

var sleeps = map[string]func(*Place, time.Duration){"Doze": (*Place).Doze, "Rest": (*Place).Rest}

// A sleep ends on time and not earlier, by an event that is there or comes meanwhile, and by Wake. A removed descriptor
// ends none.
func TestSleep(t *testing.T) {
	for name, sleep := range sleeps {
		t.Run(name, func(t *testing.T) {
			p, r, w := open(t)
			for _, span := range []time.Duration{0, dozeFor / 2, dozeFor, 3 * dozeFor} {
				began := time.Now()
				sleep(p, span)
				if took := time.Since(began); took < span || p.Fds[0].Revents|p.Fds[1].Revents != 0 {
					t.Errorf("of %v it slept %v, and found %v", span, took, p.Fds)
				}
			}
			for _, after := range []time.Duration{0, dozeFor / 2, 5 * dozeFor} {
				time.AfterFunc(after, func() { _, _ = unix.Write(w, []byte{1}) })
				for p.Fds[1].Revents == 0 {
					sleep(p, -1)
				}
				var b [1]byte
				_, _ = unix.Read(r, b[:])
				for p.Fds[1].Revents != 0 {
					sleep(p, 0)
				}

				time.AfterFunc(after, p.Wake)
				for p.Fds[0].Revents == 0 {
					sleep(p, -1)
				}
				for p.Fds[0].Revents != 0 { // it was heeded
					sleep(p, 0)
				}
			}
			_, _ = unix.Write(w, []byte{1})
			p.Remove(r)
			sleep(p, dozeFor)
			if len(p.Fds) != 1 || p.Fds[0].Revents != 0 {
				t.Errorf("after Remove: %v", p.Fds)
			}
		})
	}
}

// After a Rest nothing is watched, whether it ended by its time or by one of several descriptors. Else each datagram of
// a worker that only dozes would wake the runtime's poller.
func TestRestWatchesNoLonger(t *testing.T) {
	for name, end := range map[string]func(*Place){"its time": func(*Place) {}, "a wake": (*Place).Wake} {
		p, _, w := open(t)
		end(p)
		p.Rest(dozeFor)
		_, _ = unix.Write(w, []byte{1})
		var events [4]unix.EpollEvent
		if n, err := unix.EpollWait(p.epoll, events[:], 0); n != 0 || err != nil {
			t.Errorf("after a Rest that ended by %s: %d descriptors are watched (%v); want none", name, n, err)
		}
		p.Doze(0)
		if p.Fds[1].Revents == 0 {
			t.Errorf("after a Rest that ended by %s: Doze misses what is readable", name)
		}
	}
}

func TestDozeAllocates(t *testing.T) {
	p, _, _ := open(t)
	if n := testing.AllocsPerRun(10, func() { p.Doze(2 * dozeFor) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

// Datagrams that arrive while nobody rests do not wake the runtime's poller.
func TestWatchedAtRestOnly(t *testing.T) {
	p, r, w := open(t)
	polled := func() bool {
		fds := []unix.PollFd{{Fd: int32(p.epoll), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	arrive := func() {
		if _, err := unix.Write(w, []byte{1}); err != nil {
			t.Fatal(err)
		}
	}
	arrive()
	if polled() {
		t.Error("watched before any rest")
	}
	p.Rest(-1)
	var b [1]byte
	_, _ = unix.Read(r, b[:])
	arrive()
	if polled() {
		t.Error("watched after a rest")
	}
}

// The collector can stop a world in which the threads of all processors sleep.
func TestCollect(t *testing.T) {
	places := make([]*Place, runtime.GOMAXPROCS(0))
	stop, done := make(chan struct{}), make(chan struct{})
	for i := range places {
		p, _, _ := open(t)
		places[i] = p
		go func() {
			for {
				p.Doze(time.Duration(i%3-1) * dozeFor)
				select {
				case <-stop:
					done <- struct{}{}
					return
				default:
				}
			}
		}()
	}
	for range 20 {
		runtime.GC() // or the test never ends
	}
	close(stop)
	for _, p := range places {
		p.Wake()
		<-done
	}
}
