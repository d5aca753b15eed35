package engine

import (
	"slices"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/rtp"
)

// A ladder is the controller's record of a publication's video track, and of the subscribers that are sent each layer
// where there are several. Without video it has no rungs.
type ladder struct {
	track uint8
	// layers holds the layer of each rung, the lowest first.
	layers []uint8
	rungs  []api.Rung
	// soundOnly is the number of subscribers that are sent no layer.
	soundOnly int
}

// newLadder makes the ladder of a publication that has just begun. Nothing is known of its layers but their order: a
// publisher names the one that it prefers first (RFC 8853 section 5.2).
func newLadder(tracks []rtp.Track) (l ladder) {
	i := slices.IndexFunc(tracks, func(t rtp.Track) bool { return t.Kind == rtp.Video })
	if i < 0 {
		return l
	}
	l.track = uint8(i)
	for e, encoding := range slices.Backward(tracks[i].Encodings) {
		l.layers = append(l.layers, uint8(e))
		l.rungs = append(l.rungs, api.Rung{RID: encoding.RID})
	}
	return l
}

// set takes the owner's word of the track's rungs. tracks are the publication's.
func (l *ladder) set(track uint8, all bus.Ladder, tracks []rtp.Track) {
	if int(track) >= len(tracks) {
		return
	}
	encodings := tracks[track].Encodings
	next := ladder{track: track, soundOnly: l.soundOnly}
	for _, r := range all {
		rung := api.Rung{Rate: r.Rate, Width: int(r.Width), Height: int(r.Height)}
		if int(r.Layer) < len(encodings) {
			rung.RID = encodings[r.Layer].RID
		}
		if i := l.find(r.Layer); i >= 0 {
			rung.Subscribers = l.rungs[i].Subscribers
		}
		next.layers, next.rungs = append(next.layers, r.Layer), append(next.rungs, rung)
	}
	*l = next
}

// chosen reports whether the track has several layers, so that workers choose among them.
func (l *ladder) chosen() bool { return len(l.rungs) > 1 }

// describe returns the rungs for the engine's callers. The only layer of a track is every subscriber's.
func (l *ladder) describe(subscribers int) []api.Rung {
	rungs := slices.Clone(l.rungs)
	if len(rungs) == 1 {
		rungs[0].Subscribers = subscribers
	}
	return rungs
}

// find returns the place of a layer, or api.NoRung.
func (l *ladder) find(layer uint8) int { return slices.Index(l.layers, layer) }

// add adds by to the number of subscribers that are sent a layer, or none.
func (l *ladder) add(layer uint8, by int) {
	if layer == bus.NoLayer {
		l.soundOnly += by
	} else if i := l.find(layer); i >= 0 {
		l.rungs[i].Subscribers += by
	}
}

// watching is the controller's record of a subscriber's video.
type watching struct {
	// bound is the RID of the layer above which the subscriber is sent none, empty for no bound.
	bound string
	// generation is that of the publication whose layer it was sent last, 0 for none. layer may be bus.NoLayer.
	generation bus.Generation
	layer      uint8
	cause      adapt.Cause
}

// ladderOf returns the ladder of the publication that a subscriber was last reported to be sent, or nil if another
// publication has the stream.
func (s *session) ladderOf() *ladder {
	live := s.stream.live
	if live == nil || live.publication.generation != s.watching.generation {
		return nil
	}
	return &live.publication.ladder
}

// measured notes what a publisher sends.
func (c *controller) measured(s *session, m *bus.Control) {
	if p := s.publication; p != nil && p.generation == m.Generation {
		c.census.climb(&p.ladder, func() { p.ladder.set(m.Track, *m.Ladder, s.spec.Tracks) })
		c.weigh(s)
	}
}

// switched notes the layer that a subscriber is sent from now on.
func (c *controller) switched(s *session, m *bus.Control) {
	live := s.stream.live
	if s.spec.Role != api.Subscriber || live == nil || live.publication.generation != m.Generation {
		return // the publication has ended meanwhile
	}
	c.unwatch(s)
	w := &s.watching
	w.generation, w.layer, w.cause = m.Generation, m.Layer, m.Cause
	l := &live.publication.ladder
	c.census.climb(l, func() { l.add(w.layer, 1) })
}

// unwatch takes a subscriber from its rung.
func (c *controller) unwatch(s *session) {
	if l := s.ladderOf(); l != nil {
		c.census.climb(l, func() { l.add(s.watching.layer, -1) })
	}
	s.watching.generation = 0
}

// choose sets the layer above which a subscriber is sent none. An empty RID lifts the bound.
func (c *controller) choose(id api.SessionID, rid string) error {
	s := c.sessions[id]
	if s == nil || s.spec.Role != api.Subscriber {
		return api.ErrNoSession
	}
	if live := s.stream.live; rid != "" && (live == nil || live.publication.ladder.named(rid) < 0) {
		return api.ErrNoLayer
	}
	lifted := rid == "" && s.watching.bound != ""
	s.watching.bound = rid
	if lifted || rid != "" {
		c.sendBound(s)
	}
	return nil
}

// named returns the place of the rung with a RID, or -1.
func (l *ladder) named(rid string) int {
	return slices.IndexFunc(l.rungs, func(r api.Rung) bool { return r.RID == rid })
}

// bound sends a subscriber's bound, if it has one, to its worker, which has just begun to serve it.
func (c *controller) bound(s *session) {
	if s.watching.bound != "" {
		c.sendBound(s)
	}
}

// boundAll sends the bounds of all subscribers of a stream, which has another publication now.
func (c *controller) boundAll(st *stream) {
	for _, s := range st.viewers {
		c.bound(s)
	}
}

// sendBound sends a subscriber's bound to its worker. A layer that the publication lacks is no bound.
func (c *controller) sendBound(s *session) {
	live := s.stream.live
	if live == nil || !s.keyed || !live.publication.ladder.chosen() {
		return // it is sent when there are layers, and a worker with the subscriber
	}
	p := live.publication
	id := bus.LayerID{Stream: s.stream.id, Generation: p.generation, Track: p.ladder.track, Layer: bus.BestLayer}
	if i := p.ladder.named(s.watching.bound); i >= 0 {
		id.Layer = p.ladder.layers[i]
	}
	c.send(bus.Choose(s.owner, s.spec.ID, id))
}

// view describes what a subscriber is sent.
func (c *controller) view(id api.SessionID) (v api.View, ok bool) {
	s := c.sessions[id]
	if s == nil {
		return v, false
	}
	v.Rung = api.NoRung
	if s.stream.live != nil {
		v.Stream = s.stream.describe()
	}
	if l := s.ladderOf(); l != nil {
		v.Rung, v.Cause = l.find(s.watching.layer), s.watching.cause.String()
	}
	return v, true
}
