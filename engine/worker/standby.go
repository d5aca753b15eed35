package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// A publisher that stands by for another has a publication of its own, on a stream that nobody watches. So its clocks
// are known and its losses repaired before it is needed. The controller moves the publication to the watched stream
// when the other publisher pauses or ends.

const (
	// A publication has paused when no picture came for pictureSilence. That counts once it had one: sound that goes
	// on does not hide a picture that stopped. Sound alone has longer, because DTX sends one packet in 400 ms, and
	// that may be lost.
	pictureSilence = 700 * port.Millisecond
	soundSilence   = 900 * port.Millisecond
)

// heard returns when the media that counts last came, and how long it may stay away. last is 0 before the first. It
// notes for the publisher's next publication that there are pictures.
func (p *publication) heard() (last, patience port.Time) {
	var newest [2]port.Time
	for i := range p.tracks {
		t := &p.tracks[i]
		for _, l := range t.layers {
			newest[t.spec.Kind] = max(newest[t.spec.Kind], l.upstream.last)
		}
	}
	pub := p.session.pub
	if pub.pictured = pub.pictured || newest[rtp.Video] > 0; pub.pictured {
		return newest[rtp.Video], pictureSilence
	}
	return newest[rtp.Audio], soundSilence
}

// listen informs the controller if a publisher's media has paused, or looks again when it may have.
func (w *Worker) listen(now port.Time, s *session) {
	p := s.pub.publication
	if p == nil {
		return
	}
	last, patience := p.heard()
	if at := last + patience; !p.paused && at > now {
		w.deadlines.set(s, mediaDeadline, at)
		return
	}
	p.paused = true
	w.tellFlow(p)
}

// resume notes that a packet of a kind came to a publication that had paused.
func (w *Worker) resume(now port.Time, p *publication, k rtp.Kind) {
	_, patience := p.heard()
	if k == rtp.Audio && patience == pictureSilence {
		return // the picture is still away
	}
	p.paused = false
	w.deadlines.set(p.session, mediaDeadline, now+patience)
	w.tellFlow(p)
}

// tellFlow informs the controller whether a publication's media flows.
func (w *Worker) tellFlow(p *publication) {
	id, l := p.session.spec.ID, bus.LayerID{Stream: p.stream.id, Generation: p.generation}
	if p.paused {
		w.send(bus.MediaPaused(id, l))
	} else {
		w.send(bus.MediaFlows(id, l))
	}
}

// moves moves the publication of a publisher that stood by to the stream that it is announced for. It reports false
// where the publisher has none here.
func (w *Worker) moves(now port.Time, m *bus.Control) bool {
	s := w.sessions[m.Session.ID]
	if s == nil || s.pub == nil || s.pub.publication == nil {
		return false
	}
	p := s.pub.publication
	before := p.stream
	before.pub = nil
	before.arrange()
	delete(w.announced, before.id)
	w.release(before)

	st := w.streams[m.Stream]
	if st == nil {
		st = &stream{id: m.Stream}
		w.streams[m.Stream] = st
	}
	st.pub, p.stream, p.generation = p, st, m.Generation
	st.arrange()
	// The controller may have missed what was said of the generation before.
	w.tellFlow(p)
	for i := range p.tracks {
		t := &p.tracks[i]
		t.told, t.stale = -1, true
		w.tellActive(p, t)
	}
	w.chores.add(now, st)
	w.wake(st)
	return true
}
