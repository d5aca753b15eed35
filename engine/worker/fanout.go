package worker

import (
	"math"

	"ringcast/engine/adapt"
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// highestRung stands for the highest rung of any track.
const highestRung = adapt.MaxRungs - 1

// maxSpans is how many spans a subscription keeps: those that it can still answer NACKs for.
const maxSpans = 3

// A subscriber is the state that the owner of a session keeps while the session watches a stream.
type subscriber struct {
	session *session
	stream  *stream
	circle  *circle
	sealer  srtp.Sealer
	tracks  []subscription // audio first
	budget  int            // bytes that resends may still take
	// selector chooses the rung of video. It is nil where there is no choice.
	selector *adapt.Selector
	// home is nil before a Selector needs it.
	home *home
	// padded is when the padding so far is paid for, see affordsPadding.
	padded port.Time
	// keyed is when this subscriber was last sent the start of a keyframe. Its keyframe requests do not count
	// before keyframeAt. requests counts those in a row: each doubles the next pause.
	keyed, keyframeAt port.Time
	requests          uint8
	// bound is the layer above which the subscriber is sent none, or bus.BestLayer.
	bound uint8
	// owed is set while the subscriber is among the debts, hasFIR once fir was.
	owed, hasFIR bool
	// relay is set for another node, see relay.go.
	relay bool
	// fir is the command number of the peer's last FIR.
	fir uint8
	// transport is the next transport-wide sequence number, one counter for media and resends of all tracks.
	transport uint16
	source    uint32 // the SSRC that the peer reports under, 0 before its first report
	place     int32  // in its circle
}

// A subscription is the state of one track for one subscriber.
type subscription struct {
	spec  *rtp.Track
	shape *shape
	choice
	// cursor is the index of the next packet, in the history of the present span's layer.
	cursor  uint64
	span    *span  // the present one, nil before the first
	highest uint64 // extended sequence number that was sent, 0 before the first
	rtx     uint64 // next extended sequence number of retransmissions
	// repairs is nil before the first NACK.
	repairs *repairs
	pause   port.Time // until then catchUp sends nothing
	// Where the next span goes on: the latest timestamp that was sent, when, and the picture.
	lastSent      port.Time
	lastTimestamp uint32
	packets       uint32 // these and octets are for sender reports (RFC 3550 section 6.4.1)
	octets        uint32
	lastPicture   uint16
	lastTL0       uint8
	// waiting is set while the subscription needs a keyframe to go on, halted if the span before ended by choice.
	waiting, halted bool
	// playing is set while the layer that it is on counts it among its users.
	playing bool
	// numbered is set if packets may carry transport-wide numbers. It never changes: a packet that was sealed with a
	// number cannot be sealed again without it.
	numbered bool
}

// A choice is the layer that a subscription should be on. The one that it is on is have.
type choice struct {
	// want is set by aim alone, from rung. It is nil for sound alone, and before the first packet.
	want *layer
	// turned is when want last changed, in milliseconds modulo 2^32.
	turned uint32
	// rung is the one among the track's: highestRung, a lower one, or adapt.AudioOnly.
	rung int8
	// stopped is set if the present span is to end at once when another layer is wanted, and is not to be repaired.
	stopped bool
	// needing is set while want counts the subscription among those who need a keyframe, because of why.
	needing bool
	why     bus.Need
}

// present returns the present span, nil before the first.
func (t *subscription) present() *span { return t.span }

// have returns the layer of the present span, nil before the first.
func (t *subscription) have() *layer {
	if s := t.present(); s != nil {
		return s.layer
	}
	return nil
}

// spanOf returns the span that an extended sequence number belongs to, nil if the subscription has forgotten it.
func (t *subscription) spanOf(sequence uint64) *span {
	for s := t.span; s != nil; s = s.before {
		if s.sequence <= sequence {
			return s
		}
	}
	return nil
}

// begin makes a span the present one. The oldest of maxSpans gives its memory to it.
func (t *subscription) begin(s span) {
	var next *span
	n := 1
	for x := t.span; x != nil; x = x.before {
		if n++; n == maxSpans && x.before != nil {
			next, x.before = x.before, nil
		}
	}
	if next == nil {
		next = new(span)
	}
	s.before = t.span
	*next = s
	t.span = next
}

// forget makes spanOf pass over a span and all before it. They keep their memory for later spans.
func (s *span) forget() {
	for ; s != nil; s = s.before {
		s.sequence = math.MaxUint64
	}
}

// subscribe makes the subscriber of a session and joins it to its stream.
func (w *Worker) subscribe(now port.Time, s *session, sealer srtp.Sealer) *subscriber {
	st := w.stream(s.spec.Stream)
	sub := &subscriber{session: s, stream: st, sealer: sealer, budget: resendStart, bound: bus.BestLayer}
	sub.relay = s.spec.Relay
	sub.transport = uint16(w.cfg.Rand())
	sub.tracks = make([]subscription, 0, len(s.spec.Tracks))
	for _, k := range [...]rtp.Kind{rtp.Audio, rtp.Video} {
		for i := range s.spec.Tracks {
			if spec := &s.spec.Tracks[i]; spec.Kind == k {
				sub.tracks = append(sub.tracks, subscription{
					spec: spec, shape: st.shapeOf(spec), waiting: true, numbered: mayNumber(spec),
					choice: choice{rung: highestRung},
					// Below 2^15, so that a loss at the start cannot be taken for a rollover.
					rtx: w.cfg.Rand() & 0x7FFF,
				})
			}
		}
	}
	st.waiting.add(sub)
	if p := st.pub; p != nil && p.owner != w.address() {
		w.follow(now, p)
	}
	w.serve(sub)
	return sub
}

// mayNumber reports whether a subscription's packets may carry transport-wide numbers. A resend would carry another
// number than the packet did, so every format needs RTX, which seals under an index of its own.
func mayNumber(spec *rtp.Track) bool {
	for i := range spec.Formats {
		if spec.Formats[i].RTX == 0 {
			return false
		}
	}
	return spec.Kind == rtp.Video && spec.Extensions[rtp.TransportSequence] != 0 && spec.RTXSSRC != 0
}

// unsubscribe ends what subscribe began.
func (w *Worker) unsubscribe(now port.Time, sub *subscriber) {
	st := sub.stream
	w.unseat(sub)
	for i := range sub.tracks {
		t := &sub.tracks[i]
		t.leave()
		st.leaveShape(t.shape)
	}
	w.leaveHome(now, sub)
	sub.session = nil // it may still be among the debts: visits skip it
	if st.subscribers() == 0 {
		if p := st.pub; p != nil && p.owner != w.address() {
			w.unfollow(p)
		}
		w.release(st)
	}
}

// fill writes all pending packets of one subscriber, in a row. It is false if out is full before the last.
func (w *Worker) fill(now port.Time, sub *subscriber, route port.Route, out *Outgoing) bool {
	pub := sub.stream.pub
	if pub == nil {
		return true
	}
	if sub.relay {
		return w.fillRelay(now, sub, pub, route, out)
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
		if t.spec.Kind == rtp.Video {
			w.await(now, sub, t, src)
		}
		w.aim(now, t, src)
		if t.want == nil && (t.waiting || t.rung >= 0) {
			if t.spec.Kind == rtp.Video && t.rung < 0 {
				w.mute(now, sub, route, out)
			} else if t.spec.Kind == rtp.Video {
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

// fillTrack writes the pending packets of one track. It is false if out is full before the last.
func (w *Worker) fillTrack(
	now port.Time, sub *subscriber, t *subscription, src *track, route port.Route, out *Outgoing,
) bool {
	if now < t.pause {
		w.callBack(sub, t.pause)
		return true
	}
	before := t.have()
	end := w.steer(now, t)
	if t.waiting || t.have() == nil {
		return true
	}
	if t.worn() {
		w.end(sub.session, api.ReasonWorn)
		return true
	}
	if t.spec.Kind == rtp.Video && (len(src.rungs) > 1 || sub.selector != nil) {
		w.keepUp(now, sub, t, src, before)
	}
	s := t.present()
	h := &s.layer.history
	if timers := &sub.session.timers; t.cursor < h.Next() && timers.at[reportDeadline] > now+port.Second*5/4 {
		w.deadlines.set(sub.session, reportDeadline, now+w.jitter(port.Second)) // reports were rare: nothing was sent
	}
	// A literal for each packet would be copied through memory, which is 8 % of all that a packet costs.
	x := fill{delivery: delivery{t: t, span: s, numbered: sub.numbersNext(now, t)}, first: sub.transport, end: end}
	done := w.write(now, sub, &x, route, out)
	if sub.selector != nil && t.spec.Kind == rtp.Video {
		w.wrote(now, sub, &x, route, out)
	}
	return done
}

// A fill is the packets of one track that a subscriber is sent at one time. All of them carry transport-wide numbers,
// or none does.
type fill struct {
	delivery             // the packet in hand
	first         uint16 // number of the first packet
	packets, size int    // of those that were sent; the size is in bytes
	end           uint64 // the index at which the fill ends
}

// summary is the fill as a Selector sees it.
func (x *fill) summary() adapt.Fill {
	return adapt.Fill{Packets: x.packets, Size: x.size / max(x.packets, 1), First: x.first, Numbered: x.numbered}
}

// write writes the packets of a fill. It is false if out is full before the last.
func (w *Worker) write(now port.Time, sub *subscriber, x *fill, route port.Route, out *Outgoing) bool {
	t, s, d := x.t, x.span, &x.delivery
	h := &s.layer.history
	late, pending := uint64(0), h.Next()-min(t.cursor, h.Next())
	burst := sub.burst(t, pending)
	for ; t.cursor < x.end; t.cursor++ {
		e := h.At(t.cursor)
		if e.Number < s.first {
			continue
		}
		if now-e.Arrival > catchUp.age {
			if late++; catchUp.full(late, pending) {
				t.pause = now + catchUp.pause
				w.callBack(sub, t.pause)
				return true
			}
		}
		if x.packets == burst {
			t.pause = now + burstPause
			w.callBack(sub, t.pause)
			return true
		}
		f := out.Reserve()
		if f == nil {
			return false
		}
		d.index, d.entry, d.sequence = t.cursor, e, s.sequenceOf(e.Number)
		if d.template = t.shape.template(s.layer, t.cursor, e); d.template == nil {
			// The peer did not negotiate the format that is published now.
			w.drop(DropCodec)
			w.end(sub.session, api.ReasonCodec)
			t.cursor++
			return true
		}
		if !d.fits() {
			w.drop(DropTooLong)
			continue
		}
		f.Data = w.seal(f.Data, sub, d)
		f.Route, f.Born = route, now
		out.Submit()
		w.sent(now, sub, d, len(f.Data))
		x.packets++
		x.size += len(f.Data)
		if sub.session.trial && !w.spend(now, sub.session) {
			t.cursor++
			return true
		}
	}
	return true
}

// sent notes that a packet was sent to a subscriber for the first time, in size bytes.
func (w *Worker) sent(now port.Time, sub *subscriber, d *delivery, size int) {
	t, s, e := d.t, d.span, d.entry
	if e.Flags&bus.KeyframeStart != 0 {
		sub.keyed = now
	}
	if l := s.layer; d.index >= l.emitted {
		l.emitted = d.index + 1
		w.counters.delay(now - e.Arrival)
	}
	if ts := s.timestampOf(e.Timestamp); t.highest == 0 || int32(ts-t.lastTimestamp) > 0 {
		t.lastTimestamp, t.lastSent = ts, now
		t.lastPicture, t.lastTL0 = s.pictureOf(e.Picture, e.TL0)
	}
	t.highest = max(t.highest, d.sequence)
	t.packets++
	t.octets += uint32(e.PayloadLen())
	sub.budget = min(sub.budget+size/resendShare, resendLimit)
	w.count(SentRTP)
	w.add(SentRTPBytes, uint64(size))
}
