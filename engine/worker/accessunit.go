package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/rtp"
)

// An accessUnit describes the frame that the newest packet of a video layer belongs to: all packets with
// one timestamp. Only the layer's owner keeps one.
type accessUnit struct {
	started   bool
	timestamp uint32
	// whole is unset if a packet of it before its newest one is missing.
	whole bool
	// content adds up that of its packets.
	content rtp.Content
	// lacking is set if parameter sets did not come with the last keyframe.
	lacking bool
	// sets are the latest parameter sets of format's packets; nil while no codec has used any.
	sets   *rtp.ParameterSets
	format *rtp.Format
	// sequence is the latest sequence header of AV1, at most maxSequence bytes.
	sequence []byte
}

// maxSequence bounds an AV1 sequence header that is kept, in bytes. They have about 13.
const maxSequence = 64

// restart forgets the frame. The parameter sets stay: a source that broke off may not send them again.
func (u *accessUnit) restart() {
	*u = accessUnit{lacking: u.lacking, sets: u.sets, format: u.format, sequence: u.sequence}
}

// enter notes that a packet is the newest. follows tells whether the one before it came.
func (u *accessUnit) enter(timestamp uint32, follows bool) {
	switch {
	case !u.started || timestamp != u.timestamp:
		u.whole = !u.started || follows
		u.started, u.timestamp, u.content = true, timestamp, 0
		if u.sets != nil {
			u.sets.Begin()
		}
	case !follows:
		u.whole = false
	}
}

// add takes in a packet's content and reports whether a decoder can start with its frame, as far as that
// came, and the packet belongs to what it needs.
func (u *accessUnit) add(timestamp uint32, content rtp.Content) bool {
	if timestamp != u.timestamp {
		return content.Starts() // overtaken by another frame
	}
	u.content |= content
	return content&(rtp.HasSets|rtp.HasKey|rtp.HasIntra) != 0 && u.content.Starts()
}

// learn takes in the parameter sets of a packet.
func (u *accessUnit) learn(l *layer, f *rtp.Format, packet *bus.Packet, payload []byte) {
	if u.sets == nil {
		u.sets = new(rtp.ParameterSets)
	}
	if u.format != f {
		u.format = f
		announced := f.Sets
		if len(l.pub.tracks[l.track].layers) > 1 {
			announced = "" // of which layer?
		}
		u.sets.Reset(f.Codec, announced)
	}
	u.sets.Take(payload, packet.Number, packet.Timestamp == u.timestamp)
}

// readVideo notes what a packet of a video layer is, and settles what its payload says about it. ext is its
// extended sequence number. The payload to record is returned.
func (w *Worker) readVideo(l *layer, f *rtp.Format, packet *bus.Packet, payload []byte, ext uint64) []byte {
	content := rtp.ContentOf(f.Codec, payload)
	newest := ext == l.receiver.highest
	if newest {
		l.unit.enter(packet.Timestamp, l.receiver.came(ext-1))
	}
	switch f.Codec {
	case rtp.AV1:
		payload, content = w.completeAV1(&l.unit, packet, payload, content, newest)
		rtp.SettleAV1(payload, content)
	case rtp.H264, rtp.H265:
		l.unit.learn(l, f, packet, payload)
	}
	if content&(rtp.HasSets|rtp.HasKey) != 0 && len(l.pub.tracks[l.track].layers) > 1 {
		l.measure(f.Codec, payload)
	}
	if l.unit.add(packet.Timestamp, content) {
		packet.Flags |= bus.KeyframeStart
		if k := &l.history.key; !k.valid || k.timestamp != packet.Timestamp {
			w.count(Keyframes)
		}
		l.request.answer(packet.Arrival)
	}
	if content&rtp.HasKey != 0 && l.unit.format == f {
		w.complete(l, packet, ext, newest)
	}
	if p, ok := rtp.ParsePictureID(f.Codec, payload); ok {
		packet.Flags |= bus.HasPicture
		packet.Picture, packet.TL0 = p.ID, p.TL0
	}
	return payload
}

// complete puts the parameter sets that a keyframe lacks into the history before the packet that begins
// it: encoders may send them once, or announce them only. So every viewer gets them, and resends and
// replicas are as always. It needs numbers that nobody has yet. And while a packet before this one is
// missing, that may be newer sets, which must not be followed by older ones.
func (w *Worker) complete(l *layer, packet *bus.Packet, ext uint64, newest bool) {
	u := &l.unit
	late := packet.Timestamp != u.timestamp
	if first, _ := u.sets.Missing(0); !late && first == nil && u.sets.Complete() {
		u.lacking = u.lacking && u.content&rtp.HasSets == 0
		return
	}
	u.lacking = u.lacking || !late
	if late || !newest || !u.whole || !u.sets.Complete() {
		if u.lacking {
			w.count(KeyframesLacking)
		}
		return
	}
	p := *packet
	p.Flags = bus.KeyframeStart
	var memory [rtp.MaxSetsPayload]byte
	if u.format.Aggregates() {
		l.history.append(&p, nil, u.sets.Aggregate(memory[:0]))
		p.Number++
	} else {
		for unit, next := u.sets.Missing(0); unit != nil; unit, next = u.sets.Missing(next) {
			l.history.append(&p, nil, unit)
			p.Number++
		}
	}
	l.receiver.insert(ext, int(p.Number-packet.Number))
	packet.Number = p.Number
	u.sets.Sent()
	w.count(KeyframesCompleted)
}

// completeAV1 puts the latest sequence header into the payload that begins a keyframe without one, and
// returns the payload and its content. It must be in that payload: libwebrtc takes a packet of a sequence
// header alone for a keyframe, which it cannot decode.
func (w *Worker) completeAV1(u *accessUnit, packet *bus.Packet, payload []byte, content rtp.Content, newest bool) ([]byte, rtp.Content) {
	switch {
	case content&rtp.HasSets != 0:
		if s := rtp.SequenceAV1(payload); newest && len(s) > 0 && len(s) <= maxSequence {
			u.sequence = append(u.sequence[:0], s...)
		}
		return payload, content
	case content&rtp.HasIntra == 0, packet.Timestamp != u.timestamp, u.content&rtp.HasSets != 0:
		return payload, content
	case newest && u.whole && len(u.sequence) > 0:
		b := rtp.AppendSequenceAV1(w.completed[:0], payload, u.sequence)
		if len(b) > 0 && maxHeader+len(b)+2+maxTag <= maxSent { // as a retransmission, too
			w.count(KeyframesCompleted)
			return b, content | rtp.HasSets
		}
	}
	w.count(KeyframesLacking)
	return payload, content
}
