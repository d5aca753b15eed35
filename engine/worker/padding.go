package worker

import (
	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// Padding measures how much more a viewer's network carries than the rung that it is sent. It is best made of packets
// that the viewer was sent before, as retransmissions: one that was lost is repaired by that. Without such packets it
// is padding alone.
const (
	// A subscriber is sent paddingRate bytes of padding a second at most, and paddingBurst at once: half a second of
	// 8 Mbit/s. So reports that lie bring no more than that.
	paddingRate  = 24 << 10
	paddingBurst = 512 << 10
	// paddingAge is the greatest age of a packet that is sent again.
	paddingAge = port.Second
	// paddingLen is the length of a packet of padding alone. Its last byte can say no more (RFC 3550 section 5.1).
	paddingLen = 255
	// paddingMost is the most packets of one train.
	paddingMost = 16
)

// pad sends a train of padding, if the Selector asks for one. All of its packets carry numbers.
func (w *Worker) pad(now port.Time, sub *subscriber, route port.Route, out *Outgoing) {
	t, src := sub.video(), sub.adapted()
	if !t.numbered || src == nil || sub.session.trial || out.Free() < paddingMost {
		return
	}
	g := w.setting(sub, src)
	packets, size, ok := sub.selector.Pad(now, g)
	if !ok {
		return
	}
	most := packets * size
	if !sub.affordsPadding(now, most) {
		w.drop(DropPadding)
		return
	}
	x := adapt.Fill{First: sub.transport, Numbered: true}
	again, bytes := t.highest, 0
	for x.Packets < packets || bytes < most && x.Packets < paddingMost {
		f := out.Reserve()
		f.Data, again = sub.writePadding(now, f.Data, t, again)
		f.Route, f.Born = route, now
		out.Submit()
		bytes += len(f.Data)
		x.Packets++
	}
	x.Size = bytes / x.Packets
	w.count(SentPaddings)
	w.add(SentPaddingPackets, uint64(x.Packets))
	w.add(SentRTPBytes, uint64(bytes))
	sub.selector.Sent(now, g.Source, x)
}

// affordsPadding takes bytes from the subscriber's budget of padding, and reports whether it had them.
func (sub *subscriber) affordsPadding(now port.Time, bytes int) bool {
	const full = paddingBurst * port.Second / paddingRate
	at := max(sub.padded, now-full) + port.Time(bytes)*port.Second/paddingRate
	if at > now {
		return false
	}
	sub.padded = at
	return true
}

// writePadding writes a packet of padding: the newest up to the sequence number again that the viewer was sent lately,
// or padding alone. It returns the next number to try.
func (sub *subscriber) writePadding(
	now port.Time, frame []byte, t *subscription, again uint64,
) (b []byte, next uint64) {
	for ; again > 0; again-- {
		s, index, ok := t.find(again)
		if !ok {
			if t.highest-again >= repairSpan {
				break
			}
			continue
		}
		l := s.layer
		e := l.history.At(index)
		if now-e.Arrival > paddingAge {
			break
		}
		d := delivery{t: t, span: s, index: index, entry: e, sequence: again, numbered: true}
		d.template = t.shape.resendTemplate(l, e)
		if e.PayloadLen() >= paddingLen && d.template != nil && d.template.rtx != noType && d.fits() {
			return sub.sealRTX(frame, &d), again - 1
		}
	}
	return sub.sealPadding(frame, t), 0
}

// sealPadding writes a packet of padding alone to the stream of retransmissions.
func (sub *subscriber) sealPadding(frame []byte, t *subscription) []byte {
	frame = sub.header(frame, t.shape.paddingTemplate(), fields{
		payloadType: t.spec.Formats[0].RTX, sequence: uint16(t.rtx), timestamp: t.lastTimestamp, ssrc: t.spec.RTXSSRC,
		numbered: true,
	})
	frame[0] |= rtp.PaddingBit
	n := len(frame)
	frame = append(frame, make([]byte, paddingLen)...)
	frame[len(frame)-1] = paddingLen
	out := sub.sealer.SealRTP(frame[:n], n, frame[n:], t.rtx)
	t.rtx++
	return out
}

// paddingTemplate makes the header of a packet without a payload.
func (sh *shape) paddingTemplate() *template {
	t := &sh.spare
	t.layer = nil
	rtp.FixedHeader{}.Put(t.bytes[:])
	sh.writeExtensions(t, nil)
	return t
}
