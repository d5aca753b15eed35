package udp

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

// A Companion is the kernel's socket on the UDP port that AF_XDP sockets serve. It receives the datagrams that the XDP
// program passes to the kernel: fragments, arrivals by another interface, and everything while there is no program. It
// sends datagrams without a known next hop, which makes the kernel find one.
//
// Receive belongs to one thread. Send and Stats are safe from any.
type Companion struct {
	socket   socket
	in       receiver
	received tally.Port
	sent     struct{ datagrams, bytes, rejected atomic.Uint64 }
}

// An envelope is the memory of the system call that sends one datagram. Any thread may use it next.
type envelope struct {
	name    rawAddress
	control [sourceRoom]byte
	vector  unix.Iovec
	message [1]mmsghdr
}

var envelopes = sync.Pool{New: func() any { return new(envelope) }}

// OpenCompanion binds cfg's address. Batch, DSCP and Log have a meaning too, the other fields have none.
func OpenCompanion(cfg Config) (*Companion, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	group, err := openGroup(cfg, 1)
	if err != nil {
		return nil, err
	}
	c := &Companion{socket: group[0]}
	c.in.init(c.socket, cfg, &c.received)
	return c, nil
}

// LocalPort is the number of the bound UDP port.
func (c *Companion) LocalPort() uint16 { return c.socket.local.Port() }

// FD is the descriptor to poll for arrivals.
func (c *Companion) FD() int { return c.socket.fd }

// Receive points in.Packets at the datagrams that have arrived and returns their number. It never blocks. The datagrams
// are borrowed until the next Receive.
func (c *Companion) Receive(now port.Time, in *port.Batch) int {
	n := c.in.receive(now)
	in.Packets = c.in.inbound[:n]
	c.received.Publish()
	return n
}

// Send sends one datagram, or fails at once. A datagram that the kernel has no room for now is lost like a rejected
// one.
func (c *Companion) Send(p port.Path, payload []byte) error {
	x := envelopes.Get().(*envelope)
	h := &x.message[0].header
	h.Name, h.Namelen = &x.name[0], uint32(putAddress(&x.name, p.Remote, c.socket.family))
	h.Control = nil
	h.SetControllen(0)
	if p.Local.IsValid() {
		if n := putSource(x.control[:], p.Local, c.socket.family); n > 0 {
			h.Control = &x.control[0]
			h.SetControllen(n)
		}
	}
	point(&x.vector, payload)
	h.Iov = &x.vector
	h.SetIovlen(1)
	errno := unix.EINTR
	for try := 0; errno == unix.EINTR && try < sendRetries; try++ {
		_, errno = sendmmsg(c.socket.fd, x.message[:])
	}
	point(&x.vector, nil)
	envelopes.Put(x)
	if errno != 0 {
		c.sent.rejected.Add(1)
		return errno
	}
	c.sent.datagrams.Add(1)
	c.sent.bytes.Add(uint64(len(payload)))
	return nil
}

// Stats returns the companion's counts. It makes one call for each datagram.
func (c *Companion) Stats() port.Stats {
	s := c.received.Snapshot()
	s[port.Sent], s[port.SentBytes] = c.sent.datagrams.Load(), c.sent.bytes.Load()
	s[port.Rejected] = c.sent.rejected.Load()
	s[port.Calls] = s[port.Sent]
	return s
}

// Close frees the socket. No method but Stats may follow or be under way.
func (c *Companion) Close() error {
	if err := unix.Close(c.socket.fd); err != nil {
		return fmt.Errorf("close UDP %s: %w", c.socket.local, err)
	}
	return nil
}
