package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/rtp"
)

// complete puts the parameter sets that a keyframe lacks into the history, before the packet that begins the keyframe.
// Encoders may send the sets only once, or only announce them. In the history every viewer gets them, and resends and
// replicas are as always. The sets need numbers that nobody has yet. They are left out while a packet is missing that
// may carry newer sets: older ones must not follow those.
func (w *Worker) complete(l *layer, x *incoming, packet *bus.Packet) {
	u := &l.upstream.unit
	late := packet.Timestamp != u.timestamp
	if first, _ := u.sets.Missing(0); !late && first == nil && u.sets.Complete() {
		u.lacking = u.lacking && u.content&rtp.HasSets == 0
		return
	}
	u.lacking = u.lacking || !late
	if late || !x.newest || !u.whole || !u.sets.Complete() {
		if u.lacking {
			w.count(KeyframesLacking)
		}
		return
	}
	p := *packet
	p.Flags = bus.KeyframeStart
	var memory [rtp.MaxSetsPayload]byte
	if u.format.Aggregates() {
		l.history.Append(&p, nil, u.sets.Aggregate(memory[:0]))
		p.Number++
	} else {
		for unit, next := u.sets.Missing(0); unit != nil; unit, next = u.sets.Missing(next) {
			l.history.Append(&p, nil, unit)
			p.Number++
		}
	}
	l.upstream.receiver.Insert(x.ext, int(p.Number-packet.Number))
	packet.Number = p.Number
	u.sets.Sent()
	w.count(KeyframesCompleted)
}

// completeAV1 puts the latest sequence header into a payload that begins a keyframe without one, and returns the
// payload's content after that. The header must be in that payload: libwebrtc takes a packet of a sequence header alone
// for a keyframe, which it cannot decode.
func (w *Worker) completeAV1(u *accessUnit, x *incoming, content rtp.Content) rtp.Content {
	switch {
	case content&rtp.HasSets != 0:
		if s := rtp.SequenceAV1(x.payload); x.newest && len(s) > 0 && len(s) <= maxSequence {
			u.sequence = append(u.sequence[:0], s...)
		}
		return content
	case content&rtp.HasIntra == 0, x.header.Timestamp != u.timestamp, u.content&rtp.HasSets != 0:
		return content
	case x.newest && u.whole && len(u.sequence) > 0:
		b := rtp.AppendSequenceAV1(w.hand.completed[:0], x.payload, u.sequence)
		if len(b) > 0 && maxHeader+len(b)+2+maxTag <= maxSent { // as a retransmission, too
			w.count(KeyframesCompleted)
			x.payload = b
			return content | rtp.HasSets
		}
	}
	w.count(KeyframesLacking)
	return content
}
