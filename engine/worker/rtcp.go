package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// handlePublisherRTCP takes in what a publisher reports: its clock above all.
func (w *Worker) handlePublisherRTCP(now port.Time, s *session, in *port.Inbound) {
	data, result := s.pub.opener.OpenRTCP(in.Data)
	if result != srtp.OpenOK {
		w.dropUnopened(result, DropRTCP)
		return
	}
	w.authenticated(now, s, &in.Path)
	s.pub.checked = now
	w.count(ReceivedRTCP)
	if !w.affordsRTCP(now, s) {
		return
	}
	if s.pub.publication == nil {
		w.hold(s, in, data)
		return
	}
	w.takeRTCP(s, in.Arrival, data)
}

// takeRTCP takes in a publisher's compound that was opened.
func (w *Worker) takeRTCP(s *session, arrival port.Time, data []byte) {
	pub := s.pub.publication
	if !s.accepts(data) {
		w.drop(DropRTCP)
		return
	}
	var p rtcp.Packet
	for r := rtcp.NewReader(data); ; {
		if !r.Next(&p) {
			if r.Malformed() {
				w.drop(DropRTCP)
			}
			return
		}
		switch p.Type {
		case rtcp.SR:
			if src := s.pub.source(p.SSRC); src != nil && !src.rtx && !src.past {
				if info, ok := p.SenderInfo(); ok {
					w.takeClock(pub, src.layer, &info, arrival)
				}
			}
		case rtcp.BYE:
			w.count(ReceivedBYEs)
			for b := p.Sources(); ; {
				ssrc, ok := b.Next()
				if !ok {
					break
				}
				if src := s.pub.source(ssrc); src != nil && !src.rtx && !src.past {
					// The layer pauses; the session lives as long as the peer does.
					src.layer.upstream.ended = true
				}
			}
		}
	}
}

// affordsRTCP takes one datagram of RTCP from the session's budget. It is asked after the datagram was opened: what
// others forge must not use the budget up.
func (w *Worker) affordsRTCP(now port.Time, s *session) bool {
	s.refill(now)
	if s.control < controlCost {
		w.drop(DropRTCPFlood)
		return false
	}
	s.control -= controlCost
	return true
}

// accepts reports whether an opened datagram of RTCP begins as it may. Without reduced-size RTCP it is to begin with a
// report (RFC 3550 appendix A.2). aiortc sends feedback and goodbyes alone without having offered that, and
// libdatachannel feedback, so those are taken from everybody.
func (s *session) accepts(data []byte) bool {
	switch data[1] {
	case 200, 201, 203, 205, 206: // SR, RR, BYE, RTPFB, PSFB
		return true
	}
	return !s.spec.CompoundRTCP
}

// handleSubscriberRTCP takes in what a subscriber reports and asks for.
func (w *Worker) handleSubscriberRTCP(now port.Time, s *session, in *port.Inbound) {
	sub := s.sub
	data, result := sub.sealer.OpenRTCP(in.Data)
	if result != srtp.OpenOK {
		w.dropUnopened(result, DropRTCP)
		return
	}
	w.authenticated(now, s, &in.Path)
	w.count(ReceivedRTCP)
	if !w.affordsRTCP(now, s) {
		return
	}
	if !s.accepts(data) {
		w.drop(DropRTCP)
		return
	}
	var p rtcp.Packet
	for r := rtcp.NewReader(data); ; {
		if !r.Next(&p) {
			if r.Malformed() {
				w.drop(DropRTCP)
			}
			return
		}
		switch p.Type {
		case rtcp.SR, rtcp.RR:
			sub.source = p.SSRC
			var b rtcp.ReportBlock
			for x := p.Blocks(); x.Next(&b); {
				w.count(ReceivedReports)
			}
		case rtcp.NACK:
			track := sub.trackOf(p.Media)
			for x := p.NACKs(); track >= 0; {
				seq, ok := x.Next()
				if !ok {
					break
				}
				w.count(ReceivedNACKs)
				if s.control--; s.control <= 0 {
					w.drop(DropRTCPFlood)
					return
				}
				w.asks(sub, track, seq)
			}
		case rtcp.PLI:
			w.count(ReceivedPLIs)
			if track := sub.trackOf(p.Media); track >= 0 {
				w.asksKeyframe(now, sub, track)
			}
		case rtcp.FIR:
			w.handleFIR(now, sub, &p)
		case rtcp.REMB:
			w.count(ReceivedREMBs)
		case rtcp.TransportCC:
			w.count(ReceivedFeedbacks)
		case rtcp.BYE:
			w.count(ReceivedBYEs)
			if sub.leaves(&p) {
				w.end(s, api.ReasonBye)
			}
		}
	}
}

// handleFIR takes in a FIR; one with the command number of the last is a repetition of the same
// request (RFC 5104 section 4.3.1.1).
func (w *Worker) handleFIR(now port.Time, sub *subscriber, p *rtcp.Packet) {
	for x := p.FIRs(); ; {
		ssrc, command, ok := x.Next()
		if !ok {
			return
		}
		w.count(ReceivedFIRs)
		track := sub.trackOf(ssrc)
		if track < 0 || sub.hasFIR && sub.fir == command {
			continue
		}
		sub.fir, sub.hasFIR = command, true
		w.asksKeyframe(now, sub, track)
	}
}

// leaves reports whether a goodbye is the subscriber's own: it names the source that the peer reports under
// (RFC 3550 section 6.6), and every compound with a goodbye begins with a report (section 6.1). What it says
// of other sources, as ours or those of a line that it stopped, does not end the session.
func (sub *subscriber) leaves(bye *rtcp.Packet) bool {
	for b := bye.Sources(); ; {
		ssrc, ok := b.Next()
		if !ok {
			return false
		}
		if ssrc == sub.source && ssrc != 0 {
			return true
		}
	}
}

// trackOf finds the track that is sent under an SSRC, or -1.
func (sub *subscriber) trackOf(ssrc uint32) int {
	for i := range sub.tracks {
		if sub.tracks[i].spec.SSRC == ssrc {
			return i
		}
	}
	return -1
}

// want has RTCP written to a session at the next Poll.
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
					s.pub.feedbackDue = false
				}
			}
			n++
			continue
		}
		f := out.Reserve()
		if f == nil {
			break
		}
		b := f.Data
		switch {
		case s.pub != nil:
			if b = w.reportToPublisher(now, s, b); len(b) > 0 {
				b = s.pub.opener.SealRTCP(b)
			}
		case s.sub != nil:
			s.reports = 0
			if b = w.report(now, s.sub, b); len(b) > 0 {
				b = s.sub.sealer.SealRTCP(b)
			}
		default:
			s.reports = 0
		}
		if len(b) > 0 {
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
	rest := copy(w.due, w.due[n:])
	clear(w.due[rest:])
	w.due = w.due[:rest]
	return rest == 0
}

// rtcpRoom is how long a compound may be before it is sealed.
const rtcpRoom = 1200

// reportToPublisher writes one datagram of what is due to a publisher and clears what it covers. Feedback goes alone only
// where reduced-size RTCP was negotiated (RFC 5506); else an empty report and our name precede it (RFC 3550 section 6.1).
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

func (w *Worker) appendToPublisher(now port.Time, s *session, p *publication, b []byte) []byte {
	ours := s.pub.ssrc
	switch {
	case s.reports&wantPLI != 0:
		s.reports &^= wantPLI
		for i := range p.tracks {
			for _, l := range p.tracks[i].layers {
				if l.request.pending {
					b = w.askKeyframe(b, p, l, ours)
				}
			}
		}
	case s.reports&wantNACK != 0:
		s.reports &^= wantNACK
		next := port.Never
		for i := range p.tracks {
			for _, l := range p.tracks[i].layers {
				if len(b)+12+4*len(w.seqs) > rtcpRoom {
					s.reports |= wantNACK // the rest in another datagram
					continue
				}
				seqs, at := l.upstream.receiver.AppendMissing(now, w.seqs[:0])
				if len(seqs) > 0 {
					b = rtcp.AppendNACK(b, ours, l.upstream.receiver.SSRC, seqs)
					w.add(SentNACKs, uint64(len(seqs)))
				}
				next = min(next, at)
			}
		}
		w.deadlines.set(s, nackDeadline, next)
	case s.reports&wantFeedback != 0:
		s.reports &^= wantFeedback
		s.pub.feedbackDue = false
		n, more := len(b), false
		if b, more = s.pub.arrivals.AppendFeedback(b, rtcpRoom, ours, s.pub.media); len(b) > n {
			w.count(SentFeedbacks)
		}
		if more {
			s.reports |= wantFeedback // the rest in another datagram
		}
	default:
		s.reports &^= wantReport
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
		b = rtcp.AppendReceiverReport(b, ours, blocks[:n])
		b = rtcp.AppendSDES(b, ours, s.spec.CNAME)
	}
	return b
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
		return b // it has to come by itself
	}
	w.count(SentPLIs)
	return b
}

// report writes a subscriber's sender reports: the layer's clock through the span that the media goes through, so that
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

// reportPause is how long it is to a session's next report: a second, and five (RFC 3550 section 6.2) for a subscriber
// that was sent nothing lately, so that silent ones wake nobody. Each is spread.
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
