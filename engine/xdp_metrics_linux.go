package engine

import (
	"strconv"

	"ringcast/bpf"
	"ringcast/xsk"
)

var (
	xdpPacketsDesc   = counterDesc("xdp_packets_total", "Packets that the XDP program judged, by reason. The reason begins with the verdict: pass, drop or redirect.", "reason")
	xdpAllowedDesc   = counterDesc("xdp_guard_paths", "Paths whose DTLS and media the guard lets through.")
	xdpRefusedDesc   = counterDesc("xdp_guard_refused_total", "Paths that the guard had no room for.")
	xdpRungDesc      = counterDesc("xdp_interface_info", "The way packets of an interface enter and leave now: one of AF_XDP, or udp while it is suspended.", "interface", "io")
	xdpForgedDesc    = counterDesc("xdp_own_source_datagrams_total", "Datagrams from outside with a source address of this host: forged, and dropped.")
	xdpOutagesDesc   = counterDesc("xdp_outages_total", "Times that an interface was down, gone, deaf or stuck, and sockets took over.")
	xdpDeafDesc      = counterDesc("xdp_deaf_total", "Outages because the queues received nothing of what the XDP program handed over, or sent nothing.")
	xdpSuspendedDesc = counterDesc("xdp_suspended_workers", "Workers without a queue now, which use the companion socket.")

	queueReceivedDesc = counterDesc("xdp_queue_received_frames_total", "Frames received from a queue's RX ring.", "interface", "queue")
	queueSentDesc     = counterDesc("xdp_queue_sent_frames_total", "Frames that the kernel consumed from a queue's TX ring.", "interface", "queue")
	queueKicksDesc    = counterDesc("xdp_queue_kicks_total", "System calls that asked the kernel to send, by its answer.", "interface", "queue", "answer")
	queueLostDesc     = counterDesc("xdp_queue_lost_frames_total", "Frames lost at a queue, by reason.", "interface", "queue", "reason")
	queueInvalidDesc  = counterDesc("xdp_queue_tx_invalid_total", "Times that the kernel skipped a withdrawn frame in a TX ring. One frame counts several times; another counter says if it was lost.", "interface", "queue")
	queueEmptyDesc    = counterDesc("xdp_queue_tx_empty_total", "Times that the kernel found nothing to send.", "interface", "queue")

	companionReceivedDesc = counterDesc("companion_received_datagrams_total", "Datagrams received by the companion socket, which gets what AF_XDP does not.")
	companionSentDesc     = counterDesc("companion_sent_datagrams_total", "Datagrams sent by the companion socket.")
	companionRefusedDesc  = counterDesc("companion_refused_datagrams_total", "Datagrams that the companion socket could not send.")
	detourDesc            = counterDesc("xdp_detour_datagrams_total", "Datagrams that the companion socket sent in place of AF_XDP, by reason.", "reason")
)

// collect implements backing. Metrics of several interfaces are sums, except those of single queues.
func (x *xdp) collect(count counting, gauge gauging) {
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

func collectQueue(q *xsk.QueueStats, device string, count counting) {
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
