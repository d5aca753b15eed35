package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/rtp"
)

// An accessUnit describes the frame of the newest packet of a video layer. A frame is all packets with one timestamp.
type accessUnit struct {
	started   bool
	timestamp uint32
	// whole is set while no packet of the frame before its newest one is missing.
	whole bool
	// content is the sum of its packets' contents.
	content rtp.Content
	// lacking is set if the last keyframe came without parameter sets.
	lacking bool
	// sets are the latest parameter sets of the format's packets, nil while no codec has used any.
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

// enter notes that a packet is the newest. follows is set if the packet before it came.
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

// add takes in a packet's content and reports whether the packet belongs to the start of a keyframe. Then a decoder can
// start with the packets of the frame that came so far, and needs this one.
func (u *accessUnit) add(timestamp uint32, content rtp.Content) bool {
	if timestamp != u.timestamp {
		return content.Starts() // overtaken by another frame
	}
	u.content |= content
	return content&(rtp.HasSets|rtp.HasKey|rtp.HasIntra) != 0 && u.content.Starts()
}

// learn takes in the parameter sets of a packet with a number.
func (u *accessUnit) learn(l *layer, x *incoming, number uint64) {
	if u.sets == nil {
		u.sets = new(rtp.ParameterSets)
	}
	if u.format != x.format {
		u.format = x.format
		announced := x.format.Sets
		if len(l.pub.tracks[l.track].layers) > 1 {
			announced = "" // of which layer?
		}
		u.sets.Reset(x.format.Codec, announced)
	}
	if x.header.Timestamp == u.timestamp {
		u.sets.Take(x.payload, number)
	} else {
		u.sets.TakeStray(x.payload, number)
	}
}

// readVideo notes the properties of a video packet, and changes its payload where that must agree with them.
func (w *Worker) readVideo(l *layer, x *incoming, packet *bus.Packet) {
	f, u := x.format, &l.upstream.unit
	content := rtp.ContentOf(f.Codec, x.payload)
	if x.newest {
		u.enter(packet.Timestamp, l.upstream.receiver.Came(x.ext-1))
	}
	switch f.Codec {
	case rtp.AV1:
		content = w.completeAV1(u, x, content)
		rtp.SettleAV1(x.payload, content)
	case rtp.H264, rtp.H265:
		u.learn(l, x, packet.Number)
	}
	if content&(rtp.HasSets|rtp.HasKey) != 0 {
		w.measure(l, f.Codec, x.payload)
	}
	if u.add(packet.Timestamp, content) {
		packet.Flags |= bus.KeyframeStart
		if k := l.history.Key(); !k.Valid || k.Timestamp != packet.Timestamp {
			w.count(Keyframes)
			l.request.began = packet.Arrival
		}
		l.request.answer(packet.Arrival)
	}
	if content&rtp.HasKey != 0 && u.format == f {
		w.complete(l, x, packet)
	}
	if p, ok := rtp.ParsePictureID(f.Codec, x.payload); ok {
		packet.Flags |= bus.HasPicture
		packet.Picture, packet.TL0 = p.ID, p.TL0
	}
}
