package worker

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// signed builds a Binding request with any attributes, then integrity by password and a fingerprint.
// The attributes are type, value, type, value.
func signed(l *lab, p *party, password string, attributes ...any) []byte {
	l.Helper()
	b := []byte{0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	add := func(kind int, v []byte) {
		b = binary.BigEndian.AppendUint16(b, uint16(kind))
		b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
		b = append(b, v...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	add(0x0006, []byte(p.spec.Local.Ufrag+":"+p.spec.RemoteUfrag))
	for i := 0; i < len(attributes); i += 2 {
		add(attributes[i].(int), attributes[i+1].([]byte))
	}
	length := func(n int) { binary.BigEndian.PutUint16(b[2:], uint16(n)) }
	length(len(b) - 20 + 24)
	add(0x0008, mac(password, b))
	length(len(b) - 20 + 8)
	add(0x8028, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)^0x5354554E))
	return b
}

func TestCheckIsAnswered(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.request(false))
	answers := l.answers(p.path)
	if len(answers) != 1 {
		t.Fatalf("%d answers", len(answers))
	}
	_, success, mapped, ok := l.hasher.VerifyResponse(answers[0], p.spec.Local.Password)
	if !ok || !success || mapped != p.path.Remote {
		t.Errorf("success %t, authentic %t, mapped address %s; the check came from %s", success, ok, mapped, p.path.Remote)
	}
	if n := len(l.said(bus.SessionClaimed)); n != 0 {
		t.Error("a check that nominates nothing claimed the session")
	}
}

func TestChecksThatGetNoAnswer(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	good := p.check()
	flip := func(at int) []byte {
		b := append([]byte(nil), good...)
		b[at] ^= 1
		return b
	}
	other := *p.spec
	other.Local.Ufrag = nameOf(99, other.Role, 0)
	stranger := &party{lab: l, spec: &other, path: p.path}
	other2, other3 := *p.spec, *p.spec
	other2.Local.Ufrag, other3.Local.Ufrag = nameOf(p.spec.ID, p.spec.Role, 1), "forged"
	restarted, forged := &party{lab: l, spec: &other2}, &party{lab: l, spec: &other3}
	foreign := *p.spec
	foreign.RemoteUfrag = "other"
	for name, data := range map[string][]byte{
		"wrong password":         signed(l, p, "another password"),
		"unknown user":           stranger.check(),
		"unknown restart":        restarted.check(),
		"no ufrag of ours":       forged.check(),
		"wrong remote half":      (&party{lab: l, spec: &foreign}).check(),
		"fingerprint":            flip(len(good) - 1),
		"integrity":              flip(len(good) - 20),
		"cut short":              good[:len(good)-4],
		"a header alone":         good[:20],
		"one byte":               good[:1],
		"an indication":          append([]byte{0, 0x11}, good[2:]...),
		"a success response":     append([]byte{1, 1}, good[2:]...),
		"without fingerprint":    withoutFingerprint(good),
		"bytes behind the check": append(append([]byte(nil), good...), 0, 0, 0, 0),
	} {
		l.receive(p.path, data)
		if len(l.sent) != 0 || len(l.messages) != 0 {
			t.Errorf("%s: %d datagrams and %d messages", name, len(l.sent), len(l.messages))
			l.forget()
		}
	}
	if n := len(l.w.sessions[p.spec.ID].paths); n != 0 {
		t.Errorf("%d paths were validated", n)
	}
	l.receive(p.path, good)
	if len(l.answers(p.path)) != 1 {
		t.Error("the good check was not answered")
	}
}

func withoutFingerprint(b []byte) []byte {
	b = append([]byte(nil), b[:len(b)-8]...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}

func TestCheckErrors(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	for name, c := range map[string]struct {
		data []byte
		code byte
	}{
		"ICE-CONTROLLED":      {signed(l, p, p.spec.Local.Password, 0x8029, make([]byte, 8), 0x0025, []byte{}), 87},
		"an unknown required": {signed(l, p, p.spec.Local.Password, 0x7ABC, make([]byte, 4), 0x0025, []byte{}), 20},
	} {
		l.forget()
		l.receive(p.path, c.data)
		answers := l.answers(p.path)
		if len(answers) != 1 {
			t.Fatalf("%s: %d answers", name, len(answers))
		}
		a := answers[0]
		_, success, _, ok := l.hasher.VerifyResponse(a, p.spec.Local.Password)
		if success || !ok || !bytes.Equal(a[8:20], c.data[8:20]) || !bytes.Contains(a, []byte{0, 0, 4, c.code}) {
			t.Errorf("%s: success %t, authentic %t: %x", name, success, ok, a)
		}
		if c.code == 20 && !bytes.Contains(a, []byte{0x00, 0x0A, 0, 2, 0x7A, 0xBC}) {
			t.Errorf("the answer does not name the attribute: %x", a)
		}
		if len(l.said(bus.SessionClaimed)) != 0 {
			t.Errorf("%s: a refused check nominated", name)
		}
	}
	// Optional ones that nobody knows, and Chromium's own, are ignored.
	l.forget()
	l.receive(p.path, signed(l, p, p.spec.Local.Password, 0xC057, make([]byte, 4), 0x8022, []byte("agent"), 0x802A, make([]byte, 8)))
	if a := l.answers(p.path); len(a) != 1 {
		t.Fatal("no answer")
	} else if _, success, _, ok := l.hasher.VerifyResponse(a[0], p.spec.Local.Password); !ok || !success {
		t.Error("a check with optional attributes was refused")
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

// Checks of one session from ever more forged addresses do not take up routes, of which all share the port's
// and the guard's: each of a path that was given up rests.
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

// A route rests before it is used again, so that a frame which the port kept never reaches another.
func TestRoutesRest(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	var route port.Route
	for r, path := range l.routes {
		if path == p.path {
			route = r
		}
	}
	l.tell(closed(p))
	if l.routes[route] != p.path {
		t.Error("a route was revoked at once: what the port kept is lost, or goes astray")
	}
	q := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(q.path, q.check())
	if l.routes[route] != p.path {
		t.Fatal("a route was given away while it rested")
	}
	l.pass(routeRest - 1)
	if l.routes[route] != p.path {
		t.Error("a route was revoked before its rest was over")
	}
	l.pass(1)
	if _, ok := l.routes[route]; ok {
		t.Fatal("a rested route was not revoked")
	}
	r := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(r.path, r.check())
	if l.routes[route] != r.path {
		t.Error("a rested route is not used again: the port's table grows without end")
	}
	if l.w.nextRoute != 2 {
		t.Errorf("%d routes were made for two sessions at a time", l.w.nextRoute)
	}
}

// More checks than the queue holds between two polls are dropped and counted.
func TestRepliesAreBounded(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	check := p.check()
	for range maxReplies + 10 {
		l.quietly(p.path, check)
	}
	l.poll()
	if n := len(l.answers(p.path)); n != maxReplies || l.drops(DropReplies) != 10 {
		t.Errorf("%d answers, %d dropped", n, l.drops(DropReplies))
	}
}

// mac is HMAC-SHA1.
func mac(key string, message []byte) []byte {
	h := hmac.New(sha1.New, []byte(key))
	h.Write(message)
	return h.Sum(nil)
}
