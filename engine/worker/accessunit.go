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
	// content adds up that of its packets.
	content rtp.Content
}

// take takes in a packet and reports whether a decoder can start with its frame, as far as that came, and
// the packet belongs to what it needs. newest is false for packets that others overtook.
func (u *accessUnit) take(timestamp uint32, newest bool, content rtp.Content) bool {
	if newest && (!u.started || timestamp != u.timestamp) {
		*u = accessUnit{started: true, timestamp: timestamp}
	}
	if timestamp != u.timestamp {
		return content.Starts()
	}
	u.content |= content
	return content&(rtp.HasSets|rtp.HasKey|rtp.HasIntra) != 0 && u.content.Starts()
}

// readVideo notes what a packet of a video layer is, and settles what its payload says about it.
func (w *Worker) readVideo(l *layer, c rtp.Codec, packet *bus.Packet, payload []byte, newest bool) {
	content := rtp.ContentOf(c, payload)
	if c == rtp.AV1 {
		rtp.SettleAV1(payload, content)
	}
	if content&(rtp.HasSets|rtp.HasKey) != 0 && len(l.pub.tracks[l.track].layers) > 1 {
		l.measure(c, payload)
	}
	if l.unit.take(packet.Timestamp, newest, content) {
		packet.Flags |= bus.KeyframeStart
		if k := &l.history.key; !k.valid || k.timestamp != packet.Timestamp {
			w.count(Keyframes)
		}
		l.request.answer(packet.Arrival)
	}
	if p, ok := rtp.ParsePictureID(c, payload); ok {
		packet.Flags |= bus.HasPicture
		packet.Picture, packet.TL0 = p.ID, p.TL0
	}
}
