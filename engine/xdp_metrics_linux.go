package engine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/bpf"
	"ringcast/xsk"
)

var (
	xdpPacketsDesc   = counterDesc("xdp_packets_total", "Packets that left the XDP program, by reason; its name begins with the verdict.", "reason")
	xdpAllowedDesc   = counterDesc("xdp_guard_paths", "Paths whose DTLS and media the guard lets through.")
	xdpRefusedDesc   = counterDesc("xdp_guard_refused_total", "Paths that the guard had no room for.")
	xdpRungDesc      = counterDesc("xdp_interface_info", "How packets of an interface go now; udp while its queues are given up.", "interface", "io")
	xdpForgedDesc    = counterDesc("xdp_own_source_datagrams_total", "Datagrams from outside that said that they came from this host; dropped.")
	xdpOutagesDesc   = counterDesc("xdp_outages_total", "Times that the interface was down, gone, deaf or stuck, and packets went through the kernel.")
	xdpDeafDesc      = counterDesc("xdp_deaf_total", "Outages because no queue received what the XDP program handed over, or a queue sent nothing.")
	xdpSuspendedDesc = counterDesc("xdp_suspended_workers", "Workers that have no queue now and use the companion socket.")

	queueReceivedDesc = counterDesc("xdp_queue_received_frames_total", "Frames from a queue's RX ring.", "interface", "queue")
	queueSentDesc     = counterDesc("xdp_queue_sent_frames_total", "Frames that the kernel took from a queue's TX ring.", "interface", "queue")
	queueKicksDesc    = counterDesc("xdp_queue_kicks_total", "System calls that had the kernel send, by what it answered.", "interface", "queue", "answer")
	queueLostDesc     = counterDesc("xdp_queue_lost_frames_total", "Frames lost at a queue, by reason.", "interface", "queue", "reason")
	queueInvalidDesc  = counterDesc("xdp_queue_tx_invalid_total", "Times that the kernel passed over what was taken back from a TX ring; one frame makes several, and is lost only if another counter says so.", "interface", "queue")
	queueEmptyDesc    = counterDesc("xdp_queue_tx_empty_total", "Times that the kernel found nothing to send.", "interface", "queue")

	companionReceivedDesc = counterDesc("companion_received_datagrams_total", "Datagrams that XDP passed to the kernel's socket.")
	companionSentDesc     = counterDesc("companion_sent_datagrams_total", "Datagrams sent through the kernel's socket.")
	companionRefusedDesc  = counterDesc("companion_refused_datagrams_total", "Datagrams that the kernel's socket did not send.")
	detourDesc            = counterDesc("xdp_detour_datagrams_total", "Datagrams that took the kernel's socket, by reason.", "reason")
)

// collect gives the metrics of AF_XDP. Those of several interfaces are sums, but for the queues'.
func (x *xdp) collect(count func(*prometheus.Desc, uint64, ...string), gauge func(*prometheus.Desc, float64, ...string)) {
	var exits [bpf.NumReasons]uint64
	var outages, deaf, unresolved, elsewhere, ourselves, tooLong, forged, refused uint64
	var suspended int
	for _, n := range x.nics {
		if counters, err := n.program.Counters(); err == nil {
			for i, c := range counters {
				exits[i] += c
			}
		}
		gauge(xdpRungDesc, 1, n.name, string(n.current()))
		outages, deaf, suspended = outages+n.outages.Load(), deaf+n.deaf.Load(), suspended+n.suspended()
		for _, p := range n.ports {
			d := p.Details()
			unresolved, elsewhere, ourselves = unresolved+d.Unresolved, elsewhere+d.Elsewhere, ourselves+d.Ourselves
			tooLong, forged, refused = tooLong+d.TooLong, forged+d.OwnSources, refused+d.GuardRefusals
			for i := range d.Queues {
				collectQueue(&d.Queues[i], n.name, count)
			}
		}
	}
	for i, n := range exits {
		count(xdpPacketsDesc, n, bpf.Reason(i).String())
	}
	gauge(xdpAllowedDesc, float64(x.nics[0].program.Allowed())) // every interface has the same
	count(xdpOutagesDesc, outages)
	count(xdpDeafDesc, deaf)
	count(xdpRefusedDesc, refused)
	gauge(xdpSuspendedDesc, float64(suspended))
	count(detourDesc, unresolved, "no_next_hop")
	count(detourDesc, elsewhere, "routed_elsewhere")
	count(detourDesc, ourselves, "own_host")
	count(detourDesc, tooLong, "too_long")
	count(xdpForgedDesc, forged)
	s := x.companion.Stats()
	count(companionReceivedDesc, s.Received)
	count(companionSentDesc, s.Sent)
	count(companionRefusedDesc, s.Refused)
}

func collectQueue(q *xsk.QueueStats, device string, count func(*prometheus.Desc, uint64, ...string)) {
	name := strconv.Itoa(q.Queue)
	count(queueReceivedDesc, q.Received, device, name)
	count(queueSentDesc, q.Sent, device, name)
	count(queueEmptyDesc, q.Kernel.TXRingEmpty, device, name)
	count(queueInvalidDesc, q.Kernel.TXInvalid, device, name)
	bad := q.Again + q.Busy + q.NoBuffers + q.Down + q.Failed
	for answer, n := range map[string]uint64{
		"ok": q.Kicks - min(bad, q.Kicks), "again": q.Again, "busy": q.Busy, "no_buffers": q.NoBuffers, "down": q.Down, "failed": q.Failed,
	} {
		count(queueKicksDesc, n, device, name, answer)
	}
	for reason, n := range map[string]uint64{
		"rx_dropped": q.Kernel.RXDropped, "rx_invalid": q.Kernel.RXInvalid, "rx_ring_full": q.Kernel.RXRingFull,
		"fill_ring_empty": q.Kernel.FillRingEmpty, "tx_busy": q.Busy, "abandoned": q.Abandoned,
	} {
		count(queueLostDesc, n, device, name, reason)
	}
}
