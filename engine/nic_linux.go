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
	"ringcast/xsk"
	"ringcast/xsk/nexthop"
)

const (
	// busyPollSpan is how long a busy worker polls the NIC at a time. The next poll follows at once.
	busyPollSpan = 20 * time.Microsecond
	// maxSlots bounds the queues that an interface may have later.
	maxSlots = 1024
)

// A nic is an interface that AF_XDP serves. It has the XDP program, the next hops, and the ports of the workers that
// serve its queues. Its goroutine watches over it (recovery_linux.go).
type nic struct {
	log     *slog.Logger
	name    string
	bundle  xsk.BundleConfig
	program *bpf.Program
	hops    *nexthop.Table
	ports   []*xsk.Port // one for each of its workers
	cpus    []int       // that these workers are kept on

	queues int // their number when the sockets were opened last

	rung    atomic.Pointer[host.Rung] // of its sockets, or of the last ones while it is suspended
	outages atomic.Uint64
	deaf    atomic.Uint64

	ending  chan struct{}
	watched sync.WaitGroup
}

// openNIC opens an interface on one of its rungs, for so many workers. If it fails, close frees the opened parts.
func (x *xdp) openNIC(cfg *Config, s *host.Survey, rung host.Rung, workers int) (n *nic, err error) {
	name := s.Decision.Interface
	n = &nic{log: cfg.Log.With("interface", name), name: name, ending: make(chan struct{})}
	if err := n.attach(cfg, s, rung, x.companion.LocalPort()); err != nil {
		return n, err
	}
	n.hops, err = nexthop.Watch(nexthop.Config{Interface: n.name, Port: x.companion.LocalPort(), Log: cfg.Log})
	if err != nil {
		return n, err
	}
	before := 0 // workers of other interfaces
	for _, other := range x.nics {
		before += len(other.ports)
	}
	for w := range workers {
		n.cpus = append(n.cpus, cfg.cpu(before+w))
	}
	n.tellAddress() // it may have changed since the program was attached
	queues := s.Decision.Queues
	n.bundle = xsk.DefaultBundleConfig(xsk.Copy)
	if rung == host.ZeroCopy {
		n.bundle = xsk.DefaultBundleConfig(xsk.ZeroCopy)
	}
	if cfg.Host.BusyPoll {
		n.bundle.BusyPoll = busyPollSpan
	}
	var info xsk.Info
	for w := range workers {
		b, err := n.openBundle(w, workers, queues)
		if err != nil {
			return n, err
		}
		info = b.Info()
		p, err := xsk.New(x.portConfig(cfg, n, b))
		if err != nil {
			return n, errors.Join(err, b.Close())
		}
		n.ports = append(n.ports, p)
		if err := n.steer(b); err != nil {
			return n, err
		}
	}
	if n.queues, err = host.CountQueues(n.name); err != nil { // as a driver counts them with the program attached
		return n, err
	}
	n.rung.Store(&rung)
	n.log.Info("AF_XDP open", "io", rung, "queues", queues, "workers", workers,
		"zerocopy", info.ZeroCopy, "hugepages", info.HugePages, "guard", cfg.Guard)
	return n, nil
}

// attach attaches the XDP program of a rung, which steers the datagrams of a UDP port.
func (n *nic) attach(cfg *Config, s *host.Survey, rung host.Rung, number uint16) (err error) {
	// The public addresses do not count: with a NAT they are on no interface of ours.
	var addresses []netip.Addr
	if a := cfg.Listen.Addr(); a.IsValid() && !a.IsUnspecified() {
		addresses = append(addresses, a)
	}
	program := bpf.DefaultConfig()
	program.Interface, program.Port, program.Addresses = n.name, number, addresses
	program.Queues = max(s.Decision.Queues, min(s.Report.NIC.Queues.MaxRX, maxSlots))
	program.Tuples, program.Sessions = maxPaths*cfg.Sessions.Max, cfg.Sessions.Max
	program.Guard, program.STUNRate, program.Generic = cfg.Guard, cfg.STUNRate, rung == host.Generic
	n.program, err = bpf.Attach(program)
	return err
}

// openBundle opens the sockets of one of several workers, on every workers-th queue of the interface. Their memory
// comes from the worker's NUMA node: the kernel pins it for good, so it could not follow the worker later.
func (n *nic) openBundle(worker, workers, queues int) (b *xsk.Bundle, err error) {
	cfg := n.bundle
	cfg.Interface = n.hops.Link().Index
	for q := worker; q < queues; q += workers {
		cfg.Queues = append(cfg.Queues, q)
	}
	mine := cfg.Queues
	cfg.Release = func() (err error) {
		for _, q := range mine {
			err = errors.Join(err, n.program.ClearSockets(q))
		}
		return err
	}
	onCPU(n.cpus[worker], func() { b, err = xsk.Open(cfg) })
	return b, err
}

// tellAddress gives the program the present hardware address of the interface. Until then the kernel gets frames for
// that address, and the companion receives them.
func (n *nic) tellAddress() {
	if err := n.program.SetAddress(n.hops.Link().Address); err != nil {
		n.log.Error("packets to the interface's new address go through the kernel", "error", err)
	}
}

// steer makes the program redirect packets of a bundle's queues to its sockets.
func (n *nic) steer(b *xsk.Bundle) error {
	for _, s := range b.Entries() {
		if err := n.program.SetSockets(s.Queue, s.FD, s.Reports); err != nil {
			return err
		}
	}
	return nil
}

// resume attaches the program again if the interface is a new one. Then it gives every port without a bundle new
// sockets, on the queues that the interface has now. Where zerocopy is not possible any more, the kernel copies. The
// ports must have closed their old bundles.
func (n *nic) resume() error {
	if attached, err := n.program.Attached(); err != nil || !attached {
		if err := n.program.Reattach(); err != nil {
			return err
		}
	}
	queues, err := host.CountQueues(n.name)
	if err != nil {
		return err
	}
	workers := len(n.ports)
	if queues < workers && queues != n.queues { // once, however often a recovery tries
		n.log.Warn("fewer queues than workers, the others send through the kernel",
			"queues", queues, "workers", workers)
	}
	n.queues = queues
	for w, p := range n.ports[:min(queues, workers)] {
		if !p.Details().Suspended {
			continue // it resumed in an earlier try
		}
		b, err := n.openBundle(w, workers, min(queues, n.program.Queues()))
		if err != nil {
			return fmt.Errorf("worker %d: %w", w, err)
		}
		n.settleOn(b.Info())
		if err := n.steer(b); err != nil {
			return errors.Join(err, b.Close())
		}
		if err := p.Resume(b); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return nil
}

// settleOn notes the rung of an open bundle.
func (n *nic) settleOn(info xsk.Info) {
	was, now := *n.rung.Load(), host.Copy
	switch {
	case was == host.Generic:
		return
	case info.ZeroCopy:
		now = host.ZeroCopy
	}
	if was == now {
		return
	}
	n.rung.Store(&now)
	if now == host.Copy {
		n.log.Warn("zerocopy is refused now, packets are copied", "reason", info.ZeroCopyRefused)
	} else {
		n.log.Info("zerocopy is back")
	}
}

// requeued reports whether the number of queues has changed since the sockets were opened.
func (n *nic) requeued() bool {
	queues, err := host.CountQueues(n.name)
	return err == nil && queues != n.queues // a recovery could not count them either
}

// suspended counts the ports that have no sockets now.
func (n *nic) suspended() (count int) {
	for _, p := range n.ports {
		if p.Details().Suspended {
			count++
		}
	}
	return count
}

// signs are the counts that a vigil compares.
func (n *nic) signs() (s signs) {
	exits, err := n.program.Counters()
	if err != nil {
		return s // it cannot happen while the program is open
	}
	for reason := bpf.FirstRedirect; reason < bpf.NumReasons; reason++ {
		s.redirected += exits[reason]
	}
	for _, p := range n.ports {
		d := p.Details()
		for i := range d.Queues {
			c := &d.Queues[i].Counts
			s.received += c[xsk.QueueReceived]
			s.received += c[xsk.KernelRXDropped] + c[xsk.KernelRXRingFull] + c[xsk.KernelFillRingEmpty]
			s.queues = append(s.queues, queueSigns{c[xsk.QueueCompleted], d.Queues[i].Waiting})
		}
	}
	return s
}

// stop ends the watching. The ports may be closed after it.
func (n *nic) stop() {
	close(n.ending)
	n.watched.Wait()
}

// close frees everything. The ports of running workers are closed already; closing them again does nothing.
func (n *nic) close() (err error) {
	for _, p := range n.ports {
		err = errors.Join(err, p.Close())
	}
	if n.program != nil {
		err = errors.Join(err, n.program.Close())
	}
	if n.hops != nil {
		err = errors.Join(err, n.hops.Close())
	}
	return err
}
