package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/rtcp"
	"ringcast/engine/srtp"
)

// rigged panics at what it is rigged for.
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

// Whatever panics is blamed on the session that was served, never on one that was served before. What is nobody's
// fault is blamed on nobody.
func TestAbandonBlamesTheServed(t *testing.T) {
	type scene struct {
		*lab
		pub     *pub
		viewer  *sub
		other   *sub // served before
		ciphers *rigged
	}
	timeout := func(s *scene) func() {
		return func() { s.w.HandleTimeout(s.now) }
	}
	poll := func(s *scene) func() {
		return func() { s.w.Poll(s.now, &s.out) }
	}
	const none, publisher, viewer = 0, 1, 2
	for _, x := range []struct {
		name string
		// rig makes ready what panics; then is called in vain.
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
			s.w.deadlines.set(session, catchUpDeadline, s.now)
			return timeout(s)
		}, viewer},
		{"the messages", func(s *scene) func() {
			s.w.strays = s.w.strays[:1]
			return func() { s.w.Poll(s.now, nil) }
		}, none},
		{"an answer to a check", func(s *scene) func() {
			s.quietly(s.viewer.path, s.viewer.request(false))
			s.quietly(s.other.path, s.other.seal(rtcp.AppendReceiverReport(nil, 1, nil)))
			s.w.hasher = nil
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
			s.quietly(s.pub.path, s.pub.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 500, payload: vp8(true, true, "")}))
			return poll(s)
		}, viewer},
		{"a follower's feed", func(s *scene) func() {
			p := s.stream(1).pub
			p.followers = append(p.followers, &follower{worker: 1, feeds: make([]feed, 5)})
			s.w.wake(s.stream(1), forReady)
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
			m := bus.Message{Kind: bus.Follow, From: 1, Stream: 1, Generation: 1}
			return func() { s.w.HandleMessage(s.now, &m) }
		}, publisher},
		{"a publication that opens", func(s *scene) func() {
			m := bus.Message{Kind: bus.PublicationOpened, ID: s.viewer.spec.ID, Stream: 9, Generation: 9}
			return func() { s.w.HandleMessage(s.now, &m) }
		}, viewer},
		{"what another worker forwards", func(s *scene) func() {
			m := bus.Message{
				Kind: bus.Datagram, From: 1, ID: s.viewer.spec.ID, Path: pathOf(5000), Data: s.viewer.seal(rtcp.AppendReceiverReport(nil, 1, nil)),
			}
			s.w.byPath = nil
			return func() { s.w.HandleMessage(s.now, &m) }
		}, viewer},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t, 0, 2)
			s := &scene{lab: l}
			made := 0
			newSealer := l.w.cfg.NewSealer
			l.w.cfg.NewSealer = func(k *srtp.Keys) (srtp.Sealer, error) {
				c, err := newSealer(k)
				if made++; made == 1 {
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
			// The worker's last words were with another session.
			s.other.rtcp(rtcp.AppendReceiverReport(nil, 1, nil))
			then := x.rig(s)
			s.w.current = s.w.sessions[s.other.spec.ID]
			if !panics(then) {
				t.Fatal("it did not panic")
			}
			want := map[int]api.SessionID{publisher: s.pub.spec.ID, viewer: s.viewer.spec.ID}[x.blame]
			id, ok := l.w.Abandon()
			if ok != (x.blame != none) || ok && id != want {
				t.Errorf("session %d is blamed (%t), want %d; the one served before was %d", id, ok, want, s.other.spec.ID)
			}
			if x.blame == none {
				return
			}
			// The worker goes on without it, though what was rigged still is.
			l.poll()
			l.w.HandleTimeout(l.now)
			l.poll()
			if ended := l.said(bus.SessionEnded); len(ended) != 1 || ended[0].ID != want || ended[0].Reason != api.ReasonFault {
				t.Errorf("ended %+v, want session %d for a fault", ended, want)
			}
		})
	}
}
