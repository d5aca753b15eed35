package worker

import (
	"encoding/binary"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// maxSent is the longest datagram to a subscriber: one that fits with IPv6's header, too.
const maxSent = port.MaxDatagram - 20

// settle decides all that is still open about the packets up to an index and goes into what is sealed. A seal
// calls it first, the first time or a resend: an index of SRTP may never be sealed with other bytes later.
func (l *layer) settle(index uint64, evenRuns bool) {
	for evenRuns && l.settled <= index {
		l.settled = l.history.Even(max(l.settled, l.history.First()))
	}
}

// fits reports whether a packet fits a datagram, also as a retransmission, which is two bytes longer.
func fits(tmpl *template, e *history.Entry) bool {
	return int(tmpl.length)+e.PayloadLen()+2+maxTag <= maxSent
}

// seal writes one packet of a span: the shape's header, the subscriber's fields, and the payload from
// the history straight into the frame.
func (w *Worker) seal(frame []byte, sub *subscriber, t *subscription, r *span, index uint64, tmpl *template, seq uint64) []byte {
	r.layer.settle(index, w.cfg.EvenRuns)
	e := r.layer.history.At(index)
	n := int(tmpl.length)
	frame = append(frame[:0], tmpl.bytes[:n]...)
	binary.BigEndian.PutUint16(frame[2:], uint16(seq))
	binary.BigEndian.PutUint32(frame[4:], e.Timestamp+r.timestamp)
	binary.BigEndian.PutUint32(frame[8:], t.spec.SSRC)
	if tmpl.transport != 0 {
		binary.BigEndian.PutUint16(frame[tmpl.transport:], sub.transport)
		sub.transport++
	}
	payload := r.layer.history.PaddedPayload(e)
	if e.Padded() {
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
func (r *span) patch(payload []byte, e *history.Entry) {
	f := r.layer.pub.tracks[r.layer.track].format(e.PayloadType)
	if f == nil {
		return
	}
	if p, ok := rtp.ParsePictureID(f.Codec, payload); ok {
		p.Patch(payload, p.ID+r.picture, p.TL0+r.tl0)
	}
}

// sealRTX writes a packet as a retransmission: own SSRC, own numbering, the original sequence number
// in front of the payload (RFC 4588 section 4).
func (w *Worker) sealRTX(frame []byte, sub *subscriber, t *subscription, r *span, e *history.Entry, tmpl *template, seq uint64) []byte {
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
	frame = append(frame, r.layer.history.Payload(e)...)
	if r.picture|uint16(r.tl0) != 0 {
		r.patch(frame[n+2:], e)
	}
	out := sub.sealer.SealRTP(frame[:n], n, frame[n:], t.rtx)
	t.rtx++
	return out
}
