package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// reports is a set of RTCP to write.
type reports uint8

const (
	wantReport reports = 1 << iota
	wantFeedback
	wantNACK
	wantPLI
)

// want makes the next Poll write RTCP to a session.
func (w *Worker) want(s *session, r reports) {
	s.reports |= r
	if !s.inDue {
		s.inDue = true
		w.due = append(w.due, s)
	}
}

// pollReports writes the RTCP that is due, one datagram a session and turn.
func (w *Worker) pollReports(now port.Time, out *Outgoing) bool {
	n := 0
	for n < len(w.due) {
		s := w.due[n]
		w.current = s
		route, ok := port.Route(0), false
		if s.spec != nil { // not closed meanwhile
			route, ok = w.route(s)
		}
		if !ok || s.ending {
			if s.live != nil {
				s.reports, s.inDue = 0, false
				if s.pub != nil {
					s.pub.unreported = unreported{}
				}
			}
			n++
			continue
		}
		f := out.Reserve()
		if f == nil {
			break
		}
		if b := w.writeReport(now, s, f.Data); len(b) > 0 {
			f.Data, f.Route, f.Born = b, route, now
			out.Submit()
			w.count(SentRTCP)
			if s.trial {
				w.spend(now, s)
			}
		}
		if s.reports == 0 {
			s.inDue = false
			n++
		}
	}
	w.due = without(w.due, n)
	return len(w.due) == 0
}

// writeReport writes and seals one datagram of RTCP that is due to a session; it is empty where none is.
func (w *Worker) writeReport(now port.Time, s *session, b []byte) []byte {
	if s.pub != nil {
		if b = w.reportToPublisher(now, s, b); len(b) > 0 {
			b = s.pub.opener.SealRTCP(b)
		}
		return b
	}
	s.reports = 0
	if s.sub != nil {
		if b = w.report(now, s.sub, b); len(b) > 0 {
			b = s.sub.sealer.SealRTCP(b)
		}
	}
	return b
}

// rtcpRoom bounds the length in bytes of a compound before it is sealed.
const rtcpRoom = 1200

// reportToPublisher writes one datagram of the RTCP that is due to a publisher, and clears the reports that it covers.
// Feedback goes alone only where reduced-size RTCP was negotiated (RFC 5506). Else an empty report and our name precede
// it (RFC 3550 section 6.1).
func (w *Worker) reportToPublisher(now port.Time, s *session, b []byte) []byte {
	p := s.pub.publication
	if p == nil {
		s.reports = 0
		return b
	}
	start := len(b)
	if s.spec.CompoundRTCP && s.reports&^wantReport != 0 {
		b = rtcp.AppendReceiverReport(b, s.pub.ssrc, nil)
		b = rtcp.AppendSDES(b, s.pub.ssrc, s.spec.CNAME)
	}
	head := len(b)
	if b = w.appendToPublisher(now, s, p, b); len(b) == head {
		return b[:start]
	}
	return b
}

// appendToPublisher writes RTCP of the most urgent kind that is due. The rest is left for other datagrams.
func (w *Worker) appendToPublisher(now port.Time, s *session, p *publication, b []byte) []byte {
	switch {
	case s.reports&wantPLI != 0:
		s.reports &^= wantPLI
		return w.appendKeyframeRequests(s, p, b)
	case s.reports&wantNACK != 0:
		s.reports &^= wantNACK
		return w.appendNACKs(now, s, p, b)
	case s.reports&wantFeedback != 0:
		s.reports &^= wantFeedback
		return w.appendFeedback(s, b)
	}
	s.reports &^= wantReport
	return appendReceiverReport(now, s, p, b)
}

// appendKeyframeRequests asks for keyframes of the layers that need one.
func (w *Worker) appendKeyframeRequests(s *session, p *publication, b []byte) []byte {
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			if l.request.pending {
				b = w.askKeyframe(b, p, l, s.pub.ssrc)
			}
		}
	}
	return b
}

// appendNACKs asks for packets that are missing, as many as fit.
func (w *Worker) appendNACKs(now port.Time, s *session, p *publication, b []byte) []byte {
	var missing [128]uint16
	next := port.Never
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			if len(b)+12+4*len(missing) > rtcpRoom {
				s.reports |= wantNACK // the rest in another datagram
				continue
			}
			seqs, at := l.upstream.receiver.AppendMissing(now, missing[:0])
			if len(seqs) > 0 {
				b = rtcp.AppendNACK(b, s.pub.ssrc, l.upstream.receiver.SSRC, seqs)
				w.add(SentNACKs, uint64(len(seqs)))
			}
			next = min(next, at)
		}
	}
	w.deadlines.set(s, nackDeadline, next)
	return b
}

// appendFeedback writes transport-wide feedback, as much as fits.
func (w *Worker) appendFeedback(s *session, b []byte) []byte {
	s.pub.unreported = unreported{}
	n := len(b)
	b, more := s.pub.arrivals.AppendFeedback(b, rtcpRoom, s.pub.ssrc, s.pub.media)
	if len(b) > n {
		w.count(SentFeedbacks)
	}
	if more {
		s.reports |= wantFeedback // the rest in another datagram
	}
	return b
}

// appendReceiverReport writes a receiver report about all layers that were sent, and our name.
func appendReceiverReport(now port.Time, s *session, p *publication, b []byte) []byte {
	var blocks [31]rtcp.ReportBlock
	n := 0
	for i := range p.tracks {
		for _, l := range p.tracks[i].layers {
			if l.upstream.receiver.Started() && n < len(blocks) {
				blocks[n] = l.upstream.receiver.Report(now)
				n++
			}
		}
	}
	b = rtcp.AppendReceiverReport(b, s.pub.ssrc, blocks[:n])
	return rtcp.AppendSDES(b, s.pub.ssrc, s.spec.CNAME)
}

// askKeyframe writes a PLI, or a FIR where the publisher takes no PLI.
func (w *Worker) askKeyframe(b []byte, p *publication, l *layer, ours uint32) []byte {
	l.request.pending = false
	t := &p.tracks[l.track]
	feedback := t.spec.Formats[0].Feedback
	if t.active >= 0 {
		if f := t.format(uint8(t.active)); f != nil {
			feedback = f.Feedback
		}
	}
	switch {
	case feedback&rtp.PLI != 0:
		b = rtcp.AppendPLI(b, ours, l.upstream.receiver.SSRC)
	case feedback&rtp.FIR != 0:
		l.upstream.firs++
		b = rtcp.AppendFIR(b, ours, l.upstream.receiver.SSRC, l.upstream.firs)
	default:
		return b // the keyframe has to come by itself
	}
	w.count(SentPLIs)
	return b
}

// report writes a subscriber's sender reports. They give the layer's clock by the same span as the media, so that
// picture and sound stay together. The wall clock is the server's.
func (w *Worker) report(now port.Time, sub *subscriber, b []byte) []byte {
	for i := range sub.tracks {
		t := &sub.tracks[i]
		s := t.present()
		if s == nil || t.packets == 0 {
			continue
		}
		l := s.layer
		if !l.knowsTime(s.epoch) || l.pub != sub.stream.pub {
			continue
		}
		b = rtcp.AppendSenderReport(b, t.spec.SSRC, rtcp.SenderInfo{
			NTP: toNTP(w.cfg.Wall + int64(now)), RTP: s.timestampOf(timestampAt(&l.clock, now, l.clockRate())),
			Packets: t.packets, Octets: t.octets,
		})
		b = rtcp.AppendSDES(b, t.spec.SSRC, sub.session.spec.CNAME)
	}
	return b
}

// reportPause is the time until a session's next report: a second, spread by a tenth. For a subscriber that was sent
// nothing lately it is five (RFC 3550 section 6.2), so that silent subscribers wake nobody.
func (w *Worker) reportPause(now port.Time, s *session) port.Time {
	pause := port.Second
	if s.sub != nil && s.sub.silent(now) {
		pause *= 5
	}
	return pause*9/10 + w.jitter(pause/5)
}

// silent reports whether the subscriber was sent no media for two seconds.
func (sub *subscriber) silent(now port.Time) bool {
	for i := range sub.tracks {
		if t := &sub.tracks[i]; t.packets > 0 && now-t.lastSent < 2*port.Second {
			return false
		}
	}
	return true
}
