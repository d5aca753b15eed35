package worker

import (
	"slices"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// A source binds an SSRC of a publisher to a layer. A layer has at most one present source of media and one of
// retransmissions.
type source struct {
	ssrc  uint32
	layer *layer
	rtx   bool
	// past is set when the layer went on under another SSRC. Late packets of this one have another numbering and
	// another clock.
	past  bool
	heard port.Time // when the source last sent
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

// rebind binds the sources of the publication before to the same layers of another.
func (p *publisher) rebind(pub *publication) {
	for i := range p.sources {
		x := &p.sources[i]
		x.layer = pub.tracks[x.layer.track].layers[x.layer.index]
		switch r := &x.layer.upstream.receiver; {
		case x.past:
		case x.rtx:
			r.RTX = x.ssrc
		default:
			r.SSRC = x.ssrc
		}
	}
}

// forget makes room for a new source, in the opener and among those that are bound, and reports whether it could. It
// forgets the source that was heard longest ago, of those that belong to no layer or are past and long silent.
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

// present makes a source the present one of its layer. The one before it becomes a past source.
func (p *publisher) present(src *source) {
	for i := range p.sources {
		if x := &p.sources[i]; x.layer == src.layer && x.rtx == src.rtx {
			x.past = true
		}
	}
	src.past = false
	r := &src.layer.upstream.receiver
	if src.rtx {
		r.RTX = src.ssrc
		return
	}
	if r.SSRC != 0 {
		// The layer goes on under another SSRC, with another numbering and another clock.
		r.Restart()
		src.layer.restart()
	}
	r.SSRC = src.ssrc
}

// comesBack reports whether a past source is to be present again. It is when it sends after a silence, or goes on while
// the present one is silent. Two that send at once do not take turns.
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

// sourceOf returns the source of the packet in hand. It is nil where none can be found, or is past and the packet late.
func (w *Worker) sourceOf(now port.Time, p *publisher, data []byte) *source {
	src := p.source(w.hand.header.SSRC)
	if src == nil {
		if src = w.identify(p, &w.hand.header, data); src == nil {
			return nil
		}
	}
	back := src.past && p.comesBack(now, src)
	src.heard = now
	if back {
		p.present(src)
	} else if src.past {
		w.drop(DropLate)
		return nil
	}
	return src
}

// identify binds a new SSRC to a layer. The track is found by MID, else by a payload type that only one track has. The
// layer is found by RID or repaired RID. Without, it is the only one of its track.
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
