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
	"ringcast/engine/ufrag"
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
	r, ok := l.hasher.VerifyResponse(answers[0], p.spec.Local.Password)
	if !ok || r.Code != 0 || r.Mapped != p.path.Remote {
		t.Errorf("code %d, authentic %t, mapped address %s; the check came from %s",
			r.Code, ok, r.Mapped, p.path.Remote)
	}
	if n := len(l.said(bus.KindSessionClaimed)); n != 0 {
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
		"wrong password":        signed(l, p, "another password"),
		"unknown user":          stranger.check(),
		"unknown restart":       restarted.check(),
		"no ufrag of ours":      forged.check(),
		"wrong remote half":     (&party{lab: l, spec: &foreign}).check(),
		"fingerprint":           flip(len(good) - 1),
		"integrity":             flip(len(good) - 20),
		"cut short":             good[:len(good)-4],
		"a header alone":        good[:20],
		"one byte":              good[:1],
		"an indication":         append([]byte{0, 0x11}, good[2:]...),
		"a success response":    append([]byte{1, 1}, good[2:]...),
		"without fingerprint":   withoutFingerprint(good),
		"bytes after the check": append(append([]byte(nil), good...), 0, 0, 0, 0),
	} {
		l.receive(p.path, data)
		if len(l.sent) != 0 || len(l.messages)+len(l.fed) != 0 {
			t.Errorf("%s: %d datagrams and %d messages", name, len(l.sent), len(l.messages)+len(l.fed))
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
		r, ok := l.hasher.VerifyResponse(a, p.spec.Local.Password)
		if !ok || r.Code != 400+int(c.code) || !bytes.Equal(a[8:20], c.data[8:20]) {
			t.Errorf("%s: code %d, authentic %t: %x", name, r.Code, ok, a)
		}
		if c.code == 20 && !bytes.Contains(a, []byte{0x00, 0x0A, 0, 2, 0x7A, 0xBC}) {
			t.Errorf("the answer does not name the attribute: %x", a)
		}
		if len(l.said(bus.KindSessionClaimed)) != 0 {
			t.Errorf("%s: a refused check nominated", name)
		}
	}
	// Optional ones that nobody knows, and Chromium's own, are ignored.
	l.forget()
	l.receive(p.path,
		signed(l, p, p.spec.Local.Password, 0xC057, make([]byte, 4), 0x8022, []byte("agent"), 0x802A, make([]byte, 8)))
	if a := l.answers(p.path); len(a) != 1 {
		t.Fatal("no answer")
	} else if r, ok := l.hasher.VerifyResponse(a[0], p.spec.Local.Password); !ok || r.Code != 0 {
		t.Error("a check with optional attributes was refused")
	}
}

// mac is HMAC-SHA1.
func mac(key string, message []byte) []byte {
	h := hmac.New(sha1.New, []byte(key))
	h.Write(message)
	return h.Sum(nil)
}

// named is a check of a peer by another ufrag.
func (p *party) named(name string) []byte {
	spec := *p.spec
	spec.Local.Ufrag = name
	return (&party{lab: p.lab, spec: &spec}).request(false)
}

// others makes keys that are not the lab's.
func others(seed byte) *ufrag.Keys {
	return ufrag.New(func(b []byte) {
		for i := range b {
			b[i] = seed + byte(i)
		}
	})
}

// Forged checks are dropped for that alone, over known paths and unknown ones. A check without USERNAME is malformed,
// as before. Nothing is allocated.
func TestForgedChecks(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	l.forget()
	stolen := others(7).Make(ufrag.ID{Session: uint64(p.spec.ID), Role: uint8(p.spec.Role)})
	forgeries := []string{"none", "", p.spec.Local.Ufrag + "A", stolen}
	for _, name := range forgeries {
		l.receive(p.path, p.named(name))
		l.receive(pathOf(5000), p.named(name))
	}
	if n := l.drops(DropForged); n != 2*uint64(len(forgeries)) || len(l.sent) != 0 {
		t.Errorf("%d of %d dropped as forged, %d answers, want all and none", n, 2*len(forgeries), len(l.sent))
	}
	in := port.Inbound{Path: pathOf(5001), Data: p.named("none")}
	if n := testing.AllocsPerRun(100, func() { l.w.HandlePacket(l.now, &in) }); n != 0 {
		t.Errorf("%v allocations for each, want 0", n)
	}
	// No forgery takes anything from the session.
	l.receive(pathOf(5002), p.request(false))
	if n := len(l.answers(pathOf(5002))); n != 1 {
		t.Errorf("%d answers to the peer after the forgeries, want 1", n)
	}
}

// Keys turn twice. New sessions are checked by the new keys. A session that is older than both still moves to a new
// address, checks on, and restarts. A forgery of an old term is dropped: no session has it.
func TestKeysTurn(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	p.connect()
	fill := func(b []byte) { clear(b) }
	keys := labUfrags
	for range 2 {
		keys = keys.Turn(fill)
		l.tell(bus.UfragKeysTurned(keys))
	}
	if _, v := keys.Check([]byte(p.spec.Local.Ufrag)); v != ufrag.Expired {
		t.Fatalf("verdict %d for the session's ufrag, want %d", v, ufrag.Expired)
	}
	l.forget()
	l.receive(p.path, p.request(false))
	moved := pathOf(5000)
	l.receive(moved, p.check())
	if a, b := len(l.answers(p.path)), len(l.answers(moved)); a != 1 || b != 1 {
		t.Errorf("%d answers at the old address, %d at the new, want 1 and 1", a, b)
	}
	forged := []byte(p.spec.Local.Ufrag)
	forged[len(forged)-1] ^= 1
	l.receive(pathOf(5001), p.named(string(forged)))
	l.receive(pathOf(5001), p.named(nameOf(99, p.spec.Role, 0)))
	if n := l.drops(DropUfrag); n != 2 || len(l.answers(pathOf(5001))) != 0 {
		t.Errorf("%d of 2 forgeries dropped for no session, %d answers, want 2 and 0", n, len(l.answers(pathOf(5001))))
	}
	// A ufrag that is made now is checked by the new keys.
	name := keys.Make(ufrag.ID{Session: uint64(p.spec.ID), Role: uint8(p.spec.Role), Restart: 1})
	local := api.Credentials{Ufrag: name, Password: p.spec.Local.Password}
	l.tell(bus.SessionRestarted(p.spec.ID, local, p.spec.RemoteUfrag))
	l.forget()
	l.receive(moved, p.named(name))
	if n := len(l.answers(moved)); n != 1 {
		t.Errorf("%d answers by the restart's ufrag, want 1", n)
	}
}

// The ufrag of one answer lets through 50 checks a second from anywhere. Once the session has a path it is 5, and 50
// again while it restarts ICE. Its own paths are never limited.
func TestUfragFlood(t *testing.T) {
	for owner := range 2 {
		l := newLab(t, 0, 2)
		p := l.party(api.Subscriber, 1, watched(true)...)
		from := 1000
		// flood sends more than is ever let through in a second, from addresses of their own, and counts what is.
		flood := func(data []byte) (n int) {
			l.pass(newPathBurst)
			before := l.drops(DropUfragFlood)
			for range 100 {
				l.receive(pathOf(from), data)
				from++
			}
			return 100 - int(l.drops(DropUfragFlood)-before)
		}
		wrong := signed(l, p, "another password")
		say := func(when string, got, want int) {
			t.Helper()
			if got != want {
				t.Errorf("owner %d: %s: %d verified, want %d", owner, when, got, want)
			}
		}
		say("without a path", flood(wrong), 50)
		l.pass(openInterval)
		l.receive(p.path, p.check())
		l.tell(bus.SessionOwned(p.spec.ID, bus.Address(owner), port.Path{}))
		say("with a path", flood(wrong), 5)
		l.forget()
		for range 100 {
			l.receive(p.path, p.request(false))
		}
		say("over its path", len(l.answers(p.path))+len(l.brought(bus.KindDatagram)), 100)
		local := api.Credentials{Ufrag: nameOf(p.spec.ID, p.spec.Role, 1), Password: p.spec.Local.Password}
		l.tell(bus.SessionRestarted(p.spec.ID, local, "remote"))
		say("during a restart", flood(wrong), 50)
	}
}

// BenchmarkRefusedCheck measures a check from an unknown address, by how far it gets.
func BenchmarkRefusedCheck(b *testing.B) {
	l := newLab(b, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	stolen := others(7).Make(ufrag.ID{Session: uint64(p.spec.ID), Role: uint8(p.spec.Role)})
	for _, c := range []struct {
		name  string
		check []byte
		drop  DropReason
	}{
		{"forged", p.named(stolen), DropForged},
		{"no session", p.named(nameOf(99, p.spec.Role, 0)), DropUfrag},
		{"wrong password", signed(l, p, "another password"), DropSTUNAuth},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := port.Inbound{Path: pathOf(5000), Data: c.check}
			before, n := l.drops(c.drop), 0
			for b.Loop() {
				l.now += openInterval // so that no check is one too many
				l.w.HandlePacket(l.now, &in)
				n++
			}
			if got := l.drops(c.drop) - before; got != uint64(n) {
				b.Errorf("%v was counted %d times, want %d", c.drop, got, n)
			}
		})
	}
}
