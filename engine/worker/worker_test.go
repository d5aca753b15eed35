package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/srtp"
)

// rigged is a sealer that panics where it is told to.
type rigged struct {
	srtp.Sealer
	rtp, control bool
}

func (r *rigged) SealRTP(frame []byte, n int, payload []byte, index uint64) []byte {
	if r.rtp {
		panic("rigged")
	}
	return r.Sealer.SealRTP(frame, n, payload, index)
}

func (r *rigged) SealRTCP(b []byte) []byte {
	if r.control {
		panic("rigged")
	}
	return r.Sealer.SealRTCP(b)
}

// panics reports whether f panicked.
func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

// A scene is a publisher and two viewers, of which the first has a rigged sealer.
type scene struct {
	*lab
	pub     *pub
	viewer  *sub
	other   *sub // served last
	ciphers *rigged
}

func newScene(t *testing.T) *scene {
	l := newLab(t, 0, 2)
	s := &scene{lab: l}
	newSealer := l.w.cfg.NewSealer
	l.w.cfg.NewSealer = func(k *srtp.Keys) (srtp.Sealer, error) {
		c, err := newSealer(k)
		if s.ciphers == nil {
			s.ciphers = &rigged{Sealer: c}
			return s.ciphers, err
		}
		return c, err
	}
	s.pub = l.publish(1, 1, published()...)
	s.viewer = l.watch(1, watched(true)...)
	s.other = l.watch(1, watched(true)...)
	s.pub.frame(0, 0, true)
	s.pub.report(videoSSRC, 0)
	s.other.rtcp(rtcp.AppendReceiverReport(nil, 1, nil))
	return s
}

// A panic is blamed on the session that was served, never on one that was served before, and on nobody if no session
// was served.
func TestAbandonBlamesTheServed(t *testing.T) {
	timeout := func(s *scene) func() {
		return func() { s.w.HandleTimeout(s.now) }
	}
	poll := func(s *scene) func() {
		return func() { s.w.Poll(s.now, &s.out) }
	}
	const none, publisher, viewer = 0, 1, 2
	for _, x := range []struct {
		name string
		// rig makes ready for a panic in then.
		rig   func(s *scene) (then func())
		blame int
	}{
		{"a chore", func(s *scene) func() {
			s.stream(1).pub.tracks[0].layers[0] = nil
			s.now = s.w.chores.next()
			return timeout(s)
		}, publisher},
		{"a deadline", func(s *scene) func() {
			session := s.w.sessions[s.viewer.spec.ID]
			session.sub.stream = nil
			s.w.deadlines.set(session, turnDeadline, s.now)
			return timeout(s)
		}, viewer},
		{"the messages", func(s *scene) func() {
			s.w.outbox.strays = s.w.outbox.strays[:1]
			return func() { s.w.Poll(s.now, nil) }
		}, none},
		{"an answer to a check", func(s *scene) func() {
			s.quietly(s.viewer.path, s.viewer.request(false))
			s.quietly(s.other.path, s.other.seal(rtcp.AppendReceiverReport(nil, 1, nil)))
			s.w.answers.hasher = nil
			return poll(s)
		}, viewer},
		{"a report", func(s *scene) func() {
			s.ciphers.control = true
			s.w.want(s.w.sessions[s.viewer.spec.ID], wantReport)
			return poll(s)
		}, viewer},
		{"a resend", func(s *scene) func() {
			s.ciphers.rtp = true
			s.quietly(s.viewer.path, s.viewer.seal(appendNACK([]uint16{uint16(s.lastVideo(s.viewer))})))
			s.quietly(s.other.path, s.other.seal(rtcp.AppendReceiverReport(nil, 1, nil)))
			return poll(s)
		}, viewer},
		{"media", func(s *scene) func() {
			s.ciphers.rtp = true
			s.quietly(s.pub.path, s.pub.seal(packet{
				ssrc: videoSSRC, pt: pubVP8, seq: 500, payload: vp8(true, true, ""),
			}))
			return poll(s)
		}, viewer},
		{"a follower's feed", func(s *scene) func() {
			p := s.stream(1).pub
			p.followers = append(p.followers, &follower{address: 1, feeds: []feed{{track: 4}}})
			s.w.giveTurn(s.stream(1))
			return poll(s)
		}, publisher},
		{"a keyframe asked for again", func(s *scene) func() {
			pub := s.stream(1).pub
			l := pub.tracks[0].layers[0]
			s.w.keyframes.set(l, s.now)
			pub.stream = nil
			return timeout(s)
		}, publisher},
		{"a follower's request", func(s *scene) func() {
			s.stream(1).pub.tracks[0].layers[0] = nil
			m := from(1, bus.Follow(0, everything(1, 1), 1))
			return func() { s.w.HandleControl(s.now, &m) }
		}, publisher},
		{"a publication that opens", func(s *scene) func() {
			m := bus.Control{
				Kind: bus.KindPublicationOpened, ID: s.viewer.spec.ID, LayerID: bus.LayerID{Stream: 9, Generation: 9},
			}
			return func() { s.w.HandleControl(s.now, &m) }
		}, viewer},
		{"a datagram that another worker forwards", func(s *scene) func() {
			in := port.Inbound{Path: pathOf(5000), Data: s.viewer.seal(rtcp.AppendReceiverReport(nil, 1, nil))}
			m := bus.DatagramTo(0, s.viewer.spec.ID, &in)
			s.w.byPath = nil
			return func() { s.w.HandleMedia(s.now, &m) }
		}, viewer},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newScene(t)
			l := s.lab
			then := x.rig(s)
			s.w.current = s.w.sessions[s.other.spec.ID]
			if !panics(then) {
				t.Fatal("it did not panic")
			}
			want := map[int]api.SessionID{publisher: s.pub.spec.ID, viewer: s.viewer.spec.ID}[x.blame]
			id, ok := l.w.Abandon()
			if ok != (x.blame != none) || ok && id != want {
				t.Errorf("session %d is blamed (%t), want %d; the one served before was %d",
					id, ok, want, s.other.spec.ID)
			}
			if x.blame == none {
				return
			}
			// The worker goes on without that session, although it is still rigged.
			l.poll()
			l.w.HandleTimeout(l.now)
			l.poll()
			ended := l.said(bus.KindSessionEnded)
			if len(ended) != 1 || ended[0].ID != want || ended[0].Reason != api.ReasonFault {
				t.Errorf("ended %+v, want session %d for a fault", ended, want)
			}
		})
	}
}

// If many streams and sessions are due at once, one call visits a few, and the next ones the rest.
func TestTimeoutsAreBounded(t *testing.T) {
	const n = 500
	l := newLab(t, 0, 1)
	var all []*party
	for i := range n {
		p := l.publish(bus.StreamID(i+1), bus.Generation(i+1), published()...)
		p.frame(0, 0, true)
		all = append(all, p.party)
		l.forget()
	}
	l.now += 2 * port.Second // as after a stall
	for _, p := range all {
		l.w.sessions[p.spec.ID].heard = l.now
	}
	told, reports, _, calls := l.timeouts()
	if told > maxChores || reports > maxTimeouts || calls < n/max(maxChores, maxTimeouts) {
		t.Errorf("a call visited up to %d streams and %d sessions; expected at most %d and %d",
			told, reports, maxChores, maxTimeouts)
	}
	l.poll()
	if n := len(l.said(bus.KindSessionHeard)); n != len(all) {
		t.Errorf("the controller was told of %d publishers of %d", n, len(all))
	}

	for i, p := range all {
		l.hand(closed(p))
		l.hand(bus.PublicationClosed(bus.StreamID(i+1), bus.Generation(i+1)))
	}
	l.now += routeRest
	if _, _, revoked, _ := l.timeouts(); revoked > maxRecycled {
		t.Errorf("a call revoked %d routes; expected at most %d", revoked, maxRecycled)
	}
	l.poll()
	if len(l.routes) != 0 || len(l.w.streams) != 0 || len(l.w.announced) != 0 {
		t.Errorf("%d routes, %d streams and %d announcements are left",
			len(l.routes), len(l.w.streams), len(l.w.announced))
	}
}

// A datagram that does not begin like STUN, DTLS or RTP is dropped.
func TestUnknownProtocol(t *testing.T) {
	l := newLab(t, 0, 1)
	s := l.watch(1, watched(true)...)
	l.forget()
	n := uint64(0)
	for b := range 256 {
		if b <= 3 || b >= 20 && b <= 63 || b >= 128 && b <= 191 {
			continue
		}
		l.receive(s.path, []byte{byte(b), 1, 2, 3})
		n++
	}
	l.receive(s.path, nil)
	if l.drops(DropUnknownProtocol) != n+1 || len(l.sent)+len(l.messages)+len(l.fed) != 0 {
		t.Errorf("%d of %d were dropped", l.drops(DropUnknownProtocol), n+1)
	}
}

// All that a worker holds for sessions and streams goes with them.
func TestNothingIsLeft(t *testing.T) {
	l := newLab(t, 0, 1)
	for round := range 3 {
		p := l.publish(1, bus.Generation(round+1), published()...)
		var subs []*sub
		for range 20 {
			subs = append(subs, l.watch(1, watched(true)...))
		}
		p.frame(0, 0, true)
		p.frame(5, 0, false)
		for _, s := range subs[:10] {
			l.tell(closed(s.party))
		}
		l.tell(bus.PublicationClosed(1, bus.Generation(round+1)))
		l.tell(closed(p.party))
		for _, s := range subs[10:] {
			l.tell(closed(s.party))
		}
		l.pass(routeRest + keyframeInterval)
		w := l.w
		for name, left := range map[string]int{
			"sessions": len(w.sessions), "paths": len(w.byPath), "streams": len(w.streams),
			"publications": len(w.announced), "deadlines": len(w.deadlines), "reports": len(w.due),
			"routes": len(w.routes.resting), "keyframes": len(w.keyframes),
		} {
			if left != 0 {
				t.Fatalf("round %d: %d %s are left; expected none", round, left, name)
			}
		}
		if w.Deadline() != port.Never {
			t.Fatalf("round %d: something is due at %d", round, w.Deadline())
		}
		if len(l.routes) != 0 {
			t.Fatalf("round %d: %d routes were never revoked", round, len(l.routes))
		}
	}
}
