package worker

import (
	"encoding/binary"

	"ringcast/engine/port"
)

const (
	// maxWishes bounds the resends that wait for one subscriber, so that a flood of NACKs costs
	// nobody else.
	maxWishes = 256
	// Resends are paid from a budget, in bytes: a fifth of what was sent, up to a limit. What was
	// resent before may not touch the reserve: some receivers ask every 100 ms for what RTX has
	// brought them already, and what they truly miss would starve behind it.
	resendShare   = 5
	resendStart   = 64 << 10
	resendLimit   = 256 << 10
	resendReserve = 48 << 10
	// resentSpan is how far back a subscription remembers what it resent, in sequence numbers:
	// about a second of 10 Mbps.
	resentSpan = 1024
)

// A resend is a sequence number that a subscriber asked for.
type resend struct {
	sub   *subscriber
	track int
	seq   uint64
}

// resendQueue is a ring of resends.
type resendQueue struct {
	ring       []resend
	head, tail int // counted from the start
}

func (q *resendQueue) add(r resend) bool {
	if q.ring == nil {
		q.ring = make([]resend, maxResends)
	}
	if q.tail-q.head == len(q.ring) {
		return false
	}
	q.ring[q.tail%len(q.ring)] = r
	q.tail++
	return true
}

// asks handles a subscriber's wish for a sequence number of one of its tracks.
func (w *Worker) asks(sub *subscriber, track int, seq uint16) {
	t := &sub.tracks[track]
	if t.highest == 0 {
		return
	}
	ext := t.highest - uint64(uint16(t.highest)-seq)
	if ext > t.highest {
		return // before the very first
	}
	limit := maxWishes
	if t.resent.has(ext) {
		limit /= 2 // the rest is for what was not resent yet
	}
	if sub.wishes >= limit || !w.resends.add(resend{sub, track, ext}) {
		w.drop(DropResends)
		return
	}
	sub.wishes++
}

// pollResends answers NACKs: by RTX where it was negotiated (RFC 4588), else with the same bytes
// again, which is safe because then no header field changes from one sending to the next.
func (w *Worker) pollResends(now port.Time, out *Outgoing) bool {
	q := &w.resends
	for q.head < q.tail {
		f := out.Reserve()
		if f == nil {
			return false
		}
		x := &q.ring[q.head%len(q.ring)]
		x.sub.wishes--
		if w.writeResend(now, f, x) {
			out.Submit()
		}
		x.sub = nil
		q.head++
	}
	return true
}

func (w *Worker) writeResend(now port.Time, f *port.Frame, x *resend) bool {
	sub := x.sub
	w.current = sub.session
	if sub.session == nil || sub.session.ending {
		return false
	}
	route, ok := w.route(sub.session)
	if !ok {
		return false
	}
	t := &sub.tracks[x.track]
	i := len(t.runs) - 1
	for i >= 0 && t.runs[i].seq > x.seq {
		i--
	}
	if i < 0 {
		return false
	}
	r := &t.runs[i]
	l := r.layer
	if l.epoch != r.epoch || l.pub.generation != t.shape.generation {
		return false
	}
	index, ok := l.history.index(r.first + x.seq - r.seq)
	if !ok {
		return false // not in the history any more, or not yet
	}
	e := l.history.at(index)
	// A shape's ring of headers is for the live edge; a resend must not push those out.
	tmpl := t.shape.resendTemplate(l, e)
	if tmpl == nil || !fits(tmpl, e) {
		return false
	}
	if !sub.affords(t, x.seq, int(e.len)+maxHeader) {
		w.drop(DropResends)
		return false
	}
	if tmpl.rtx == noType || t.spec.RTXSSRC == 0 {
		if tmpl.transport != 0 {
			// The same nonce would seal another transport-wide number. Signalling does
			// not negotiate this.
			w.drop(DropResends)
			return false
		}
		f.Data = w.seal(f.Data, sub, t, r, index, tmpl, x.seq)
	} else {
		f.Data = w.sealRTX(f.Data, sub, t, r, e, tmpl, x.seq)
	}
	sub.budget -= len(f.Data)
	t.noteResent(x.seq)
	f.Route, f.Born = route, now
	w.count(SentRTX)
	w.add(SentRTPBytes, uint64(len(f.Data)))
	if s := sub.session; s.trial {
		w.spend(now, s)
	}
	return true
}

// sealRTX writes a packet as a retransmission: own SSRC, own numbering, the original sequence number
// in front of the payload (RFC 4588 section 4).
func (w *Worker) sealRTX(frame []byte, sub *subscriber, t *subscription, r *run, e *entry, tmpl *template, seq uint64) []byte {
	n := int(tmpl.length)
	frame = append(frame[:0], tmpl.bytes[:n]...)
	frame[1] = frame[1]&0x80 | tmpl.rtx
	binary.BigEndian.PutUint16(frame[2:], uint16(t.rtx))
	binary.BigEndian.PutUint32(frame[4:], e.Timestamp+r.timestamp)
	binary.BigEndian.PutUint32(frame[8:], t.spec.RTXSSRC)
	if tmpl.transport != 0 {
		binary.BigEndian.PutUint16(frame[tmpl.transport:], sub.transport)
		sub.transport++
	}
	frame = append(frame, byte(seq>>8), byte(seq))
	frame = append(frame, r.layer.history.payload(e)...)
	if r.picture|uint16(r.tl0) != 0 {
		r.patch(frame[n+2:], e)
	}
	out := sub.sealer.SealRTP(frame[:n], n, frame[n:], t.rtx)
	t.rtx++
	return out
}

// resendTemplate makes the header of a packet that is no longer at the live edge.
func (sh *shape) resendTemplate(l *layer, e *entry) *template {
	held := sh.held
	sh.held = nil
	t := sh.template(l, 0, e)
	sh.held = held
	return t
}

// affords reports whether the budget pays for size bytes of a resend.
func (sub *subscriber) affords(t *subscription, seq uint64, size int) bool {
	if t.resent.has(seq) {
		size += resendReserve
	}
	return sub.budget >= size
}

// resent is which of the last resentSpan sequence numbers up to newest were resent, a bit each.
type resent struct {
	newest uint64
	bits   [resentSpan / 64]uint64
}

// has reports whether seq was resent, or is so old that it may have been.
func (r *resent) has(seq uint64) bool {
	switch {
	case r == nil || seq > r.newest:
		return false
	case r.newest-seq >= resentSpan:
		return true
	}
	return r.bits[seq%resentSpan/64]&(1<<(seq%64)) != 0
}

func (t *subscription) noteResent(seq uint64) {
	if t.resent == nil {
		t.resent = &resent{newest: seq}
	}
	r := t.resent
	if seq > r.newest {
		for i := r.newest + 1; i <= seq && i <= r.newest+resentSpan; i++ {
			r.bits[i%resentSpan/64] &^= 1 << (i % 64)
		}
		r.newest = seq
	}
	if r.newest-seq < resentSpan {
		r.bits[seq%resentSpan/64] |= 1 << (seq % 64)
	}
}
