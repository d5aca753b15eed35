package report

import (
	"io"
	"text/tabwriter"
)

// Publish reports on publishers.
type Publish struct {
	URL     string   `json:"url"`
	Streams int      `json:"streams"`
	Codecs  []string `json:"codecs"`
	Aborted bool     `json:"aborted"` // ended by a signal
	Seconds float64  `json:"seconds"`

	POST Quantiles `json:"post"`
	ICE  Quantiles `json:"ice"`
	DTLS Quantiles `json:"dtls"`

	// Packets and bytes are of RTP before it is sealed, retransmissions apart.
	VideoPackets uint64 `json:"video_packets"`
	AudioPackets uint64 `json:"audio_packets"`
	Bytes        uint64 `json:"bytes"`
	Frames       uint64 `json:"video_frames"`
	Keyframes    uint64 `json:"keyframes"`
	Resent       uint64 `json:"resent_packets"`
	Unsent       uint64 `json:"unsent_datagrams"` // refused by the socket
	Reports      uint64 `json:"sender_reports"`

	Feedback Feedback `json:"feedback"`
	// Late is the delay of frames at the publisher: its own share of the delay that viewers see.
	Late Quantiles `json:"late"`
}

// Feedback counts the server's RTCP to publishers.
type Feedback struct {
	NACKs     uint64 `json:"nacks"` // packets asked for again
	Unknown   uint64 `json:"nacks_unanswered"`
	PLIs      uint64 `json:"plis"`
	FIRs      uint64 `json:"firs"`
	Reports   uint64 `json:"receiver_reports"`
	Transport uint64 `json:"transport_feedbacks"`
	REMBs     uint64 `json:"rembs"`
	// Lost is the sum of the losses in each track's last report.
	Lost int64 `json:"reported_lost"`
	// WorstLoss is the highest share lost in the interval of any report, Jitter the highest interarrival jitter of any.
	WorstLoss float64 `json:"worst_loss"`
	Jitter    float64 `json:"worst_jitter_ms"`
}

// Add adds another publisher's counts. Lost and the times are the caller's.
func (p *Publish) Add(x *Publish) {
	p.VideoPackets += x.VideoPackets
	p.AudioPackets += x.AudioPackets
	p.Bytes += x.Bytes
	p.Frames += x.Frames
	p.Keyframes += x.Keyframes
	p.Resent += x.Resent
	p.Unsent += x.Unsent
	p.Reports += x.Reports
	f, g := &p.Feedback, &x.Feedback
	f.NACKs += g.NACKs
	f.Unknown += g.Unknown
	f.PLIs += g.PLIs
	f.FIRs += g.FIRs
	f.Reports += g.Reports
	f.Transport += g.Transport
	f.REMBs += g.REMBs
	f.WorstLoss = max(f.WorstLoss, g.WorstLoss)
	f.Jitter = max(f.Jitter, g.Jitter)
}

// Table writes the report for people.
func (p *Publish) Table(out io.Writer) error {
	t := &table{Writer: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row("published", "%d streams of %s for %.1f s%s", p.Streams, list(p.Codecs), p.Seconds,
		ifSo(p.Aborted, "; interrupted"))
	if p.Seconds > 0 {
		n := p.VideoPackets + p.AudioPackets
		t.row("sent", "%d video and %d audio packets, %s, %s; %d frames, %d keyframes; %d resent, %d unsent",
			p.VideoPackets, p.AudioPackets, rate(float64(n)/p.Seconds, "packet/s"), rate(8*float64(p.Bytes)/p.Seconds,
				"bit/s"),
			p.Frames, p.Keyframes, p.Resent, p.Unsent)
	}
	f := &p.Feedback
	t.row("feedback", "%d NACKs (%d unanswered), %d PLIs, %d FIRs, %d receiver reports, %d transport feedbacks, %d "+
		"REMBs",
		f.NACKs, f.Unknown, f.PLIs, f.FIRs, f.Reports, f.Transport, f.REMBs)
	t.row("  reported", "%d lost, worst interval %s, worst jitter %.2f ms", f.Lost, percent(f.WorstLoss), f.Jitter)
	t.blank()
	t.heads("times, ms", "count", "p50", "p90", "p99", "p99.9", "max")
	t.quantiles("  POST", p.POST)
	t.quantiles("  ICE", p.ICE)
	t.quantiles("  DTLS", p.DTLS)
	t.quantiles("  late frames", p.Late)
	return t.Flush()
}
