package worker

import (
	bits64 "math/bits"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker/history"
)

const (
	// Resends are paid from a budget, in bytes: a fifth of the bytes that were sent, up to a limit. A packet that
	// was already resent may not use the reserve. Some receivers NACK every 100 ms a packet that RTX has delivered,
	// which would starve genuine losses.
	resendShare   = 5
	resendStart   = 64 << 10
	resendLimit   = 256 << 10
	resendReserve = 48 << 10
	// repairSpan is how far back a subscription can be repaired, in sequence numbers: about a second of 10 Mbit/s.
	repairSpan = 1024
	// lateSpan is how long after a late packet came a viewer's first request for it counts as older than that. Viewers
	// ask for it until it comes, and the last request of each crosses the packet on its way.
	lateSpan = 50 * port.Millisecond
	// resendBurst is how many resends one visit writes.
	resendBurst = 8
)

// repairs has two bits for each of the last repairSpan sequence numbers up to newest: whether it is requested again,
// and whether it was resent.
type repairs struct {
	newest            uint64
	waiting           int // bits in requested
	requested, resent [repairSpan / 64]uint64
}

// reach moves newest up to seq, if seq is later. It is false if seq is too old to have bits.
func (r *repairs) reach(seq uint64) bool {
	if seq <= r.newest {
		return r.newest-seq < repairSpan
	}
	for i := r.newest + 1; i <= seq && i <= r.newest+repairSpan; i++ {
		word, bit := bitOf(i)
		if r.requested[word]&bit != 0 {
			r.waiting--
		}
		r.requested[word] &^= bit
		r.resent[word] &^= bit
	}
	r.newest = seq
	return true
}

// bitOf returns the word and the mask of a sequence number's bit.
func bitOf(seq uint64) (word, bit uint64) { return seq % repairSpan / 64, 1 << (seq % 64) }

// request notes a request for seq. It is false if seq is too old, or requested already.
func (r *repairs) request(seq uint64) bool {
	word, bit := bitOf(seq)
	if !r.reach(seq) || r.requested[word]&bit != 0 {
		return false
	}
	r.requested[word] |= bit
	r.waiting++
	return true
}

// next removes and returns one request: of a packet that was never resent, if there is any, and the oldest of those.
func (r *repairs) next() (seq uint64, ok bool) {
	if r == nil || r.waiting == 0 {
		return 0, false
	}
	for _, again := range [...]bool{false, true} {
		for i := range uint64(len(r.requested) + 1) {
			word := (r.newest/64 + i) % uint64(len(r.requested))
			bits := r.requested[word] &^ r.resent[word]
			if again {
				bits = r.requested[word]
			}
			switch newer := ^uint64(0) >> (63 - r.newest%64); i { // one word has the newest and the oldest
			case 0:
				bits &^= newer
			case uint64(len(r.requested)):
				bits &= newer
			}
			if bits == 0 {
				continue
			}
			r.requested[word] &^= bits & -bits
			r.waiting--
			at := word*64 + uint64(bits64.TrailingZeros64(bits))
			return r.newest - (r.newest-at)%repairSpan, true
		}
	}
	return 0, false
}

// resentBefore reports whether seq was resent, or is so old that it may have been.
func (r *repairs) resentBefore(seq uint64) bool {
	switch {
	case r == nil || seq > r.newest:
		return false
	case r.newest-seq >= repairSpan:
		return true
	}
	word, bit := bitOf(seq)
	return r.resent[word]&bit != 0
}

// note notes that seq was resent.
func (r *repairs) note(seq uint64) {
	if r.reach(seq) {
		word, bit := bitOf(seq)
		r.resent[word] |= bit
	}
}

// awaitsRepair reports whether any resends of the subscriber are pending.
func (sub *subscriber) awaitsRepair() bool {
	for i := range sub.tracks {
		if r := sub.tracks[i].repairs; r != nil && r.waiting > 0 {
			return sub.session != nil
		}
	}
	return false
}

// nacked are the packets of a NACK that were sent and can be sent again, by whether they were asked for before.
type nacked struct{ first, again int }

// asks handles a subscriber's NACK of one sequence number, and counts it.
func (w *Worker) asks(now port.Time, sub *subscriber, t *subscription, seq uint16, n *nacked) {
	if t.highest == 0 {
		return
	}
	ext := t.highest - uint64(uint16(t.highest)-seq)
	if ext > t.highest {
		return // the number comes before the first that was sent
	}
	s, index, ok := t.find(ext)
	if !ok {
		return // the packet is not there, or no longer: no visit could send it
	}
	if t.repairs == nil {
		t.repairs = &repairs{newest: ext}
	}
	again := t.repairs.resentBefore(ext)
	if e := s.layer.history.At(index); !again && e.Flags&bus.Late != 0 && now-e.Arrival < lateSpan {
		t.repairs.note(ext) // the packet is on its way
		w.drop(DropCrossed)
		return
	}
	if t.repairs.request(ext) {
		w.serve(sub)
	} else {
		w.drop(DropResends)
		again = true
	}
	switch {
	case s == t.present() && index >= t.cursor:
	case again:
		n.again++
	default:
		n.first++
	}
}

// find returns the span of a packet that was sent under an extended sequence number, and its index in the history of
// the span's layer. ok is false if it left the history, or never came, or cannot be made again.
func (t *subscription) find(seq uint64) (s *span, index uint64, ok bool) {
	s = t.spanOf(seq)
	if s == nil || s.broken() || s.layer.pub.generation != t.shape.generation || t.stopped && s.layer != t.want {
		return nil, 0, false
	}
	index, ok = s.layer.history.Index(s.numberOf(seq))
	return s, index, ok
}

// repair writes some of a subscriber's resends, a few of each track. It is false if out is full before.
func (w *Worker) repair(now port.Time, sub *subscriber, route port.Route, out *Outgoing) bool {
	for i := range sub.tracks {
		t := &sub.tracks[i]
		for n := 0; n < resendBurst && !sub.session.withheld() && t.repairs != nil && t.repairs.waiting > 0; {
			f := out.Reserve()
			if f == nil {
				return false
			}
			seq, _ := t.repairs.next()
			if w.writeResend(now, f, sub, t, seq) {
				f.Route, f.Born = route, now
				out.Submit()
				n++
			}
		}
	}
	return true
}

// writeResend writes one packet again, by RTX if that was negotiated (RFC 4588), else the same bytes. It is false if
// the packet cannot be sent.
func (w *Worker) writeResend(now port.Time, f *port.Frame, sub *subscriber, t *subscription, seq uint64) bool {
	s, index, ok := t.find(seq)
	if !ok {
		return false
	}
	l := s.layer
	e := l.history.At(index)
	d := delivery{
		t: t, span: s, index: index, entry: e, template: t.shape.resendTemplate(l, e), sequence: seq,
		numbered: sub.numbersResend(t),
	}
	if d.template == nil || !d.fits() {
		return false
	}
	if !sub.affords(t, seq, e.Len()+maxHeader) {
		w.drop(DropResends)
		return false
	}
	switch {
	case d.template.rtx != noType && t.spec.RTXSSRC != 0:
		f.Data = sub.sealRTX(f.Data, &d)
	case t.numbered:
		// The packet may have carried a number. Other bytes under the same nonce give the key away.
		w.drop(DropPlainResend)
		return false
	default:
		f.Data = w.seal(f.Data, sub, &d)
	}
	sub.budget -= len(f.Data)
	t.repairs.note(seq)
	w.count(SentRTX)
	w.add(SentRTPBytes, uint64(len(f.Data)))
	if sub.session.trial {
		w.spend(now, sub.session)
	}
	return true
}

// resendTemplate makes the header of a resend. The shape's held headers are for the live edge: this leaves them alone.
func (sh *shape) resendTemplate(l *layer, e *history.Entry) *template {
	held := sh.held
	sh.held = nil
	t := sh.template(l, 0, e)
	sh.held = held
	return t
}

// affords reports whether the budget pays for size bytes of a resend of seq.
func (sub *subscriber) affords(t *subscription, seq uint64, size int) bool {
	if t.repairs.resentBefore(seq) {
		size += resendReserve
	}
	return sub.budget >= size
}
