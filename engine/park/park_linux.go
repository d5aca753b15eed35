// Package park lets a thread sleep until a descriptor is readable: for long, by way of the Go runtime's own poller
// (Set), or for moments and often (Poll).
//
// A blocking system call would do, but not cheaply: a thread that comes out of one, and soon goes into the next,
// keeps the runtime's monitor looking around, each 20 µs and then more seldom, until it takes the processor away
// after 10 ms (sysmon and retake in runtime/proc.go). That was 185 µs of CPU time each time that a silent server
// woke up for one packet. A raw call that lasts is worse: the processor is never taken away, and who stops the world
// waits. A goroutine that the poller parks gives its processor up at once.
//
// The poller watches one epoll set, which holds the descriptors; that is allowed by epoll(7), and lets them come and
// go.
package park

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Set is the descriptors that one thread sleeps on. It belongs to that thread, but for Close.
type Set struct {
	epoll  int
	file   *os.File // epoll, as the poller knows it
	raw    syscall.RawConn
	ready  func(fd uintptr) bool
	events [1]unix.EpollEvent
}

// New makes a set of some descriptors.
func New(fds ...int) (*Set, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // which tells os.NewFile to use the poller
		return nil, errors.Join(fmt.Errorf("make an epoll set: %w", err), unix.Close(fd))
	}
	s := &Set{epoll: fd, file: os.NewFile(uintptr(fd), "epoll")}
	s.ready = func(fd uintptr) bool {
		n, err := unix.EpollWait(int(fd), s.events[:], 0)
		return n > 0 || err != nil && err != unix.EINTR
	}
	if s.raw, err = s.file.SyscallConn(); err == nil {
		err = s.file.SetReadDeadline(time.Time{})
	}
	for _, fd := range fds {
		if err == nil {
			err = s.Add(fd)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch an epoll set: %w", err), s.file.Close())
	}
	return s, nil
}

// Add has Wait end when fd is readable.
func (s *Set) Add(fd int) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_ADD, fd, &event); err != nil {
		return fmt.Errorf("watch descriptor %d: %w", fd, err)
	}
	return nil
}

// Remove undoes Add. A descriptor that is closed is removed by that.
func (s *Set) Remove(fd int) error {
	if err := unix.EpollCtl(s.epoll, unix.EPOLL_CTL_DEL, fd, nil); err != nil {
		return fmt.Errorf("watch descriptor %d no more: %w", fd, err)
	}
	return nil
}

// Wait returns when a descriptor is readable, or after a time; a negative one never comes.
func (s *Set) Wait(span time.Duration) {
	var deadline time.Time
	if span >= 0 {
		deadline = time.Now().Add(span)
	}
	// Neither can fail but by Close, and then waiting is over.
	_ = s.file.SetReadDeadline(deadline)
	_ = s.raw.Read(s.ready)
}

// Close frees the set. Wait must have returned.
func (s *Set) Close() error {
	if err := s.file.Close(); err != nil {
		return fmt.Errorf("close an epoll set: %w", err)
	}
	return nil
}
