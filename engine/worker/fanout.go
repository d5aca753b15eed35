package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

const (
	// A subscriber that starts in the past is sent catchUpBurst packets at a time with
	// catchUpPause between: some receivers' socket buffers hold 64 KB.
	catchUpAge   = 60 * port.Millisecond
	catchUpBurst = 16
	catchUpPause = 5 * port.Millisecond
	// catchUpTurns is in how many bursts at most the rest is sent: a fast stream must not outrun who starts.
	catchUpTurns = 10
	// maxSpans is how many spans a subscriber can still answer NACKs for.
	maxSpans = 3
)

// A subscriber is the owner's state of a session that watches.
type subscriber struct {
	session *session
	stream  *stream
	place   int // in its circle
	sealer  srtp.Sealer
	tracks  []subscription // audio first
	// transport is the next transport-wide sequence number, one counter for all that is sent.
	transport uint16
	budget    int // bytes of resends
	// waits tells which circle of the stream the subscriber is in, owed whether it is among the debts.
	waits, owed bool
	// keyed is when a keyframe last began to be sent; until keyframeAt no request of this subscriber counts,
	// and each in a row doubles the next pause.
	keyed, keyframeAt port.Time
	requests          uint8
	// source is the SSRC that the peer reports under, 0 before its first report.
	source uint32
	fir    uint8
	hasFIR bool
}

// A subscription is one track as one subscriber gets it.
type subscription struct {
	spec  *rtp.Track
	shape *shape
	// cursor is the index of the next packet in the history of the last span's layer.
	cursor  uint64
	spans   []span // at most maxSpans; the last is the present one
	highest uint64 // extended sequence number sent, 0 before the first
	rtx     uint64 // next extended sequence number of retransmissions
	// repairs is nil until something was asked for again.
	repairs *repairs
	pause   port.Time
	// Last media sent, to go on with in a new span.
	lastSent      port.Time
	lastTimestamp uint32
	packets       uint32 // for sender reports
	octets        uint32
	lastPicture   uint16
	lastTL0       uint8
	// waiting is set while the subscription needs a keyframe to go on.
	waiting bool
}

// subscribe makes a subscriber and joins it to its stream.
func (w *Worker) subscribe(now port.Time, s *session, sealer srtp.Sealer) *subscriber {
	st := w.stream(s.spec.Stream)
	sub := &subscriber{session: s, stream: st, sealer: sealer, budget: resendStart, waits: true}
	sub.transport = uint16(w.cfg.Rand())
	sub.tracks = make([]subscription, 0, len(s.spec.Tracks))
	for _, k := range [...]rtp.Kind{rtp.Audio, rtp.Video} {
		for i := range s.spec.Tracks {
			if spec := &s.spec.Tracks[i]; spec.Kind == k {
				sub.tracks = append(sub.tracks, subscription{
					spec: spec, shape: st.shapeOf(spec), waiting: true,
					// Below 2^15, so that a loss at the start cannot be taken for a rollover.
					rtx: w.cfg.Rand() & 0x7FFF,
				})
			}
		}
	}
	st.waiting.add(sub)
	if p := st.pub; p != nil && p.owner != w.cfg.Index {
		w.follow(now, p)
	}
	w.serve(sub)
	return sub
}

func (w *Worker) unsubscribe(sub *subscriber) {
	st := sub.stream
	if moved := st.circleOf(sub).remove(sub); moved != nil {
		w.serve(moved)
	}
	for i := range sub.tracks {
		t := &sub.tracks[i]
		if n := len(t.spans); n > 0 {
			t.spans[n-1].layer.users--
		}
		st.leaveShape(t.shape)
	}
	sub.session = nil // still among the debts? then it is skipped there
	if st.subscribers() == 0 {
		if p := st.pub; p != nil && p.owner != w.cfg.Index {
			w.unfollow(p)
		}
		w.release(st)
	}
}

// fill writes what one subscriber has pending of the live media, in a row; false when out is full before.
func (w *Worker) fill(now port.Time, sub *subscriber, route port.Route, out *Outgoing) bool {
	pub := sub.stream.pub
	if pub == nil {
		return true
	}
	for i := range sub.tracks {
		if sub.session.withheld() {
			return true
		}
		t := &sub.tracks[i]
		src := pub.track(t.spec.Kind)
		if src == nil {
			continue
		}
		if src.best == nil {
			if t.spec.Kind == rtp.Video {
				w.awaitKeyframe(now, src.startLayer())
			}
			continue
		}
		if !w.fillTrack(now, sub, t, src, route, out) {
			return false
		}
	}
	return true
}

func (w *Worker) fillTrack(now port.Time, sub *subscriber, t *subscription, src *track, route port.Route, out *Outgoing) bool {
	if now < t.pause {
		return true
	}
	if !w.steer(now, t, src) {
		return true
	}
	r := &t.spans[len(t.spans)-1]
	l := r.layer
	if s := sub.session; t.cursor < l.history.Next() && s.timers.at[reportDeadline] > now+port.Second*5/4 {
		w.deadlines.set(s, reportDeadline, now+w.jitter(port.Second)) // silent until now
	}
	late, pending := 0, l.history.Next()-min(t.cursor, l.history.Next())
	for t.cursor < l.history.Next() {
		e := l.history.At(t.cursor)
		if e.Number < r.first {
			t.cursor++
			continue
		}
		if now-e.Arrival > catchUpAge {
			if late++; late > catchUpBurst && uint64(late) > pending/catchUpTurns {
				t.pause = now + catchUpPause
				w.deadlines.set(sub.session, catchUpDeadline, t.pause)
				return true
			}
		}
		f := out.Reserve()
		if f == nil {
			return false
		}
		tmpl := t.shape.template(l, t.cursor, e)
		if tmpl == nil {
			// It cannot play what is published now, and no packet of it ever will.
			w.drop(DropCodec)
			t.cursor++
			w.end(sub.session, api.ReasonCodec)
			return true
		}
		if !fits(tmpl, e) {
			w.drop(DropTooLong)
			t.cursor++
			continue
		}
		seq := r.seq + (e.Number - r.first)
		f.Data = w.seal(f.Data, sub, t, r, t.cursor, tmpl, seq)
		f.Route, f.Born = route, now
		out.Submit()
		t.cursor++

		if e.Flags&bus.KeyframeStart != 0 {
			sub.keyed = now
		}
		if t.cursor > l.emitted {
			l.emitted = t.cursor
			w.counters.delay(now - e.Arrival)
		}
		if ts := e.Timestamp + r.timestamp; t.highest == 0 || int32(ts-t.lastTimestamp) > 0 {
			t.lastTimestamp, t.lastSent = ts, now
			t.lastPicture, t.lastTL0 = e.Picture+r.picture, e.TL0+r.tl0
		}
		t.highest = max(t.highest, seq)
		t.packets++
		t.octets += uint32(e.PayloadLen())
		sub.budget = min(sub.budget+len(f.Data)/resendShare, resendLimit)
		w.count(SentRTP)
		w.add(SentRTPBytes, uint64(len(f.Data)))
		if s := sub.session; s.trial && !w.spend(now, s) {
			return true
		}
	}
	return true
}
