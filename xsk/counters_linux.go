package xsk

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// QueueStats counts what one queue of a port did. All values only grow, over outages too.
type QueueStats struct {
	Queue int
	// Received counts frames from the RX ring, Sent those that the kernel took from the TX ring and
	// did not report as dropped.
	Received, Sent uint64
	// Kicks counts the system calls that sent; Again, Busy, NoBuffers, Down and Failed how many of
	// them returned EAGAIN, EBUSY (one frame was dropped), ENOBUFS, ENETDOWN, and any other error.
	Kicks, Again, Busy, NoBuffers, Down, Failed uint64
	// Completed counts the frames that came back from the kernel, sent or dropped. Waiting is whether the queue
	// depends on the next one: its frames are all that the port has, or a NIC that reads the TX ring itself does not.
	Completed uint64
	Waiting   bool
	// Abandoned counts frames that were with the kernel when the queue was closed.
	Abandoned uint64
	// Kernel is XDP_STATISTICS, half a second old if the worker is awake. TXInvalid also counts frames that were
	// taken back from the ring.
	Kernel KernelStats
}

// KernelStats are the kernel's own counters of a socket (struct xdp_statistics of linux/if_xdp.h).
type KernelStats struct {
	RXDropped, RXInvalid, TXInvalid, RXRingFull, FillRingEmpty, TXRingEmpty uint64
}

func (k *KernelStats) add(s unix.XDPStatistics) {
	k.RXDropped += s.Rx_dropped
	k.RXInvalid += s.Rx_invalid_descs
	k.TXInvalid += s.Tx_invalid_descs
	k.RXRingFull += s.Rx_ring_full
	k.FillRingEmpty += s.Rx_fill_ring_empty_descs
	k.TXRingEmpty += s.Tx_ring_empty_descs
}

// queueCounters are a queue's statistics: QueueStats is the owner's own, shared is what others read. They
// outlive the queue.
type queueCounters struct {
	QueueStats
	earlier KernelStats // of the queue's closed sockets
	shared  struct {
		received, sent                              atomic.Uint64
		kicks, again, busy, noBuffers, down, failed atomic.Uint64
		abandoned, completed                        atomic.Uint64
		waiting                                     atomic.Bool
		kernel                                      [6]atomic.Uint64
	}
}

func (c *queueCounters) publish() {
	publish(&c.shared.received, c.Received)
	publish(&c.shared.sent, c.Sent)
	publish(&c.shared.kicks, c.Kicks)
	publish(&c.shared.again, c.Again)
	publish(&c.shared.busy, c.Busy)
	publish(&c.shared.noBuffers, c.NoBuffers)
	publish(&c.shared.down, c.Down)
	publish(&c.shared.failed, c.Failed)
	publish(&c.shared.abandoned, c.Abandoned)
	publish(&c.shared.completed, c.Completed)
	if c.Waiting != c.shared.waiting.Load() {
		c.shared.waiting.Store(c.Waiting)
	}
}

// askKernel reads the socket's own counters.
func (c *queueCounters) askKernel(fd int) {
	s, errno := statistics(fd)
	if errno != 0 {
		return
	}
	k := c.earlier
	k.add(s)
	c.Kernel = k
	for i, v := range [...]uint64{k.RXDropped, k.RXInvalid, k.TXInvalid, k.RXRingFull, k.FillRingEmpty, k.TXRingEmpty} {
		publish(&c.shared.kernel[i], v)
	}
}

func (c *queueCounters) snapshot() QueueStats {
	k := &c.shared.kernel
	return QueueStats{
		Queue:     c.Queue,
		Received:  c.shared.received.Load(),
		Sent:      c.shared.sent.Load(),
		Kicks:     c.shared.kicks.Load(),
		Again:     c.shared.again.Load(),
		Busy:      c.shared.busy.Load(),
		NoBuffers: c.shared.noBuffers.Load(),
		Down:      c.shared.down.Load(),
		Failed:    c.shared.failed.Load(),
		Abandoned: c.shared.abandoned.Load(),
		Completed: c.shared.completed.Load(),
		Waiting:   c.shared.waiting.Load(),
		Kernel: KernelStats{
			RXDropped: k[0].Load(), RXInvalid: k[1].Load(), TXInvalid: k[2].Load(),
			RXRingFull: k[3].Load(), FillRingEmpty: k[4].Load(), TXRingEmpty: k[5].Load(),
		},
	}
}

// Details is what a port counts beside port.Stats.
type Details struct {
	Queues []QueueStats
	// CompanionReceived and CompanionSent count the datagrams, and CompanionRefused the failed
	// sends, that went through the companion. All but the failed are in port.Stats too, and these
	// as Refused.
	CompanionReceived, CompanionSent, CompanionRefused uint64
	// Unresolved counts frames that had no next hop, Elsewhere those that leave by another interface, Ourselves
	// those for this host, TooLong those beyond the path's MTU. All went to the companion.
	Unresolved, Elsewhere, Ourselves, TooLong uint64
	// OwnSources counts frames that came from outside, and said that they came from this host. They were dropped.
	OwnSources uint64
	// GuardRefusals counts routes whose path the guard did not admit.
	GuardRefusals uint64
	// Suspended is whether the port has no bundle.
	Suspended bool
}

// counters are a port's statistics: Stats and details are the worker's own, shared is what others may
// read. Only the worker writes either.
type counters struct {
	port.Stats
	details Details
	shared  struct {
		received, receivedBytes, malformed                 atomic.Uint64
		sent, sentBytes, calls                             atomic.Uint64
		stale, refused, unroutable                         atomic.Uint64
		companionReceived, companionSent, companionRefused atomic.Uint64
		unresolved, elsewhere, ourselves, tooLong          atomic.Uint64
		ownSources, guardRefusals                          atomic.Uint64
		queues                                             atomic.Pointer[[]*queueCounters]
	}
}

// of returns the counters of a queue, which are made when it is first seen.
func (c *counters) of(queue int) *queueCounters {
	var known []*queueCounters
	if p := c.shared.queues.Load(); p != nil {
		known = *p
	}
	for _, q := range known {
		if q.Queue == queue {
			return q
		}
	}
	q := &queueCounters{QueueStats: QueueStats{Queue: queue}}
	longer := append(known[:len(known):len(known)], q)
	c.shared.queues.Store(&longer)
	return q
}

func (c *counters) publishReceived() {
	publish(&c.shared.received, c.Received)
	publish(&c.shared.receivedBytes, c.ReceivedBytes)
	publish(&c.shared.malformed, c.Malformed)
	publish(&c.shared.companionReceived, c.details.CompanionReceived)
	publish(&c.shared.ownSources, c.details.OwnSources)
}

func (c *counters) publishSent() {
	publish(&c.shared.sent, c.Sent)
	publish(&c.shared.sentBytes, c.SentBytes)
	publish(&c.shared.calls, c.Calls)
	publish(&c.shared.stale, c.Stale)
	publish(&c.shared.refused, c.Refused)
	publish(&c.shared.unroutable, c.Unroutable)
	publish(&c.shared.companionSent, c.details.CompanionSent)
	publish(&c.shared.companionRefused, c.details.CompanionRefused)
	publish(&c.shared.unresolved, c.details.Unresolved)
	publish(&c.shared.elsewhere, c.details.Elsewhere)
	publish(&c.shared.ourselves, c.details.Ourselves)
	publish(&c.shared.tooLong, c.details.TooLong)
	publish(&c.shared.guardRefusals, c.details.GuardRefusals)
}

// publish stores only what changed: a store is a locked instruction, a load is not.
func publish(shared *atomic.Uint64, value uint64) {
	if shared.Load() != value {
		shared.Store(value)
	}
}

// snapshot is what was published last. Safe from any thread.
func (c *counters) snapshot() port.Stats {
	return port.Stats{
		Received:      c.shared.received.Load(),
		ReceivedBytes: c.shared.receivedBytes.Load(),
		Sent:          c.shared.sent.Load(),
		SentBytes:     c.shared.sentBytes.Load(),
		Stale:         c.shared.stale.Load(),
		Refused:       c.shared.refused.Load(),
		Unroutable:    c.shared.unroutable.Load(),
		Malformed:     c.shared.malformed.Load(),
		Calls:         c.shared.calls.Load(),
	}
}

// snapshotDetails is what was published last, but for Suspended. Safe from any thread.
func (c *counters) snapshotDetails() Details {
	d := Details{
		CompanionReceived: c.shared.companionReceived.Load(),
		CompanionSent:     c.shared.companionSent.Load(),
		CompanionRefused:  c.shared.companionRefused.Load(),
		Unresolved:        c.shared.unresolved.Load(),
		Elsewhere:         c.shared.elsewhere.Load(),
		Ourselves:         c.shared.ourselves.Load(),
		TooLong:           c.shared.tooLong.Load(),
		OwnSources:        c.shared.ownSources.Load(),
		GuardRefusals:     c.shared.guardRefusals.Load(),
	}
	if queues := c.shared.queues.Load(); queues != nil {
		for _, q := range *queues {
			d.Queues = append(d.Queues, q.snapshot())
		}
	}
	return d
}
