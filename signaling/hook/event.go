package hook

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"ringcast/engine/api"
)

// The types of events.
const (
	streamStarted    = "stream.started"
	streamEnded      = "stream.ended"
	publisherChanged = "stream.publisher_changed"
	viewersChanged   = "stream.viewers"
	nodeDraining     = "node.draining"
)

// An Event is one thing that happened.
type Event struct {
	// ID is unique among all runs of all nodes; a repeated event has the same. Sequence counts the events of a run from
	// 1: a gap is a dropped event.
	ID       string    `json:"id"`
	Sequence uint64    `json:"sequence"`
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	Stream   string    `json:"stream,omitempty"`
	// Publisher is the session that has the stream, or had it. Viewers is the number of its viewers.
	Publisher api.SessionID `json:"publisher,omitempty"`
	Viewers   *int          `json:"viewers,omitempty"`
}

// A call is the body of one POST. Run is random, and another one after each start of the node.
type call struct {
	Node   string  `json:"node"`
	Run    string  `json:"run"`
	Events []Event `json:"events"`
}

// viewersEvery is the number of looks between two reports of viewers.
const viewersEvery = 10

// A watch holds what the receiver was told of each stream.
type watch struct {
	run      string
	sequence uint64
	looks    int
	known    map[string]*told
}

// told is the last report of a stream.
type told struct {
	publisher api.SessionID
	viewers   int
	seen      int // the last look that found it
}

// look compares the streams with the last reports, and passes an event for each difference to emit.
func (w *watch) look(now time.Time, streams []api.Stream, emit func(Event)) {
	w.looks++
	for _, st := range streams {
		k := w.known[st.Name]
		switch {
		case k == nil:
			k = &told{publisher: st.Publisher, viewers: st.Subscribers}
			w.known[st.Name] = k
			emit(w.event(now, streamStarted, st.Name, k))
		case k.publisher != st.Publisher:
			k.publisher, k.viewers = st.Publisher, st.Subscribers
			emit(w.event(now, publisherChanged, st.Name, k))
		case w.looks%viewersEvery == 0 && k.viewers != st.Subscribers:
			k.viewers = st.Subscribers
			emit(w.event(now, viewersChanged, st.Name, k))
		}
		k.seen = w.looks
	}
	for name, k := range w.known {
		if k.seen != w.looks {
			w.end(now, name, emit)
		}
	}
}

// drain reports that the node ends, and with it all streams.
func (w *watch) drain(now time.Time, emit func(Event)) {
	emit(w.event(now, nodeDraining, "", nil))
	for name := range w.known {
		w.end(now, name, emit)
	}
}

// end reports that a stream has ended. Nobody watches it any more.
func (w *watch) end(now time.Time, name string, emit func(Event)) {
	k := w.known[name]
	delete(w.known, name)
	k.viewers = 0
	emit(w.event(now, streamEnded, name, k))
}

func (w *watch) event(now time.Time, kind, stream string, k *told) Event {
	w.sequence++
	e := Event{
		ID: w.run + "-" + strconv.FormatUint(w.sequence, 10), Sequence: w.sequence, Time: now.UTC(), Type: kind,
		Stream: stream,
	}
	if k != nil {
		viewers := k.viewers
		e.Publisher, e.Viewers = k.publisher, &viewers
	}
	return e
}

// byName orders streams, so that the order of events does not depend on a map's.
func byName(streams []api.Stream) []api.Stream {
	slices.SortFunc(streams, func(a, b api.Stream) int { return cmp.Compare(a.Name, b.Name) })
	return streams
}
