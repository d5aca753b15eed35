package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/srtp"
)

// handlePublisherRTCP takes in the RTCP of a publisher: its clock above all.
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
		case rtcp.LossElsewhere:
			if !w.excused(arrival, s, &p) {
				return
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

// affordsRTCP takes one datagram of RTCP from the session's budget, and reports whether the session had it. It is
// called after the datagram was opened, so that forged ones do not use the budget up.
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

// handleSubscriberRTCP takes in the RTCP of a subscriber: its reports and requests.
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
			w.handleBlocks(sub, &p, in.Arrival)
		case rtcp.NACK:
			asked, ok := w.handleNACK(now, sub, &p)
			if w.missed(now, sub, p.Media, asked); !ok {
				return
			}
		case rtcp.PLI:
			w.count(ReceivedPLIs)
			if track := sub.trackOf(p.Media); track >= 0 {
				w.asksKeyframe(now, sub, track)
			}
		case rtcp.FIR:
			w.handleFIR(now, sub, &p)
		case rtcp.REMB:
			w.estimated(now, sub, &p)
		case rtcp.TransportCC:
			if !w.reported(now, sub, &p) {
				return
			}
		case rtcp.BYE:
			w.count(ReceivedBYEs)
			if sub.leaves(&p) {
				w.end(s, api.ReasonBye)
			}
		}
	}
}

// handleBlocks takes in the blocks of a subscriber's report that arrived at a time.
func (w *Worker) handleBlocks(sub *subscriber, p *rtcp.Packet, arrival port.Time) {
	var b rtcp.ReportBlock
	for x := p.Blocks(); x.Next(&b); {
		w.count(ReceivedReports)
		if d, ok := roundTrip(w.cfg.Wall+int64(arrival), &b); ok {
			w.counters.roundTrip(d)
		}
		if sub.adapted() != nil && b.SSRC == sub.video().spec.SSRC {
			sub.selector.Lost(b.FractionLost)
		}
	}
}

// roundTrip returns the time that a sender report of ours and a block that answers it were on their way (RFC 3550
// section 6.4.1). wall is the server's clock when the block arrived, in nanoseconds. ok is false if the block answers
// none, or claims a time that cannot be.
func roundTrip(wall int64, b *rtcp.ReportBlock) (d port.Time, ok bool) {
	const (
		second = 1 << 16
		least  = -second / 1000 // the peer's clock may be fast
	)
	t := int32(uint32(toNTP(wall)>>16) - b.LastSR - b.Delay)
	if b.LastSR == 0 || b.Delay > 60*second || t > 10*second || t < least {
		return 0, false
	}
	return port.Time(max(t, 0)) * port.Second >> 16, true
}

// handleNACK takes in a NACK. ok is false when the session has no budget left for the rest of the datagram.
func (w *Worker) handleNACK(now port.Time, sub *subscriber, p *rtcp.Packet) (asked nacked, ok bool) {
	track := sub.trackOf(p.Media)
	if track < 0 {
		return asked, true
	}
	for x := p.NACKs(); ; {
		seq, more := x.Next()
		if !more {
			return asked, true
		}
		w.count(ReceivedNACKs)
		s := sub.session
		if s.control--; s.control <= 0 {
			w.drop(DropRTCPFlood)
			return asked, false
		}
		w.asks(now, sub, &sub.tracks[track], seq, &asked)
	}
}

// handleFIR takes in a FIR. One with the command number of the last repeats the same request (RFC 5104 section
// 4.3.1.1).
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

// leaves reports whether a goodbye is the subscriber's own: it names the source that the peer reports under (RFC 3550
// section 6.6). Every compound with a goodbye begins with a report (section 6.1), so that source is known. A goodbye of
// other sources, such as ours or those of a line that the peer stopped, does not end the session.
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
