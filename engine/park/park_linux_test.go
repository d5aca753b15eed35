package park

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// moment is a short time, but longer than a turn of the scheduler.
const moment = time.Millisecond

// open is a place with a pipe.
func open(t testing.TB) (p *Place, r, w int) {
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

// A sleep ends on time and not earlier, by an event that is there or comes meanwhile, and by Wake. A muted or removed
// descriptor ends none.
func TestSleep(t *testing.T) {
	for name, sleep := range sleeps {
		t.Run(name, func(t *testing.T) {
			p, r, w := open(t)
			for _, span := range []time.Duration{0, moment / 2, moment, 3 * moment} {
				began := time.Now()
				sleep(p, span)
				if took := time.Since(began); took < span || p.Fds[0].Revents|p.Fds[1].Revents != 0 {
					t.Errorf("of %v it slept %v, and found %v", span, took, p.Fds)
				}
			}
			for _, after := range []time.Duration{0, moment / 2, 5 * moment} {
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
			p.Mute(r)
			began := time.Now()
			sleep(p, moment)
			if took := time.Since(began); took < moment || p.Fds[1].Revents != 0 {
				t.Errorf("a muted descriptor ends a sleep of %v after %v: %v", moment, took, p.Fds)
			}
			p.Unmute(r)
			for sleep(p, -1); p.Fds[1].Revents == 0; {
				sleep(p, -1)
			}
			p.Mute(r)
			p.Remove(r)
			sleep(p, moment)
			if len(p.Fds) != 1 || p.Fds[0].Revents != 0 {
				t.Errorf("after Remove: %v", p.Fds)
			}
		})
	}
}

// After a Rest nothing is watched and no timer runs, whether it ended by its time or by a descriptor. Else each
// datagram of a worker that only dozes would wake the runtime's poller.
func TestRestWatchesNoLonger(t *testing.T) {
	for name, span := range map[string]time.Duration{"its time": moment, "a wake": time.Hour} {
		p, _, w := open(t)
		if span != moment {
			p.Wake()
		}
		p.Rest(span)
		_, _ = unix.Write(w, []byte{1})
		var events [4]unix.EpollEvent
		if n, err := unix.EpollWait(p.epoll, events[:], 0); n != 0 || err != nil {
			t.Errorf("after a Rest that ended by %s: %d descriptors are watched (%v); want none", name, n, err)
		}
		var alarm unix.ItimerSpec
		if err := unix.TimerfdGettime(p.timer, &alarm); err != nil || alarm.Value != (unix.Timespec{}) {
			t.Errorf("after a Rest that ended by %s: the timer is set to %v (%v); want none", name, alarm.Value, err)
		}
		p.Doze(0)
		if p.Fds[1].Revents == 0 {
			t.Errorf("after a Rest that ended by %s: Doze misses what is readable", name)
		}
	}
}

func TestDozeAllocates(t *testing.T) {
	p, _, _ := open(t)
	if n := testing.AllocsPerRun(10, func() { p.Doze(2 * moment) }); n != 0 {
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
				p.Doze(time.Duration(i%3-1) * moment)
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
