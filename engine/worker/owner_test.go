package worker

import (
	"fmt"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// The first nomination claims the session; checks are answered meanwhile, DTLS is passed on.
func TestClaim(t *testing.T) {
	l := newLab(t, 2, 4)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.request(false))
	if len(l.said(bus.KindSessionClaimed)) != 0 {
		t.Error("a check without a nomination claimed")
	}
	for range 3 {
		l.receive(p.path, p.check())
	}
	if m := l.said(bus.KindSessionClaimed); len(m) != 1 || m[0].ID != p.spec.ID || m[0].Path != p.path ||
		m[0].To != bus.Controller {
		t.Errorf("claims: %+v", m)
	}
	if n := len(l.answers(p.path)); n != 4 {
		t.Errorf("%d answers to 4 checks", n)
	}
	q := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(q.path, q.request(false))
	l.forget()
	l.receive(q.path, clientHello) // before the nomination
	if len(l.said(bus.KindSessionClaimed)) != 1 || len(l.said(bus.KindRecordReceived)) != 1 {
		t.Error("DTLS on a validated path did not claim")
	}
	l.tell(bus.SessionOwned(q.spec.ID, 2, port.Path{}))
	l.forget()
	l.tell(bus.SendRecord(0, q.spec.ID, []byte{22}))
	if len(q.sent()) != 1 {
		t.Error("the handshake has no way back to the peer that has not nominated yet")
	}
}

// A worker that does not own a session forwards what comes for it, and sends nothing itself.
func TestForwardToOwner(t *testing.T) {
	l := newLab(t, 1, 2)
	p := &pub{party: l.party(api.Publisher, 1, published()...)}
	sealerOf(t, p)
	l.receive(p.path, p.check()) // claims
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	l.forget()
	media := p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: vp8(true, true, "")})
	check := p.check()
	report := p.sealer.SealRTCP(rtcp.AppendReceiverReport(make([]byte, 0, 100), videoSSRC, nil))
	for _, d := range [][]byte{media, clientHello, check, report} {
		l.receive(p.path, d)
	}
	if len(l.sent) != 0 {
		t.Errorf("%d datagrams were sent by a worker that does not own the session", len(l.sent))
	}
	m := l.brought(bus.KindDatagram)
	if len(m) != 4 || len(l.messages)+len(l.fed) != 4 {
		t.Fatalf("%d of 4 datagrams were forwarded, with %d messages in all", len(m), len(l.messages))
	}
	for _, x := range m {
		if x.To != 0 || x.ID != p.spec.ID || x.Path != p.path || x.Arrival != l.now {
			t.Errorf("forwarded: %+v", x)
		}
	}
	if string(m[0].Data) != string(media) || string(m[2].Data) != string(check) {
		t.Error("the forwarded datagrams are not those that came")
	}
	// From an address that nobody validated nothing is forwarded.
	l.forget()
	l.receive(pathOf(77), media)
	if len(l.messages)+len(l.fed) != 0 {
		t.Error("media of an unknown path was forwarded")
	}
	// A new path's check is forwarded, so that the owner learns of it.
	l.receive(pathOf(78), p.check())
	if m := l.brought(bus.KindDatagram); len(m) != 1 || m[0].Path != pathOf(78) {
		t.Error("a check over a new path did not reach the owner")
	}
}

// All checks of a publisher came to its owner. A worker that met none of them forwards the publisher's media from the
// start. A viewer's reports wait for a check.
func TestForwardUnmet(t *testing.T) {
	l := newLab(t, 0, 2)
	p := &pub{party: l.party(api.Publisher, 1, published()...)}
	sealerOf(t, p)
	v := l.party(api.Subscriber, 1, watched(true)...)
	for _, x := range []*party{p.party, v} {
		l.tell(bus.SessionOwned(x.spec.ID, 1, x.path))
	}
	l.forget()
	l.receive(p.path, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: vp8(true, true, "")}))
	if m := l.brought(bus.KindDatagram); len(m) != 1 || m[0].To != 1 || m[0].ID != p.spec.ID || m[0].Path != p.path {
		t.Errorf("forwarded: %+v", m)
	}
	l.receive(v.path, make([]byte, 40))
	l.tell(bus.SessionClosed(p.spec.ID))
	l.receive(p.path, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 1, payload: vp8(false, true, "")}))
	if m := l.brought(bus.KindDatagram); len(m) != 1 {
		t.Errorf("%d forwarded after the session's end", len(m))
	}
	if len(l.routes) != 0 {
		t.Errorf("%d routes of a worker that sends nothing", len(l.routes))
	}
}

// The owner takes what others forward as if it had come to itself, and answers by its own queue.
func TestOwnerTakesForwarded(t *testing.T) {
	l := newLab(t, 0, 2)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	l.forget()
	elsewhere := pathOf(500)
	forwarded := func(id api.SessionID, data []byte) {
		l.bring(bus.DatagramTo(0, id, &port.Inbound{
			Path: elsewhere, Arrival: l.now, Data: append([]byte(nil), data...),
		}))
	}
	forwarded(p.spec.ID, p.seal(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: vp8(true, true, "key")}))
	if len(s.media(subVideo)) != 1 {
		t.Error("forwarded media was not taken")
	}
	elsewhere = pathOf(501) // the first is the publisher's now
	forwarded(s.spec.ID, s.check())
	if len(l.answers(elsewhere)) != 1 {
		t.Fatal("a forwarded check was not answered")
	}
	p.frame(1, 3000, false)
	if d := l.sent[len(l.sent)-1]; d.path != elsewhere {
		t.Error("a forwarded nomination was not followed")
	}
	// Not for a session of another owner, nor an unknown one.
	q := l.party(api.Subscriber, 1, watched(true)...)
	l.tell(bus.SessionOwned(q.spec.ID, 1, port.Path{}))
	l.forget()
	forwarded(q.spec.ID, q.check())
	forwarded(12345, q.check())
	if len(l.sent) != 0 || len(l.messages)+len(l.fed) != 0 {
		t.Error("a datagram for somebody else's session did something")
	}
}

// A worker that claimed and lost gives its routes up.
func TestLostClaim(t *testing.T) {
	l := newLab(t, 1, 2)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	l.pass(routeRest)
	if len(l.routes) != 0 {
		t.Errorf("%d routes are left", len(l.routes))
	}
	l.pass(2 * consentSpan)
	if len(l.said(bus.KindSessionEnded)) != 0 {
		t.Error("a worker that does not own a session ended it")
	}
}

// restarted is a session with the credentials of its nth ICE restart, 0 for those that it began with.
func restarted(spec *bus.Session, n int) *bus.Session {
	x := *spec
	if n > 0 {
		x.Local = api.Credentials{
			Ufrag: nameOf(x.ID, x.Role, n), Password: fmt.Sprint("password of restart ", n),
		}
		x.RemoteUfrag = fmt.Sprint("remote", n)
	}
	return &x
}

// ICE restarts that are never completed leave the credentials in force, at the owner and at the others. Completed ones
// end them everywhere.
func TestRestartsThatNobodyCompletes(t *testing.T) {
	for owner := range 2 {
		l := newLab(t, 0, 2)
		p := l.party(api.Publisher, 1, published()...)
		l.receive(p.path, p.check())
		l.tell(bus.SessionOwned(p.spec.ID, bus.Address(owner), port.Path{}))
		with := func(restart int, nominate bool) []byte {
			return (&party{lab: l, spec: restarted(p.spec, restart)}).request(nominate)
		}
		restart := func(n int) {
			spec := restarted(p.spec, n)
			l.tell(bus.SessionRestarted(spec.ID, spec.Local, spec.RemoteUfrag))
		}
		// taken reports whether a check is answered, or passed on to the owner.
		taken := func(data []byte) bool {
			l.forget()
			l.receive(p.path, data)
			return len(l.answers(p.path))+len(l.brought(bus.KindDatagram)) > 0
		}
		say := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("owner %d: %s: taken %t, want %t", owner, what, got, want)
			}
		}
		for n := range 6 {
			restart(n + 1)
			say("a check by the credentials in force", taken(with(0, false)), true)
			say("a check by the newest", taken(with(n+1, false)), true)
		}
		if n := len(l.w.sessions[p.spec.ID].ice.credentials); n > maxCredentials {
			t.Errorf("owner %d: %d user names of one session", owner, n)
		}
		if owner == 0 {
			say("a nomination by the newest", taken(with(6, true)), true)
			if m := l.said(bus.KindSessionNominated); len(m) != 1 || m[0].To != bus.Controller ||
				m[0].Local.Ufrag != nameOf(p.spec.ID, p.spec.Role, 6) {
				t.Errorf("the owner told %+v of the end of the restart", m)
			}
			if taken(with(6, true)); len(l.said(bus.KindSessionNominated)) != 0 {
				t.Error("the owner told the end of the restart twice")
			}
		} else {
			l.tell(bus.SessionSettled(p.spec.ID, nameOf(p.spec.ID, p.spec.Role, 6)))
		}
		say("the first after the end of the restart", taken(with(0, false)), false)
		say("the newest after the end of the restart", taken(with(6, false)), true)
		for n := range 3 {
			restart(n + 7)
		}
		say("those in force after more restarts", taken(with(6, false)), true)
		l.tell(closed(p))
		say("the newest after the end of the session", taken(with(6, false)), false)
	}
}

// The controller is told once that a check reached a session that nobody owns, and that it was claimed instead
// where the check nominates.
func TestSessionReached(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	for range 3 {
		l.receive(p.path, p.request(false))
	}
	if n := len(l.said(bus.KindSessionReached)); n != 1 {
		t.Errorf("the controller was told %d times that a check came; expected once", n)
	}
	nominated := l.party(api.Subscriber, 1, watched(true)...)
	l.forget()
	l.receive(nominated.path, nominated.check())
	reached, claimed := len(l.said(bus.KindSessionReached)), len(l.said(bus.KindSessionClaimed))
	if reached != 0 || claimed != 1 {
		t.Errorf("a nomination was told as %d checks and %d claims; expected 1 claim", reached, claimed)
	}
	forged := l.party(api.Subscriber, 1, watched(true)...)
	l.forget()
	check := forged.request(false)
	check[len(check)-10]++
	l.receive(forged.path, check)
	if n := len(l.said(bus.KindSessionReached)); n != 0 {
		t.Errorf("a forged check was told %d times; expected never", n)
	}
}
