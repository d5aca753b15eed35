package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// A relay is a subscriber that is another node. It is to have the layers' histories as they are here, so it is fed like
// a follower and not like a viewer:
//
//   - Each subscription is pinned to one layer. It has neither Selector nor rung, and waits for no keyframe.
//   - Sequence numbers follow the numbers of the layer, with the gaps of packets that have not come. Timestamps and
//     picture IDs are the publisher's.
//   - A span begins where a replica is primed from. After a break in the numbering, its sequence numbers jump, so that
//     the other node takes that for a break as well.
//   - The relay is told of packets that have not come here (RFC 6642). It does not ask for these, because it gets them
//     once they come. So each packet is asked for on the link that lost it.
//   - A keyframe request is like one of a follower: it counts for all viewers of the other node.

const (
	// relayJump is the jump of sequence numbers at a break. It stays one if many packets after it are lost.
	relayJump = 2 * receiver.MaxGap
	// relayRoom is how many numbers before its first packet a span reaches back, for packets that come late.
	relayRoom = 64
	// maxExcused bounds the packets that one datagram says have not come.
	maxExcused = 128
)

// fillRelay writes all pending packets of a relay. It is false if out is full before the last.
func (w *Worker) fillRelay(now port.Time, sub *subscriber, pub *publication, route port.Route, out *Outgoing) bool {
	for i := range sub.tracks {
		t := &sub.tracks[i]
		if sub.session.withheld() || !w.pin(now, sub, t, pub) {
			return true
		}
		if t.want != nil && !w.fillLayer(now, sub, t, route, out) {
			return false
		}
	}
	return true
}

// pin makes a relay's subscription want its layer of a publication, if there is one. It reports false when the session
// was given up: the publication has other layers.
func (w *Worker) pin(now port.Time, sub *subscriber, t *subscription, pub *publication) bool {
	if t.want != nil && t.want.pub == pub {
		return true
	}
	t.desire(nil)
	src := pub.track(t.spec.Kind)
	if src == nil {
		return true
	}
	l := src.layerByRID([]byte(t.spec.Encodings[0].RID))
	if l == nil || len(src.layers) != sub.lines(t.spec.Kind) {
		w.end(sub.session, api.ReasonLayers)
		return false
	}
	t.want = l // desire would make it wait for a keyframe
	l.wanted++
	t.shape.match(pub)
	if pub.owner != w.address() {
		w.demand(now, l)
	}
	return true
}

// lines is the number of the subscriber's lines of a kind.
func (sub *subscriber) lines(k rtp.Kind) (n int) {
	for i := range sub.tracks {
		if sub.tracks[i].spec.Kind == k {
			n++
		}
	}
	return n
}

// fillLayer writes the pending packets of the layer that a subscription is pinned to. It is false if out is full before
// the last.
func (w *Worker) fillLayer(now port.Time, sub *subscriber, t *subscription, route port.Route, out *Outgoing) bool {
	if now < t.pause {
		w.callBack(sub, t.pause)
		return true
	}
	if !w.relayed(now, sub, t) {
		return true
	}
	if t.worn() {
		w.end(sub.session, api.ReasonWorn)
		return true
	}
	s := t.present()
	reached, from := s.numberOf(t.highest), t.cursor
	if t.highest < s.sequence { // the span begins
		reached = s.layer.history.At(from).Number
	}
	x := fill{delivery: delivery{t: t, span: s}, end: s.layer.history.Next()}
	done := w.write(now, sub, &x, route, out)
	w.excuse(now, sub, t, from, reached, route, out)
	return done
}

// relayed makes sure that a pinned subscription has a span on its layer, and reports whether packets are pending. After
// a break in the numbering, or once it is too late, another span begins.
func (w *Worker) relayed(now port.Time, sub *subscriber, t *subscription) bool {
	l := t.want
	h := &l.history
	if s := t.present(); s != nil && s.layer == l && !s.broken() {
		if t.cursor == h.Next() {
			return false
		}
		if t.cursor >= h.First() && now-h.At(t.cursor).Arrival <= stallAge {
			return true
		}
	}
	from := l.primeFrom(now, t.spec.Kind)
	for from < h.Next() && now-h.At(from).Arrival > stallAge {
		from++
	}
	if from == h.Next() {
		return false
	}
	number := h.At(from).Number
	s := span{layer: l, epoch: l.epoch, first: number - min(number, relayRoom), sequence: t.highest + relayJump}
	if t.highest == 0 {
		s.sequence = w.cfg.Rand()&0x7FFF | 1 // see startSpan
	}
	t.stopPlaying()
	t.begin(s)
	t.cursor, t.waiting = from, false
	t.tally()
	// The other node is to know the layer's clock as soon as it has packets.
	w.deadlines.set(sub.session, reportDeadline, now)
	return true
}

// primeFrom returns the index from which a replica of the layer is primed, at another worker or node. A viewer can
// start there, or else it is a little before the live edge.
func (l *layer) primeFrom(now port.Time, k rtp.Kind) uint64 {
	h := &l.history
	from := h.Start(k)
	if k != rtp.Audio && !l.startable(now) { // from the keyframe on is more than a viewer can use
		from = max(from, h.Next()-min(feedBack, h.Next()-h.First()))
	}
	return from
}

// excuse tells a relay which packets have not come here, of those before the packets from an index up to the cursor.
// reached is the highest number that it was sent before these. Without room for a datagram, the relay asks in vain.
func (w *Worker) excuse(
	now port.Time, sub *subscriber, t *subscription, from, reached uint64, route port.Route, out *Outgoing,
) {
	var memory [maxExcused]uint16
	seqs := t.lacking(memory[:0], from, reached)
	if len(seqs) == 0 {
		return
	}
	f := out.Reserve()
	if f == nil {
		return
	}
	b := f.Data
	if sub.session.spec.CompoundRTCP {
		b = rtcp.AppendReceiverReport(b, t.spec.SSRC, nil)
		b = rtcp.AppendSDES(b, t.spec.SSRC, sub.session.spec.CNAME)
	}
	b = rtcp.AppendLossElsewhere(b, t.spec.SSRC, t.spec.SSRC, seqs)
	f.Data, f.Route, f.Born = sub.sealer.SealRTCP(b), route, now
	out.Submit()
	w.count(SentRTCP)
}

// lacking appends the sequence numbers that the packets from an index up to the cursor leave out, as many as fit. The
// packets that came late are none of them.
func (t *subscription) lacking(seqs []uint16, from, reached uint64) []uint16 {
	s := t.present()
	h := &s.layer.history
	for i := from; i < t.cursor; i++ {
		n := h.At(i).Number
		for m := reached + 1; m < n && len(seqs) < cap(seqs); m++ {
			if _, ok := h.Index(m); !ok {
				seqs = append(seqs, uint16(s.sequenceOf(m)))
			}
		}
		reached = max(reached, n)
	}
	return seqs
}

// relayAsks handles a relay's keyframe request. The other node holds back those of single viewers.
func (w *Worker) relayAsks(now port.Time, t *subscription) {
	if l := t.want; l != nil && t.spec.Kind == rtp.Video && l.pub.stream.pub == l.pub {
		w.keyframeWanted(now, l, bus.NeedJoin)
	}
}

// excused takes in an upstream's word that packets have not come there (RFC 6642). It asks for those later, if at all.
// It reports false when the session has no budget left for the rest of the datagram.
func (w *Worker) excused(now port.Time, s *session, p *rtcp.Packet) bool {
	src := s.pub.source(p.Media)
	if src == nil || src.rtx || src.past {
		return true
	}
	for x := p.NACKs(); ; {
		seq, ok := x.Next()
		if !ok {
			return true
		}
		if s.control--; s.control <= 0 {
			w.drop(DropRTCPFlood)
			return false
		}
		src.layer.upstream.receiver.Excuse(now, seq)
	}
}
