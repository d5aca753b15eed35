package worker

import (
	"encoding/binary"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/history"
)

// maxSent is the longest datagram to a subscriber, in bytes: one that fits with IPv6's header, too.
const maxSent = port.MaxDatagram - 20

// lastIndex is the highest index of SRTP after which a fill may begin. Beyond 2^48-1 keys must not be used (RFC 3711
// section 9.2), as nonces would come again. An index grows by less than 2^15 for each packet of the publisher. Fewer
// than 2^25 of these come while the path of a subscriber is down and it still counts as connected.
const lastIndex = 1<<48 - 1<<40

// worn reports whether the subscription's streams have come near the end of their indices.
func (t *subscription) worn() bool { return max(t.highest, t.rtx) > lastIndex }

// A delivery is one packet of a layer on its way to one subscriber.
type delivery struct {
	t        *subscription
	span     *span
	index    uint64         // in the history of the span's layer
	entry    *history.Entry // the packet there
	template *template
	sequence uint64 // extended
	// numbered is set if the packet carries a transport-wide sequence number.
	numbered bool
}

// fits reports whether the packet fits a datagram, also as a retransmission, which is two bytes longer.
func (d *delivery) fits() bool {
	return int(d.template.full)+d.entry.PayloadLen()+2+maxTag <= maxSent
}

// fields are a header's fields that differ between subscribers of one shape, or from one sending to the next.
type fields struct {
	payloadType uint8
	sequence    uint16
	timestamp   uint32
	ssrc        uint32
	// numbered asks for the next transport-wide number.
	numbered bool
}

// header writes an RTP header to frame: the template, with these fields.
func (sub *subscriber) header(frame []byte, t *template, f fields) []byte {
	if f.numbered {
		frame = t.numbered(frame, sub.transport)
		sub.transport++
	} else {
		frame = t.plain(frame)
	}
	frame[1] = t.bytes[1] | f.payloadType
	binary.BigEndian.PutUint16(frame[2:], f.sequence)
	binary.BigEndian.PutUint32(frame[4:], f.timestamp)
	binary.BigEndian.PutUint32(frame[8:], f.ssrc)
	return frame
}

// seal writes a packet of media: the header, and the payload from the history straight into the frame.
func (w *Worker) seal(frame []byte, sub *subscriber, d *delivery) []byte {
	s, e := d.span, d.entry
	s.layer.settle(d.index, w.cfg.EvenRuns)
	frame = sub.header(frame, d.template, fields{
		payloadType: d.template.media,
		sequence:    uint16(d.sequence), timestamp: s.timestampOf(e.Timestamp), ssrc: d.t.spec.SSRC,
		numbered: d.numbered,
	})
	if e.Padded() {
		frame[0] |= rtp.PaddingBit
	}
	n := len(frame)
	payload := s.layer.history.PaddedPayload(e)
	if !s.renumbers() {
		return sub.sealer.SealRTP(frame, n, payload, d.sequence)
	}
	frame = append(frame, payload...)
	s.patch(frame[n:], e.PayloadType)
	return sub.sealer.SealRTP(frame[:n], n, frame[n:], d.sequence)
}

// sealRTX writes a packet as a retransmission, under an SSRC and a numbering of its own. The original sequence number
// comes before the payload (RFC 4588 section 4). Its index is new on each sending, so it may carry a transport-wide
// number, or none, whether the packet carried one or not.
func (sub *subscriber) sealRTX(frame []byte, d *delivery) []byte {
	s, e, t := d.span, d.entry, d.t
	frame = sub.header(frame, d.template, fields{
		payloadType: d.template.rtx,
		sequence:    uint16(t.rtx), timestamp: s.timestampOf(e.Timestamp), ssrc: t.spec.RTXSSRC,
		numbered: d.numbered,
	})
	n := len(frame)
	frame = binary.BigEndian.AppendUint16(frame, uint16(d.sequence))
	frame = append(frame, s.layer.history.Payload(e)...)
	if s.renumbers() {
		s.patch(frame[n+2:], e.PayloadType)
	}
	out := sub.sealer.SealRTP(frame[:n], n, frame[n:], t.rtx)
	t.rtx++
	return out
}

// settle decides, up to an index, all that goes into sealed bytes and is still open. Each seal calls it first, because
// an index of SRTP may never be sealed with other bytes later: a nonce would be used twice.
func (l *layer) settle(index uint64, evenRuns bool) {
	for evenRuns && l.settled <= index {
		l.settled = l.history.Even(max(l.settled, l.history.First()))
	}
}
