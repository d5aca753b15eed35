package worker

import (
	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// These bound the packets of one layer, in bytes, however fast it sends.
const (
	historyCapVideo = 8 << 20
	historyCapAudio = 256 << 10
)

// A stream is a name with its present publication and this worker's subscribers.
type stream struct {
	id  bus.StreamID
	pub *publication // nil while nobody publishes
	// Subscribers that play a layer of video, and want no other, are in the layer's circle. waiting are those that need
	// a keyframe, ready all others. circles are all of these by rank, visits counts the visits so far. debts are those
	// that are to be visited beside the circles.
	ready, waiting circle
	circles        []*circle
	visits         uint64
	debts          debts

	// awaitsTurn and next are the stream's place in the worker's turns. spent is the cost of its present turn, repaid
	// the part of that for debts.
	awaitsTurn    bool
	next          *stream
	spent, repaid int

	shapes []*shape
	chore  chore
}

// An announcement is the controller's word of a publication. Each worker keeps one of every stream, and nothing else of
// a stream that it neither owns nor has subscribers of.
type announcement struct {
	generation bus.Generation
	owner      bus.Address
	spec       *bus.Session
}

// A publication is one publisher's time on a stream. Its owner writes the layers' histories from the publisher's
// packets. Other workers with subscribers write their replicas from the bus.
type publication struct {
	stream     *stream
	generation bus.Generation
	owner      bus.Address
	spec       *bus.Session
	// origin is the publisher's session, to be blamed for faults. Followers of a pull know no more of it than its spec.
	origin *session
	tracks []track

	// Only the owner has these. session is the publisher's, nil before it is attached.
	session   *session
	followers []*follower
	// unfed is set while some follower's news did not fit its turn.
	unfed bool
	// paused is set while no media comes, as the controller knows.
	paused bool
	wall   wall

	// Only a follower has follows: its requests to be fed.
	follows *follow
}

// A track is one media line of a publication.
type track struct {
	spec   *rtp.Track
	layers []*layer
	// rungs are the choices of a subscriber, the lowest first, and ladder their rates. See ladder.go.
	rungs  []rung
	ladder adapt.Ladder
	// stale is set at the owner while others know an older ladder.
	stale bool
	// Only the owner of several layers has these. frame is when the newest frame of any began to arrive, since is when
	// the latest pause of all ended.
	frame, since port.Time
	// keying is the owner's as well.
	keying keying
	// formats are the places in spec.Formats, plus 1, by payload type of media and of retransmissions.
	formats [128]uint8
	// active is the payload type sent now, -1 before the first packet. told is the one that the controller knows.
	active, told int
}

// A layer is one encoding of a track with its history.
type layer struct {
	pub     *publication
	track   uint8
	index   uint8
	rid     string
	circle  circle // of those that play the layer
	history history.Log
	clock   bus.Clock
	request request
	// users is how many subscriptions are sent the layer, wanted how many want it, and feeds how many feeds bring it.
	users, wanted, feeds int
	// emitted is the index after the newest packet that some subscriber was sent.
	emitted uint64
	// settled is the index before which everything that goes into sealed bytes is decided, see settle.
	settled uint64
	// epoch counts the breaks in the layer's numbering. Spans do not reach across one.
	epoch uint32

	// upstream is nil at followers, and at the owner while the publisher's session is not attached.
	upstream *upstream
	// replica is empty at the owner.
	replica replica
}

// track returns the publication's track of a kind.
func (p *publication) track(k rtp.Kind) *track {
	for i := range p.tracks {
		if p.tracks[i].spec.Kind == k {
			return &p.tracks[i]
		}
	}
	return nil
}

// stream finds or makes a stream that this worker owns or has subscribers of.
func (w *Worker) stream(id bus.StreamID) *stream {
	st := w.streams[id]
	if st == nil {
		st = &stream{id: id}
		w.streams[id] = st
		if a, ok := w.announced[id]; ok {
			st.pub = w.newPublication(st, a)
		}
		st.arrange()
	}
	return st
}

// openPublication handles PublicationOpened.
func (w *Worker) openPublication(now port.Time, m *bus.Control) {
	if m.Generation <= w.announced[m.Stream].generation {
		return
	}
	w.announced[m.Stream] = announcement{m.Generation, m.Owner, m.Session}
	owned := m.Owner == w.address()
	st := w.streams[m.Stream]
	if st != nil && st.pub != nil {
		w.dropPublication(st)
	}
	switch {
	case owned && w.moves(now, m):
		return
	case st != nil:
		st.pub = w.newPublication(st, w.announced[m.Stream])
		st.arrange()
	case owned:
		st = w.stream(m.Stream)
	default:
		return // until somebody here watches it
	}
	if owned {
		if s := w.sessions[m.Session.ID]; s != nil && s.pub != nil {
			w.attach(now, s, st.pub)
			w.replayOpened(now, s)
		}
	} else if st.subscribers() > 0 {
		w.follow(now, st.pub)
	}
}

// format returns the format with a payload type, of media or of retransmissions. It is nil if there is none.
func (t *track) format(pt uint8) *rtp.Format {
	if i := t.formats[pt&127]; i > 0 {
		return &t.spec.Formats[i-1]
	}
	return nil
}

func (w *Worker) newPublication(st *stream, a announcement) *publication {
	p := &publication{stream: st, generation: a.generation, owner: a.owner, spec: a.spec, origin: w.sessions[a.spec.ID]}
	if p.origin == nil {
		p.origin = &session{spec: a.spec, owner: a.owner}
	}
	p.tracks = make([]track, len(a.spec.Tracks))
	for i := range p.tracks {
		t := &p.tracks[i]
		t.spec = &a.spec.Tracks[i]
		t.active, t.told = -1, -1
		for j := range min(len(t.spec.Formats), 128) { // as many as there are payload types
			f := &t.spec.Formats[j]
			t.formats[f.PayloadType&127] = uint8(j + 1)
			if f.RTX != 0 {
				t.formats[f.RTX&127] = uint8(j + 1)
			}
		}
		for j, e := range t.spec.Encodings {
			l := &layer{pub: p, track: uint8(i), index: uint8(j), rid: e.RID}
			l.history = history.New(w.storage.memory, historyCapAudio)
			if t.spec.Kind == rtp.Video {
				l.history = history.New(w.storage.memory, historyCapVideo)
			}
			t.layers = append(t.layers, l)
		}
		t.raise()
	}
	return p
}

// closePublication handles PublicationClosed.
func (w *Worker) closePublication(m *bus.Control) {
	if w.announced[m.Stream].generation != m.Generation {
		return
	}
	delete(w.announced, m.Stream)
	if st := w.streams[m.Stream]; st != nil && st.pub != nil {
		w.dropPublication(st)
		w.release(st)
	}
}

func (w *Worker) dropPublication(st *stream) {
	p := st.pub
	st.pub = nil
	for _, c := range st.circles {
		for _, sub := range c.members {
			sub.bound = bus.BestLayer // a choice is among the layers of one publication
			if c != &st.ready && c != &st.waiting {
				st.ready.add(sub)
			}
		}
	}
	st.arrange()
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			l.history.Release()
		}
	}
	if p.session != nil && p.session.pub != nil {
		p.session.pub.publication = nil
	}
}

// release forgets a stream that has neither a publication of this worker's own nor a subscriber.
func (w *Worker) release(st *stream) {
	if st.pub != nil && st.pub.owner == w.address() || st.subscribers() > 0 || st.awaitsTurn {
		return
	}
	if st.pub != nil {
		w.dropPublication(st)
	}
	delete(w.streams, st.id)
}

// restart begins a new epoch after a break in the numbering. It drops all earlier packets, and subscribers start
// a new span at the next keyframe.
func (l *layer) restart() {
	l.epoch++
	l.history.Release()
	l.clock = bus.Clock{}
	if l.upstream != nil {
		l.upstream.restart()
	}
}
