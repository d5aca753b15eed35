package worker

import (
	"container/heap"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// keyframeInterval is the least time between two keyframe requests for a layer. joinKeyframeInterval applies to
	// requests for joiners alone: a steady crowd of joiners must not turn the stream into keyframes. Only a first
	// request without an answer is repeated sooner, because it may be lost.
	keyframeInterval     = 500 * port.Millisecond
	joinKeyframeInterval = port.Second
	// A subscriber's request crossed a keyframe if that was sent to it within keyframeCrossing before.
	keyframeCrossing = 300 * port.Millisecond
	// requestPause is the pause after a subscriber's request. Each in a row doubles it, maxDoublings times at most.
	requestPause = 500 * port.Millisecond
	maxDoublings = 5
)

// A request is the state of one layer's keyframe requests.
type request struct {
	last    port.Time // when a keyframe was last requested
	keyed   port.Time // when a packet of a keyframe's start last arrived
	began   port.Time // when the first of that keyframe did
	tries   uint8     // requests since then, up to 2
	passed  uint8     // paid requests that went to other layers of the track since then, while this one needed some
	asked   bool      // at least once
	pending bool      // a PLI or FIR is to be written
	// wanted is set for each need that was reported since then, by a PLI or a follower. waiting counts the subscribers
	// here that wait.
	wanted  [bus.NumNeeds]bool
	waiting [bus.NumNeeds]int32
	at      port.Time // when the worker is to look at the layer next
	place   int       // in the worker's keyframes, plus 1; 0 if the layer is not among them
}

// answer notes that a keyframe began to arrive.
func (q *request) answer(now port.Time) {
	q.keyed, q.tries, q.passed, q.pending = now, 0, 0, false
	clear(q.wanted[:])
}

// ask notes that a keyframe is requested. A need that was reported counts once: it is reported again.
func (q *request) ask(now port.Time) {
	q.asked, q.last, q.tries, q.passed = true, now, min(q.tries+1, 2), 0
	clear(q.wanted[:])
}

// needed reports whether anybody has a need.
func (q *request) needed(why bus.Need) bool { return q.wanted[why] || q.waiting[why] > 0 }

// urgent reports whether the needs are paid from the whole budget. Those who go up leave a part of it, until other
// layers got as many requests.
func (q *request) urgent() bool {
	return q.needed(bus.NeedLost) || q.needed(bus.NeedRise) && q.passed >= keyingBurst
}

// most returns the most urgent need.
func (q *request) most() bus.Need {
	for why := bus.NeedLost; why > bus.NeedRise; why-- {
		if q.needed(why) {
			return why
		}
	}
	return bus.NeedRise
}

// due returns when a keyframe may be requested next.
func (q *request) due(now port.Time) port.Time {
	switch {
	case !q.asked:
		return now
	case q.needed(bus.NeedLost) || q.tries == 1:
		return max(now, q.last+keyframeInterval)
	}
	return max(now, q.last+joinKeyframeInterval)
}

// keyframes are the layers whose keyframes are requested again and again while any subscriber waits. They are a heap by
// the time at which the worker is to look at them next.
type keyframes []*layer

// maxKeyframes bounds the layers that one HandleTimeout looks at.
const maxKeyframes = 64

// next returns when to look at the first, port.Never if there is none.
func (k keyframes) next() port.Time {
	if len(k) == 0 {
		return port.Never
	}
	return k[0].request.at
}

// set adds a layer, or moves it: the worker is to look at it at a time.
func (k *keyframes) set(l *layer, at port.Time) {
	l.request.at = at
	if l.request.place == 0 {
		heap.Push(k, l)
	} else {
		heap.Fix(k, l.request.place-1)
	}
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (k keyframes) Len() int           { return len(k) }
func (k keyframes) Less(i, j int) bool { return k[i].request.at < k[j].request.at }

func (k keyframes) Swap(i, j int) {
	k[i], k[j] = k[j], k[i]
	k[i].request.place, k[j].request.place = i+1, j+1
}

func (k *keyframes) Push(x any) {
	l := x.(*layer)
	*k = append(*k, l)
	l.request.place = len(*k)
}

func (k *keyframes) Pop() any {
	last := len(*k) - 1
	l := (*k)[last]
	(*k)[last] = nil
	*k = (*k)[:last]
	l.request.place = 0
	return l
}

// wantKeyframe makes sure that keyframes of a layer are requested as long as a subscriber waits for one.
func (w *Worker) wantKeyframe(now port.Time, l *layer) {
	if l.upstream == nil && !l.replica.fed && len(l.pub.tracks[l.track].layers) > 1 {
		w.awaitKeyframe(now, l) // the feed may begin with one
		return
	}
	w.askInTime(now, l)
}

// awaitKeyframe is wantKeyframe for a layer without a packet yet. Publishers start with a keyframe, so the first
// request waits for a while. l may be nil.
func (w *Worker) awaitKeyframe(now port.Time, l *layer) {
	if l != nil && l.request.place == 0 {
		w.keyframes.set(l, now+keyframeInterval)
	}
}

// lostKeyframe requests a keyframe for subscribers that play a layer and lost the picture.
func (w *Worker) lostKeyframe(now port.Time, l *layer) {
	l.request.wanted[bus.NeedLost] = true
	w.askInTime(now, l)
}

// keyframeWanted handles a follower's request. One that crossed a keyframe is answered.
func (w *Worker) keyframeWanted(now port.Time, l *layer, why bus.Need) {
	if t := &l.pub.tracks[l.track]; t.top() == nil { // the owner knows best where joiners are to start
		l = t.startLayer()
	}
	if l == nil || why >= bus.NumNeeds || l.request.keyed > 0 && now-l.request.keyed < keyframeCrossing {
		return
	}
	l.request.wanted[why] = true
	w.askInTime(now, l)
}

// repeatKeyframes requests keyframes again if a subscriber still waits.
func (w *Worker) repeatKeyframes(now port.Time) {
	for n := 0; n < maxKeyframes && w.keyframes.next() <= now; n++ {
		switch l := w.keyframes[0]; {
		case !w.blame(l.pub) || !w.wanted(l):
			heap.Pop(&w.keyframes)
		case l.startable(now):
			w.wake(l.pub.stream)
			w.keyframes.set(l, now+keyframeInterval)
		default:
			w.askInTime(now, l)
		}
	}
}

// wanted reports whether any subscriber, here or of a follower, waits for a keyframe of a layer.
func (w *Worker) wanted(l *layer) bool {
	q := &l.request
	st := l.pub.stream
	if st.pub != l.pub {
		return false
	}
	if q.wanted != [bus.NumNeeds]bool{} {
		return true
	}
	t := &l.pub.tracks[l.track]
	switch {
	case t.spec.Kind != rtp.Video:
		return false
	case len(t.layers) == 1 || t.top() == nil: // the waiting ones want this layer, or do not know yet
		return l == t.startLayer() && len(st.waiting.members) > 0
	}
	return q.waiting != [bus.NumNeeds]int32{}
}

// askInTime requests a keyframe if that is due, and makes sure that the worker looks at the layer again. A request of a
// subscriber that plays, or of a follower, counts once: these ask again themselves.
func (w *Worker) askInTime(now port.Time, l *layer) {
	t := &l.pub.tracks[l.track]
	limited := l.upstream != nil && len(t.layers) > 1
	due := l.request.due
	if limited {
		due = func(now port.Time) port.Time { return t.keying.due(now, l) }
	}
	if due(now) <= now && w.askNow(l) {
		if limited {
			t.keying.ask(now, t, l)
		}
		l.request.ask(now)
	}
	at := due(now)
	if at <= now { // the publisher cannot be asked yet
		at = now + keyframeInterval
	}
	w.keyframes.set(l, at)
}

// askNow asks the publisher, or the publication's owner, for a keyframe. It is false if the publisher cannot be asked
// yet.
func (w *Worker) askNow(l *layer) bool {
	q := &l.request
	if l.pub.owner != w.address() {
		why := q.most()
		w.send(bus.KeyframeWanted(l.pub.owner, l.id(), why))
		if why == bus.NeedLost && q.needed(bus.NeedJoin) { // which no budget holds back
			w.send(bus.KeyframeWanted(l.pub.owner, l.id(), bus.NeedJoin))
		}
		return true
	}
	s := l.pub.session
	if s == nil || l.upstream == nil || l.upstream.receiver.SSRC == 0 {
		return false
	}
	q.pending = true
	w.want(s, wantPLI)
	return true
}

// startable reports whether a subscriber can start from the layer's last keyframe.
func (l *layer) startable(now port.Time) bool {
	k := l.history.Key()
	return k.Valid && now-k.Arrival <= joinAge
}

// asksKeyframe handles a subscriber's PLI or FIR. One subscriber whose network loses much must not set the rate of
// keyframes for all, so its requests count after ever longer pauses.
func (w *Worker) asksKeyframe(now port.Time, sub *subscriber, track int) {
	t := &sub.tracks[track]
	if sub.relay {
		w.relayAsks(now, t)
		return
	}
	pub := sub.stream.pub
	if pub == nil || t.spec.Kind != rtp.Video {
		return
	}
	l := t.have()
	if t.waiting || l == nil {
		return // as long as it waits, keyframes are requested anyway
	}
	if l.pub != pub || now < sub.keyframeAt || sub.keyed > 0 && now-sub.keyed < keyframeCrossing {
		return
	}
	if now-sub.keyframeAt >= requestPause<<sub.requests {
		sub.requests = 0
	}
	sub.keyframeAt = now + requestPause<<sub.requests
	sub.requests = min(sub.requests+1, maxDoublings)
	w.lostKeyframe(now, l)
}
