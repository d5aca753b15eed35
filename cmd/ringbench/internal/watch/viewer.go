package watch

import (
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/signaling/client"
	"ringcast/testenv/records"
)

// A phase is how far a viewer has come.
type phase uint8

const (
	checking phase = iota
	shaking
	connected
	ended
)

// senderSSRC is what viewers report as; Chromium uses 1 while it sends nothing.
const senderSSRC = 1

// A viewer is one WHEP session.
type viewer struct {
	number  int
	sampled bool
	answer  *client.Answer
	agent   session.Agent
	// sockets are connected to the answer's candidates, -1 where that failed; from nomination on
	// there is one.
	sockets []int
	port    uint16
	phase   phase
	records *records.Conn // while shaking hands
	// early is media that came while the handshake's goroutine was about to return the keys.
	early []early

	// Moments of joining, monotonic. began is when the viewer was to begin.
	began, posted, nominated, keyed, packetAt, keyframeAt int64

	sealer srtp.Sealer  // RTCP both ways
	opener *srtp.Opener // RTP; nil once a counted viewer only counts
	tracks []track
	kinds  [128]kind // by payload type
	cc     uint8     // the number of the transport-wide extension, 0 for none
	// extensions holds cc alone, to parse headers with.
	extensions rtp.ExtensionMap
	feedback   feedback
	diverted   bool  // a sink has its media
	absorbedAt int64 // when that's counts were taken over last, in Unix time
	video      int   // the video track's place, -1 for none

	tick      int64 // the wheel's entry that counts
	deadlines [numDeadlines]int64
	answered  int64 // the last check's answer
	wished    int64 // the last PLI

	unopened uint64
}

// early is a datagram, and when it arrived.
type early struct {
	data []byte
	at   int64
}

// kind is what a payload type means: the track's place plus 1, and whether it is its retransmissions.
type kind struct {
	track uint8
	rtx   bool
	codec rtp.Codec
}

// A deadline is a reason to wake a viewer.
type deadline uint8

const (
	checkAt    deadline = iota // a STUN check is due
	giveUpAt                   // joining takes too long
	reportAt                   // a receiver report
	feedbackAt                 // transport-wide feedback
	askAt                      // holes to ask for
	numDeadlines
)

// next is the earliest deadline; those that are 0 are never.
func (v *viewer) next() int64 {
	at := int64(0)
	for _, d := range v.deadlines {
		if d != 0 && (at == 0 || d < at) {
			at = d
		}
	}
	return at
}

// prepare makes tracks of the answer.
func (v *viewer) prepare() {
	v.video = -1
	v.tracks = make([]track, len(v.answer.Tracks))
	for i := range v.tracks {
		info := &v.answer.Tracks[i]
		t := &v.tracks[i]
		t.info = info
		asking, plain := false, false
		for _, f := range info.Formats {
			v.kinds[f.PayloadType] = kind{track: uint8(i + 1), codec: f.Codec}
			if f.RTX != 0 {
				v.kinds[f.RTX] = kind{track: uint8(i + 1), rtx: true, codec: f.Codec}
			}
			asking = asking || f.Feedback&rtp.NACK != 0
			plain = plain || f.RTX == 0
		}
		if info.Kind == rtp.Video && v.video < 0 {
			v.video = i
		}
		if v.sampled {
			t.check = &checker{asking: asking, plain: asking && plain}
		}
		if v.cc == 0 {
			v.cc = info.Extensions[rtp.TransportSequence]
		}
	}
	v.extensions[rtp.TransportSequence] = v.cc
}

// appendReport appends a receiver report on all tracks that play, and the name that goes with it.
func (v *viewer) appendReport(dst []byte, wall int64) []byte {
	var blocks [4]rtcp.ReportBlock
	n := 0
	for i := range v.tracks {
		if t := &v.tracks[i]; t.started && n < len(blocks) {
			blocks[n] = t.report(wall)
			n++
		}
	}
	dst = rtcp.AppendReceiverReport(dst, senderSSRC, blocks[:n])
	return rtcp.AppendSDES(dst, senderSSRC, "ringbench")
}

// handleReport takes in what the server reports; bye says that it ended a source.
func (v *viewer) handleReport(compound []byte, wall int64) (bye bool) {
	var p rtcp.Packet
	for r := rtcp.NewReader(compound); r.Next(&p); {
		switch p.Type {
		case rtcp.SR:
			info, _ := p.SenderInfo()
			for i := range v.tracks {
				if t := &v.tracks[i]; t.started && t.ssrc == p.SSRC {
					t.lastSR, t.lastSRAt = uint32(info.NTP>>16), wall
				}
			}
		case rtcp.BYE:
			bye = true
		}
	}
	return bye
}

// addTo adds what the viewer's tracks count.
func (v *viewer) addTo(t *report.Traffic) {
	for i := range v.tracks {
		x := &v.tracks[i]
		expected, received := x.expected(), x.received()
		t.Media += received
		if expected > received {
			t.Missing += expected - received
		}
	}
}

// addSample adds what a sampled viewer found.
func (v *viewer) addSample(s *report.Sample) {
	if !v.sampled {
		return
	}
	s.Unopened += v.unopened
	for i := range v.tracks {
		t := &v.tracks[i]
		expected, received := t.expected(), t.received()
		s.Expected += expected
		s.Missing += expected - min(received, expected)
		s.Restarts += t.restarts
		c := t.check
		s.Packets += received + c.recovered + c.duplicate
		s.Duplicate += c.duplicate
		s.Late += c.late
		s.Recovered += c.recovered
		s.Stamped += c.stamps
		s.Damaged += c.damaged
		s.Unsent += c.upstream
		if t.info.Kind == rtp.Video {
			s.Frames += c.frames
			s.Keyframes += c.keyframes
			s.Freezes += c.freezes
			s.Frozen += float64(c.frozen.Microseconds()) / 1000
		}
	}
}
