package engine

import (
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/port/tally"
	"ringcast/engine/worker"
)

// shared holds counts that a runner publishes a few times a second for other goroutines to read.
type shared struct {
	drops  [worker.NumDropReasons]atomic.Uint64
	counts [worker.NumCounters]atomic.Uint64
	turns  atomic.Uint64 // of the loop
	lost   atomic.Uint64 // messages that the lossy lanes had no room for
	faults atomic.Uint64 // sessions ended because they made the worker panic
	delays [len(worker.DelayBounds) + 1]atomic.Uint64
	delay  atomic.Int64 // sum, in port.Time
	trips  [len(worker.RoundTripBounds) + 1]atomic.Uint64
	trip   atomic.Int64 // sum, in port.Time

	switches, alarms [adapt.NumCauses]atomic.Uint64
	queues           [len(worker.QueueBounds) + 1]atomic.Uint64
	queue            atomic.Int64 // sum, in port.Time
}

func (r *runner) publish() {
	c := r.worker.Counters()
	tally.Publish(r.shared.drops[:], c.Drops[:])
	tally.Publish(r.shared.counts[:], c.Counts[:])
	tally.Publish(r.shared.delays[:], c.Delays[:])
	r.shared.delay.Store(int64(c.DelaySum))
	tally.Publish(r.shared.trips[:], c.RoundTrips[:])
	r.shared.trip.Store(int64(c.RoundTripSum))
	tally.Publish(r.shared.switches[:], c.Switches[:])
	tally.Publish(r.shared.alarms[:], c.Alarms[:])
	tally.Publish(r.shared.queues[:], c.Queues[:])
	r.shared.queue.Store(int64(c.QueueSum))
	r.shared.turns.Store(r.turns)
}

func counterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ringcast_"+name, help, labels, nil)
}

var (
	dropDesc = counterDesc("packets_dropped_total",
		"Datagrams, packets and requests that were dropped, by reason.", "reason")
	lostDesc   = counterDesc("bus_lost_total", "Messages dropped because a lossy lane between workers was full.")
	faultsDesc = counterDesc("faults_total", "Sessions ended because they made a worker panic.")
	turnsDesc  = counterDesc("worker_turns_total",
		"Turns of a worker's loop. An idle worker makes a few a second.", "worker")
	delayDesc = counterDesc("forwarding_delay_seconds",
		"Time from a packet's arrival to its first subscriber's frame. It begins when the kernel has the packet, but "+
			"by AF_XDP when a worker takes it.")
	tripDesc = counterDesc("subscriber_round_trip_seconds",
		"Round trips to subscribers, as their receiver reports show them. By AF_XDP up to 20 ms of waiting count.")
	switchesDesc = counterDesc("rung_switches_total",
		"Changes of the layer that a subscriber of several layers is sent, by cause.", "cause")
	alarmsDesc = counterDesc("rung_alarms_total",
		"Signs of trouble after which all video to a subscriber carried transport-wide numbers, by cause.", "cause")
	queueDesc = counterDesc("standing_queue_seconds",
		"Queues that stand in the networks of subscribers of several layers, as seen about once a second.")
	occupancyDesc = counterDesc("bus_occupancy_ratio", "How full the fullest media lane between workers is.")
	sessionDesc   = counterDesc("sessions",
		"Sessions by role and state. Other nodes and pushes that are connected have the role relay.", "role", "state")
	deniedDesc = counterDesc("sessions_refused_total", "Sessions that were not opened, by reason.", "reason")
	modesDesc  = counterDesc("h264_mode_mismatches_total",
		"Subscribers that get H.264 in packetization mode 1 although their offer has mode 0 only, or no parameters.")
	evictedDesc = counterDesc("sessions_evicted_total",
		"Pending sessions that no check had reached, ended to make room for others.")
	limitDesc = counterDesc("limit",
		"Limits on viewers of a stream, sessions of a source, and bits a second of a publisher's video; 0 is none.",
		"limit")
	overDesc   = counterDesc("publishers_above_bitrate", "Publishers whose video is above their bitrate limit now.")
	excessDesc = counterDesc("bitrate_excesses_total",
		"Publishers that stayed above their bitrate limit for 10 s, by the action: warned or ended.", "action")
	streamsDesc = counterDesc("streams", "Streams that are published now.")
	standbyDesc = counterDesc("standby_publishers",
		"Publishers that wait for another publisher of their stream to fail.")
	handedDesc = counterDesc("publisher_switches_total",
		"Times that a stream went over to its standby publisher, by reason.", "reason")
	rungViewersDesc = counterDesc("rung_subscribers",
		"Subscribers of video with several layers, by the rung that they are sent. Rung 0 is the lowest, "+
			"none is sound alone.",
		"rung")
	historyDesc = counterDesc("history_bytes", "Memory of the packet histories, copies for other workers included.")
	budgetDesc  = counterDesc("history_budget_bytes",
		"Most memory that the packet histories may take (--history-memory).")
	rungDesc = counterDesc("port_info",
		"The ways that packets enter and leave now: sockets (udp) or one of AF_XDP.", "io")
	socketsDesc = counterDesc("dialled_sockets",
		"UDP sockets that are open for sessions which the server dialled.")
	refusedDesc = counterDesc("port_refused_info", "Faster ways for packets that are not in use, with the reason.",
		"interface", "io", "reason")

	handshakesDesc  = counterDesc("dtls_handshakes_total", "DTLS handshakes by outcome.", "outcome")
	inFlightDesc    = counterDesc("dtls_handshakes_in_flight", "DTLS handshakes that run now.")
	lastFlightsDesc = counterDesc("dtls_last_flights_resent_total",
		"Times that the last flight of a handshake was sent again, because the peer repeated its own.")
	recordsDroppedDesc = counterDesc("dtls_records_dropped_total", "DTLS records that were dropped, by reason.",
		"reason")
	handshakeDesc = counterDesc("dtls_handshake_seconds", "Duration of DTLS handshakes that completed.")

	workerDescs = func() (d [worker.NumCounters]*prometheus.Desc) {
		for c := range worker.NumCounters {
			d[c] = counterDesc(c.String()+"_total", c.Help())
		}
		return d
	}()
)

// Describe implements prometheus.Collector. It takes the descriptions from the metrics that Collect sends.
func (e *Engine) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(e, ch) }

// Collect implements prometheus.Collector. It reads the counts that runners and controller published, and stops
// neither.
func (e *Engine) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	e.collectRunners(ch, count)
	e.collectPorts(count)
	gauge(historyDesc, float64(e.memory.Held()))
	gauge(budgetDesc, float64(e.memory.Limit()))
	gauge(occupancyDesc, e.bus.Occupancy())
	for _, rung := range e.ports.rungs() {
		gauge(rungDesc, 1, string(rung))
	}
	for _, r := range e.ports.refused {
		for _, rung := range r.Rungs {
			gauge(refusedDesc, 1, r.Interface, string(rung), r.String())
		}
	}
	if d := e.ports.dialled; d != nil {
		gauge(socketsDesc, float64(d.Sockets()))
	}
	e.ports.collect(count, gauge)
	ownAllowances.collect(count)
	e.controller.census.collect(count, gauge)
	e.controller.dtls.collect(ch, count, gauge)
}

// collectRunners gives the sums of the counts that runners published.
func (e *Engine) collectRunners(ch chan<- prometheus.Metric, count counting) {
	var drops [worker.NumDropReasons]uint64
	var counts [worker.NumCounters]uint64
	var delays [len(worker.DelayBounds) + 1]uint64
	var trips [len(worker.RoundTripBounds) + 1]uint64
	var delay, trip port.Time
	var faults, lost uint64
	for _, r := range e.runners {
		for i := range drops {
			drops[i] += r.shared.drops[i].Load()
		}
		for i := range counts {
			counts[i] += r.shared.counts[i].Load()
		}
		for i := range delays {
			delays[i] += r.shared.delays[i].Load()
		}
		for i := range trips {
			trips[i] += r.shared.trips[i].Load()
		}
		delay += port.Time(r.shared.delay.Load())
		trip += port.Time(r.shared.trip.Load())
		lost += r.shared.lost.Load()
		faults += r.shared.faults.Load()
		count(turnsDesc, r.shared.turns.Load(), strconv.Itoa(r.index))
	}
	for i, v := range drops {
		count(dropDesc, v, worker.DropReason(i).String())
	}
	for i, v := range counts {
		count(workerDescs[i], v)
	}
	e.collectRungs(ch, count)
	count(lostDesc, lost)
	count(faultsDesc, faults)
	ch <- histogram(delayDesc, worker.DelayBounds[:], delays[:], delay)
	ch <- histogram(tripDesc, worker.RoundTripBounds[:], trips[:], trip)
}

// collectRungs gives the sums of the counts about subscribers of several layers.
func (e *Engine) collectRungs(ch chan<- prometheus.Metric, count counting) {
	var queues [len(worker.QueueBounds) + 1]uint64
	var queue port.Time
	for cause := range adapt.NumCauses {
		switches, alarms := uint64(0), uint64(0)
		for _, r := range e.runners {
			switches += r.shared.switches[cause].Load()
			alarms += r.shared.alarms[cause].Load()
		}
		count(switchesDesc, switches, cause.String())
		count(alarmsDesc, alarms, cause.String())
	}
	for _, r := range e.runners {
		for i := range queues {
			queues[i] += r.shared.queues[i].Load()
		}
		queue += port.Time(r.shared.queue.Load())
	}
	ch <- histogram(queueDesc, worker.QueueBounds[:], queues[:], queue)
}

// histogram makes a metric of durations. counts has one element more than bounds, for those above all.
func histogram[D interface{ Seconds() float64 }](d *prometheus.Desc, bounds []D, counts []uint64,
	sum D,
) prometheus.Metric {
	buckets, total := make(map[float64]uint64), uint64(0)
	for i, bound := range bounds {
		total += counts[i]
		buckets[bound.Seconds()] = total
	}
	return prometheus.MustNewConstHistogram(d, total+counts[len(bounds)], sum.Seconds(), buckets)
}
