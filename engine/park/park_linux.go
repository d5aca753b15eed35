// Package park puts a worker's thread to sleep until a descriptor is readable, another thread wakes it, or a time has
// come. Doze is for a worker with media, Rest for one without.
//
// Both avoid system calls that the Go runtime knows of. The runtime's monitor watches a thread in such a call (sysmon
// and retake in runtime/proc.go). After 10 ms it takes the thread's processor, a P of the runtime. It looks every 20 µs
// for a millisecond or more each time that it took one, or that such a call woke it. With ten viewers this was two
// thirds of all CPU time.
//
// # Doze
//
// Doze makes a call that the runtime does not know of. To the runtime the goroutine seems to compute, and it keeps its
// processor. So a wake costs one system call, and no other goroutine delays it. There are three consequences:
//
//   - A stop-the-world signals the thread, which ends the call. The thread stops at the head of the next function. A
//     signal that comes just before the call has no effect, but the runtime repeats it after 100 µs
//     (stopTheWorldWithSema in runtime/proc.go).
//   - The monitor signals it too, every 10 ms, as it does with each goroutine that computes for so long. So dozing
//     costs half a percent of a core even if nothing arrives.
//   - Other goroutines need processors of their own: there must be more than workers.
//
// # Rest
//
// Rest goes by way of the runtime's own poller, which costs more at once and nothing later. The poller watches one
// epoll set, which holds the descriptors. Such nesting is allowed (epoll(7)), and lets descriptors come and go. They
// are watched during a Rest only, or each datagram of a busy server would wake the poller for nothing. A timerfd ends
// a Rest at its time. A deadline of the runtime would wake a second thread, to wait for it (wakeNetPoller in
// runtime/proc.go).
//
// BenchmarkSleep and BenchmarkStop compare these with other ways to sleep.
package park

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Place is where one thread sleeps. It belongs to that thread, but for Wake and Close.
type Place struct {
	// Fds are the descriptors that end a sleep: first the one for Wake, then those of Add in their order. Each of the
	// latter may be asked for more Events, which only Doze heeds. Revents has the events that the last sleep found.
	Fds []unix.PollFd

	epoll  int
	timer  int      // a timerfd, in epoll
	file   *os.File // epoll, as the poller knows it
	raw    syscall.RawConn
	ready  func(fd uintptr) bool
	events [1]unix.EpollEvent

	mu     sync.Mutex // guards closed, and the eventfd against being closed
	event  int
	closed bool
}

// New makes a place where only Wake ends a sleep.
func New() (*Place, error) {
	p := &Place{}
	var err error
	if p.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	if p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return nil, errors.Join(fmt.Errorf("open timerfd: %w", err), unix.Close(p.event))
	}
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make an epoll set: %w", err), unix.Close(p.event), unix.Close(p.timer))
	}
	err = unix.SetNonblock(p.epoll, true) // which makes os.NewFile use the poller
	p.file = os.NewFile(uintptr(p.epoll), "epoll")
	p.ready = func(fd uintptr) bool {
		n, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, fd, uintptr(unsafe.Pointer(&p.events)), 1, 0, 0, 0)
		return err == 0 && n > 0 || err != 0 && err != unix.EINTR
	}
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{})
	}
	if err == nil {
		err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.timer, &unix.EpollEvent{Events: unix.EPOLLIN})
	}
	if err == nil {
		err = p.Add(p.event)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch an epoll set: %w", err), p.Close())
	}
	return p, nil
}

// Add has sleeps end when fd is readable.
func (p *Place) Add(fd int) error {
	if err := p.watch(unix.EPOLL_CTL_ADD, fd, 0); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	p.Fds = append(p.Fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	return nil
}

// Remove undoes Add, for a descriptor that may be closed by now.
func (p *Place) Remove(fd int) {
	p.Fds = slices.DeleteFunc(p.Fds, func(f unix.PollFd) bool { return f.Fd == int32(fd) || f.Fd == ^int32(fd) })
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) // closed is removed
}

// Mute keeps fd, which Add took, from ending sleeps until Unmute.
func (p *Place) Mute(fd int) { p.mark(fd, ^int32(fd)) }

// Unmute undoes Mute.
func (p *Place) Unmute(fd int) { p.mark(fd, int32(fd)) }

// mark writes a descriptor as it is, or inverted: poll ignores negative numbers.
func (p *Place) mark(fd int, as int32) {
	for i := range p.Fds {
		if f := &p.Fds[i]; f.Fd == int32(fd) || f.Fd == ^int32(fd) {
			f.Fd = as
		}
	}
}

// watch makes the epoll set report the next event of fd, once.
func (p *Place) watch(how, fd int, events uint32) error {
	return unix.EpollCtl(p.epoll, how, fd, &unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(fd)})
}

// Doze sleeps for a span at most, without end if it is negative.
func (p *Place) Doze(span time.Duration) {
	var left *unix.Timespec
	if span >= 0 {
		t := unix.NsecToTimespec(int64(span))
		left = &t
	}
	n, errno := p.poll(left)
	for errno == unix.EINTR {
		n, errno = p.poll(left)
	}
	p.heed(n)
}

// poll waits until left is over, without end if it is nil. After a signal the kernel has written the rest of the time
// to left (poll_select_finish in fs/select.c). The runtime stops the goroutine at the head of this function, so it must
// not be inlined.
//
//go:noinline
func (p *Place) poll(left *unix.Timespec) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(p.Fds))),
		uintptr(len(p.Fds)), uintptr(unsafe.Pointer(left)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// Rest is a Doze without hurry: it may end some milliseconds late while the process has other work.
func (p *Place) Rest(span time.Duration) {
	for i := range p.Fds {
		if fd := p.Fds[i].Fd; fd >= 0 {
			_ = p.watch(unix.EPOLL_CTL_MOD, int(fd), unix.EPOLLIN) // a descriptor that Add took
		}
	}
	if span >= 0 {
		p.alarm(max(1, span))
	}
	_ = p.raw.Read(p.ready) // can only fail by Close, and then resting is over
	if span >= 0 {
		p.alarm(0)
	}
	for i := range p.Fds { // those that did not end it are still watched
		if fd := p.Fds[i].Fd; fd >= 0 {
			_ = p.watch(unix.EPOLL_CTL_MOD, int(fd), 0)
		}
	}
	n, _ := p.poll(&unix.Timespec{})
	p.heed(n)
}

// alarm ends a Rest in a span from now, or never if it is 0.
func (p *Place) alarm(span time.Duration) {
	// It fails for a negative time only.
	_ = unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(span))}, nil)
}

// heed takes in the Wakes that a sleep has seen, of n descriptors that it found ready.
func (p *Place) heed(n int) {
	if n <= 0 {
		for i := range p.Fds {
			p.Fds[i].Revents = 0
		}
		return
	}
	if p.Fds[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(p.event, count[:])
	}
}

// Wake ends the present sleep, or the next. Safe from any thread; after Close it does nothing.
func (p *Place) Wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		one := [8]byte{1} // little or big endian, it is more than nothing
		_, _ = unix.Write(p.event, one[:])
	}
}

// Close frees the place. Nobody may sleep there. A second call does nothing.
func (p *Place) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if err := errors.Join(p.file.Close(), unix.Close(p.timer), unix.Close(p.event)); err != nil {
		return fmt.Errorf("close an epoll set: %w", err)
	}
	return nil
}
