package trial

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/vishvananda/netlink"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/testenv/lab"
	"ringcast/testenv/server"
)

const (
	// settling is the time from a window's first frame to its measurement.
	settling = 700 * time.Millisecond
	// draining is the longest time for packets and counts after the last frame.
	draining = 10 * time.Second
	// still is the time without any change that ends draining. Servers publish their counts a few times a second.
	still = 400 * time.Millisecond
	// late is that time if the server's count and the sink's do not agree. On a busy machine a thread waits for longer
	// than still.
	late = 5 * time.Second
)

// state holds all counts, while the publisher is paused.
type state struct {
	viewing   Viewing
	published *report.Publish
	wire      netlink.LinkStatistics
	metrics   server.Metrics // nil of a foreign server
}

// counts are read while packets flow.
type counts struct {
	at             time.Time
	server, client lab.Usage
	napi           time.Duration // of the client's, part of client
	sunk           Sunk
	wire           netlink.LinkStatistics
	lateness       *report.Publish
	watch          *report.Watch // with a crowd
}

// Window plays for d and measures, after a moment that it does not measure. It pauses the publisher before and after,
// so that the counts of sent and arrived packets can be compared exactly.
func (r *Rig) Window(ctx context.Context, d time.Duration) (w Window, err error) {
	before := r.stood
	if before == nil {
		if before, err = r.standstill(ctx, nil); err != nil {
			return w, err
		}
	}
	r.stood = nil
	if err := r.start(ctx); err != nil {
		return w, err
	}
	// The metrics' own cost stays outside of the CPU time.
	then, err := r.metrics(ctx)
	if err != nil {
		return w, err
	}
	from, err := r.read(ctx)
	if err != nil {
		return w, err
	}
	if err := r.wait(ctx, d); err != nil {
		return w, err
	}
	to, err := r.read(ctx)
	if err != nil {
		return w, err
	}
	now, err := r.metrics(ctx)
	if err != nil {
		return w, err
	}
	if w, r.stood, err = r.finish(ctx, before, interval{&from, &to}); err != nil {
		return w, err
	}
	if w.Server != nil {
		w.Server.Forwarding = forwarding(now.Sub(then))
	}
	return w, nil
}

// start plays, and waits for the steady time.
func (r *Rig) start(ctx context.Context) error {
	if err := r.play(ctx); err != nil {
		return err
	}
	return r.wait(ctx, settling)
}

// An interval is the time between two readings.
type interval struct{ from, to *counts }

// finish pauses and makes a window of the figures since a standstill and of an interval after it. It returns the new
// standstill too.
func (r *Rig) finish(ctx context.Context, before *state, measured interval) (w Window, after *state, err error) {
	if err := r.pause(ctx); err != nil {
		return w, nil, err
	}
	if after, err = r.standstill(ctx, before); err != nil {
		return w, nil, err
	}
	w.flow(measured.from, measured.to, len(r.cfg.ServerCPUs))
	w.tally(before, after)
	if x := measured.to.watch; x != nil { // the last look has only the time after it
		w.Delay, w.Jitter = x.Sample.Delay, x.Sample.Jitter
	}
	rss, err := lab.Resident(r.process.PID())
	if err != nil {
		return w, after, err
	}
	w.RSS = uint64(rss)
	w.judge(r.cfg.Viewers)
	return w, after, nil
}

// read reads the counts. The server's CPU time is read next to the moment's time; the sink has a time of its own.
func (r *Rig) read(ctx context.Context) (c counts, err error) {
	if c.client, err = lab.ReadUsage(r.watching.PID, []int{r.cfg.ClientCPU}, r.clientNAPI); err != nil {
		return c, err
	}
	napi, err := lab.ReadUsage(r.watching.PID, nil, r.clientNAPI)
	if err != nil {
		return c, err
	}
	c.napi = napi.Kernel
	c.at = time.Now()
	if c.server, err = lab.ReadUsage(r.process.PID(), r.cfg.ServerCPUs, r.serverNAPI); err != nil {
		return c, err
	}
	if c.wire, err = r.wire(); err != nil {
		return c, err
	}
	if err := r.order(ctx, http.MethodGet, viewersOrders, "/sunk", &c.sunk); err != nil {
		return c, err
	}
	if len(r.cfg.Crowd) > 0 {
		v, err := r.look(ctx)
		if err != nil {
			return c, err
		}
		c.watch = v.Watch
	}
	// The publisher reports on the time since the last look.
	return c, r.order(ctx, http.MethodGet, publisherOrders, "/look", &c.lateness)
}

// wire returns the counts of the server's interface.
func (r *Rig) wire() (netlink.LinkStatistics, error) {
	link, err := r.server.Netlink().LinkByName(device)
	if err != nil {
		return netlink.LinkStatistics{}, fmt.Errorf("counters of the server's %s: %w", device, err)
	}
	return *link.Attrs().Statistics, nil
}

// standstill waits until nothing moves, and reads all counts. Since the standstill before, if there was one, as much
// should have arrived or been lost as was sent.
func (r *Rig) standstill(ctx context.Context, before *state) (*state, error) {
	var s state
	var last Sunk
	moved := time.Now()
	for giveUp := time.Now().Add(draining); ; {
		var now Sunk
		if err := r.order(ctx, http.MethodGet, viewersOrders, "/sunk", &now); err != nil {
			return nil, err
		}
		if media(&now) != media(&last) {
			last, moved = now, time.Now()
		}
		pause := time.Since(moved)
		if pause >= late || time.Now().After(giveUp) {
			break
		}
		if pause >= still {
			all, err := r.agree(ctx, before, &now)
			if err != nil {
				return nil, err
			}
			if all {
				break
			}
		}
		if err := r.wait(ctx, pollPause); err != nil {
			return nil, err
		}
	}
	var err error
	if s.viewing, err = r.look(ctx); err != nil {
		return nil, err
	}
	if s.wire, err = r.wire(); err != nil {
		return nil, err
	}
	if err := r.order(ctx, http.MethodGet, publisherOrders, "/look", &s.published); err != nil {
		return nil, err
	}
	if s.metrics, err = r.metrics(ctx); err != nil {
		return nil, err
	}
	return &s, nil
}

// agree reports whether all packets that the server has sent since a standstill have arrived at the sink or are lost,
// by the server's counts.
func (r *Rig) agree(ctx context.Context, before *state, now *Sunk) (bool, error) {
	if before == nil || before.metrics == nil {
		return true, nil
	}
	m, err := r.metrics(ctx)
	if err != nil {
		return false, err
	}
	wire, err := r.wire()
	if err != nil {
		return false, err
	}
	grown, then := m.Sub(before.metrics), &before.viewing.Sunk
	sent := grown["ringcast_sent_rtp_packets_total"] + grown["ringcast_sent_rtx_packets_total"] +
		grown["ringcast_sent_padding_packets_total"]
	return uint64(sent) == media(now)+now.Lost-media(then)-then.Lost+wire.TxDropped-before.wire.TxDropped, nil
}

// metrics returns the server's metrics, nil for a foreign server.
func (r *Rig) metrics(ctx context.Context) (server.Metrics, error) {
	if r.Contender.foreign() {
		return nil, nil
	}
	return r.process.ReadMetrics(ctx)
}

// media is the number of packets that have arrived.
func media(s *Sunk) uint64 { return s.DivertedPackets + s.PassedPackets }

// flow fills in the figures of the time when packets flowed.
func (w *Window) flow(a, b *counts, cores int) {
	w.Seconds = b.at.Sub(a.at).Seconds()
	used := b.server.Sub(a.server)
	whole := w.Seconds * float64(cores)
	w.Process, w.Kernel = used.Process.Seconds()/whole, used.Kernel.Seconds()/whole
	w.CPU = w.Process + w.Kernel
	w.Idle, w.Stolen = used.Idle.Seconds()/whole, used.Stolen.Seconds()/whole

	sunk := b.sunk.At.Sub(a.sunk.At).Seconds()
	w.PacketRate = float64(media(&b.sunk)-media(&a.sunk)) / sunk
	bytes := b.sunk.DivertedBytes + b.sunk.PassedBytes - a.sunk.DivertedBytes - a.sunk.PassedBytes
	w.ViewerBits = 8 * float64(bytes) / sunk
	w.WireBits = 8 * float64(b.wire.TxBytes-a.wire.TxBytes) / w.Seconds
	w.WirePackets = float64(b.wire.TxPackets-a.wire.TxPackets) / w.Seconds
	if w.PacketRate > 0 {
		w.PerPacket = 1e9 * used.Total().Seconds() / w.Seconds / w.PacketRate
	}
	client := b.client.Sub(a.client)
	w.Client = Client{
		Idle:    client.Idle.Seconds() / w.Seconds,
		Viewers: client.Process.Seconds() / w.Seconds,
		Sink:    (b.napi - a.napi).Seconds() / w.Seconds,
		Late:    b.lateness.Late,
	}
	for i := 0; b.watch != nil && i < len(b.watch.Groups); i++ {
		w.Groups = append(w.Groups, b.watch.Groups[i].Since(&a.watch.Groups[i]))
	}
}

// tally fills in the counts between two standstills.
func (w *Window) tally(a, b *state) {
	x, y := a.viewing.Watch, b.viewing.Watch
	w.Published = b.published.VideoPackets - a.published.VideoPackets
	w.Arrived = media(&b.viewing.Sunk) - media(&a.viewing.Sunk)
	w.Dropped = b.wire.TxDropped - a.wire.TxDropped
	w.LostOnPurpose = b.viewing.Sunk.Lost - a.viewing.Sunk.Lost
	w.Counted = y.All.Packets - x.All.Packets
	w.CountedMissing = y.All.Missing - min(x.All.Missing, y.All.Missing)
	w.Sampled = SampleCounts{
		Packets: y.Sample.Packets - x.Sample.Packets,
		Missing: y.Sample.Missing - min(x.Sample.Missing, y.Sample.Missing),
		Bad:     y.Sample.Unopened + y.Sample.Damaged - x.Sample.Unopened - x.Sample.Damaged,
		NACKs:   y.Sent.NACKs - x.Sent.NACKs,
	}
	w.Joined, w.Playing, w.Failed = y.Joined, y.Playing, y.Failed()
	for _, n := range y.Lost {
		w.Gone += n
	}
	w.SocketDrops = y.Client.Drops - x.Client.Drops
	w.Delay, w.Jitter = y.Sample.Delay, y.Sample.Jitter
	if b.metrics == nil {
		return
	}
	grown := b.metrics.Sub(a.metrics)
	w.Server = &Server{
		Rung:        rung(b.metrics),
		ReceivedRTP: uint64(grown["ringcast_received_rtp_packets_total"]),
		SentRTP:     uint64(grown["ringcast_sent_rtp_packets_total"]),
		SentRTX:     uint64(grown["ringcast_sent_rtx_packets_total"]),
		SentPadding: uint64(grown["ringcast_sent_padding_packets_total"]),
		Calls:       uint64(grown.Sum("ringcast_port_send_calls_total")),
		Datagrams:   uint64(grown.Sum("ringcast_port_sent_datagrams_total")),
		Unsent:      uint64(grown.Sum("ringcast_port_unsent_datagrams_total")),
		Reports:     uint64(grown["ringcast_received_report_blocks_total"]),
		Feedbacks:   uint64(grown["ringcast_received_transport_feedbacks_total"]),
		Drops:       reasons(grown, "ringcast_packets_dropped_total"),
		RingLosses:  reasons(grown, "ringcast_xdp_queue_lost_frames_total"),
		GCs:         uint64(grown["go_gc_duration_seconds_count"]),
		GCShare:     grown[collectorTime] / w.Seconds,
		Mallocs:     uint64(grown["go_memstats_mallocs_total"]),
		GCPause:     1000 * b.metrics[`go_gc_duration_seconds{quantile="1"}`],
		Heap:        uint64(b.metrics["go_memstats_heap_alloc_bytes"]),
		Stacks:      uint64(b.metrics["go_memstats_stack_inuse_bytes"]),
		Goroutines:  int(b.metrics["go_goroutines"]),
	}
}

// collectorTime is the metric of the time that garbage collection took.
const collectorTime = "go_cpu_classes_gc_total_cpu_seconds_total"

// forwarding returns the delay of packets in steady time.
func forwarding(grown server.Metrics) Forwarding {
	const name = "ringcast_forwarding_delay_seconds"
	return Forwarding{P50: 1000 * grown.Quantile(name, 0.5), P99: 1000 * grown.Quantile(name, 0.99)}
}

// rung returns the kind of the server's port.
func rung(m server.Metrics) string {
	for series := range m {
		if rest, ok := strings.CutPrefix(series, `ringcast_port_info{io="`); ok {
			return strings.TrimSuffix(rest, `"}`)
		}
	}
	return ""
}

// reasons sums a metric by its label reason.
func reasons(m server.Metrics, name string) map[string]uint64 {
	sums := map[string]uint64{}
	for series, n := range m {
		if _, labels, ok := strings.Cut(series, name+"{"); ok {
			_, reason, _ := strings.Cut(labels, `reason="`)
			reason, _, _ = strings.Cut(reason, `"`)
			sums[reason] += uint64(n)
		}
	}
	return sums
}
