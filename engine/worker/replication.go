package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// Workers with subscribers of a publication follow it. The owner feeds each of them the layers that it asks for, see
// feed.go, and each writes its replicas of the layers, see replica.go.

// id names the layer.
func (l *layer) id() bus.LayerID {
	return bus.LayerID{Stream: l.pub.stream.id, Generation: l.pub.generation, Track: l.track, Layer: l.index}
}

// publication returns the present publication that a layer belongs to, nil where the layer is an older one's.
func (w *Worker) publication(id *bus.LayerID) *publication {
	st := w.streams[id.Stream]
	if st == nil || st.pub == nil || st.pub.generation != id.Generation {
		return nil
	}
	return st.pub
}

// layer returns a layer of the publication; ok is false where there is none.
func (p *publication) layer(id *bus.LayerID) (l *layer, ok bool) {
	if int(id.Track) >= len(p.tracks) || int(id.Layer) >= len(p.tracks[id.Track].layers) {
		return nil, false
	}
	return p.tracks[id.Track].layers[id.Layer], true
}

// handleReplication takes in a control message about a layer. A message about an older publication is out of date.
func (w *Worker) handleReplication(now port.Time, m *bus.Control) {
	p := w.publication(&m.LayerID)
	if p == nil && m.Kind == bus.KindFollow {
		w.drop(DropFollow)
	}
	if p == nil || !w.blame(p) {
		return
	}
	switch m.Kind {
	case bus.KindFollow:
		w.handleFollow(p, m)
	case bus.KindUnfollow:
		p.endFeed(m.From, m.Feed)
	case bus.KindFollowing:
		if f := p.followed(m.Feed); f != nil {
			f.promised = true
		}
	case bus.KindLadder:
		w.takeLadder(p, m)
	default:
		if l, ok := p.layer(&m.LayerID); ok {
			w.handleLayer(now, l, m)
		}
	}
}

// handleLayer takes in a follower's request for a layer, or the owner's report of it.
func (w *Worker) handleLayer(now port.Time, l *layer, m *bus.Control) {
	if l.pub.owner != w.address() {
		if m.Kind == bus.KindSenderReport {
			l.clock = m.Clock
		}
		return
	}
	switch m.Kind {
	case bus.KindKeyframeWanted:
		w.keyframeWanted(now, l, m.Need)
	case bus.KindResendWanted:
		w.sendAgain(l, m)
	}
}

// handleFed takes in a packet of a feed that this worker follows. A packet of a feed that it followed before is out of
// date.
func (w *Worker) handleFed(now port.Time, m *bus.Media) {
	p := w.publication(&m.LayerID)
	if p == nil || !w.blame(p) {
		return
	}
	f := p.followed(m.Feed)
	if l, ok := p.layer(&m.LayerID); ok && f != nil && f.brings(l) {
		w.replicate(now, l, m)
	}
}
