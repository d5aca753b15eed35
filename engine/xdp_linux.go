package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ringcast/bpf"
	"ringcast/engine/host"
	"ringcast/engine/udp"
	"ringcast/xsk"
	"ringcast/xsk/nexthop"
)

const (
	// maxPaths is how many paths a session may hold, as package worker bounds them: sessions that hold all
	// of theirs must not lock others out.
	maxPaths = 8
	// downSpan is how long a link may be down before the ports give their queues up. What lies on the
	// rings goes out when it comes back, so it must not be longer than frames may be late.
	downSpan = 100 * time.Millisecond
	// settleSpan is how long a link may be down after we bound our sockets: with zerocopy some drivers
	// reset the interface then, and giving up for it would never end.
	settleSpan = 3 * time.Second
	// A recovery that fails is tried again after retryFirst, then twice as late, up to retryLast.
	retryFirst = 100 * time.Millisecond
	retryLast  = 5 * time.Second
	// busyPollSpan is how long a busy worker has the NIC polled at a time; it comes back at once.
	busyPollSpan = 20 * time.Microsecond
)

// An xdp is what the workers' AF_XDP ports share: the XDP program that steers packets to them, the table
// of next hops, and the companion socket. Its goroutine watches over the interface: while that is down
// or gone the ports serve through the companion, and when it is back they get new queues.
type xdp struct {
	log       *slog.Logger
	name      string // of the interface
	bundle    xsk.BundleConfig
	queues    int // of the interface, that may have a socket
	ports     []*xsk.Port
	program   *bpf.Program
	hops      *nexthop.Table
	companion *udp.Companion

	ending  chan struct{}
	watched sync.WaitGroup
	outages atomic.Uint64
}

// openXDP opens the media port on a rung of AF_XDP.
func openXDP(cfg *Config, rung host.Rung, report host.Report, d *host.Decision) (m *media, err error) {
	x := &xdp{log: cfg.Log, name: d.Interface, queues: d.Queues, ending: make(chan struct{})}
	m = &media{xdp: x}
	defer func() {
		if err != nil {
			if x.companion != nil { // else it is the UDP port that cannot be used
				err = fmt.Errorf("%w: %w", host.ErrRefused, err)
			}
			for _, p := range x.ports {
				err = errors.Join(err, p.Close())
			}
			err = errors.Join(err, x.close())
			m = nil
		}
	}()
	workers := x.queues
	if cfg.Workers > 0 {
		workers = min(cfg.Workers, x.queues)
	}
	// The socket first: if the port is taken, nothing else matters.
	x.companion, err = udp.OpenCompanion(udp.Config{Address: cfg.Listen, Log: cfg.Log})
	if err != nil {
		return m, err
	}
	m.number = x.companion.LocalPort()
	// Not the public addresses: behind a NAT those are on no interface of ours.
	var addresses []netip.Addr
	if a := cfg.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		addresses = append(addresses, a)
	}
	x.program, err = bpf.Attach(bpf.Config{
		Interface: x.name, Port: m.number, Addresses: addresses, Queues: x.queues, Tuples: maxPaths * cfg.MaxSessions,
		GuardOff: cfg.GuardOff, STUNRate: cfg.STUNRate, Generic: rung == host.Generic,
	})
	if err != nil {
		return m, err
	}
	x.hops, err = nexthop.Watch(nexthop.Config{Interface: x.name, Log: cfg.Log})
	if err != nil {
		return m, err
	}
	x.bundle = xsk.BundleConfig{Mode: xsk.Copy}
	if rung == host.ZeroCopy {
		x.bundle.Mode = xsk.ZeroCopy
		if report.NIC.Driver == "ena" {
			x.bundle.ChunkSize = 4096 // with less it copies, and does not say so
		}
	}
	if cfg.BusyPoll {
		x.bundle.BusyPoll = busyPollSpan
	}
	var info xsk.Info
	for w := range workers {
		b, err := x.open(w, workers)
		if err != nil {
			return m, err
		}
		info = b.Info()
		p, err := xsk.New(xsk.Config{
			Bundle: b, Guard: x.program, NextHops: x.hops, Companion: x.companion, ReadsCompanion: w == 0,
			Now: udp.Now, LocalPort: m.number, Checksum4: cfg.Checksum4, Log: cfg.Log,
		})
		if err != nil {
			return m, errors.Join(err, b.Close())
		}
		x.ports = append(x.ports, p)
		m.ports = append(m.ports, p)
		if err := x.steer(b); err != nil {
			return m, err
		}
	}
	cfg.Log.Info("AF_XDP open", "interface", x.name, "queues", x.queues, "workers", workers,
		"zerocopy", info.ZeroCopy, "hugepages", info.HugePages, "guard", !cfg.GuardOff)
	x.watched.Go(x.watch)
	return m, nil
}

// open makes the queues of one of several workers: every so many of the interface's.
func (x *xdp) open(worker, workers int) (*xsk.Bundle, error) {
	cfg := x.bundle
	cfg.Interface = x.hops.Link().Index
	for q := worker; q < x.queues; q += workers {
		cfg.Queues = append(cfg.Queues, q)
	}
	queues := cfg.Queues
	cfg.Release = func() (err error) {
		for _, q := range queues {
			err = errors.Join(err, x.program.ClearSocket(q))
		}
		return err
	}
	return xsk.Open(cfg)
}

// steer has the program hand a bundle's queues to its sockets.
func (x *xdp) steer(b *xsk.Bundle) error {
	for _, s := range b.Sockets() {
		if err := x.program.SetSocket(s.Queue, s.FD); err != nil {
			return err
		}
	}
	return nil
}

// watch follows the interface until stop.
func (x *xdp) watch() {
	var (
		suspended bool
		due       <-chan time.Time // to give up, or to try to recover again
		pause     time.Duration    // before the next try to recover
		bound     = time.Now()
	)
	suspend := func(why string) {
		if !suspended {
			x.log.Warn("AF_XDP suspended, packets go through the kernel", "interface", x.name, "reason", why)
			x.outages.Add(1)
			for _, p := range x.ports {
				p.Suspend()
			}
		}
		suspended, due = true, nil
	}
	recover := func() {
		err := x.resume()
		if err == nil {
			x.log.Info("AF_XDP resumed", "interface", x.name)
			suspended, due, bound = false, nil, time.Now()
			return
		}
		if pause == retryFirst {
			x.log.Warn("AF_XDP cannot resume yet", "interface", x.name, "error", err)
		}
		due = time.After(pause)
		pause = min(2*pause, retryLast)
	}
	up := true
	for {
		select {
		case <-x.ending:
			return
		case event := <-x.hops.Events():
			switch event.Change {
			case nexthop.LinkGone:
				up = false
				suspend("the interface is gone")
			case nexthop.LinkDown:
				up = false
				if !suspended {
					wait := downSpan
					if time.Since(bound) < settleSpan {
						wait = settleSpan
					}
					due = time.After(wait)
				}
			case nexthop.LinkUp:
				up, due, pause = true, nil, retryFirst
				if suspended {
					recover()
				}
			case nexthop.LinkBack: // it is of use once it is up
			}
		case <-due:
			if up {
				recover()
			} else {
				suspend("the link is down")
			}
		}
	}
}

// resume puts the program back on the interface, if that is a new one, and gives every port new queues.
func (x *xdp) resume() error {
	if attached, err := x.program.Attached(); err != nil || !attached {
		if err := x.program.Reattach(); err != nil {
			return err
		}
	}
	for w, p := range x.ports {
		if !p.Details().Suspended {
			continue // it resumed at an earlier try
		}
		b, err := x.open(w, len(x.ports))
		if err != nil {
			return fmt.Errorf("worker %d: %w", w, err)
		}
		if err := errors.Join(x.steer(b), p.Resume(b)); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return nil
}

// stop ends the watching; the ports may be closed then.
func (x *xdp) stop() {
	close(x.ending)
	x.watched.Wait()
}

// close frees what the ports, which are closed, shared.
func (x *xdp) close() (err error) {
	if x.program != nil {
		err = x.program.Close()
	}
	if x.hops != nil {
		err = errors.Join(err, x.hops.Close())
	}
	if x.companion != nil {
		err = errors.Join(err, x.companion.Close())
	}
	return err
}
