package engine

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/bpf"
	"ringcast/engine/port"
	"ringcast/xsk"
)

var (
	xdpPacketsDesc = counterDesc("xdp_packets_total",
		"Packets that the XDP program judged, by reason. The reason begins with the verdict: pass, drop or redirect.",
		"reason")
	xdpAllowedDesc = counterDesc("xdp_guard_paths",
		"Paths whose DTLS and media the guard lets through.")
	xdpRungDesc = counterDesc("xdp_interface_info",
		"The way packets of an interface enter and leave now: one of AF_XDP, or udp while it is suspended.",
		"interface", "io")
	xdpOutagesDesc = counterDesc("xdp_outages_total",
		"Times that an interface was down, gone, deaf or stuck, and sockets took over.")
	xdpDeafDesc = counterDesc("xdp_deaf_total",
		"Outages because the queues received nothing of the packets that the XDP program redirected, or sent nothing.")
	xdpSuspendedDesc = counterDesc("xdp_suspended_workers",
		"Workers without a queue now, which use the companion socket.")

	companionReceivedDesc = counterDesc("companion_received_datagrams_total",
		"Datagrams received by the companion socket, which gets what AF_XDP does not.")
	companionSentDesc    = counterDesc("companion_sent_datagrams_total", "Datagrams sent by the companion socket.")
	companionRefusedDesc = counterDesc("companion_refused_datagrams_total",
		"Datagrams that the companion socket could not send.")

	xdpDescs = func() (d [xsk.NumCounters]*prometheus.Desc) {
		for c := range xsk.NumCounters {
			d[c] = describe(c.Metric())
		}
		return d
	}()
	queueDescs = func() (d [xsk.NumQueueCounters][]*prometheus.Desc) {
		for c := range xsk.NumQueueCounters {
			for _, m := range c.Metrics() {
				d[c] = append(d[c], describe(m, "interface", "queue"))
			}
		}
		return d
	}()
)

// collect implements backing. Metrics of several interfaces are sums, except those of single queues.
func (x *xdp) collect(count counting, gauge gauging) {
	var exits [bpf.NumReasons]uint64
	var sum xsk.Counts
	var outages, deaf uint64
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
			for i, value := range d.Counts {
				sum[i] += value
			}
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
	gauge(xdpSuspendedDesc, float64(suspended))
	for i, value := range sum {
		if m := xsk.Counter(i).Metric(); m.Name != "" {
			countIn(count, xdpDescs[i], m, value)
		}
	}
	s := x.companion.Stats()
	count(companionReceivedDesc, s[port.Received])
	count(companionSentDesc, s[port.Sent])
	count(companionRefusedDesc, s[port.Rejected])
}

func collectQueue(q *xsk.QueueStats, device string, count counting) {
	for i, value := range q.Counts {
		for j, m := range xsk.QueueCounter(i).Metrics() {
			countIn(count, queueDescs[i][j], m, value, device, strconv.Itoa(q.Queue))
		}
	}
}
