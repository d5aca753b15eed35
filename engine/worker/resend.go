package worker

import (
	bits64 "math/bits"

	"ringcast/engine/port"
	"ringcast/engine/worker/history"
)

const (
	// Resends are paid from a budget, in bytes: a fifth of what was sent, up to a limit. What was
	// resent before may not touch the reserve: some receivers NACK every 100 ms what RTX has
	// delivered, which would starve genuine losses.
	resendShare   = 5
	resendStart   = 64 << 10
	resendLimit   = 256 << 10
	resendReserve = 48 << 10
	// repairSpan is how far back a subscription can be repaired, in sequence numbers: about a second of
	// 10 Mbps.
	repairSpan = 1024
	// resendBurst is how many resends one visit writes.
	resendBurst = 8
)

// repairs is which of the last repairSpan sequence numbers up to newest are wanted again, and which were
// resent already: a bit each.
type repairs struct {
	newest         uint64
	waiting        int // bits in wanted
	wanted, resent [repairSpan / 64]uint64
}

// reach moves the span so that it covers seq; false where seq is too old for it.
func (r *repairs) reach(seq uint64) bool {
	if seq <= r.newest {
		return r.newest-seq < repairSpan
	}
	for i := r.newest + 1; i <= seq && i <= r.newest+repairSpan; i++ {
		word, bit := bitOf(i)
		if r.wanted[word]&bit != 0 {
			r.waiting--
		}
		r.wanted[word] &^= bit
		r.resent[word] &^= bit
	}
	r.newest = seq
	return true
}

// bitOf is where a sequence number's bit is.
func bitOf(seq uint64) (word, bit uint64) { return seq % repairSpan / 64, 1 << (seq % 64) }

// want notes that seq is wanted again; false where it is too old, or wanted already.
func (r *repairs) want(seq uint64) bool {
	word, bit := bitOf(seq)
	if !r.reach(seq) || r.wanted[word]&bit != 0 {
		return false
	}
	r.wanted[word] |= bit
	r.waiting++
	return true
}

// take takes the next wanted number out: those never resent first, the oldest first.
func (r *repairs) take() (seq uint64, ok bool) {
	if r == nil || r.waiting == 0 {
		return 0, false
	}
	for _, again := range [...]bool{false, true} {
		for i := range uint64(len(r.wanted) + 1) {
			word := (r.newest/64 + i) % uint64(len(r.wanted))
			bits := r.wanted[word] &^ r.resent[word]
			if again {
				bits = r.wanted[word]
			}
			switch newer := ^uint64(0) >> (63 - r.newest%64); i { // the word of newest is the oldest's, too
			case 0:
				bits &^= newer
			case uint64(len(r.wanted)):
				bits &= newer
			}
			if bits == 0 {
				continue
			}
			r.wanted[word] &^= bits & -bits
			r.waiting--
			at := word*64 + uint64(bits64.TrailingZeros64(bits))
			return r.newest - (r.newest-at)%repairSpan, true
		}
	}
	return 0, false
}

// has reports whether seq was resent, or is so old that it may have been.
func (r *repairs) has(seq uint64) bool {
	switch {
	case r == nil || seq > r.newest:
		return false
	case r.newest-seq >= repairSpan:
		return true
	}
	word, bit := bitOf(seq)
	return r.resent[word]&bit != 0
}

// note remembers that seq was resent.
func (r *repairs) note(seq uint64) {
	if r.reach(seq) {
		word, bit := bitOf(seq)
		r.resent[word] |= bit
	}
}

// awaitsRepair reports whether resends wait.
func (sub *subscriber) awaitsRepair() bool {
	for i := range sub.tracks {
		if r := sub.tracks[i].repairs; r != nil && r.waiting > 0 {
			return sub.session != nil
		}
	}
	return false
}

// asks handles a subscriber's request for a sequence number of one of its tracks.
func (w *Worker) asks(sub *subscriber, track int, seq uint16) {
	t := &sub.tracks[track]
	if t.highest == 0 {
		return
	}
	ext := t.highest - uint64(uint16(t.highest)-seq)
	if ext > t.highest {
		return // before the very first
	}
	if t.repairs == nil {
		t.repairs = &repairs{newest: ext}
	}
	if !t.repairs.want(ext) {
		w.drop(DropResends)
		return
	}
	w.serve(sub)
}

// repair answers NACKs, a few at a time: by RTX where it was negotiated (RFC 4588), else with the same bytes
// again, which is safe because then no header field changes from one sending to the next. It is false when
// out is full before.
func (w *Worker) repair(now port.Time, sub *subscriber, route port.Route, out *Outgoing) bool {
	for i := range sub.tracks {
		t := &sub.tracks[i]
		for n := 0; n < resendBurst && !sub.session.withheld() && t.repairs != nil && t.repairs.waiting > 0; {
			f := out.Reserve()
			if f == nil {
				return false
			}
			seq, _ := t.repairs.take()
			if w.writeResend(now, f, sub, t, seq) {
				f.Route, f.Born = route, now
				out.Submit()
				n++
			}
		}
	}
	return true
}

// writeResend writes one packet again; false where there is nothing to write.
func (w *Worker) writeResend(now port.Time, f *port.Frame, sub *subscriber, t *subscription, seq uint64) bool {
	s := t.spanOf(seq)
	if s == nil || s.broken() || s.layer.pub.generation != t.shape.generation {
		return false
	}
	l := s.layer
	index, ok := l.history.Index(s.numberOf(seq))
	if !ok {
		return false // not in the history any more, or not yet
	}
	e := l.history.At(index)
	// A shape's ring of headers is for the live edge; a resend must not push those out.
	d := delivery{t, s, index, e, t.shape.resendTemplate(l, e), seq}
	if d.template == nil || !d.fits() {
		return false
	}
	if !sub.affords(t, seq, e.Len()+maxHeader) {
		w.drop(DropResends)
		return false
	}
	if d.template.rtx == noType || t.spec.RTXSSRC == 0 {
		if d.template.transport != 0 {
			// The same nonce would seal another transport-wide number. Signalling does
			// not negotiate this.
			w.drop(DropResends)
			return false
		}
		f.Data = w.seal(f.Data, sub, &d)
	} else {
		f.Data = sub.sealRTX(f.Data, &d)
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

// resendTemplate makes the header of a packet that is no longer at the live edge.
func (sh *shape) resendTemplate(l *layer, e *history.Entry) *template {
	held := sh.held
	sh.held = nil
	t := sh.template(l, 0, e)
	sh.held = held
	return t
}

// affords reports whether the budget pays for size bytes of a resend.
func (sub *subscriber) affords(t *subscription, seq uint64, size int) bool {
	if t.repairs.has(seq) {
		size += resendReserve
	}
	return sub.budget >= size
}
