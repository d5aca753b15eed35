package report

import (
	"io"
	"maps"
	"slices"
	"text/tabwriter"
)

// A Stage is a step of joining.
type Stage uint8

const (
	// POST is the time from the viewer's planned beginning to the answer.
	POST Stage = iota
	// ICE is the time from the answer to the first authentic answer to a check.
	ICE
	// DTLS is the time from ICE's end to the SRTP keys.
	DTLS
	// FirstPacket and FirstKeyframe are the times from the beginning to the first media and to the start of the first
	// keyframe.
	FirstPacket
	FirstKeyframe
	NumStages
)

var stageNames = [NumStages]string{"POST", "ICE", "DTLS", "first packet", "first keyframe"}

func (s Stage) String() string { return stageNames[s] }

// Watch reports on viewers.
type Watch struct {
	URL      string `json:"url"`
	Wanted   int    `json:"viewers"`
	Sampled  int    `json:"sampled"`
	Aborted  bool   `json:"aborted"`  // ended by a signal
	Counting string `json:"counting"` // sockets, or the sink's name: it counts unsampled viewers

	// Joined viewers got keys, Playing ones a keyframe. Lost ones were connected and ended before the run did. Refused
	// counts offers that were sent again, when the server had asked for that.
	Joined   int                       `json:"joined"`
	Refused  int                       `json:"refused_offers"`
	Playing  int                       `json:"playing"`
	Lost     map[string]int            `json:"lost,omitempty"`
	Failures map[string]map[string]int `json:"failures,omitempty"` // stage, reason, count
	Stages   map[string]Quantiles      `json:"stages"`

	// Moves is nil unless viewers reconnect.
	Moves *Moves `json:"moves,omitempty"`

	// All covers all viewers since each joined. Steady covers only the time with all viewers, from a moment after the
	// last joined to the end.
	All    Traffic `json:"all"`
	Steady Traffic `json:"steady"`
	Sample Sample  `json:"sample"`
	// Groups are those of a crowd, or a single one.
	Groups []Group `json:"groups"`
	Sent   Sent    `json:"sent"`
	Client Client  `json:"client"`
}

// Moves are viewers' changes to a further session.
type Moves struct {
	// Asked moves were begun by the server's event, Ended ones by the end of a session. Done ones led to a frame.
	Asked uint64 `json:"asked"`
	Ended uint64 `json:"ended"`
	Done  uint64 `json:"done"`
	// Stayed viewers were asked and found no other session. Deaf sessions have no events.
	Stayed uint64 `json:"stayed"`
	Deaf   uint64 `json:"deaf"`
	// Gap is the time from the last packet of the session before to the first whole frame of the next, a keyframe.
	Gap Quantiles `json:"gap"`
	// Took is the time from the beginning to that frame.
	Took Quantiles `json:"took"`
}

// Traffic is a sum over viewers.
type Traffic struct {
	Seconds float64 `json:"seconds"`
	Packets uint64  `json:"packets"` // RTP, retransmissions included
	Bytes   uint64  `json:"bytes"`   // of UDP payload
	// Media counts packets that are no retransmissions. Missing counts packets that the numbering implies but that did
	// not arrive, or only by retransmission.
	Media   uint64 `json:"media_packets"`
	Missing uint64 `json:"missing_packets"`
}

// Loss is the share of media packets that were missing.
func (t Traffic) Loss() float64 { return share(t.Missing, t.Media+t.Missing) }

// Sample reports on the viewers that opened and checked every packet.
type Sample struct {
	Packets   uint64 `json:"packets"` // authentic RTP
	Unopened  uint64 `json:"unopened_packets"`
	Duplicate uint64 `json:"duplicate_packets"`
	Late      uint64 `json:"late_packets"` // came after later ones, but not by retransmission
	// Expected packets follow from the numbering. Missing ones were lost on the way; of these, Recovered ones came by
	// retransmission and Unrecovered ones never.
	Expected    uint64  `json:"expected_packets"`
	Missing     uint64  `json:"missing_packets"`
	Recovered   uint64  `json:"recovered_packets"`
	Unrecovered uint64  `json:"unrecovered_packets"`
	LossBefore  float64 `json:"loss_before_rtx"`
	LossAfter   float64 `json:"loss_after_rtx"`
	Content
	Frames    uint64    `json:"frames"`
	Keyframes uint64    `json:"keyframes"`
	Freezes   uint64    `json:"freezes"` // more than 200 ms between whole frames
	Frozen    float64   `json:"frozen_ms"`
	Jitter    Quantiles `json:"jitter"` // RFC 3550's, of each sampled video track at each report
	Delay     Quantiles `json:"delay"`  // from the due time at the publisher to arrival, in the steady time
	Restarts  uint64    `json:"source_restarts"`
}

// Content counts packets by the stamps of a ringbench publisher in them.
type Content struct {
	Stamped uint64 `json:"stamped_packets"`
	Damaged uint64 `json:"damaged_packets"` // altered on the way
	// Recut packets came from a server that splits frames in its own way. Only a part of their content was checked.
	Recut uint64 `json:"recut_packets"`
	// Unsent packets were lost before the server numbered them: the publisher's count leapt further than packets were
	// missing here.
	Unsent uint64 `json:"lost_upstream_packets"`
}

// Finish computes the figures that follow from the counts.
func (s *Sample) Finish() {
	s.Recovered = min(s.Recovered, s.Missing) // a packet may come both ways
	s.Unrecovered = s.Missing - s.Recovered
	s.LossBefore, s.LossAfter = share(s.Missing, s.Expected), share(s.Unrecovered, s.Expected)
}

// Sent counts the viewers' own packets.
type Sent struct {
	Reports   uint64 `json:"receiver_reports"`
	Feedback  uint64 `json:"transport_feedbacks"`
	Estimates uint64 `json:"rembs"`
	Checks    uint64 `json:"stun_checks"`
	NACKs     uint64 `json:"nacked_packets"`
	PLIs      uint64 `json:"plis"`
	Unsent    uint64 `json:"unsent_datagrams"` // refused by the socket
	// Datagrams counts all RTCP. Rate is that a second and viewer in the steady time.
	Datagrams uint64  `json:"rtcp_datagrams"`
	Rate      float64 `json:"rtcp_datagrams_per_second_and_viewer"`
}

// Client is the cost of watching on the client's machine, in the steady time.
type Client struct {
	CPU        float64 `json:"cpu_cores"` // user and system time, in cores
	UserCPU    float64 `json:"user_cpu_cores"`
	PerPacket  float64 `json:"cpu_ns_per_packet"`
	Loops      int     `json:"loops"`
	Busiest    float64 `json:"busiest_loop"` // its share of time without waiting
	RSS        uint64  `json:"rss_bytes"`
	Goroutines int     `json:"goroutines"`
	// Drops are datagrams that did not fit the buffers of the viewers' sockets. This loss is the client's alone.
	Drops uint64 `json:"socket_drops"`
}

// Fail counts n failures.
func (w *Watch) Fail(s Stage, reason string, n int) {
	if w.Failures == nil {
		w.Failures = map[string]map[string]int{}
	}
	if w.Failures[s.String()] == nil {
		w.Failures[s.String()] = map[string]int{}
	}
	w.Failures[s.String()][reason] += n
}

// Failed is the number of viewers that failed at any stage.
func (w *Watch) Failed() (n int) {
	for _, reasons := range w.Failures {
		for _, c := range reasons {
			n += c
		}
	}
	return n
}

// Table writes the report for people.
func (w *Watch) Table(out io.Writer) error {
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row("viewers", "%d wanted, %d joined, %d playing, %d failed, %d lost%s",
		w.Wanted, w.Joined, w.Playing, w.Failed(), total(w.Lost), ifSo(w.Aborted, "; interrupted"))
	if w.Refused > 0 {
		t.row("  refused", "%d offers, which were sent again after the time that the server named", w.Refused)
	}
	for s := range NumStages {
		reasons := w.Failures[s.String()]
		for _, reason := range slices.Sorted(maps.Keys(reasons)) {
			t.row("  failed at "+s.String(), "%d × %s", reasons[reason], reason)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(w.Lost)) {
		t.row("  lost", "%d × %s", w.Lost[reason], reason)
	}
	t.blank()
	t.heads("join, ms", "count", "p50", "p90", "p99", "p99.9", "max")
	for s := range NumStages {
		t.quantiles("  "+s.String(), w.Stages[s.String()])
	}
	if w.Moves != nil {
		t.moves(w.Moves)
	}
	t.blank()
	t.row("all viewers", "%d connected at the end", w.Joined-total(w.Lost))
	t.traffic("  steady", w.Steady)
	t.traffic("  in all", w.All)
	t.blank()
	s := &w.Sample
	t.row("sample", "%d viewers, %d packets opened, %d did not open, %d duplicate, %d late",
		w.Sampled, s.Packets, s.Unopened, s.Duplicate, s.Late)
	t.row("  loss", "%s before retransmission (%d of %d), %s after (%d)",
		percent(s.LossBefore), s.Missing, s.Expected, percent(s.LossAfter), s.Unrecovered)
	t.row("  content", "%d stamped, %d damaged, %d recut by the server, %d lost upstream, %d source restarts",
		s.Stamped, s.Damaged, s.Recut, s.Unsent, s.Restarts)
	t.row("  video", "%d frames, %d keyframes, %d freezes of %.0f ms in all", s.Frames, s.Keyframes, s.Freezes,
		s.Frozen)
	t.heads("  times, ms", "count", "p50", "p90", "p99", "p99.9", "max")
	t.quantiles("  jitter", s.Jitter)
	t.quantiles("  one-way delay", s.Delay)
	t.blank()
	if len(w.Groups) > 1 {
		t.heads(append([]string{"groups"}, GroupHeads...)...)
		for i := range w.Groups {
			t.heads(append([]string{"  " + w.Groups[i].Name}, w.Groups[i].Row()...)...)
		}
		t.blank()
	}
	x := &w.Sent
	t.row("sent", "%d receiver reports, %d REMBs, %d transport feedbacks, %d checks, %d NACKs, %d PLIs, %d unsent; "+
		"%.1f RTCP datagrams a second and viewer", x.Reports, x.Estimates, x.Feedback, x.Checks, x.NACKs, x.PLIs,
		x.Unsent, x.Rate)
	c := &w.Client
	t.row("client", "%s of a core (%s user), %.0f ns a packet; %d loops, the busiest %s busy; %.0f MB, %d "+
		"goroutines; %d socket drops; counted by %s",
		percent(c.CPU), percent(c.UserCPU), c.PerPacket, c.Loops, percent(c.Busiest), float64(c.RSS)/1e6,
		c.Goroutines, c.Drops, w.Counting)
	return t.Flush()
}

func (t *table) moves(m *Moves) {
	t.blank()
	t.row("moves", "%d asked for, %d after an end, %d done; %d viewers stayed; %d sessions without events",
		m.Asked, m.Ended, m.Done, m.Stayed, m.Deaf)
	t.heads("  times, ms", "count", "p50", "p90", "p99", "p99.9", "max")
	t.quantiles("  without media", m.Gap)
	t.quantiles("  to the frame", m.Took)
}

func (t *table) traffic(name string, x Traffic) {
	if x.Seconds <= 0 {
		t.row(name, "no time")
		return
	}
	t.row(name, "%.1f s, %d packets, %s, %s; %d of %d missing (%s)", x.Seconds, x.Packets,
		rate(float64(x.Packets)/x.Seconds, "packet/s"), rate(8*float64(x.Bytes)/x.Seconds, "bit/s"),
		x.Missing, x.Media+x.Missing, percent(x.Loss()))
}
