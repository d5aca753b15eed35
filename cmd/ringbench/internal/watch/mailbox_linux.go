package watch

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"
)

// A mailbox takes functions from any goroutine to a loop's thread.
type mailbox struct {
	wakeup int // an eventfd, in the loop's epoll set

	mu      sync.Mutex // guards waiting
	waiting []func()
}

// do calls f on the loop's thread, after all that came before it.
func (m *mailbox) do(f func()) {
	m.mu.Lock()
	m.waiting = append(m.waiting, f)
	m.mu.Unlock()
	_, _ = unix.Write(m.wakeup, binary.NativeEndian.AppendUint64(nil, 1)) // full means awake
}

// ask is do that waits until f has returned.
func (m *mailbox) ask(f func()) {
	done := make(chan struct{})
	m.do(func() { f(); close(done) })
	<-done
}

// read calls the functions that wait, on the loop's thread.
func (m *mailbox) read() {
	var b [8]byte
	_, _ = unix.Read(m.wakeup, b[:])
	m.mu.Lock()
	waiting := m.waiting
	m.waiting = nil
	m.mu.Unlock()
	for _, f := range waiting {
		f()
	}
}
