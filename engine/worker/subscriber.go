package worker

import (
	"encoding/binary"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

const (
	// joinAge is how old a keyframe may be for a subscriber to start from it.
	joinAge = 500 * port.Millisecond
	// stallAge is how far behind a subscriber may fall before it jumps.
	stallAge = port.Second
	// A subscriber that starts in the past is sent catchUpBurst packets at a time with
	// catchUpPause between: some receivers' socket buffers hold 64 KB.
	catchUpAge   = 60 * port.Millisecond
	catchUpBurst = 16
	catchUpPause = 5 * port.Millisecond
	// catchUpTurns is in how many bursts at most the rest is sent: a fast stream must not outrun who starts.
	catchUpTurns = 10
	// feedStart is how many packets a feed has to bring before sound starts beside holes in it.
	feedStart = 4
	// maxRuns is how many runs a subscriber can still answer NACKs for.
	maxRuns = 3
	// maxSent is the longest datagram to a subscriber: one that fits with IPv6's header, too.
	maxSent = port.MaxDatagram - 20
)

// A run is a stretch of one layer as one subscriber got it: numbers from first on became sequence
// numbers from seq on. Everything else of a packet is computed from the layer's history, so that a
// resend gives the same packet again.
type run struct {
	layer *layer
	epoch uint32
	// bump is the part of timestamp that only keeps timestamps growing; the next run is without.
	bump      uint32
	first     uint64 // number of the first packet
	seq       uint64 // its extended sequence number: rollover counter and 16 bits
	timestamp uint32 // added to the publisher's, modulo 2^32
	// picture and tl0 are added to the picture ID and TL0PICIDX of VP8 and VP9, so that a layer
	// goes on where another ended; both 0 leaves the payload as it is.
	picture uint16
	tl0     uint8
}

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
	// cursor is the index of the next packet in the history of the last run's layer.
	cursor  uint64
	runs    []run  // at most maxRuns; the last is the present one
	highest uint64 // extended sequence number sent, 0 before the first
	rtx     uint64 // next extended sequence number of retransmissions
	// repairs is nil until something was asked for again.
	repairs *repairs
	pause   port.Time
	// Last media sent, to go on with in a new run.
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
		if n := len(t.runs); n > 0 {
			t.runs[n-1].layer.users--
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
	r := &t.runs[len(t.runs)-1]
	l := r.layer
	if s := sub.session; t.cursor < l.history.next && s.timers.at[reportDeadline] > now+port.Second*5/4 {
		w.deadlines.set(s, reportDeadline, now+w.jitter(port.Second)) // silent until now
	}
	late, pending := 0, l.history.next-min(t.cursor, l.history.next)
	for t.cursor < l.history.next {
		e := l.history.at(t.cursor)
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
		t.octets += uint32(e.len) - uint32(e.ExtensionLen)
		sub.budget = min(sub.budget+len(f.Data)/resendShare, resendLimit)
		w.count(SentRTP)
		w.add(SentRTPBytes, uint64(len(f.Data)))
		if s := sub.session; s.trial && !w.spend(now, s) {
			return true
		}
	}
	return true
}

// settle decides all that is still open about the packets up to an index and goes into what is sealed. A seal
// calls it first, the first time or a resend: an index of SRTP may never be sealed with other bytes later.
func (l *layer) settle(index uint64, evenRuns bool) {
	for evenRuns && l.settled <= index {
		l.even(max(l.settled, l.history.first))
	}
}

// even decides which packets are padded by a byte, from an index on and as far as they are alike. libwebrtc
// cuts a frame into parts of two lengths, the longer ones by a byte and last, and UDP_SEGMENT takes datagrams
// of one length: so the shorter ones are made as long.
func (l *layer) even(from uint64) {
	h := &l.history
	first := h.at(from)
	short := first.len - uint16(first.ExtensionLen)
	longer := false
	end := from + 1
	for ; end < h.next; end++ {
		e := h.at(end)
		n := e.len - uint16(e.ExtensionLen)
		if e.Timestamp != first.Timestamp || n != short && n != short+1 {
			break
		}
		longer = longer || n != short
	}
	for i := from; longer && i < end; i++ {
		e := h.at(i)
		e.padded = e.len-uint16(e.ExtensionLen) == short
	}
	l.settled = end
}

// fits reports whether a packet fits a datagram, also as a retransmission, which is two bytes longer.
func fits(tmpl *template, e *entry) bool {
	return int(tmpl.length)+int(e.len)-int(e.ExtensionLen)+2+maxTag <= maxSent
}

// seal writes one packet of a run: the shape's header, the subscriber's fields, and the payload from
// the history straight into the frame.
func (w *Worker) seal(frame []byte, sub *subscriber, t *subscription, r *run, index uint64, tmpl *template, seq uint64) []byte {
	r.layer.settle(index, w.cfg.EvenRuns)
	e := r.layer.history.at(index)
	n := int(tmpl.length)
	frame = append(frame[:0], tmpl.bytes[:n]...)
	binary.BigEndian.PutUint16(frame[2:], uint16(seq))
	binary.BigEndian.PutUint32(frame[4:], e.Timestamp+r.timestamp)
	binary.BigEndian.PutUint32(frame[8:], t.spec.SSRC)
	if tmpl.transport != 0 {
		binary.BigEndian.PutUint16(frame[tmpl.transport:], sub.transport)
		sub.transport++
	}
	payload := r.layer.history.padded(e)
	if e.padded {
		frame[0] |= rtp.PaddingBit
	}
	if r.picture|uint16(r.tl0) != 0 {
		frame = append(frame, payload...)
		r.patch(frame[n:], e)
		return sub.sealer.SealRTP(frame[:n], n, frame[n:], seq)
	}
	return sub.sealer.SealRTP(frame, n, payload, seq)
}

// patch moves the picture IDs of a payload that was copied out of the history.
func (r *run) patch(payload []byte, e *entry) {
	f := r.layer.pub.tracks[r.layer.track].format(e.PayloadType)
	if f == nil {
		return
	}
	if p, ok := rtp.ParsePictureID(f.Codec, payload); ok {
		p.Patch(payload, p.ID+r.picture, p.TL0+r.tl0)
	}
}

// steer makes sure that the subscription has a run on the layer it is to follow; false when it has to
// wait for a keyframe.
func (w *Worker) steer(now port.Time, t *subscription, src *track) bool {
	t.shape.match(src.best.pub)
	best := src.best
	if len(t.runs) > 0 && !t.waiting {
		r := &t.runs[len(t.runs)-1]
		l := r.layer
		for t.cursor >= l.history.first && t.cursor < l.history.next && l.history.at(t.cursor).Number < r.first {
			t.cursor++ // of before the run; its age says nothing
		}
		switch {
		case l.pub != best.pub || r.epoch != l.epoch:
			t.waiting = true
		case t.cursor < l.history.first || t.cursor < l.history.next && now-l.history.at(t.cursor).Arrival > stallAge:
			w.counters.Drops[DropStalled] += l.history.next - t.cursor
			t.waiting = true
		case l == best:
			return true
		}
	}
	h := &best.history
	if t.spec.Kind == rtp.Audio {
		// A feed's first packet may be a late one of what was before the feed, while the newest is still to
		// come: what lies between will never be here.
		if !t.waiting || h.next == h.first || h.next-h.first < feedStart && len(best.holes) > 0 {
			return !t.waiting
		}
		i := h.liveEdge()
		if e := h.at(i); now-e.Arrival <= stallAge {
			w.startRun(now, t, best, e.Number, i, e.Timestamp)
		}
		return !t.waiting
	}
	if k := &h.key; best.startable(now) && t.goesOn(now, k, best) {
		w.startRun(now, t, best, k.number, k.index, k.timestamp)
		return true
	}
	w.wantKeyframe(now, best)
	return !t.waiting
}

// startRun begins a run at a packet of a layer: sequence numbers go on without a gap, timestamps as
// time did, picture IDs by one.
func (w *Worker) startRun(now port.Time, t *subscription, l *layer, number, index uint64, timestamp uint32) {
	r := run{layer: l, epoch: l.epoch, first: number}
	if t.highest == 0 {
		// Below 2^15, so that a loss at the start cannot be taken for a rollover; above 0.
		r.seq = w.cfg.Rand()&0x7FFF | 1
		r.timestamp = uint32(w.cfg.Rand())
	} else {
		old, x := &t.runs[len(t.runs)-1], t.progress()
		r.seq = t.highest + 1
		var known bool
		if r.timestamp, known = x.offsetFor(now, l); !known {
			r.timestamp = t.lastTimestamp + ticks(int64(now-t.lastSent), l.clockRate()) - timestamp
		}
		if d := int32(timestamp + r.timestamp - t.lastTimestamp); d <= 0 {
			r.bump = uint32(1 - d)
			r.timestamp += r.bump
		}
		if old.layer == l && old.epoch == l.epoch {
			r.picture, r.tl0 = old.picture, old.tl0
		} else {
			if e := l.history.at(index); e.Flags&bus.HasPicture != 0 {
				r.picture, r.tl0 = t.lastPicture+1-e.Picture, t.lastTL0+1-e.TL0
			}
		}
	}
	if n := len(t.runs); n > 0 {
		t.runs[n-1].layer.users--
	}
	l.users++
	if len(t.runs) == maxRuns {
		t.runs = t.runs[:copy(t.runs, t.runs[1:])]
	}
	t.runs = append(t.runs, r)
	t.cursor = index
	t.waiting = false
}
