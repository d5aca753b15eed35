// Package park puts a worker's thread to sleep until a descriptor is readable, another thread wakes it, or a time has
// come. Doze is for moments and often, Rest for long.
//
// Both work around the Go runtime's reaction to a thread that goes to sleep. During a system call that the runtime
// knows of, it may give the thread's processor to another thread. That thread looks for work, finds none and sleeps in
// its turn. In a server with 1,000 viewers, some of which always have something to report, this took a twentieth of the
// CPU time. Such a call also keeps the runtime's monitor looking around, each 20 µs and then more seldom. After 10 ms
// the monitor takes the processor away (sysmon and retake in runtime/proc.go). That took 185 µs of CPU time each time
// that a silent server woke up for one packet.
//
// So Doze begins with a call that the runtime does not know of. A stop-the-world in the meantime signals the thread,
// which interrupts the call, and repeats the signal (preemptall in runtime/proc.go); it waits at most one millisecond.
// Rest goes by way of the runtime's own poller, which costs more at once and nothing later. The poller watches one
// epoll set, which holds the descriptors. Such nesting is allowed (epoll(7)), and lets descriptors come and go. They
// are watched during a Rest only, or each datagram of a busy server would wake the poller for nothing.
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

// dozeFor is the time for which Doze keeps the processor from the Go runtime.
const dozeFor = time.Millisecond

// A Place is where one thread sleeps. It belongs to that thread, but for Wake and Close.
type Place struct {
	// Fds are the descriptors that end a sleep: first the one for Wake, then those of Add in their order. Each of the
	// latter may be asked for more Events, which only Doze heeds. Revents has the events that the last sleep found.
	Fds []unix.PollFd

	epoll  int
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
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, errors.Join(fmt.Errorf("make an epoll set: %w", err), unix.Close(p.event))
	}
	err = unix.SetNonblock(p.epoll, true) // which makes os.NewFile use the poller
	p.file = os.NewFile(uintptr(p.epoll), "epoll")
	p.ready = func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), p.events[:], 0)
		return n > 0 || err != nil && err != unix.EINTR
	}
	if err == nil {
		p.raw, err = p.file.SyscallConn()
	}
	if err == nil {
		err = p.file.SetReadDeadline(time.Time{})
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
	p.Fds = slices.DeleteFunc(p.Fds, func(f unix.PollFd) bool { return f.Fd == int32(fd) })
	_ = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil) // closed is removed
}

// watch makes the epoll set report the next event of fd, once.
func (p *Place) watch(how, fd int, events uint32) error {
	return unix.EpollCtl(p.epoll, how, fd, &unix.EpollEvent{Events: events | unix.EPOLLONESHOT, Fd: int32(fd)})
}

// Doze sleeps for a span at most, without end if it is negative.
func (p *Place) Doze(span time.Duration) {
	raw := dozeFor
	if span >= 0 {
		raw = min(raw, span)
	}
	left := unix.NsecToTimespec(int64(raw)) // the kernel leaves there what is left (poll_select_finish in fs/select.c)
	r, _, err := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(unsafe.SliceData(p.Fds))), uintptr(len(p.Fds)),
		uintptr(unsafe.Pointer(&left)), 0, 0, 0)
	n := int(r)
	if err != 0 || n == 0 && raw != span {
		n = p.sleep(&left, span-raw)
	}
	p.heed(n)
}

// sleep is the part of Doze that the runtime knows of: left and more, or without end if more is negative.
func (p *Place) sleep(left *unix.Timespec, more time.Duration) (n int) {
	if *left = unix.NsecToTimespec(left.Nano() + int64(more)); more < 0 {
		left = nil
	}
	err := error(unix.EINTR)
	for err == unix.EINTR {
		n, err = unix.Ppoll(p.Fds, left, nil)
	}
	return n
}

// Rest is a Doze without hurry: it may end some milliseconds late while the process has other work.
func (p *Place) Rest(span time.Duration) {
	var deadline time.Time
	if span >= 0 {
		deadline = time.Now().Add(span)
	}
	for i := range p.Fds {
		_ = p.watch(unix.EPOLL_CTL_MOD, int(p.Fds[i].Fd), unix.EPOLLIN) // a descriptor that Add took
	}
	// Neither can fail but by Close, and then resting is over.
	_ = p.file.SetReadDeadline(deadline)
	_ = p.raw.Read(p.ready)
	for i := range p.Fds { // those that did not end it are still watched
		_ = p.watch(unix.EPOLL_CTL_MOD, int(p.Fds[i].Fd), 0)
	}
	n, _ := unix.Poll(p.Fds, 0)
	p.heed(n)
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
	if err := errors.Join(p.file.Close(), unix.Close(p.event)); err != nil {
		return fmt.Errorf("close an epoll set: %w", err)
	}
	return nil
}
