package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// indication is a Binding indication as libnice sends it: a header, and a fingerprint.
var indication = []byte{
	0, 0x11, 0, 8, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
	0x80, 0x28, 0, 4, 0x48, 0x62, 0xC2, 0xC6,
}

// to counts the datagrams but for answers to checks that went to a path since forget.
func (l *lab) to(p port.Path) (n int) {
	for _, d := range l.sent {
		if d.data[0] > 3 && d.path == p {
			n++
		}
	}
	return n
}

// leadsTo reports whether the port, and so the guard, knows a path.
func (l *lab) leadsTo(p port.Path) bool {
	for _, x := range l.routes {
		if x == p {
			return true
		}
	}
	return false
}

// An aim is a stream with a viewer; run plays a span with a packet each step.
type aim struct {
	*lab
	pub    *pub
	viewer *sub
	seq    uint64
}

func newAim(t *testing.T) *aim {
	l := newLab(t, 0, 1)
	a := &aim{lab: l, pub: l.publish(1, 1, published()...)}
	a.viewer = l.watch(1, watched(true)...)
	a.run(port.Second, 100*port.Millisecond, nil)
	l.forget()
	return a
}

// run sends a packet each step; second is called each second.
func (a *aim) run(span, step port.Time, second func()) {
	a.Helper()
	for start := a.now; a.now < start+span; a.seq++ {
		if second != nil && (a.now-start)%port.Second < step {
			second()
		}
		a.pub.frame(a.seq, uint32(a.seq*90), a.seq%50 == 0)
		a.pass(step)
	}
}

// A peer nominates a victim's address with one forged check, and goes on with plain checks from its own. The victim is
// sent 200 datagrams or three seconds of them. Then the peer gets the stream back, and the guard forgets the victim.
func TestAimedStream(t *testing.T) {
	for _, x := range []struct {
		name    string
		step    port.Time
		least   int // packets that the victim is sent
		most    int
		prelude bool // a forged plain check before the nomination
	}{
		{"slow", 100 * port.Millisecond, 25, 36, false},
		{"fast", 2 * port.Millisecond, pathCredit, pathCredit, false},
		{"fast, with a check before", 2 * port.Millisecond, pathCredit, pathCredit, true},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newAim(t)
			victim := pathOf(5000)
			if x.prelude {
				a.receive(victim, a.viewer.request(false))
			}
			forged := a.viewer.request(true)
			a.receive(victim, forged)
			a.receive(victim, forged) // the network repeats it
			a.forget()
			n := 0
			a.run(180*port.Second, x.step, func() {
				if n++; n%5 == 0 {
					a.receive(a.viewer.path, a.viewer.request(false))
				}
				if n > 20 { // then it is as if nothing had been
					if a.to(victim) != 0 && n > 21 {
						t.Fatalf("%d datagrams to the victim %d s after the forged nomination, want 0", a.to(victim), n)
					}
					a.sent = nil
					return
				}
				if n == 20 {
					if got := a.to(victim); got < x.least || got > x.most {
						t.Errorf("%d datagrams to the victim, want %d to %d", got, x.least, x.most)
					}
					if a.leadsTo(victim) {
						t.Error("the guard still knows the victim's address")
					}
					a.sent = nil
				}
			})
			if n := a.to(a.viewer.path); n < int(port.Second/x.step)*9/10 {
				t.Errorf("%d datagrams to the peer in the last second, want all", n)
			}
			if n := len(a.said(bus.KindSessionEnded)); n != 0 {
				t.Errorf("%d sessions ended, want none", n)
			}
			if n := a.counted(PathsGivenUp); n != 1 {
				t.Errorf("%d paths were counted as given up, want 1", n)
			}
		})
	}
}

// Nominations of ever more addresses share one credit.
func TestAimedAtMany(t *testing.T) {
	a := newAim(t)
	const span = 2*creditSpan - port.Second
	next, toViewer := 5000, 0
	a.run(span, 4*port.Millisecond, func() {
		a.receive(a.viewer.path, a.viewer.request(false))
		for range 5 {
			a.receive(pathOf(next), a.viewer.request(true))
			next++
			a.pass(pathSpan)
		}
		if len(a.routes) > maxPaths+int(routeRest/pathSpan)+2 {
			t.Fatalf("%d routes of two sessions", len(a.routes))
		}
	})
	victims := 0
	for _, d := range a.sent {
		switch {
		case d.data[0] <= 3 || d.path == a.pub.path:
		case d.path == a.viewer.path:
			toViewer++
		default:
			victims++
		}
	}
	if victims > 2*pathCredit {
		t.Errorf("%d datagrams to %d victims in %.0f s, want at most %d",
			victims, next-5000, span.Seconds(), 2*pathCredit)
	}
	if toViewer < 10*victims {
		t.Errorf("%d datagrams to the peer itself", toViewer)
	}
}

// Resends over an unproven path are paid from the same credit.
func TestCreditPaysResends(t *testing.T) {
	a := newAim(t)
	victim := pathOf(5000)
	a.receive(victim, a.viewer.request(true))
	resent := a.counted(SentRTX)
	a.run(2*port.Second, 5*port.Millisecond, func() {
		last := uint16(a.lastVideo(a.viewer))
		for i := range uint16(40) {
			a.viewer.nack(subVideo, last-i) // from its own address, so the victim's stays unproven
		}
	})
	if n := a.to(victim); n != pathCredit {
		t.Errorf("%d datagrams to the victim, want %d", n, pathCredit)
	}
	if n := a.counted(SentRTX) - resent; n == 0 {
		t.Error("nothing was resent")
	}
}

// A peer that really moved is sent everything: its datagrams from the new path prove it.
func TestNominationIsProven(t *testing.T) {
	for name, prove := range map[string]func(a *aim) []byte{
		"by another check":      func(a *aim) []byte { return a.viewer.request(false) },
		"by another nomination": func(a *aim) []byte { return a.viewer.request(true) },
		"by SRTCP":              func(a *aim) []byte { return a.viewer.seal(rtcp.AppendReceiverReport(nil, 1, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAim(t)
			moved := pathOf(5000)
			a.receive(moved, a.viewer.request(true))
			a.run(port.Second, 10*port.Millisecond, nil)
			a.receive(moved, prove(a))
			a.run(4*port.Second, 10*port.Millisecond, nil)
			if n := a.to(moved); n < 500 {
				t.Errorf("%d datagrams to the new path in 5 s, want 500", n)
			}
			if n := a.to(a.viewer.path); n != 0 {
				t.Errorf("%d datagrams to the old path, want none", n)
			}
		})
	}
}

// Evidence that comes after the credit is spent still moves the session, at once; so it does where there was no
// credit at all.
func TestLateProof(t *testing.T) {
	a := newAim(t)
	for i, moved := range []port.Path{pathOf(5000), pathOf(5001)} {
		a.receive(moved, a.viewer.request(true))
		a.run(port.Second, 2*port.Millisecond, nil)
		a.forget()
		a.run(port.Second, 100*port.Millisecond, nil)
		if n := a.to(moved); n != 0 {
			t.Errorf("path %d: %d datagrams after the credit was spent, want none", i, n)
		}
		a.receive(moved, a.viewer.request(true))
		a.forget()
		a.run(port.Second, 100*port.Millisecond, nil)
		if n := a.to(moved); n < 10 {
			t.Errorf("path %d: %d datagrams after it was proven, want all", i, n)
		}
	}
}

// A peer that nominates only once gets a new port from its NAT: its checks come from there without a nomination,
// and what it reports. The stream follows once the old path was silent for six seconds.
func TestRebindingWithoutNomination(t *testing.T) {
	for _, x := range []struct {
		name    string
		reports bool
		most    port.Time // from the rebinding to media
	}{
		{"checks and SRTCP", true, holdSpan},
		{"checks alone", false, 10 * port.Second},
	} {
		t.Run(x.name, func(t *testing.T) {
			a := newAim(t)
			a.receive(a.viewer.path, a.viewer.request(false))
			moved, rebound := pathOf(5000), a.now
			n := 0
			a.run(120*port.Second, 100*port.Millisecond, func() {
				if x.reports {
					a.receive(moved, a.viewer.seal(rtcp.AppendReceiverReport(nil, 1, nil)))
				}
				if n++; n%5 == 0 {
					a.receive(moved, a.viewer.request(false))
				}
			})
			first := port.Time(0)
			for _, d := range a.sent {
				if first == 0 && d.path == moved && d.data[0] > 3 {
					first = d.at
				}
				if first > 0 && d.path == a.viewer.path {
					t.Fatal("it was sent to the old path again")
				}
			}
			if first == 0 || first-rebound > x.most+200*port.Millisecond {
				t.Errorf("media came %.1f s after the rebinding, want at most %.1f",
					(first - rebound).Seconds(), x.most.Seconds())
			}
			if n := len(a.said(bus.KindSessionEnded)); n != 0 {
				t.Errorf("%d sessions ended, want none", n)
			}
		})
	}
}

// All that we send in a handshake goes to the first path that was nominated, so the handshake proves it. A peer
// that nominates another meanwhile has proven neither.
func TestHandshakeProves(t *testing.T) {
	for _, wavers := range []bool{false, true} {
		l := newLab(t, 0, 1)
		a := &aim{lab: l, pub: l.publish(1, 1, published()...)}
		s := &sub{party: l.party(api.Subscriber, 1, watched(true)...)}
		to, want := s.path, 400
		l.receive(s.path, s.check())
		l.tell(bus.SessionOwned(s.spec.ID, 0, port.Path{}))
		l.receive(s.path, clientHello)
		if wavers {
			to, want = pathOf(5000), pathCredit
			l.receive(to, s.check())
		}
		l.pass(4 * port.Second) // a slow handshake: it is not the stream's trial
		l.tell(bus.SessionKeyed(0, s.spec.ID, s.ours))
		l.forget()
		for range 400 {
			a.run(5*port.Millisecond, 5*port.Millisecond, nil)
		}
		if n := l.to(to); n < want || wavers && n != want {
			t.Errorf("wavers %t: %d datagrams in 2 s without evidence, want %d", wavers, n, want)
		}
		if d := l.drops(DropUnproven); wavers != (d > 0) {
			t.Errorf("wavers %t: withheld %d times", wavers, d)
		}
	}
}

// The selected path falls silent while another is heard.
func TestSilentPathIsLeft(t *testing.T) {
	a := newAim(t)
	other := pathOf(5000)
	a.receive(other, a.viewer.request(false))
	a.receive(other, a.viewer.request(false))
	a.receive(a.viewer.path, a.viewer.request(false))
	last := a.now
	a.pass(holdSpan - port.Second)
	a.receive(other, a.viewer.request(false))
	a.pass(port.Second - 1)
	a.forget()
	a.pub.frame(a.seq, 1, false)
	if n := a.to(other); n != 0 {
		t.Errorf("%d datagrams to the other path %.2f s after the last evidence", n, (a.now - last).Seconds())
	}
	a.pass(1)
	a.forget()
	a.pub.frame(a.seq+1, 2, false)
	if n := a.to(other); n != 1 {
		t.Errorf("%d datagrams to the path that is heard, %.2f s after the selected one was; want 1",
			n, (a.now - last).Seconds())
	}
	if n := a.counted(PathMoves); n != 1 {
		t.Errorf("%d moves were counted, want 1", n)
	}
}

// A datagram that another worker forwards is evidence for the path that it came over.
func TestForwardedEvidence(t *testing.T) {
	a := newAim(t)
	moved := pathOf(5000)
	forward := func(data []byte) {
		a.bring(bus.DatagramTo(0, a.viewer.spec.ID, &port.Inbound{
			Path: moved, Arrival: a.now, Data: append([]byte(nil), data...),
		}))
	}
	forward(a.viewer.request(true))
	a.run(port.Second, 10*port.Millisecond, nil)
	forward(a.viewer.seal(rtcp.AppendReceiverReport(nil, 1, nil)))
	a.forget()
	a.run(4*port.Second, 10*port.Millisecond, nil)
	if n := a.to(moved); n < 400 {
		t.Errorf("%d datagrams to the path that was proven through another worker, want all 400", n)
	}
}

// A check that is refused for its role or for an unknown attribute validates nothing, at the owner and elsewhere.
func TestRefusedCheckValidatesNothing(t *testing.T) {
	for name, attributes := range map[string][]any{
		"ICE-CONTROLLED":      {0x8029, make([]byte, 8), 0x0025, []byte{}},
		"an unknown required": {0x7ABC, make([]byte, 4), 0x0025, []byte{}},
	} {
		for _, owner := range []bus.Address{nobody, 0, 1} {
			l := newLab(t, 0, 2)
			p := l.party(api.Publisher, 1, published()...)
			if owner != nobody {
				l.receive(p.path, p.check())
				l.tell(bus.SessionOwned(p.spec.ID, owner, port.Path{}))
			}
			l.forget()
			from := pathOf(5000)
			l.receive(from, signed(l, p, p.spec.Local.Password, attributes...))
			if n := len(l.answers(from)); (n == 1) != (owner != 1) {
				t.Errorf("%s, owner %d: %d answers", name, owner, n)
			}
			if n := len(l.brought(bus.KindDatagram)); (n == 1) != (owner == 1) {
				t.Errorf("%s, owner %d: forwarded %d times", name, owner, n)
			}
			l.receive(from, clientHello)
			if n := l.drops(DropPath); n != 1 {
				t.Errorf("%s, owner %d: DTLS over the path was dropped %d times, want 1", name, owner, n)
			}
			l.pass(routeRest)
			if l.leadsTo(from) {
				t.Errorf("%s, owner %d: the guard still knows the path", name, owner)
			}
		}
	}
}

// A flood of checks that are refused takes up few routes.
func TestRefusalFlood(t *testing.T) {
	l := newLab(t, 0, 1)
	const sessions, checks, burst = 10, 200, int(newPathBurst / openInterval)
	for s := range sessions {
		p := l.party(api.Subscriber, 1, watched(true)...)
		bad := signed(l, p, p.spec.Local.Password, 0x8029, make([]byte, 8))
		for n := range checks {
			l.receive(pathOf(1000+s*checks+n), bad)
		}
	}
	if n := len(l.routes); n > maxRetired {
		t.Errorf("%d routes after %d refused checks, want at most %d", n, sessions*checks, maxRetired)
	}
	if n := l.drops(DropPaths); n != sessions*uint64(burst)-maxRetired {
		t.Errorf("%d were dropped for their paths, want %d", n, sessions*burst-maxRetired)
	}
	if n := l.drops(DropUfragFlood); n != sessions*uint64(checks-burst) {
		t.Errorf("%d were dropped for their number, want %d", n, sessions*(checks-burst))
	}
}

// One forged check that arrives twice, with a check over a new port of the peer's in between, proves nothing. Nor do
// checks over ever new ports keep the session.
func TestAimedByRepetition(t *testing.T) {
	a := newAim(t)
	victim, own := pathOf(5000), pathOf(6000)
	forged, same := a.viewer.request(true), a.viewer.request(false)
	a.receive(victim, forged)
	a.receive(own, same)
	a.receive(victim, forged)
	a.forget()
	a.run(180*port.Second, 100*port.Millisecond, func() { a.receive(own, same) })
	if n := a.to(victim); n > 40 {
		t.Errorf("%d datagrams to the victim; want at most 40", n)
	}
}

func TestAimedFromNewPorts(t *testing.T) {
	a := newAim(t)
	victim := pathOf(5000)
	a.receive(victim, a.viewer.request(true))
	a.receive(victim, a.viewer.request(true))
	a.forget()
	n := 6000
	a.run(180*port.Second, 100*port.Millisecond, func() {
		n++
		a.receive(pathOf(n), a.viewer.request(false))
	})
	if n, most := a.to(victim), 31*15; n > most {
		t.Errorf("%d datagrams to the victim; want at most %d, until consent ends", n, most)
	}
}

// One forged check of a session that another worker owns keeps nobody from connecting.
func TestForeignSessionHoldsNothingByOneCheck(t *testing.T) {
	l := newLab(t, 0, 2)
	a := l.party(api.Subscriber, 1, watched(true)...)
	l.tell(bus.SessionOwned(a.spec.ID, 1, pathOf(900)))
	v := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(v.path, a.request(false)) // forged, once
	l.receive(v.path, v.check())
	if len(l.said(bus.KindSessionClaimed)) == 0 {
		t.Errorf("the other peer cannot connect: %d checks were dropped", l.drops(DropPathHeld))
	}
}

// Nor does it take the path of a viewer that checks, reports and was quiet for a moment.
func TestForeignSessionTakesNoLivePath(t *testing.T) {
	l := newLab(t, 0, 2)
	p := l.publish(1, 1, published()...)
	p.frame(1, 3000, true)
	s := l.watch(1, watched(true)...)
	a := l.party(api.Subscriber, 1, watched(true)...)
	l.tell(bus.SessionOwned(a.spec.ID, 1, pathOf(900)))
	report := func() { s.rtcp([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}) }
	report()
	l.pass(takeSpan + port.Second)
	l.receive(s.path, a.request(false)) // forged
	l.forget()
	for i := range uint64(10) {
		report()
		l.receive(s.path, s.request(false))
		p.frame(2+i, uint32(6000+3000*i), true)
		l.pass(3 * port.Second)
	}
	if n := l.to(s.path); n < 10 {
		t.Errorf("%d datagrams to the viewer; want its ten frames", n)
	}
	if n := len(l.said(bus.KindSessionEnded)); n != 0 {
		t.Errorf("%d sessions ended; want none", n)
	}
}

// Packets that a trial withheld are sent once the path is proven, without waiting for the publisher's next packet.
func TestProofServes(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(1, 3000, true)
	s := l.watch(1, watched(true)...)
	l.pass(100 * port.Millisecond)
	p.frame(2, 6000, false)
	l.pass(20 * port.Second)
	moved := pathOf(7000)
	l.receive(moved, s.request(true))
	l.forget()
	for i := range uint64(300) {
		p.frame(3+i, 9000, false)
	}
	l.pass(50 * port.Millisecond)
	l.receive(moved, s.request(true)) // proven
	l.pass(500 * port.Millisecond)
	if n := l.to(moved) + l.to(s.path); n < 300 {
		t.Errorf("%d datagrams; want the picture of 300", n)
	}
}

// The ninth path evicts one, but never the selected; the latest nomination is followed.
func TestPathLimit(t *testing.T) {
	l := newLab(t, 0, 1)
	pub := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	pub.frame(0, 0, true)
	session := l.w.sessions[s.spec.ID]
	for n := range 40 {
		l.pass(pathSpan)
		l.receive(pathOf(1000+n), s.request(false))
		if len(session.paths) > maxPaths {
			t.Fatalf("%d paths", len(session.paths))
		}
		if session.paths[session.selected].Path != s.path {
			t.Fatalf("path %d took the selected one's place", n)
		}
	}
	l.forget()
	pub.frame(1, 0, false)
	if len(s.media(subVideo)) != 1 {
		t.Error("the selected path is not sent to")
	}
	known := 0
	for p, owner := range l.w.byPath {
		if owner == session {
			known++
			found := false
			for i := range session.paths {
				found = found || session.paths[i].Path == p
			}
			if !found {
				t.Error("a path leads to a session that has forgotten it")
			}
		}
	}
	if known != len(session.paths) {
		t.Errorf("%d paths lead to a session of %d", known, len(session.paths))
	}
	// A NAT gave the peer another address: it nominates it, and media follows.
	l.pass(pathSpan)
	moved := pathOf(5000)
	l.receive(moved, s.check())
	l.forget()
	pub.frame(2, 0, false)
	if len(l.sent) != 1 || l.sent[0].path != moved {
		t.Errorf("media goes to %+v; the latest nomination is %v", l.sent, moved)
	}
}

// Checks of one session from ever more forged addresses do not use up routes. All sessions share those of the port and
// of the guard, and each route of a path that was given up rests.
func TestPathFlood(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	const (
		checks = 5000
		most   = maxPaths + int(routeRest/pathSpan) + 1
	)
	for n := range checks {
		if n%10 == 0 {
			l.pass(port.Millisecond)
		}
		l.receive(pathOf(1000+n), p.request(false))
		if len(l.routes) > most {
			t.Fatalf("%d routes after %d checks of one session, at most %d expected", len(l.routes), n, most)
		}
	}
	taken := maxPaths - 1 + int(checks/10*port.Millisecond/pathSpan)
	if n := int(l.drops(DropPaths) + l.drops(DropUfragFlood)); n < checks-taken-1 || n > checks-maxPaths {
		t.Errorf("%d of %d checks were dropped, want %d to %d", n, checks, checks-taken-1, checks-maxPaths)
	}
	l.forget()
	l.receive(p.path, p.request(false))
	if len(l.answers(p.path)) != 1 {
		t.Error("the path that was nominated is not answered any more")
	}
}

// DTLS and media count only over a validated path.
func TestUnvalidatedPath(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	elsewhere := pathOf(999)
	l.forget()
	l.receive(elsewhere, clientHello)
	l.receive(elsewhere, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: vp8(true, true, "")}))
	l.receive(elsewhere, p.sealer.SealRTCP(rtcp.AppendReceiverReport(make([]byte, 0, 200), videoSSRC, nil)))
	if len(l.sent) != 0 || len(l.messages)+len(l.fed) != 0 || l.drops(DropPath) != 3 {
		t.Errorf("%d datagrams, %d messages, %d dropped", len(l.sent), len(l.messages)+len(l.fed), l.drops(DropPath))
	}
	if l.counted(ReceivedRTP) != 0 {
		t.Error("media was taken from a path that nobody validated")
	}
}

// A peer that nominates once, as Firefox does, is sent to again when it checks over the path that another
// session took from it.
func TestPathTakenAway(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	thief := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(s.path, thief.request(false)) // from a forged address
	l.pass(port.Second)
	l.receive(s.path, s.request(false))
	l.forget()
	p.frame(1, 3000, false)
	if len(s.media(subVideo)) != 1 {
		t.Error("a subscriber whose address another session named is never sent to again, though it checks")
	}
}
