package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// record puts one packet into its layer's history and wakes who waits for it. h and data are of the
// packet as it came; pt, seq and payload are those of the original where it is a retransmission.
func (w *Worker) record(now port.Time, s *session, src *source, h *rtp.Header, data []byte, pt uint8, seq uint16, payload []byte, arrival port.Time) {
	l := src.layer
	t := &l.pub.tracks[l.track]
	f := t.format(pt)
	if f == nil || f.PayloadType != pt {
		w.drop(DropPayloadType)
		return
	}
	r := l.receiver
	a := r.Accept(now, &receiver.Packet{
		Sequence: seq, Timestamp: h.Timestamp, Arrival: arrival, Resent: src.rtx, NACK: f.Feedback&rtp.NACK != 0,
	})
	ext := a.Ext
	switch a.Verdict {
	case receiver.Duplicate:
		w.count(ReceivedDuplicates)
		return
	case receiver.TooOld:
		w.drop(DropLate)
		return
	case receiver.Restarted:
		l.restart()
		w.lostKeyframe(now, l)
	}
	if a.AskAt < s.timers.at[nackDeadline] {
		w.deadlines.set(s, nackDeadline, a.AskAt)
	}
	if len(payload) == 0 && r.Skip(ext) {
		return // padding
	}
	number, ok := r.Number(ext)
	if !ok {
		w.drop(DropLate)
		return
	}
	packet := bus.Packet{Number: number, Timestamp: h.Timestamp, Arrival: arrival, PayloadType: pt}
	if h.Marker {
		packet.Flags |= bus.Marker
	}
	if t.spec.Kind == rtp.Video {
		payload = w.readVideo(l, f, &packet, payload, ext)
	}
	var ext8 [maxExtensions]byte
	exts := forwardedExtensions(ext8[:0], h, data)
	if rtp.HeaderLen+len(payload)+maxTag > maxSent {
		w.drop(DropTooLong)
		return
	}
	l.history.Append(&packet, exts, payload)
	several := len(t.layers) > 1
	if !src.rtx && r.Newest(ext) && w.tick(l, h.Timestamp, arrival) && several {
		w.begin(now, t, l)
	}
	l.last = arrival
	who := newsOf(&packet, t.spec.Kind)
	if t.best == nil {
		t.best, who = l, forAll // a keyframe can be asked for now
	}
	first := t.active < 0
	t.active = int(pt)
	if first {
		w.tellActive(l.pub, t)
	}
	// A layer that nobody is sent, of a simulcast, wakes nobody.
	if l == t.best || l.users > 0 || len(l.pub.followers) > 0 {
		w.wake(l.pub.stream, who)
	}
}

// tellActive tells the controller which payload type a track carries. Changes are told at housekeeping,
// so that a publisher that alternates floods nobody.
func (w *Worker) tellActive(p *publication, t *track) {
	if t.active == t.told || p.session == nil {
		return
	}
	t.told = t.active
	for i := range p.tracks {
		if &p.tracks[i] == t {
			w.send(bus.Message{
				Kind: bus.FormatActive, To: bus.ControllerAddress, ID: p.session.spec.ID, Stream: p.stream.id,
				Generation: p.generation, Track: uint8(i), PayloadType: uint8(t.active),
			})
		}
	}
}
