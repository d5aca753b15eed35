package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

const (
	// lossKeyframeInterval is the least time between two keyframe requests for a layer, joinKeyframeInterval
	// that between two for the sake of joiners alone: a steady crowd must not turn the stream
	// into keyframes.
	lossKeyframeInterval = 500 * port.Millisecond
	joinKeyframeInterval = port.Second
)

// A request is the state of asking for keyframes of a layer.
type request struct {
	last    port.Time // when one was last asked for
	asked   bool
	waiting bool // somebody waits
	due     port.Time
}

// requestKeyframe asks the publisher for a keyframe of a layer, at once or as soon as the limits allow. join
// tells that it is for somebody who starts, and not for a loss.
func (w *Worker) requestKeyframe(now port.Time, l *layer, join bool) {
	interval := lossKeyframeInterval
	if join {
		interval = joinKeyframeInterval
	}
	q := &l.request
	if l.pub.owner != w.cfg.Index {
		// The owner coalesces for all; here only the bus is spared.
		if !q.asked || now-q.last >= lossKeyframeInterval {
			q.asked, q.last = true, now
			w.send(bus.Message{
				Kind: bus.KeyframeWanted, To: l.pub.owner, Stream: l.pub.stream.id,
				Generation: l.pub.generation, Track: l.track, Layer: l.index, Join: join,
			})
		}
		return
	}
	s := l.pub.session
	if s == nil {
		return
	}
	at := now
	if q.asked {
		at = max(now, q.last+interval)
	}
	if !q.waiting || at < q.due {
		q.waiting, q.due = true, at
	}
	if at <= now {
		w.want(s, wantPLI)
	} else if at < s.timers.at[keyframeDeadline] {
		w.deadlines.set(s, keyframeDeadline, at)
	}
}

// askHeldBack sends the requests that became due.
func (w *Worker) askHeldBack(now port.Time, s *session) {
	pub := s.pub.publication
	if pub == nil {
		return
	}
	next := port.Never
	for i := range pub.tracks {
		for _, l := range pub.tracks[i].layers {
			switch q := &l.request; {
			case !q.waiting:
			case q.due <= now:
				w.want(s, wantPLI)
			default:
				next = min(next, q.due)
			}
		}
	}
	w.deadlines.set(s, keyframeDeadline, next)
}
