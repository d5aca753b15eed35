// Package records is the network of a DTLS handshake by pion while its datagrams share a socket with others. The
// socket's owner hands them in. One goroutine may feed a Conn while another reads it.
package records

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxQueued is the most datagrams that wait for the handshake.
const maxQueued = 64

// A Conn is the network of one handshake.
type Conn struct {
	send   func([]byte) error
	queue  chan []byte
	closed chan struct{}
	once   sync.Once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline moves
}

// New makes a network whose datagrams leave by send, which may be called from any goroutine.
func New(send func([]byte) error) *Conn {
	return &Conn{
		send: send, queue: make(chan []byte, maxQueued), closed: make(chan struct{}),
		moved: make(chan struct{}),
	}
}

// Put hands in a received datagram, which it copies. As on a socket, a datagram without room is lost.
func (c *Conn) Put(datagram []byte) {
	select {
	case c.queue <- append([]byte(nil), datagram...):
	default:
	}
}

// ReadFrom implements net.PacketConn.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		deadline, moved := c.deadline, c.moved
		c.mu.Unlock()
		var due <-chan time.Time
		var timer *time.Timer
		if !deadline.IsZero() {
			timer = time.NewTimer(time.Until(deadline))
			due = timer.C
		}
		n, again, err := c.wait(b, due, moved)
		if timer != nil {
			timer.Stop()
		}
		if !again {
			return n, nowhere, err
		}
	}
}

func (c *Conn) wait(b []byte, due <-chan time.Time, moved <-chan struct{}) (n int, again bool, err error) {
	select {
	case x := <-c.queue:
		return copy(b, x), false, nil
	case <-c.closed:
		return 0, false, io.EOF // ends pion's reader with nothing sent
	case <-due:
		return 0, false, os.ErrDeadlineExceeded
	case <-moved:
		return 0, true, nil
	}
}

// WriteTo implements net.PacketConn.
func (c *Conn) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-c.closed:
		return len(b), nil
	default:
		return len(b), c.send(b)
	}
}

// Close implements net.PacketConn. Later datagrams are lost, both ways.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (c *Conn) LocalAddr() net.Addr { return nowhere }

// SetDeadline implements net.PacketConn. Writes never wait.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	close(c.moved)
	c.moved = make(chan struct{})
	return nil
}

// SetWriteDeadline implements net.PacketConn.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// nowhere stands for both ends: a Conn knows no addresses.
var nowhere net.Addr = &net.UDPAddr{}
