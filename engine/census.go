package engine

import (
	"strconv"
	"sync/atomic"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
)

// census holds the controller's counts for metrics.
type census struct {
	publishers, publishersPending, subscribers, subscribersPending, relays, streams atomic.Int64
	// standbys are publishers that wait for another to fail. handed counts the times that one got the stream.
	standbys atomic.Int64
	handed   [numHandings]atomic.Uint64

	denied  [numDenials]atomic.Uint64
	evicted atomic.Uint64 // pending sessions that gave way to others
	// modes counts the subscribers that were served in rtp.ModeFit.
	modes atomic.Uint64
	// limits holds api.Limits for metrics, over the number of publishers above their bitrate. A publisher that stays so
	// counts as warned, or as ended.
	limits        [numLimits]atomic.Int64
	over          atomic.Int64
	warned, ended atomic.Uint64

	// rungs holds the subscribers by the rung that they are sent, counted from the lowest, and soundOnly those that are
	// sent none.
	rungs     [adapt.MaxRungs]atomic.Int64
	soundOnly atomic.Int64
}

// denial is a reason not to open a session.
type denial int

const (
	deniedFull denial = iota
	deniedBusy
	deniedShare
	deniedViewers
	deniedSource
	deniedTaken
	deniedBackup
	deniedClosing
	numDenials
)

var denials = [numDenials]struct {
	name string
	err  error
}{
	deniedFull:    {"full", api.ErrFull},
	deniedBusy:    {"busy", api.ErrBusy},
	deniedShare:   {"source_busy", api.ErrBusy},
	deniedViewers: {"stream_full", api.ErrStreamFull},
	deniedSource:  {"source_full", api.ErrSourceFull},
	deniedTaken:   {"stream_taken", api.ErrStreamTaken},
	deniedBackup:  {"backup_taken", api.ErrBackupTaken},
	deniedClosing: {"closing", api.ErrClosing},
}

// deny counts a session that is not opened, and returns the error for the peer.
func (n *census) deny(why denial) error {
	n.denied[why].Add(1)
	return denials[why].err
}

// count adds by to the number of sessions in s's state.
func (n *census) count(s *session, by int64) {
	pending := s.pending != nil || s.dialled() && s.dial.in != nil
	switch {
	case s.spec.Role == api.Publisher && !pending:
		n.publishers.Add(by)
	case s.spec.Role == api.Publisher:
		n.publishersPending.Add(by)
	case !pending && s.relays():
		n.relays.Add(by)
	case !pending:
		n.subscribers.Add(by)
	default:
		n.subscribersPending.Add(by)
	}
}

// climb makes a change to a ladder, or to the subscribers of its rungs.
func (n *census) climb(l *ladder, change func()) {
	n.addRungs(l, -1)
	change()
	n.addRungs(l, 1)
}

// addRungs adds by to the subscribers of rungs, for each subscriber of a ladder.
func (n *census) addRungs(l *ladder, by int64) {
	for i := range l.rungs {
		n.rungs[min(i, len(n.rungs)-1)].Add(by * int64(l.rungs[i].Subscribers))
	}
	n.soundOnly.Add(by * int64(l.soundOnly))
}

// collect gives the metrics of sessions and streams.
func (n *census) collect(count counting, gauge gauging) {
	gauge(sessionDesc, float64(n.publishersPending.Load()), "publisher", "pending")
	gauge(sessionDesc, float64(n.publishers.Load()), "publisher", "connected")
	gauge(sessionDesc, float64(n.subscribersPending.Load()), "subscriber", "pending")
	gauge(sessionDesc, float64(n.subscribers.Load()), "subscriber", "connected")
	gauge(sessionDesc, float64(n.relays.Load()), "relay", "connected")
	gauge(streamsDesc, float64(n.streams.Load()))
	gauge(standbyDesc, float64(n.standbys.Load()))
	for i := range handings {
		count(handedDesc, n.handed[i].Load(), handings[i])
	}
	gauge(rungViewersDesc, float64(n.soundOnly.Load()), "none")
	for i := range n.rungs {
		gauge(rungViewersDesc, float64(n.rungs[i].Load()), strconv.Itoa(i))
	}
	count(modesDesc, n.modes.Load())
	for i := range denials {
		count(deniedDesc, n.denied[i].Load(), denials[i].name)
	}
	count(evictedDesc, n.evicted.Load())
	for i, name := range limitNames {
		gauge(limitDesc, float64(n.limits[i].Load()), name)
	}
	gauge(overDesc, float64(n.over.Load()))
	count(excessDesc, n.warned.Load(), "warned")
	count(excessDesc, n.ended.Load(), "ended")
}
