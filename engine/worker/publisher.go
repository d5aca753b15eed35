package worker

import (
	"encoding/binary"
	"slices"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

const (
	// maxSources bounds the SSRCs that are bound to layers at a time: those that the opener knows, and those that were
	// announced and never sent.
	maxSources = srtp.MaxSources + 32
	// A past source that was silent for sourceMemory gives way to a new one, but no more often than once in
	// forgetPause, so that a flood of sources gains nothing.
	sourceMemory = 60 * port.Second
	forgetPause  = 10 * port.Second
	// sourceSilence is longer than packets overtake each other: what a past source sends within it of
	// its own last packet, and of its successor's, is late.
	sourceSilence = 200 * port.Millisecond
	// feedbackInterval is the pause between transport-wide feedbacks; libwebrtc's own receivers
	// use 50 to 250 ms.
	feedbackInterval = 50 * port.Millisecond
)

// A publisher is the owner's state of a session that publishes.
type publisher struct {
	opener      *srtp.Opener
	publication *publication // nil before it was opened and after it was replaced
	extensions  rtp.ExtensionMap
	sources     []source
	arrivals    rtcp.Arrivals // of transport-wide numbers
	media       uint32        // SSRC of the newest packet with one
	ssrc        uint32        // ours, in reports
	// checked is when STUN or SRTCP last came, told the session's heard that the controller
	// knows of.
	checked, told port.Time
	feedbackDue   bool
	began         bool // RTP arrived
	// forgotAt is when a source last gave way to a new one.
	forgotAt port.Time
}

// A source is what an SSRC of a publisher turned out to be. At most one of a layer's media sources and one
// of its retransmissions' is present.
type source struct {
	ssrc  uint32
	layer *layer
	rtx   bool
	// past is set when the layer went on under another SSRC: what comes late of this one has
	// another numbering and another clock.
	past  bool
	heard port.Time // when the source last sent
}

func newPublisher(w *Worker, o *srtp.Opener) *publisher {
	return &publisher{opener: o, ssrc: uint32(w.cfg.Rand())}
}

// attach ties a publisher's session to its publication and binds the SSRCs that were announced.
func (w *Worker) attach(now port.Time, s *session, p *publication) {
	p.session = s
	s.pub.publication = p
	w.chores.add(now, p.stream)
	for i := range p.tracks {
		t := &p.tracks[i]
		// With BUNDLE a number means the same extension on every media line (RFC 8843 section 9).
		for e, id := range t.spec.Extensions {
			if id != 0 {
				s.pub.extensions[e] = id
			}
		}
		for j, e := range t.spec.Encodings {
			l := t.layers[j]
			l.receiver = newReceiver(t.spec.Formats[0].Codec.ClockRate())
			if e.SSRC != 0 {
				s.pub.bind(e.SSRC, l, false)
			}
			if e.RTXSSRC != 0 {
				s.pub.bind(e.RTXSSRC, l, true)
			}
		}
	}
}

func newReceiver(clockRate uint32) *receiver {
	return &receiver{clockRate: clockRate}
}

func (p *publisher) bind(ssrc uint32, l *layer, rtx bool) *source {
	if len(p.sources) == maxSources {
		return nil
	}
	p.sources = append(p.sources, source{ssrc: ssrc, layer: l, rtx: rtx})
	src := &p.sources[len(p.sources)-1]
	p.present(src)
	return src
}

// forget makes room for a new source, of what the opener remembers and of what is bound: the source that was heard
// longest ago of those that belong to nothing, or are past and silent for long.
func (p *publisher) forget(now port.Time) bool {
	if p.forgotAt > 0 && now-p.forgotAt < forgetPause {
		return false
	}
	ssrc, ok := p.opener.Forget(func(ssrc uint32) bool {
		src := p.source(ssrc)
		return src != nil && (!src.past || now-src.heard < sourceMemory)
	})
	if !ok {
		return false
	}
	p.forgotAt = now
	p.sources = slices.DeleteFunc(p.sources, func(x source) bool { return x.ssrc == ssrc })
	return true
}

// present makes a source its layer's, and the one that was into a past one.
func (p *publisher) present(src *source) {
	for i := range p.sources {
		if x := &p.sources[i]; x.layer == src.layer && x.rtx == src.rtx {
			x.past = true
		}
	}
	src.past = false
	r := src.layer.receiver
	if src.rtx {
		r.rtx = src.ssrc
		return
	}
	if r.ssrc != 0 {
		// The layer goes on under another SSRC, with another numbering and another clock.
		r.restart()
		src.layer.restart()
	}
	r.ssrc = src.ssrc
}

// comesBack reports whether a past source is to be its layer's again, because it sends after a silence or goes
// on while the present one is silent. Two that send at once do not take turns.
func (p *publisher) comesBack(now port.Time, past *source) bool {
	if now-past.heard >= sourceSilence {
		return true
	}
	for i := range p.sources {
		if x := &p.sources[i]; x.layer == past.layer && x.rtx == past.rtx && !x.past {
			return now-x.heard >= sourceSilence
		}
	}
	return true
}

func (p *publisher) source(ssrc uint32) *source {
	for i := range p.sources {
		if p.sources[i].ssrc == ssrc {
			return &p.sources[i]
		}
	}
	return nil
}

// handleRTP takes in a publisher's RTP: opened once, recorded once.
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
		w.send(bus.Message{Kind: bus.MediaBegan, To: bus.ControllerAddress, ID: s.spec.ID})
	}
	if p.publication == nil {
		w.hold(s, in, data)
		return
	}
	w.takeRTP(now, s, in.Arrival, data)
}

// takeRTP takes in a packet that was opened.
func (w *Worker) takeRTP(now port.Time, s *session, arrival port.Time, data []byte) {
	p := s.pub
	h := &w.header
	if !h.Parse(data, &p.extensions) {
		w.drop(DropRTP)
		return
	}
	if v, ok := h.Value(data, rtp.TransportSequence); ok && len(v) == 2 {
		p.arrivals.Note(binary.BigEndian.Uint16(v), int64(arrival))
		p.media = h.SSRC
		if !p.feedbackDue {
			p.feedbackDue = true
			w.deadlines.set(s, feedbackDeadline, now+feedbackInterval)
		}
	}
	src := p.source(h.SSRC)
	if src == nil {
		if src = w.identify(p, h, data); src == nil {
			return
		}
	}
	back := src.past && p.comesBack(now, src)
	src.heard = now
	if back {
		p.present(src)
	} else if src.past {
		w.drop(DropLate)
		return
	}
	payload := data[h.HeaderLen:]
	if h.Padding {
		n, ok := h.PaddingLen(data)
		if !ok {
			w.drop(DropRTP)
			return
		}
		payload = payload[:len(payload)-n]
	}
	pt, seq := h.PayloadType, h.Sequence
	if src.rtx {
		if len(payload) == 0 {
			return // a probe of bandwidth: it only wants transport-wide feedback
		}
		if len(payload) < 2 {
			w.drop(DropRTX)
			return
		}
		w.count(ReceivedRTX)
		// RFC 4588 section 4: the original sequence number, then the original payload.
		seq, payload = binary.BigEndian.Uint16(payload), payload[2:]
		f := p.publication.tracks[src.layer.track].format(pt)
		if f == nil || f.RTX != pt {
			w.drop(DropRTX)
			return
		}
		if !src.layer.receiver.past(seq) {
			w.drop(DropRTX)
			return
		}
		pt = f.PayloadType
	}
	w.record(now, s, src, h, data, pt, seq, payload, arrival)
}

// dropUnopened counts a packet that did not open; malformed is the reason for one that is none.
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

// identify finds out what a new SSRC is: by its RID or repaired RID (simulcast), else by MID, else by
// a payload type that only one track has.
func (w *Worker) identify(p *publisher, h *rtp.Header, data []byte) *source {
	pub := p.publication
	t := pub.trackByMID(h.Value(data, rtp.MID))
	if t == nil {
		t = pub.trackByFormat(h.PayloadType)
	}
	if t == nil {
		w.drop(DropUnbound)
		return nil
	}
	f := t.format(h.PayloadType)
	if f == nil {
		w.drop(DropPayloadType)
		return nil
	}
	rtx := f.RTX == h.PayloadType && f.RTX != 0
	var l *layer
	if rid, ok := h.Value(data, rtp.RID); ok && !rtx {
		l = t.layerByRID(rid)
	} else if rid, ok := h.Value(data, rtp.RepairedRID); ok && rtx {
		l = t.layerByRID(rid)
	} else if len(t.layers) == 1 {
		l = t.layers[0]
	}
	if l == nil {
		w.drop(DropUnbound)
		return nil
	}
	src := p.bind(h.SSRC, l, rtx)
	if src == nil {
		w.drop(DropSSRCs)
	}
	return src
}

func (p *publication) trackByMID(mid []byte, ok bool) *track {
	if !ok {
		return nil
	}
	for i := range p.tracks {
		if p.tracks[i].spec.MID == string(mid) {
			return &p.tracks[i]
		}
	}
	return nil
}

func (p *publication) trackByFormat(pt uint8) *track {
	var found *track
	for i := range p.tracks {
		if p.tracks[i].format(pt) != nil {
			if found != nil {
				return nil
			}
			found = &p.tracks[i]
		}
	}
	return found
}

func (t *track) layerByRID(rid []byte) *layer {
	for _, l := range t.layers {
		if l.rid == string(rid) {
			return l
		}
	}
	return nil
}
