package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/engine/park"
	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

// Balances reports whether this platform spreads one UDP port over the sockets of several workers.
func Balances() bool { return true }

// Port is one worker's socket. It implements port.Port, whose comment has the contract.
type Port struct {
	socket   socket
	in       receiver
	out      transmitter
	counters tally.Port

	place *park.Place // where the worker sleeps; its second descriptor is the socket

	closed bool
}

var _ port.Port = (*Port)(nil)

// Open binds a group of sockets and returns a port for each worker.
func Open(cfg Config) ([]*Port, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	group, err := openGroup(cfg, cfg.Workers)
	if err != nil {
		return nil, err
	}
	ports := make([]*Port, 0, len(group))
	for i, s := range group {
		p, err := newPort(s, cfg)
		if err != nil {
			for _, open := range ports {
				_ = open.Close()
			}
			for _, s := range group[i:] {
				_ = unix.Close(s.fd)
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	logGroup(cfg.Log, group, cfg.Batching)
	return ports, nil
}

func logGroup(log *slog.Logger, group []socket, b Batching) {
	first := group[0]
	log.Info("UDP port open", "address", first.local, "sockets", len(group),
		"segmentation", first.gso && b == Segmented, "gro", first.gro)
}

func newPort(s socket, cfg Config) (*Port, error) {
	p := &Port{socket: s}
	var err error
	if p.place, err = park.New(); err != nil {
		return nil, err
	}
	if err := p.place.Add(s.fd); err != nil {
		return nil, errors.Join(err, p.place.Close())
	}
	p.in.init(s, cfg, &p.counters)
	p.out.init(s, cfg, &p.counters)
	return p, nil
}

// LocalPort is the number of the bound UDP port.
func (p *Port) LocalPort() uint16 { return p.socket.local.Port() }

// Segmentation returns nil if runs leave as segmented messages, on all routes where the kernel segments, and
// ErrNoSegmentation otherwise. Safe from any thread.
func (p *Port) Segmentation() error {
	if !p.out.segmenting {
		return ErrNoSegmentation
	}
	return nil
}

// Receive implements port.Port. The batch's slice is the port's own.
func (p *Port) Receive(now port.Time, in *port.Batch) int {
	n := p.in.receive(now)
	in.Packets = p.in.inbound[:n]
	return n
}

// Transmit implements port.Port.
func (p *Port) Transmit(now port.Time, out *port.Outgoing) {
	p.out.setRoutes(out.Routes)
	pending := p.out.lender.pending(out)
	done := 0
	if len(pending) > 0 {
		done = p.out.send(now, pending)
	}
	p.counters.Publish()
	p.out.lender.settle(out, pending, done)
}

// Stats implements port.Port.
func (p *Port) Stats() port.Stats { return p.counters.Snapshot() }

// retryAfter is how long Wait waits for memory that the kernel lacked (ENOBUFS), since no event announces it.
const retryAfter = port.Millisecond

// Wait implements port.Port.
func (p *Port) Wait(until port.Time) {
	if p.in.unread() {
		return
	}
	socket := &p.place.Fds[1]
	socket.Events = unix.POLLIN
	if p.out.lender.kept > 0 {
		if p.out.starved {
			until = min(until, Now()+retryAfter)
		} else {
			socket.Events |= unix.POLLOUT
		}
	}
	p.place.Doze(left(until))
}

// left is the duration until a time, negative if the time never comes.
func left(until port.Time) time.Duration {
	if until == port.Never {
		return -1
	}
	return max(0, time.Duration(until-Now()))
}

// Rest implements port.Port.
func (p *Port) Rest(until port.Time) {
	if p.in.unread() || p.out.lender.kept > 0 {
		p.Wait(until)
		return
	}
	p.place.Rest(left(until))
}

// Wake implements port.Port. After Close it does nothing.
func (p *Port) Wake() { p.place.Wake() }

// Close implements port.Port. A second call does nothing.
func (p *Port) Close() error {
	if p.closed {
		return nil
	}
	p.closed = true
	if err := errors.Join(p.place.Close(), unix.Close(p.socket.fd)); err != nil {
		return fmt.Errorf("close UDP %s: %w", p.socket.local, err)
	}
	return nil
}
