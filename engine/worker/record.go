package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// An incoming is one RTP packet of a publisher on its way into a history.
type incoming struct {
	source  *source
	header  *rtp.Header // as the packet came
	data    []byte      // the packet as it came, opened
	arrival port.Time

	// These are the original's, where a retransmission brought the packet.
	payloadType uint8
	sequence    uint16
	payload     []byte

	// record finds these.
	format *rtp.Format
	ext    uint64 // extended sequence number
	newest bool   // no packet that was sent later came before
}

// record puts one packet into its layer's history and wakes the subscribers that wait for it.
func (w *Worker) record(now port.Time, s *session, x *incoming) {
	l := x.source.layer
	t := &l.pub.tracks[l.track]
	x.format = t.format(x.payloadType)
	if x.format == nil || x.format.PayloadType != x.payloadType {
		w.drop(DropPayloadType)
		return
	}
	packet := bus.Packet{Timestamp: x.header.Timestamp, Arrival: x.arrival, PayloadType: x.payloadType}
	if x.header.Marker {
		packet.Flags |= bus.Marker
	}
	var ok bool
	if packet.Number, ok = w.number(now, s, x); !ok {
		return
	}
	if !x.newest {
		packet.Flags |= bus.Late
	}
	if t.spec.Kind == rtp.Video {
		w.readVideo(l, x, &packet)
	}
	var room [maxExtensions]byte
	extensions := forwardedExtensions(room[:0], x.header, x.data)
	if rtp.HeaderLen+len(x.payload)+maxTag > maxSent {
		w.drop(DropTooLong)
		return
	}
	l.history.Append(&packet, extensions, x.payload)
	w.advance(now, x, newsOf(&packet, t.spec.Kind))
}

// number returns a packet's place in its layer. ok is false for a packet without one: it came before, or came too late,
// or carries nothing.
func (w *Worker) number(now port.Time, s *session, x *incoming) (number uint64, ok bool) {
	l := x.source.layer
	r := &l.upstream.receiver
	a := r.Accept(now, &receiver.Packet{
		Sequence: x.sequence, Timestamp: x.header.Timestamp, Arrival: x.arrival,
		Resent: x.source.rtx, NACK: x.format.Feedback&rtp.NACK != 0,
	})
	switch a.Verdict {
	case receiver.Duplicate:
		w.count(ReceivedDuplicates)
		return 0, false
	case receiver.TooOld:
		w.drop(DropLate)
		return 0, false
	case receiver.Restarted:
		l.restart()
		w.lostKeyframe(now, l)
	}
	if a.AskAt < s.timers.at[nackDeadline] {
		w.deadlines.set(s, nackDeadline, a.AskAt)
	}
	x.ext, x.newest = a.Ext, r.Newest(a.Ext)
	if len(x.payload) == 0 && r.Skip(x.ext) {
		return 0, false // padding
	}
	if number, ok = r.Number(x.ext); !ok {
		w.drop(DropLate)
	}
	return number, ok
}

// advance updates the layer and the track of a packet that was recorded, and wakes the subscribers that it is news for.
func (w *Worker) advance(now port.Time, x *incoming, n news) {
	l := x.source.layer
	t := &l.pub.tracks[l.track]
	several := len(t.layers) > 1
	if !x.source.rtx && x.newest && w.tick(l, x.header.Timestamp, x.arrival) && several {
		w.begin(now, t, l)
	}
	l.upstream.last = x.arrival
	l.upstream.meter.add(x.arrival, len(x.data))
	if l.pub.paused {
		w.resume(now, l.pub, t.spec.Kind)
	}
	if t.start(l) {
		n = forAll // now a keyframe can be asked for
	}
	first := t.active < 0
	t.active = int(x.payloadType)
	if first {
		w.tellActive(l.pub, t)
	}
	// A layer of a simulcast that nobody is sent wakes nobody.
	if !several || l.users+l.wanted+l.feeds > 0 {
		w.wakeFor(l, n)
	}
}

// tellActive informs the controller which payload type a track carries, if that changed. After a track's first packet,
// only housekeeping calls it, so that a publisher that alternates payload types floods nobody.
func (w *Worker) tellActive(p *publication, t *track) {
	if t.active == t.told || p.session == nil {
		return
	}
	t.told = t.active
	for i := range p.tracks {
		if &p.tracks[i] == t {
			l := bus.LayerID{Stream: p.stream.id, Generation: p.generation}
			l.Track = uint8(i)
			w.send(bus.FormatActive(p.session.spec.ID, l, uint8(t.active)))
		}
	}
}
