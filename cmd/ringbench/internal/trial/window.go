package trial

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"ringcast/cmd/ringbench/internal/report"
)

// A Window is the measurement of one contender over one piece of steady time.
type Window struct {
	Seconds float64 `json:"seconds"`
	Cores
	Rates
	Counts
	// Server holds the server's own figures. It is nil for another server than ringcast.
	Server *Server `json:"server,omitempty"`
	Audience
	Groups []report.Group `json:"groups,omitempty"` // of a crowd, while packets flow
	RSS    uint64         `json:"rss_bytes"`
	Client Client         `json:"client"`
	Verdict
}

// Cores is the use of the server's cores, in shares of them.
type Cores struct {
	// CPU is the server's use, the sum of Process and Kernel. Process is its own threads', with the soft interrupts in
	// their context. Kernel is that of ksoftirqd and of the NAPI threads of its device.
	CPU     float64 `json:"cpu"`
	Process float64 `json:"cpu_process"`
	Kernel  float64 `json:"cpu_kernel"`
	// Idle is the share that nobody used, Stolen the share that a hypervisor kept.
	Idle   float64 `json:"idle"`
	Stolen float64 `json:"stolen"`
	// PerPacket is the server's CPU time for one packet that arrived, in nanoseconds.
	PerPacket float64 `json:"ns_per_packet"`
}

// Others is the share of the cores that is not accounted for. It is near zero when the accounting is right and nothing
// else runs there.
func (c *Cores) Others() float64 { return 1 - c.CPU - c.Idle - c.Stolen }

// Rates are figures a second, while packets flow.
type Rates struct {
	// PacketRate counts media packets that arrived, ViewerBits the UDP payload in them.
	PacketRate float64 `json:"packets_per_second"`
	ViewerBits float64 `json:"viewer_bits_per_second"`
	// WireBits and WirePackets count all that the server's interface sent, with all headers.
	WireBits    float64 `json:"wire_bits_per_second"`
	WirePackets float64 `json:"wire_packets_per_second"`
}

// Counts are packets from standstill to standstill. Each packet of the server has arrived, was dropped or was lost.
type Counts struct {
	Published      uint64       `json:"published_packets"`
	Arrived        uint64       `json:"arrived_packets"` // at the sink, diverted or passed
	LostOnPurpose  uint64       `json:"lost_on_purpose_packets"`
	Dropped        uint64       `json:"dropped_packets"` // by the cable: the client's side took them too late
	Counted        uint64       `json:"viewers_packets"` // by the viewers, each for itself
	CountedMissing uint64       `json:"viewers_missing_packets"`
	Sampled        SampleCounts `json:"sampled"`
}

// Audience is the state of the viewers at the end, with the figures of the sampled ones.
type Audience struct {
	Joined      int              `json:"joined"`
	Playing     int              `json:"playing"`
	Failed      int              `json:"failed"`
	Gone        int              `json:"gone"`
	SocketDrops uint64           `json:"client_socket_drops"`
	Delay       report.Quantiles `json:"delay"` // of sampled viewers' packets, from the due time at the publisher
	Jitter      report.Quantiles `json:"jitter"`
}

// A Verdict lists the reasons against using a window. Those of Void say nothing about the server; those of Overload
// show that the server was too slow.
type Verdict struct {
	Void     []string `json:"void,omitempty"`
	Overload []string `json:"overload,omitempty"`
}

// Good reports whether the window can be quoted.
func (v *Verdict) Good() bool { return len(v.Void)+len(v.Overload) == 0 }

// void adds a reason if it is true.
func (v *Verdict) void(broken bool, format string, args ...any) {
	if broken {
		v.Void = append(v.Void, fmt.Sprintf(format, args...))
	}
}

// over adds a reason if it is true.
func (v *Verdict) over(broken bool, format string, args ...any) {
	if broken {
		v.Overload = append(v.Overload, fmt.Sprintf(format, args...))
	}
}

// SampleCounts are of the viewers that open every packet.
type SampleCounts struct {
	Packets uint64 `json:"packets"`
	Missing uint64 `json:"missing_packets"` // before retransmission
	Bad     uint64 `json:"bad_packets"`     // that did not open, or were altered
	NACKs   uint64 `json:"nacked_packets"`
}

// Loss is the share of packets that were missing before retransmission.
func (s SampleCounts) Loss() float64 {
	if s.Packets+s.Missing == 0 {
		return 0
	}
	return float64(s.Missing) / float64(s.Packets+s.Missing)
}

// Server holds ringcast's own figures.
type Server struct {
	Rung        string            `json:"port"` // the way of its packets; "port" is the name in stored tables
	ReceivedRTP uint64            `json:"received_rtp_packets"`
	SentRTP     uint64            `json:"sent_rtp_packets"`
	SentRTX     uint64            `json:"sent_rtx_packets"`
	SentPadding uint64            `json:"sent_padding_packets,omitempty"`
	Calls       uint64            `json:"send_calls"`
	Datagrams   uint64            `json:"sent_datagrams"`
	Unsent      uint64            `json:"unsent_datagrams"`
	Reports     uint64            `json:"received_reports"`
	Feedbacks   uint64            `json:"received_feedbacks"`
	Drops       map[string]uint64 `json:"drops,omitempty"`
	RingLosses  map[string]uint64 `json:"ring_losses,omitempty"`
	// Forwarding is the delay from a packet's arrival to its first subscriber's frame.
	Forwarding Forwarding `json:"forwarding"`
	GCs        uint64     `json:"gcs"`
	// GCShare is the time of garbage collection, of one core.
	GCShare float64 `json:"gc_share,omitempty"`
	// Mallocs are heap allocations of the whole process. They include those for reports, checks and the metrics
	// themselves.
	Mallocs    uint64  `json:"mallocs"`
	GCPause    float64 `json:"gc_pause_max_ms"` // the longest recent one, not of the window alone
	Heap       uint64  `json:"heap_bytes"`
	Stacks     uint64  `json:"stack_bytes"`
	Goroutines int     `json:"goroutines"`
}

// Forwarding are quantiles of a delay in milliseconds, interpolated between the bounds of the server's histogram.
type Forwarding struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// Client is the use of the client's core, in shares.
type Client struct {
	Idle    float64          `json:"idle"`
	Viewers float64          `json:"viewers"`
	Sink    float64          `json:"sink"` // the NAPI threads, which run the sink
	Late    report.Quantiles `json:"late"` // the delay of frames at the publisher
}

const (
	// tight and spent are shares of idle time. With less than tight the client's core is saturated, with less than
	// spent the server's.
	tight, spent = 0.03, 0.015
	// strange is the largest share of the server's core that others may take.
	strange = 0.1
	// tardy is the largest delay of frames at the publisher, at the 99th percentile.
	tardy = 10 * time.Millisecond
)

// judge fills in the verdict.
func (w *Window) judge(viewers int) {
	if s := w.Server; s != nil {
		w.over(s.Unsent > 0, "the server gave up %d datagrams", s.Unsent)
		for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
			w.over(mediaDrops[reason] && s.Drops[reason] > 0, "the server dropped %d packets: %s", s.Drops[reason],
				reason)
		}
		for _, reason := range slices.Sorted(maps.Keys(s.RingLosses)) {
			w.over(s.RingLosses[reason] > 0, "the server's rings lost %d frames: %s", s.RingLosses[reason], reason)
		}
		sent, seen := s.SentRTP+s.SentRTX+s.SentPadding, w.Arrived+w.LostOnPurpose+w.Dropped
		w.void(sent != seen && s.Unsent == 0 && len(s.RingLosses) == 0,
			"the server sent %d packets and %d can be accounted for", sent, seen)
	}
	w.over(w.Idle < spent && w.Others() < strange, "the server's core is saturated: %.1f %% idle", 100*w.Idle)

	w.void(w.Joined < viewers || w.Playing < viewers, "of %d viewers %d joined and %d play", viewers, w.Joined,
		w.Playing)
	w.void(w.Gone > 0, "%d viewers were lost", w.Gone)
	w.void(w.Client.Idle < tight, "the client's core is saturated: %.1f %% idle", 100*w.Client.Idle)
	w.void(w.Client.Sink > 1-tight, "the sink takes all of the client's core: %.1f %%", 100*w.Client.Sink)
	late := time.Duration(w.Client.Late.P99 * float64(time.Millisecond))
	w.void(late > tardy,
		"the publisher was late: frames left %v after their time (p99)", late.Round(100*time.Microsecond))
	w.void(w.Dropped > 0, "the cable dropped %d packets: the client's side took them too late", w.Dropped)
	w.void(w.SocketDrops > 0, "the viewers' sockets dropped %d datagrams", w.SocketDrops)
	sampled := &w.Sampled
	w.void(sampled.Missing > 0, "sampled viewers lost %d of %d packets", sampled.Missing,
		sampled.Packets+sampled.Missing)
	w.void(sampled.Bad > 0, "sampled viewers could not use %d packets", sampled.Bad)
	w.void(sampled.Packets == 0, "sampled viewers got nothing")
	w.void(w.Others() > strange, "others took %.1f %% of the server's core", 100*w.Others())
}

// mediaDrops are the reasons for which an overloaded server drops media.
var mediaDrops = map[string]bool{
	"subscriber_stalled": true, "bus_full": true, "replies_full": true,
	"strays_full": true, "rtp_late": true,
}
