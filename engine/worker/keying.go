package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

const (
	// These are the least times between two requests to a track of several layers. lostInterval is for those who lost
	// the picture or go down, riseInterval for those who go up. The latter take any keyframe that comes.
	lostInterval = port.Second
	riseInterval = 4 * port.Second
	// A request that is not answered within a round trip and answerSpan is repeated once, because it may be lost.
	answerSpan = 250 * port.Millisecond
	// defaultTrip stands for a round trip that was not measured.
	defaultTrip = 100 * port.Millisecond
	// Requests other than for joiners are paid from a budget: keyingBurst of them at once, and another each
	// keyingRefill. So there are at most six in any 30 s.
	keyingBurst  = 2
	keyingRefill = 6100 * port.Millisecond
	// Layers that are keyed within togetherSpan were keyed by one request.
	togetherSpan = 50 * port.Millisecond
)

// A keying bounds the keyframes that are requested of a track of several layers. Feedback and switches of its viewers
// must not turn the stream into keyframes. Viewers that join are bounded by joinKeyframeInterval, and pay nothing.
type keying struct {
	// asked is the layer whose keyframe was last requested, last is when. asked is nil before the first request.
	asked *layer
	last  port.Time
	// full is when the budget is full again.
	full port.Time
	// together is set while the publisher is seen to key all layers when one is requested. Simulcast of libwebrtc does.
	together bool
}

// due returns when a keyframe may be requested next for the needs of a layer.
func (k *keying) due(now port.Time, l *layer) port.Time {
	q, at := &l.request, port.Never
	if q.needed(bus.NeedJoin) || !q.needed(bus.NeedLost) && !q.needed(bus.NeedRise) {
		at = q.due(now)
	}
	paid := k.full - (keyingBurst-1)*keyingRefill
	if q.tries != 1 && (!q.urgent() || k.yields(l)) {
		paid = k.full // which leaves a request for those who lose the picture meanwhile, or for another layer
	}
	after := func(interval port.Time) port.Time {
		if k.asked == nil {
			return now
		}
		if q.tries == 1 {
			trip := l.upstream.receiver.RoundTrip()
			if trip == 0 {
				trip = defaultTrip
			}
			interval = min(interval, answerSpan+trip)
		}
		return k.last + interval
	}
	if q.needed(bus.NeedLost) {
		at = min(at, max(now, paid, after(lostInterval)))
	}
	if q.needed(bus.NeedRise) {
		at = min(at, max(now, paid, after(riseInterval)))
	}
	return at
}

// yields reports whether a layer leaves the next request to another, which was passed over more often. Else requests
// for one layer could keep viewers from all others, where layers are keyed one by one.
func (k *keying) yields(l *layer) bool {
	for _, x := range l.pub.tracks[l.track].layers {
		if x != l && x.request.passed > l.request.passed && x.request.urgent() {
			return true
		}
	}
	return false
}

// ask notes that the keyframe of a layer is requested.
func (k *keying) ask(now port.Time, t *track, l *layer) {
	k.review(t)
	if q := &l.request; !q.needed(bus.NeedJoin) || q.due(now) > now {
		k.full = max(k.full, now) + keyingRefill
		k.pass(t, l)
	}
	k.asked, k.last = l, now
	for _, x := range t.layers {
		if k.together && x != l {
			x.request.ask(now)
		}
	}
}

// pass counts a paid request for a layer, which passed over the others.
func (k *keying) pass(t *track, l *layer) {
	for _, x := range t.layers {
		if q := &x.request; x != l && !k.together && (q.needed(bus.NeedLost) || q.needed(bus.NeedRise)) {
			q.passed = min(q.passed+1, 1<<7)
		}
	}
}

// review learns from the answer to the last request, if there was one.
func (k *keying) review(t *track) {
	if k.asked == nil {
		return
	}
	answer := k.asked.request.began
	if answer < k.last {
		return
	}
	alone := true
	for _, x := range t.layers {
		q := &x.request
		if x == k.asked || !within(q.began, answer, togetherSpan) {
			continue
		}
		alone = false
		if !q.asked || k.last-q.last > lostInterval {
			k.together = true
		}
	}
	if alone {
		k.together = false
	}
}
