package worker

import (
	"encoding/binary"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker/receiver"
)

const (
	// maxSources bounds the SSRCs that are bound to layers at a time. Besides those that the opener knows, 32 may be
	// announced and never sent.
	maxSources = srtp.MaxSources + 32
	// A past source that was silent for sourceMemory gives way to a new one. That happens at most once in forgetPause,
	// so that a flood of sources gains nothing.
	sourceMemory = 60 * port.Second
	forgetPause  = 10 * port.Second
	// sourceSilence is longer than packets overtake each other. A packet of a past source is late when it comes this
	// soon after that source's last one, and after its successor's.
	sourceSilence = 200 * port.Millisecond
)

// A publisher is the owner's state of a session that publishes.
type publisher struct {
	opener      *srtp.Opener
	publication *publication // nil before it was opened and after it was replaced
	extensions  rtp.ExtensionMap
	sources     []source
	trip        receiver.RoundTrip
	arrivals    rtcp.Arrivals // of transport-wide numbers
	unreported  unreported    // the packets among them that feedback is due for
	media       uint32        // SSRC of the newest packet with such a number
	ssrc        uint32        // ours, in reports
	// checked is when STUN or SRTCP last came. told is the session's heard that the controller knows.
	checked, told port.Time
	began         bool // RTP arrived
	// pictured is set once a publication of the publisher was seen to have pictures. The next one is to have some, too.
	pictured bool
	// forgotAt is when a source last gave way to a new one.
	forgotAt port.Time
}

func newPublisher(w *Worker, o *srtp.Opener) *publisher {
	return &publisher{opener: o, ssrc: uint32(w.cfg.Rand())}
}

// attach ties a publisher's session to its publication. It binds the SSRCs that were announced, or those of the
// publication before: publishers name the layers of their SSRCs only at first.
func (w *Worker) attach(now port.Time, s *session, p *publication) {
	p.session, p.paused = s, true
	s.pub.publication = p
	w.chores.add(now, p.stream)
	w.deadlines.set(s, mediaDeadline, now+pictureSilence)
	for i := range p.tracks {
		t := &p.tracks[i]
		// With BUNDLE a number means the same extension on every media line (RFC 8843 section 9).
		for e, id := range t.spec.Extensions {
			if id != 0 {
				s.pub.extensions[e] = id
			}
		}
		for _, l := range t.layers {
			l.upstream = newUpstream(l.clockRate(), &s.pub.trip)
		}
	}
	if len(s.pub.sources) > 0 {
		s.pub.rebind(p)
		return
	}
	for i := range p.tracks {
		t := &p.tracks[i]
		for j, e := range t.spec.Encodings {
			if e.SSRC != 0 {
				s.pub.bind(e.SSRC, t.layers[j], false)
			}
			if e.RTXSSRC != 0 {
				s.pub.bind(e.RTXSSRC, t.layers[j], true)
			}
		}
	}
}

// handleRTP takes in a datagram of a publisher's RTP: it is opened once and recorded once.
func (w *Worker) handleRTP(now port.Time, s *session, in *port.Inbound) {
	p := s.pub
	data, result := p.opener.OpenRTP(in.Data)
	if result == srtp.OpenTooMany && p.forget(now) {
		data, result = p.opener.OpenRTP(in.Data)
	}
	if result != srtp.OpenOK {
		w.dropUnopened(result, DropRTP)
		return
	}
	w.authenticated(now, s, &in.Path)
	w.count(ReceivedRTP)
	w.add(ReceivedRTPBytes, uint64(len(in.Data)))
	if !p.began {
		p.began = true
		w.send(bus.MediaBegan(s.spec.ID))
	}
	if p.publication == nil {
		w.hold(s, in, data)
		return
	}
	w.receive(now, s, in.Arrival, data)
}

// receive takes in a publisher's RTP packet that was opened.
func (w *Worker) receive(now port.Time, s *session, arrival port.Time, data []byte) {
	p, h := s.pub, &w.hand.header
	if !h.Parse(data, &p.extensions) {
		w.drop(DropRTP)
		return
	}
	w.noteTransport(now, s, arrival, data)
	src := w.sourceOf(now, p, data)
	if src == nil {
		return
	}
	x := incoming{
		source: src, header: h, data: data, arrival: arrival,
		payloadType: h.PayloadType, sequence: h.Sequence, payload: data[h.HeaderLen:],
	}
	if h.Padding {
		n, ok := h.PaddingLen(data)
		if !ok {
			w.drop(DropRTP)
			return
		}
		x.payload = x.payload[:len(x.payload)-n]
	}
	if !src.rtx || w.restore(p.publication, &x) {
		w.record(now, s, &x)
	}
}

// noteTransport notes the arrival of the packet in hand for transport-wide feedback, if it has a number for that.
func (w *Worker) noteTransport(now port.Time, s *session, arrival port.Time, data []byte) {
	p := s.pub
	v, ok := w.hand.header.Value(data, rtp.TransportSequence)
	if !ok || len(v) != 2 {
		return
	}
	p.arrivals.Note(binary.BigEndian.Uint16(v), int64(arrival))
	p.media = w.hand.header.SSRC
	if at, changed := p.unreported.note(now, len(data)); changed {
		w.deadlines.set(s, feedbackDeadline, at)
	}
}

// restore turns a retransmission into the original packet (RFC 4588 section 4), and reports whether there is one.
func (w *Worker) restore(p *publication, x *incoming) bool {
	if len(x.payload) == 0 {
		return false // a probe of bandwidth: it only asks for transport-wide feedback
	}
	if len(x.payload) < 2 {
		w.drop(DropRTX)
		return false
	}
	w.count(ReceivedRTX)
	l := x.source.layer
	x.sequence, x.payload = binary.BigEndian.Uint16(x.payload), x.payload[2:]
	f := p.tracks[l.track].format(x.payloadType)
	if f == nil || f.RTX != x.payloadType || !l.upstream.receiver.Past(x.sequence) {
		w.drop(DropRTX)
		return false
	}
	x.payloadType = f.PayloadType
	return true
}

// dropUnopened counts a packet that did not open. malformed is the reason where it is no SRTP or SRTCP at all.
func (w *Worker) dropUnopened(r srtp.Result, malformed DropReason) {
	switch r {
	case srtp.OpenReplayed:
		w.drop(DropReplay)
	case srtp.OpenForged:
		w.drop(DropSRTPAuth)
	case srtp.OpenTooMany:
		w.drop(DropSSRCs)
	default:
		w.drop(malformed)
	}
}

// tellHeard informs the controller when a publisher last proved to live, unless it knows.
func (w *Worker) tellHeard(p *publication) {
	s := p.session
	if s == nil || s.heard == s.pub.told {
		return
	}
	s.pub.told = s.heard
	media := port.Time(0)
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			media = max(media, l.upstream.last)
		}
	}
	w.send(bus.SessionHeard(s.spec.ID, s.pub.checked, media))
}
