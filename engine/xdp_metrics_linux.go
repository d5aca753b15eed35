package engine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/bpf"
)

var (
	xdpPacketsDesc   = counterDesc("xdp_packets_total", "Packets that left the XDP program, by reason; its name begins with the verdict.", "reason")
	xdpAllowedDesc   = counterDesc("xdp_guard_paths", "Paths whose DTLS and media the guard lets through.")
	xdpRefusedDesc   = counterDesc("xdp_guard_refused_total", "Paths that the guard had no room for.")
	xdpOutagesDesc   = counterDesc("xdp_outages_total", "Times that the interface was down or gone for long, and packets went through the kernel.")
	xdpSuspendedDesc = counterDesc("xdp_suspended_workers", "Workers that have no queue now and use the companion socket.")

	queueReceivedDesc = counterDesc("xdp_queue_received_frames_total", "Frames from a queue's RX ring.", "queue")
	queueSentDesc     = counterDesc("xdp_queue_sent_frames_total", "Frames that the kernel took from a queue's TX ring.", "queue")
	queueKicksDesc    = counterDesc("xdp_queue_kicks_total", "System calls that had the kernel send, by what it answered.", "queue", "answer")
	queueLostDesc     = counterDesc("xdp_queue_lost_frames_total", "Frames lost at a queue, by reason.", "queue", "reason")
	queueInvalidDesc  = counterDesc("xdp_queue_tx_invalid_total", "Times that the kernel passed over what was taken back from a TX ring; one frame makes several, and is lost only if another counter says so.", "queue")
	queueEmptyDesc    = counterDesc("xdp_queue_tx_empty_total", "Times that the kernel found nothing to send.", "queue")

	companionReceivedDesc = counterDesc("companion_received_datagrams_total", "Datagrams that XDP passed to the kernel's socket.")
	companionSentDesc     = counterDesc("companion_sent_datagrams_total", "Datagrams sent through the kernel's socket.")
	companionRefusedDesc  = counterDesc("companion_refused_datagrams_total", "Datagrams that the kernel's socket did not send.")
	detourDesc            = counterDesc("xdp_detour_datagrams_total", "Datagrams that took the kernel's socket, by reason.", "reason")
)

// collect gives the metrics of AF_XDP.
func (x *xdp) collect(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	if exits, err := x.program.Counters(); err == nil {
		for i, n := range exits {
			count(xdpPacketsDesc, n, bpf.Reason(i).String())
		}
	}
	gauge(xdpAllowedDesc, float64(x.program.Allowed()))
	count(xdpOutagesDesc, x.outages.Load())

	var suspended int
	var unresolved, tooLong, refused uint64
	for _, p := range x.ports {
		d := p.Details()
		unresolved, tooLong, refused = unresolved+d.Unresolved, tooLong+d.TooLong, refused+d.GuardRefusals
		if d.Suspended {
			suspended++
		}
		for i := range d.Queues {
			q := &d.Queues[i]
			name := strconv.Itoa(q.Queue)
			count(queueReceivedDesc, q.Received, name)
			count(queueSentDesc, q.Sent, name)
			count(queueEmptyDesc, q.Kernel.TXRingEmpty, name)
			count(queueInvalidDesc, q.Kernel.TXInvalid, name)
			bad := q.Again + q.Busy + q.NoBuffers + q.Down + q.Failed
			for answer, n := range map[string]uint64{
				"ok": q.Kicks - min(bad, q.Kicks), "again": q.Again, "busy": q.Busy, "no_buffers": q.NoBuffers, "down": q.Down, "failed": q.Failed,
			} {
				count(queueKicksDesc, n, name, answer)
			}
			for reason, n := range map[string]uint64{
				"rx_dropped": q.Kernel.RXDropped, "rx_invalid": q.Kernel.RXInvalid, "rx_ring_full": q.Kernel.RXRingFull,
				"fill_ring_empty": q.Kernel.FillRingEmpty, "tx_busy": q.Busy, "abandoned": q.Abandoned,
			} {
				count(queueLostDesc, n, name, reason)
			}
		}
	}
	count(xdpRefusedDesc, refused)
	gauge(xdpSuspendedDesc, float64(suspended))
	count(detourDesc, unresolved, "no_next_hop")
	count(detourDesc, tooLong, "too_long")
	s := x.companion.Stats()
	count(companionReceivedDesc, s.Received)
	count(companionSentDesc, s.Sent)
	count(companionRefusedDesc, s.Refused)
}
