package watch

import (
	"bytes"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/session"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/signaling/client"
	"ringcast/testenv/records"
)

// A phase is a step in a viewer's life.
type phase uint8

const (
	checking phase = iota
	shaking
	connected
	ended
)

// senderSSRC is the SSRC that viewers report with; Chromium uses 1 while it sends nothing.
const senderSSRC = 1

// A viewer is one WHEP session. One that moves has another viewer for each further session.
type viewer struct {
	identity
	session   *client.Session
	answer    *client.Answer
	phase     phase
	path      path
	handshake *handshake // while its goroutine runs, otherwise nil
	joining   joining

	sealer     srtp.Sealer  // RTCP both ways
	opener     *srtp.Opener // RTP; nil once a counted viewer only counts
	tracks     []track
	video      int // the video track's place, -1 for none
	negotiated negotiated
	reporter   reporter
	diverted   bool  // to a sink, which counts its media
	pipe       *pipe // nil without a bottleneck
	rungs      rungs // of a sampled viewer

	moving
	agenda
	wished   int64 // the last PLI
	unopened uint64
}

// An identity is a viewer's place among all.
type identity struct {
	number   int
	sessions int // that the viewer had before
	group    int // of the crowd
	sampled  bool
}

// moving is a viewer's part in its moves.
type moving struct {
	move    *move // to this session, until the viewer plays from it; nil for its first
	leaving bool  // its next session is on its way
	heard   int64 // the last media's arrival, in Unix time in ns
}

// A move is the way of a viewer from one session to the next.
type move struct {
	from  *viewer
	began int64 // monotonic: the server asked for it, or ended the session
}

// A path is a viewer's way to the server.
type path struct {
	agent session.Agent
	// sockets are connected to the answer's candidates, -1 where that failed. After the nomination one is left.
	sockets  []int
	port     uint16 // of the socket that is left
	answered int64  // the last check's answer
}

// joining holds moments, monotonic in ns; 0 is not yet. began is the moment that the ramp gave the viewer.
type joining struct {
	began, posted, nominated, packetAt, keyframeAt int64
}

// maxEarly is the most datagrams that wait for the keys: a server sends the last keyframe at once.
const maxEarly = 256

// A handshake is DTLS under way in a goroutine.
type handshake struct {
	records *records.Conn
	// early is media that arrived before the loop had the keys.
	early []early
}

// early is a datagram and its arrival in ns of Unix time.
type early struct {
	data []byte
	at   int64
}

// keep keeps a copy of a datagram until the loop has the keys.
func (h *handshake) keep(b []byte, at int64) {
	if len(h.early) < maxEarly {
		h.early = append(h.early, early{bytes.Clone(b), at})
	}
}

// negotiated is the answer in the form that packets are read by.
type negotiated struct {
	kinds [128]kind // by payload type
	cc    uint8     // the number of the transport-wide extension, 0 for none
	// extensions holds cc alone, to parse headers with.
	extensions rtp.ExtensionMap
}

// kind is the meaning of a payload type. track is the track's place plus 1, 0 for none; rtx is set for its
// retransmissions.
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
	feedbackAt                 // transport-wide feedback
	estimateAt                 // a REMB
	reportAt                   // a receiver report that no REMB took along
	askAt                      // holes to ask for
	arriveAt                   // a packet is through the bottleneck
	numDeadlines
)

// An agenda holds a viewer's deadlines, monotonic in ns; 0 is never. tick is its entry of the wheel that counts.
type agenda struct {
	deadlines [numDeadlines]int64
	tick      int64
}

// next returns the earliest deadline, 0 for none.
func (a *agenda) next() int64 {
	at := int64(0)
	for _, d := range a.deadlines {
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
			v.negotiated.kinds[f.PayloadType] = kind{track: uint8(i + 1), codec: f.Codec}
			if f.RTX != 0 {
				v.negotiated.kinds[f.RTX] = kind{track: uint8(i + 1), rtx: true, codec: f.Codec}
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
		if v.negotiated.cc == 0 {
			v.negotiated.cc = info.Extensions[rtp.TransportSequence]
		}
	}
	v.negotiated.extensions[rtp.TransportSequence] = v.negotiated.cc
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

// handleReport takes in the server's compound; bye reports that it ended a source.
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

// addTo adds the counts of the viewer's tracks.
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

// finish counts freezes that last. It notes as failures the packets that a connected viewer never got.
func (v *viewer) finish(w *report.Watch, now int64) {
	for i := range v.tracks {
		if c := v.tracks[i].check; c != nil {
			c.player.finish(now)
		}
	}
	switch {
	case v.move != nil: // it plays from the session before, or moves on
	case v.joining.packetAt == 0:
		w.Fail(report.FirstPacket, "none came", 1)
	case v.video >= 0 && v.joining.keyframeAt == 0:
		w.Fail(report.FirstKeyframe, "none came", 1)
	}
}

// addGroup adds the viewer's figures to those of its group.
func (v *viewer) addGroup(g *report.Group, now int64) {
	if v.phase == connected && v.move == nil {
		g.Viewers++
	}
	var t report.Traffic
	v.addTo(&t)
	g.Media += t.Media
	g.Missing += t.Missing
	if !v.sampled {
		return
	}
	if v.sessions == 0 {
		g.Sampled++
	}
	if v.pipe != nil {
		g.Squeezed += v.pipe.lost
	}
	for i := range v.tracks {
		t := &v.tracks[i]
		expected, received := t.expected(), t.received()
		g.Expected += expected
		g.Unrecovered += expected - min(received+t.check.recovered, expected)
		if i == v.video {
			g.Freezes += t.check.player.freezes
			g.Frozen += float64(t.check.player.frozen.Microseconds()) / 1000
		}
	}
	v.rungs.settle(now)
	g.Switches += v.rungs.switches
	for s, lasted := range v.rungs.lasted {
		g.Add(report.Rung{Width: s.width, Height: s.height, Seconds: lasted.Seconds()})
	}
}

// addSample adds the findings of a sampled viewer without a bottleneck.
func (v *viewer) addSample(s *report.Sample) {
	if !v.sampled || v.pipe != nil {
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
		s.Stamped += c.stamps.found
		s.Damaged += c.stamps.damaged
		s.Recut += c.stamps.recut
		s.Unsent += c.stamps.upstream
		if t.info.Kind == rtp.Video {
			s.Frames += c.player.frames
			s.Keyframes += c.player.keyframes
			s.Freezes += c.player.freezes
			s.Frozen += float64(c.player.frozen.Microseconds()) / 1000
		}
	}
}
