package udp

import (
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

// A Companion is the kernel's socket on the UDP port that AF_XDP queues serve. It takes what the XDP
// program passes up (fragments, what came by another interface, everything while there is no program)
// and sends what has no next hop that we know of, which makes the kernel find one.
//
// Receive and Pending belong to one thread. Send and Stats are safe from any.
type Companion struct {
	socket   socket
	in       receiver
	received tally.Port
	sent     struct{ datagrams, bytes, rejected atomic.Uint64 }
}

// An envelope is what the kernel is told about one datagram; it is used again, by whichever thread.
type envelope struct {
	name    rawAddress
	control [sourceRoom]byte
	vector  unix.Iovec
	message [1]mmsghdr
}

var envelopes = sync.Pool{New: func() any { return new(envelope) }}

// OpenCompanion binds cfg's address. Of the rest of cfg, Batch, DSCP and Log count.
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

// LocalPort is the UDP port that is bound.
func (c *Companion) LocalPort() uint16 { return c.socket.local.Port() }

// FD is what to poll for arrivals.
func (c *Companion) FD() int { return c.socket.fd }

// Pending reports whether Receive has something without asking the kernel; polling does not tell.
func (c *Companion) Pending() bool { return c.in.pending() }

// Receive fills in with what has arrived and returns how many. It never blocks; what it yields is
// borrowed until the next Receive.
func (c *Companion) Receive(now port.Time, in *port.Batch) int {
	n := c.in.receive(now)
	in.Packets = c.in.inbound[:n]
	c.received.Publish()
	return n
}

// Send sends one datagram, or fails at once: what the kernel has no room for now is as lost as what it
// refuses for good.
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

// Stats adds up what the companion counted; Calls is how many datagrams it sent, one each.
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
