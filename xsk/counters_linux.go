package xsk

import (
	"sync/atomic"

	"ringcast/engine/port"
	"ringcast/engine/port/tally"
)

// A Counter names one thing that an AF_XDP port counts beside those of port.Counter. Its values only grow.
type Counter uint8

const (
	// CompanionReceived and CompanionSent count the datagrams that the companion received and sent, CompanionRejected
	// the sends that failed. They count in port.Stats too: the first two as received and sent, the last as rejected.
	CompanionReceived Counter = iota
	CompanionSent
	CompanionRejected
	// Unresolved counts datagrams without next hop, Elsewhere those that leave by another interface, Ourselves those
	// for this host, TooLong those beyond the path's MTU. The companion sent all of them.
	Unresolved
	Elsewhere
	Ourselves
	TooLong
	// OwnSources counts arrivals from outside with a source address of this host. They were dropped.
	OwnSources
	// GuardRejections counts routes whose path the guard did not admit.
	GuardRejections

	NumCounters
)

// counters have no metric where the companion's own counts tell the same.
var counters = [NumCounters]struct {
	name   string
	metric port.Metric
}{
	CompanionReceived: {"companion received", port.Metric{}},
	CompanionSent:     {"companion sent", port.Metric{}},
	CompanionRejected: {"companion rejected", port.Metric{}},
	Unresolved:        {"unresolved", detour("no_next_hop")},
	Elsewhere:         {"elsewhere", detour("routed_elsewhere")},
	Ourselves:         {"ourselves", detour("own_host")},
	TooLong:           {"too long", detour("too_long")},
	OwnSources: {"own sources", port.Metric{
		Name: "xdp_own_source_datagrams_total",
		Help: "Datagrams from outside with a source address of this host: forged, and dropped.",
	}},
	GuardRejections: {"guard rejections", port.Metric{
		Name: "xdp_guard_refused_total", Help: "Paths that the guard had no room for.",
	}},
}

func detour(reason string) port.Metric {
	return port.Metric{
		Name:  "xdp_detour_datagrams_total",
		Help:  "Datagrams that the companion socket sent in place of AF_XDP, by reason.",
		Label: "reason", Value: reason,
	}
}

// String returns a short name.
func (c Counter) String() string { return counters[c].name }

// Metric returns how an operator sees the counter. It has no name if operators do not see it.
func (c Counter) Metric() port.Metric { return counters[c].metric }

// Counts are a port's counts, by Counter.
type Counts [NumCounters]uint64

// String lists the counts that are not zero.
func (c Counts) String() string { return port.List[Counter](c[:]) }

// A QueueCounter names one thing that a port counts for each of the NIC's queues. Its values only grow, over outages
// too.
type QueueCounter uint8

const (
	// QueueReceived counts frames from the RX ring, QueueSent those that the kernel consumed from the TX ring and did
	// not report as dropped.
	QueueReceived QueueCounter = iota
	QueueSent
	// The kicks, by the kernel's answer: none, EAGAIN, EBUSY (one frame was dropped), ENOBUFS or ENOMEM, ENETDOWN, any
	// other error.
	QueueOK
	QueueAgain
	QueueBusy
	QueueNoBuffers
	QueueDown
	QueueFailed
	// QueueCompleted counts the frames that came back from the kernel, sent or dropped.
	QueueCompleted
	// QueueAbandoned counts frames that were with the kernel when the socket was closed.
	QueueAbandoned
	// The kernel's own counters of a socket (struct xdp_statistics of linux/if_xdp.h), half a second old if the worker
	// is awake. KernelTXInvalid also counts frames that were reclaimed from the ring.
	KernelRXDropped
	KernelRXInvalid
	KernelTXInvalid
	KernelRXRingFull
	KernelFillRingEmpty
	KernelTXRingEmpty

	NumQueueCounters
)

// queueCounters have metrics with the labels interface and queue, and perhaps one more. A dropped frame is both an
// answer to a kick and a loss.
var queueCounters = [NumQueueCounters]struct {
	name    string
	metrics []port.Metric
}{
	QueueReceived: {"received", []port.Metric{{
		Name: "xdp_queue_received_frames_total", Help: "Frames received from a queue's RX ring.",
	}}},
	QueueSent: {"sent", []port.Metric{{
		Name: "xdp_queue_sent_frames_total", Help: "Frames that the kernel consumed from a queue's TX ring.",
	}}},
	QueueOK:         {"ok", []port.Metric{answer("ok")}},
	QueueAgain:      {"again", []port.Metric{answer("again")}},
	QueueBusy:       {"busy", []port.Metric{answer("busy"), loss("tx_busy")}},
	QueueNoBuffers:  {"no buffers", []port.Metric{answer("no_buffers")}},
	QueueDown:       {"down", []port.Metric{answer("down")}},
	QueueFailed:     {"failed", []port.Metric{answer("failed")}},
	QueueCompleted:  {"completed", nil},
	QueueAbandoned:  {"abandoned", []port.Metric{loss("abandoned")}},
	KernelRXDropped: {"kernel RX dropped", []port.Metric{loss("rx_dropped")}},
	KernelRXInvalid: {"kernel RX invalid", []port.Metric{loss("rx_invalid")}},
	KernelTXInvalid: {"kernel TX invalid", []port.Metric{{
		Name: "xdp_queue_tx_invalid_total",
		Help: "Times that the kernel skipped a withdrawn frame in a TX ring. One frame counts several times; " +
			"another counter says if it was lost.",
	}}},
	KernelRXRingFull:    {"kernel RX ring full", []port.Metric{loss("rx_ring_full")}},
	KernelFillRingEmpty: {"kernel fill ring empty", []port.Metric{loss("fill_ring_empty")}},
	KernelTXRingEmpty: {"kernel TX ring empty", []port.Metric{{
		Name: "xdp_queue_tx_empty_total", Help: "Times that the kernel found nothing to send.",
	}}},
}

func answer(name string) port.Metric {
	return port.Metric{
		Name: "xdp_queue_kicks_total", Help: "System calls that asked the kernel to send, by its answer.",
		Label: "answer", Value: name,
	}
}

func loss(reason string) port.Metric {
	return port.Metric{
		Name: "xdp_queue_lost_frames_total", Help: "Frames lost at a queue, by reason.", Label: "reason", Value: reason,
	}
}

// String returns a short name.
func (c QueueCounter) String() string { return queueCounters[c].name }

// Metrics returns how an operator sees the counter. There are none if operators do not see it.
func (c QueueCounter) Metrics() []port.Metric { return queueCounters[c].metrics }

// QueueCounts are the counts of one of the NIC's queues, by QueueCounter.
type QueueCounts [NumQueueCounters]uint64

// String lists the counts that are not zero.
func (c QueueCounts) String() string { return port.List[QueueCounter](c[:]) }

// QueueStats are the counts and the state of one of the NIC's queues.
type QueueStats struct {
	Queue  int
	Counts QueueCounts
	// Waiting reports whether the queue depends on the next frame that comes back from the kernel. It does if the port
	// has no other frame, or if the NIC in zerocopy mode has not read all of the TX ring.
	Waiting bool
}

// Details are the counts of a port beside port.Stats.
type Details struct {
	Counts Counts
	Queues []QueueStats
	// Suspended reports whether the port has no bundle.
	Suspended bool
}

// numKernel is how many of the QueueCounters are the kernel's; they are the last.
const numKernel = int(NumQueueCounters - KernelRXDropped)

// queueTally is the counts of one queue; the owner's are the embedded QueueStats. It outlives the socket on the queue.
type queueTally struct {
	QueueStats
	earlier [numKernel]uint64 // the kernel's counts of sockets that are closed
	shared  [NumQueueCounters]atomic.Uint64
	waiting atomic.Bool // Waiting, shared
}

// publish publishes all counts but the kernel's, which change with askKernel only.
func (q *queueTally) publish() {
	tally.Publish(q.shared[:KernelRXDropped], q.Counts[:KernelRXDropped])
	if q.Waiting != q.waiting.Load() {
		q.waiting.Store(q.Waiting)
	}
}

func (q *queueTally) snapshot() QueueStats {
	s := QueueStats{Queue: q.Queue, Waiting: q.waiting.Load()}
	tally.Snapshot(s.Counts[:], q.shared[:])
	return s
}

// askKernel reads the kernel's counts of the queue's present sockets, and publishes their sums.
func (q *queueTally) askKernel(of *socket) {
	sums := q.earlier
	for _, fd := range [...]int{of.fd, of.reports.fd} {
		s, errno := statistics(fd)
		if errno != 0 {
			return
		}
		if fd == of.reports.fd {
			s.Rx_fill_ring_empty_descs = 0 // the count is of the fill ring, which both share
		}
		for i, n := range [numKernel]uint64{
			s.Rx_dropped, s.Rx_invalid_descs, s.Tx_invalid_descs,
			s.Rx_ring_full, s.Rx_fill_ring_empty_descs, s.Tx_ring_empty_descs,
		} {
			sums[i] += n
		}
	}
	copy(q.Counts[KernelRXDropped:], sums[:])
	tally.Publish(q.shared[KernelRXDropped:], q.Counts[KernelRXDropped:])
}

// close publishes the counts of sockets that are about to be closed.
func (q *queueTally) close(of *socket) {
	q.askKernel(of)
	copy(q.earlier[:], q.Counts[KernelRXDropped:])
	q.Waiting = false
	q.publish()
}

// portTally is the counts of a port, of which own are the owner's beside Stats. Only the owner writes.
type portTally struct {
	tally.Port
	own    Counts
	shared [NumCounters]atomic.Uint64
	queues atomic.Pointer[[]*queueTally]
}

// of returns the counts of a queue, which are made when it is first seen.
func (p *portTally) of(queue int) *queueTally {
	var known []*queueTally
	if all := p.queues.Load(); all != nil {
		known = *all
	}
	for _, q := range known {
		if q.Queue == queue {
			return q
		}
	}
	q := &queueTally{QueueStats: QueueStats{Queue: queue}}
	longer := append(known[:len(known):len(known)], q)
	p.queues.Store(&longer)
	return q
}

func (p *portTally) publish() {
	p.Port.Publish()
	tally.Publish(p.shared[:], p.own[:])
}

// details returns the counts that were published last. Safe from any thread.
func (p *portTally) details() (d Details) {
	tally.Snapshot(d.Counts[:], p.shared[:])
	if queues := p.queues.Load(); queues != nil {
		for _, q := range *queues {
			d.Queues = append(d.Queues, q.snapshot())
		}
	}
	return d
}
