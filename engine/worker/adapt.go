package worker

import (
	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/prefetch"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A subscriber of a track with several rungs has a Selector of package adapt, which chooses the rung that the viewer's
// network carries. This file tells the Selector what is sent and what the viewer reports, and does what it decides:
//
//	fill ─▶ keepUp, numbersNext ─▶ write ─▶ wrote ─┐
//	report, NACK, REMB ────────────────────────────┼─▶ heed: rung and stopped, which aim and steer look at
//	turnDeadline, KindChoose ──────────────────────┘
//
// The Selector is about the subscriber's first video line. Others are sent the same rung.

const (
	// statusCost is how many statuses of transport-wide feedback take one from a session's budget of RTCP.
	statusCost = 4
	// burstPause is the time between two bursts of one frame. A frame takes burstTurns of them at most.
	burstPause = 5 * port.Millisecond
	burstTurns = 4
)

// ceiling returns the highest rung that the subscriber may be sent.
func (sub *subscriber) ceiling(src *track) int {
	if int(sub.bound) < len(src.layers) {
		return src.place(src.layers[sub.bound])
	}
	return len(src.rungs) - 1
}

// video returns the subscriber's first video line, or nil.
func (sub *subscriber) video() *subscription {
	for i := range sub.tracks {
		if t := &sub.tracks[i]; t.spec.Kind == rtp.Video {
			return t
		}
	}
	return nil
}

// adapted returns the track that the Selector chooses from, nil without a Selector. The Selector of a publication that
// has ended is dropped.
func (sub *subscriber) adapted() *track {
	if sub.selector == nil {
		return nil
	}
	if l := sub.video().have(); l.pub == sub.stream.pub {
		return &l.pub.tracks[l.track]
	}
	sub.selector = nil
	return nil
}

// setting is all that the Selector shares with others.
func (w *Worker) setting(sub *subscriber, src *track) adapt.Setting {
	return adapt.Setting{Ladder: src.ladder.Cut(sub.ceiling(src)), Source: sub.shared(), Late: w.homes.late}
}

// shared is the Source of all viewers from the subscriber's address, nil if there is no other.
func (sub *subscriber) shared() *adapt.Source {
	if sub.home == nil || sub.home.shared == nil {
		return nil
	}
	return &sub.home.source
}

// adapts reports whether Selectors choose from a track.
func (w *Worker) adapts(src *track) bool { return w.cfg.Adapt && len(src.rungs) > 1 }

// await sets the rung on which a video line is going to start, as long as it is sent nothing of the publication.
func (w *Worker) await(now port.Time, sub *subscriber, t *subscription, src *track) {
	if l := t.have(); l != nil && l.pub == sub.stream.pub {
		return
	}
	t.rung, t.stopped = int8(sub.ceiling(src)), false
	if w.adapts(src) {
		w.settleHome(now, sub)
		if g := w.setting(sub, src); g.Ladder.Measured() {
			t.rung = int8(g.Source.StartRung(now, g.Ladder, float64(w.cfg.StartRate)))
		}
	}
}

// keepUp tells the Selector of the layer that is sent from now on. before is the one that was sent before, or nil.
func (w *Worker) keepUp(now port.Time, sub *subscriber, t *subscription, src *track, before *layer) {
	if t != sub.video() {
		return
	}
	if len(src.rungs) < 2 {
		sub.selector = nil
		return
	}
	l, rung := t.have(), src.place(t.have())
	switch {
	case !w.adapts(src):
		sub.selector = nil
		if before == l {
			return
		}
	case sub.selector == nil || before == nil || before.pub != l.pub:
		if sub.selector == nil {
			sub.selector = new(adapt.Selector)
		}
		w.start(now, sub, rung)
	case sub.selector.Have() == rung:
		return
	case before == l && sub.selector.Have() != adapt.AudioOnly:
		w.start(now, sub, rung) // the rungs have another order now
		return
	default:
		if rung < sub.selector.Have() {
			// There was too much for the network: it is not repaired any more.
			t.span.before.forget()
		}
		sub.selector.Switched(now, rung)
		w.heed(now, sub, adapt.NumberAll)
	}
	w.tellSwitched(sub, l.id())
}

// start starts the Selector on a rung.
func (w *Worker) start(now port.Time, sub *subscriber, rung int) {
	w.settleHome(now, sub)
	sub.selector.Start(now, rung, uint32(w.cfg.Rand()))
	w.heed(now, sub, adapt.NumberAll)
}

// mute tells the Selector that no video is sent, and sends the padding by which video comes back.
func (w *Worker) mute(now port.Time, sub *subscriber, route port.Route, out *Outgoing) {
	if sub.adapted() == nil {
		return
	}
	before := sub.selector.Numbering()
	if sub.selector.Have() != adapt.AudioOnly {
		sub.selector.Switched(now, adapt.AudioOnly)
		id := sub.video().have().id()
		id.Layer = bus.NoLayer
		w.tellSwitched(sub, id)
	}
	w.pad(now, sub, route, out)
	w.heed(now, sub, before)
}

// tellSwitched counts a switch, and tells the controller the layer that a subscriber is sent from now on.
func (w *Worker) tellSwitched(sub *subscriber, id bus.LayerID) {
	cause := adapt.CauseNone
	if sub.selector != nil {
		cause = sub.selector.Cause()
	}
	w.counters.Switches[cause]++
	w.send(bus.Switched(sub.session.spec.ID, id, cause))
}

// numbersNext reports whether the packets of a line's next fill carry transport-wide numbers.
func (sub *subscriber) numbersNext(now port.Time, t *subscription) bool {
	if !t.numbered || sub.selector == nil || !sub.selector.Number(now) {
		return false
	}
	prefetch.Of(sub.selector) // it will be told of the fill
	return true
}

// numbersResend reports whether a resend by RTX carries a transport-wide number: while all media does. It is free to
// choose, because RTX seals under an index of its own. A lost packet or two should bring no reports of a viewer who is
// well.
func (sub *subscriber) numbersResend(t *subscription) bool {
	return t.numbered && sub.selector != nil && sub.selector.Numbering() == adapt.NumberAll
}

// burst is how many of a line's pending packets one fill may write. Large frames are sent in several bursts.
func (sub *subscriber) burst(t *subscription, pending uint64) int {
	if sub.selector == nil || t.spec.Kind != rtp.Video {
		return int(pending)
	}
	return max(sub.selector.Burst(), int(pending/burstTurns))
}

// wrote tells the Selector of a fill, and sends the padding that it asks for. A fill without numbers decides nothing.
func (w *Worker) wrote(now port.Time, sub *subscriber, x *fill, route port.Route, out *Outgoing) {
	if x.packets == 0 || sub.adapted() == nil {
		return
	}
	before := sub.selector.Numbering()
	sub.selector.Sent(now, sub.shared(), x.summary())
	if !x.numbered {
		w.callBack(sub, onGrid(sub.selector.Deadline(now)))
		return
	}
	w.pad(now, sub, route, out)
	w.heed(now, sub, before)
}

// heed does what the Selector decided in the call before. before is how much carried numbers until then.
func (w *Worker) heed(now port.Time, sub *subscriber, before adapt.Numbering) {
	s := sub.selector
	if before == adapt.NumberSome && s.Numbering() == adapt.NumberAll {
		w.counters.Alarms[s.Alarm()]++
	}
	rung, stopped := int8(s.Want()), s.Stop()
	for i := range sub.tracks {
		if t := &sub.tracks[i]; t.spec.Kind == rtp.Video && (t.rung != rung || t.stopped != stopped) {
			t.rung, t.stopped = rung, stopped
			w.serve(sub)
		}
	}
	w.callBack(sub, onGrid(s.Deadline(now)))
}

// callBack visits a subscriber at a time, or before.
func (w *Worker) callBack(sub *subscriber, at port.Time) {
	if at < sub.session.timers.at[turnDeadline] {
		w.deadlines.set(sub.session, turnDeadline, at)
	}
}

// reconsider lets the Selector decide where no report does.
func (w *Worker) reconsider(now port.Time, sub *subscriber) {
	src := sub.adapted()
	if src == nil {
		return
	}
	w.settleHome(now, sub)
	s, g := sub.selector, w.setting(sub, src)
	before := s.Numbering()
	s.HandleTimeout(now, g)
	// A viewer without any trouble so far follows a publisher whose layers begin one by one.
	if s.Cause() == adapt.CauseStart && s.Have() == s.Want() {
		if rung := g.Source.StartRung(now, g.Ladder, float64(w.cfg.StartRate)); rung > s.Want() {
			s.Choose(now, g, rung)
		}
	}
	w.counters.queue(s.Queue())
	w.heed(now, sub, before)
}

// choose handles KindChoose.
func (w *Worker) choose(now port.Time, sub *subscriber, m *bus.Control) {
	pub := sub.stream.pub
	if pub == nil || pub.generation != m.Generation || int(m.Track) >= len(pub.tracks) {
		return
	}
	sub.bound = m.Layer
	src := &pub.tracks[m.Track]
	if sub.adapted() == nil {
		for i := range sub.tracks {
			if t := &sub.tracks[i]; t.spec.Kind == rtp.Video && t.spec.Kind == src.spec.Kind {
				t.rung = int8(sub.ceiling(src))
			}
		}
		w.serve(sub)
		return
	}
	before, g := sub.selector.Numbering(), w.setting(sub, src)
	if int(m.Layer) < len(src.layers) {
		sub.selector.Choose(now, g, sub.ceiling(src))
	}
	sub.selector.HandleTimeout(now, g)
	w.heed(now, sub, before)
}

// reported takes in a subscriber's transport-wide feedback. It reports false when the session has no budget left for
// the rest of the datagram.
func (w *Worker) reported(now port.Time, sub *subscriber, p *rtcp.Packet) bool {
	w.count(ReceivedFeedbacks)
	r, ok := p.TransportReport()
	if !ok {
		w.drop(DropRTCP)
		return true
	}
	s := sub.session
	if s.control -= int16(min(r.Left()/statusCost, maxControl)); s.control <= 0 {
		w.drop(DropRTCPFlood)
		return false
	}
	src := sub.adapted()
	switch {
	case src == nil || !sub.video().numbered:
	case int16(r.Number()+uint16(r.Left())-sub.transport) > 0:
		w.drop(DropReport)
	default:
		before := sub.selector.Numbering()
		sub.selector.Report(now, w.setting(sub, src), r)
		w.heed(now, sub, before)
	}
	return true
}

// estimated takes in a subscriber's REMB.
func (w *Worker) estimated(now port.Time, sub *subscriber, p *rtcp.Packet) {
	w.count(ReceivedREMBs)
	rate, ok := p.Bitrate()
	if src := sub.adapted(); ok && src != nil {
		before := sub.selector.Numbering()
		sub.selector.REMB(now, w.setting(sub, src), float64(rate))
		w.heed(now, sub, before)
	}
}

// missed tells the Selector what a NACK about an SSRC asked for.
func (w *Worker) missed(now port.Time, sub *subscriber, ssrc uint32, asked nacked) {
	if src := sub.adapted(); src != nil && asked != (nacked{}) && ssrc == sub.video().spec.SSRC {
		before := sub.selector.Numbering()
		sub.selector.NACKed(now, w.setting(sub, src), asked.first, asked.again)
		w.heed(now, sub, before)
	}
}

// settleHome makes the subscriber a viewer from the address of its selected path.
func (w *Worker) settleHome(now port.Time, sub *subscriber) {
	s := sub.session
	if s.selected < 0 {
		return
	}
	a := s.paths[s.selected].Remote.Addr()
	if sub.home != nil && sub.home.key == homeKey(a) {
		return
	}
	w.leaveHome(now, sub)
	sub.home = w.homes.join(now, a)
}

// leaveHome ends what settleHome began. The home remembers what its last viewer received.
func (w *Worker) leaveHome(now port.Time, sub *subscriber) {
	h := sub.home
	if h == nil {
		return
	}
	if h.shared == nil {
		h.share()
		if src := sub.adapted(); src != nil {
			sub.selector.HandleTimeout(now, w.setting(sub, src))
		}
	}
	w.homes.leave(now, h)
	sub.home = nil
}
