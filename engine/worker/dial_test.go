package worker

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
)

const dialTieBreaker = 1 << 40

// A dialled is a session that the worker under test dials, and its upstream.
type dialled struct {
	*party
	candidates []port.Path
}

// A heard is a check of the worker's that the upstream received.
type heard struct {
	stun.Check
	datagram
}

func candidate(n int, session api.SessionID) port.Path {
	return port.Path{
		Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 200, byte(n)}), 7000),
		Local:  port.Socket(uint64(session)),
	}
}

// dial announces a session that the worker dials, with some candidates.
func (l *lab) dial(role api.Role, candidates int, tracks ...rtp.Track) *dialled {
	l.Helper()
	l.batching = true
	d := &dialled{party: l.party(role, 1, tracks...)}
	l.w.sessions = map[api.SessionID]*session{} // party announced it as an ordinary one
	l.batching = false
	d.spec.Dial = &bus.Dial{Password: "the password of the upstream", TieBreaker: dialTieBreaker}
	for i := range candidates {
		d.candidates = append(d.candidates, candidate(i, d.spec.ID))
	}
	d.spec.Dial.Paths, d.path = d.candidates, d.candidates[0]
	l.tell(bus.SessionOpened(d.spec))
	return d
}

// checks are those that the worker sent since forget. All must be authentic.
func (d *dialled) checks() (all []heard) {
	d.lab.Helper()
	for _, x := range d.lab.sent {
		var c stun.Check
		if x.data[0] > 3 || !stun.IsBindingRequest(x.data) {
			continue
		}
		if !c.Parse(x.data) || !d.lab.hasher.Verify(&c, d.spec.Dial.Password) ||
			string(c.LocalUfrag) != d.spec.RemoteUfrag || string(c.RemoteUfrag) != d.spec.Local.Ufrag {
			d.lab.Fatalf("the upstream would not believe the check %x", x.data)
		}
		all = append(all, heard{c, x})
	}
	return all
}

// success is the upstream's answer to a check.
func (d *dialled) success(c *heard) []byte {
	mapped := netip.MustParseAddrPort("203.0.113.7:4242") // as a NAT would
	return d.lab.hasher.AppendSuccess(nil, &c.TransactionID, mapped, d.spec.Dial.Password)
}

// answer answers all checks since forget, and forgets them.
func (d *dialled) answer() (n int) {
	d.lab.Helper()
	checks := d.checks()
	d.lab.forget()
	for i := range checks {
		d.lab.receive(checks[i].path, d.success(&checks[i]))
	}
	return len(checks)
}

// link answers until the session has a path and keys.
func (d *dialled) link() {
	d.lab.Helper()
	d.answer()
	d.answer()
	d.lab.tell(bus.SessionKeyed(0, d.spec.ID, d.ours))
	d.lab.forget()
}

// request is a check of the upstream.
func (d *dialled) request(with stun.Request) []byte {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], d.lab.rand())
	with.Username, with.Password = d.spec.Local.Ufrag+":"+d.spec.RemoteUfrag, d.spec.Local.Password
	with.Priority = 1
	return d.lab.hasher.AppendRequest(nil, &id, with)
}

// Candidates are checked one each 20 ms, those that do not answer again after 500 ms, then after twice as long.
func TestDialChecksCandidates(t *testing.T) {
	l := newLab(t, 0, 1)
	start := l.now
	d := l.dial(api.Publisher, 3, published()...)
	l.pass(4 * port.Second)
	var at []port.Time
	for i, c := range d.checks() {
		at = append(at, (c.at-start)/port.Millisecond)
		if c.path != d.candidates[i%3] || !c.Controlling || c.Controlled || c.UseCandidate ||
			c.TieBreaker != dialTieBreaker || c.Priority != peerReflexive {
			t.Errorf("check %d went to %v: %+v", i, c.path, c.Check)
		}
	}
	if want := []port.Time{0, 20, 40, 500, 520, 540, 1500, 1520, 1540, 3500, 3520, 3540}; !slices.Equal(at, want) {
		t.Errorf("checks after %v ms; expected %v", at, want)
	}
	if n := len(l.said(bus.KindSessionClaimed)); n != 0 {
		t.Error("a session without an answer was claimed")
	}
	if n := l.counted(SentChecks); n != 12 {
		t.Errorf("%d checks were counted; expected 12", n)
	}
}

// The first path that answers is nominated and claimed at once. A nomination that is not answered is repeated.
func TestDialNominatesFirstAnswer(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 3, published()...)
	l.pass(30 * port.Millisecond)
	checks := d.checks()
	if len(checks) != 2 {
		t.Fatalf("%d checks; expected 2", len(checks))
	}
	l.forget()
	l.receive(checks[1].path, d.success(&checks[1]))
	if got := l.said(bus.KindSessionClaimed); len(got) != 1 || got[0].Path != d.candidates[1] {
		t.Fatalf("the session was claimed %v; expected by the second candidate", got)
	}
	start := l.now
	l.receive(checks[0].path, d.success(&checks[0]))
	l.pass(900 * port.Millisecond) // not yet silent
	var at []port.Time
	for _, c := range d.checks() {
		at = append(at, (c.at-start)/port.Millisecond)
		if c.path != d.candidates[1] || !c.UseCandidate {
			t.Errorf("a check without nomination, or of %v", c.path)
		}
	}
	if want := []port.Time{0, 500}; !slices.Equal(at, want) {
		t.Errorf("nominations after %v ms; expected %v", at, want)
	}
	if n := len(l.said(bus.KindSessionClaimed)); n != 1 {
		t.Errorf("the session was claimed %d times", n)
	}
}

// A session that is heard checks its path each 4 to 6 s. One that is not heard for a second calls out three times.
// Answers keep it, however long the upstream has no media.
func TestDialConsent(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	d.link()
	p := d.publisher()
	start, last := l.now, l.now
	checks := 0
	for l.now < start+60*port.Second {
		seq := uint64(l.now / (10 * port.Millisecond))
		l.receive(d.path, p.seal(packet{ssrc: audioSSRC, pt: pubOpus, seq: seq, payload: []byte("x")}))
		l.pass(500 * port.Millisecond)
		for _, c := range d.checks() {
			if pause := c.at - last; checks > 0 && (pause < 4*port.Second || pause > 6*port.Second) {
				t.Errorf("two checks with %.3f s between; expected 4 to 6", pause.Seconds())
			}
			last = c.at
			checks++
		}
		d.answer()
	}
	if checks < 9 || checks > 15 {
		t.Errorf("%d checks within a minute; expected one each 4 to 6 s", checks)
	}
	for start = l.now; l.now < start+60*port.Second; l.pass(20 * port.Millisecond) {
		checks += d.answer()
	}
	if n := len(l.said(bus.KindSessionEnded)); n != 0 || checks < 60 {
		t.Errorf("%d checks, and the paused publisher's session ended %d times", checks, n)
	}
	l.pass(2 * port.Second)
	quiet := d.checks()
	ended := l.said(bus.KindSessionEnded)
	if len(quiet) != quietChecks || len(ended) != 1 || ended[0].Reason != api.ReasonUpstreamSilent {
		t.Fatalf("%d checks, ended by %v; expected %d and %s", len(quiet), ended, quietChecks,
			api.ReasonUpstreamSilent)
	}
	for i := 1; i < len(quiet); i++ {
		if pause := quiet[i].at - quiet[i-1].at; pause != quietPause {
			t.Errorf("two checks of a silent upstream with %d ms between", pause/port.Millisecond)
		}
	}
}

// publisher is the upstream's half of a pull that is keyed.
func (d *dialled) publisher() *pub {
	d.lab.Helper()
	sealer, err := srtp.NewSealer(d.keys)
	if err != nil {
		d.lab.Fatal(err)
	}
	p := &pub{party: d.party, sealer: sealer, generation: 1}
	d.lab.tell(bus.PublicationOpened(1, 1, d.lab.w.address(), d.spec))
	return p
}

// One late answer is enough, and one of a round trip of half a second.
func TestDialLateAnswers(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	d.link()
	late := d.checks()
	for range 40 {
		l.pass(500 * port.Millisecond)
		now := d.checks()
		l.forget()
		for i := range late {
			l.receive(late[i].path, d.success(&late[i]))
		}
		late = now
	}
	if l.w.sessions[d.spec.ID].ending {
		t.Error("a session with a round trip of half a second ended")
	}
}

// Responses that are forged, replayed, in error, or from elsewhere, change nothing.
func TestDialResponsesThatCountNot(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 2, published()...)
	l.pass(30 * port.Millisecond)
	c := d.checks()[0]
	good := d.success(&c)
	flip := func(at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 1
		return b
	}
	wrong := l.hasher.AppendSuccess(nil, &c.TransactionID, c.path.Remote, "another password")
	ours := l.hasher.AppendSuccess(nil, &c.TransactionID, c.path.Remote, d.spec.Local.Password)
	stranger := c.path
	stranger.Remote = netip.MustParseAddrPort("198.18.200.99:7000")
	for _, x := range []struct {
		name   string
		path   port.Path
		data   []byte
		reason DropReason
	}{
		{"wrong password", c.path, wrong, DropSTUNAuth},
		{"our own password", c.path, ours, DropSTUNAuth},
		{"other transaction", c.path, flip(10), DropUnasked},
		{"changed address", c.path, flip(30), DropSTUNAuth},
		{"cut short", c.path, good[:24], DropSTUNAuth},
		{"from another candidate", d.candidates[1], good, DropUnasked},
		{"from a stranger", stranger, good, DropSTUN},
		{"from another socket", port.Path{Remote: c.path.Remote, Local: port.Socket(99)}, good, DropSTUN},
	} {
		before := l.drops(x.reason)
		l.receive(x.path, x.data)
		if n := l.drops(x.reason) - before; n != 1 {
			t.Errorf("%s: counted %d times as %s", x.name, n, x.reason)
		}
	}
	refusal := l.hasher.AppendError(nil, &d.checks()[1].TransactionID, stun.CodeBadRequest, nil, d.spec.Dial.Password)
	l.receive(d.candidates[1], refusal)
	if n := len(l.said(bus.KindSessionClaimed)); n != 0 {
		t.Fatal("a session was claimed by a response that does not count")
	}
	l.receive(c.path, good)
	if n := len(l.said(bus.KindSessionClaimed)); n != 1 {
		t.Fatal("the good response did not count")
	}
	s := l.w.sessions[d.spec.ID]
	at := s.heard
	l.pass(100 * port.Millisecond)
	l.receive(c.path, good)
	if s.heard != at || l.drops(DropUnasked) != 3 {
		t.Errorf("a replayed response counts: heard at %d, then %d", at, s.heard)
	}
}

// The greater tie-breaker decides if both sides claim a role (RFC 8445 section 7.3.1.1).
func TestDialRoleConflict(t *testing.T) {
	for _, x := range []struct {
		name             string
		first, second    stun.Request
		code             int
		controlledBefore bool
		controlled       bool
	}{
		{name: "the upstream controls, with less", second: stun.Request{TieBreaker: dialTieBreaker - 1}, code: 487},
		{name: "the upstream controls, with as much", second: stun.Request{TieBreaker: dialTieBreaker}, code: 487},
		{
			name: "the upstream controls, with more", second: stun.Request{TieBreaker: dialTieBreaker + 1},
			controlled: true,
		},
		{name: "the upstream is controlled", second: stun.Request{Controlled: true, TieBreaker: dialTieBreaker + 1}},
		{
			name: "neither controls, it has more", controlledBefore: true,
			second: stun.Request{Controlled: true, TieBreaker: dialTieBreaker + 1}, code: 487, controlled: true,
		},
		{
			name: "neither controls, it has less", controlledBefore: true,
			second: stun.Request{Controlled: true, TieBreaker: dialTieBreaker - 1},
		},
	} {
		l := newLab(t, 0, 1)
		d := l.dial(api.Publisher, 1, published()...)
		if x.controlledBefore {
			l.receive(d.path, d.request(stun.Request{TieBreaker: dialTieBreaker + 1}))
		}
		l.forget()
		l.receive(d.path, d.request(x.second))
		var code int
		for _, a := range l.answers(d.path) {
			if r, ok := l.hasher.VerifyResponse(a, d.spec.Local.Password); ok {
				code = r.Code
			}
		}
		if got := l.w.sessions[d.spec.ID].dialling().controlled; got != x.controlled || code != x.code {
			t.Errorf("%s: controlled %t, code %d; expected %t, %d", x.name, got, code, x.controlled, x.code)
		}
	}
}

// A session takes the other role when the upstream demands it, and checks again at once. An upstream that demands it
// without end gets nowhere.
func TestDialRoleIsRefused(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	for n := range 2 * maxTurns {
		checks := d.checks()
		if want := min(1, max(0, maxTurns+1-n)); len(checks) != want {
			t.Fatalf("%d checks after %d conflicts; expected %d", len(checks), n, want)
		}
		if len(checks) == 0 {
			break
		}
		c := &checks[0]
		if want := n%2 == 1; c.Controlled != want || c.Controlling == want {
			t.Errorf("after %d conflicts: controlled %t", n, c.Controlled)
		}
		l.forget()
		l.receive(c.path, l.hasher.AppendError(nil, &c.TransactionID, stun.CodeRoleConflict, nil, d.spec.Dial.Password))
	}
	l.pass(port.Second)
	if n := len(d.checks()); n == 0 {
		t.Error("no more checks")
	}
}

// Two servers that dial each other both begin as the controlling agent. One of them gives way, and both get a path.
func TestDialEachOther(t *testing.T) {
	for _, first := range []uint64{dialTieBreaker - 1, dialTieBreaker + 1} {
		a, b := newLab(t, 0, 1), newLab(t, 0, 1)
		b.ids = 7
		x, y := a.party(api.Publisher, 1, published()...), b.party(api.Subscriber, 1, watched(true)...)
		ends := [...]*party{x, y}
		var sockets [2]netip.AddrPort
		for i, p := range ends {
			other := ends[1-i].spec
			p.lab.w.sessions = map[api.SessionID]*session{} // party announced it as an ordinary one
			sockets[i] = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 200, byte(i)}), 7000)
			p.spec.RemoteUfrag = other.Local.Ufrag
			p.spec.Dial = &bus.Dial{Password: other.Local.Password, TieBreaker: dialTieBreaker}
		}
		x.spec.Dial.TieBreaker = first
		for i, p := range ends {
			p.spec.Dial.Paths = []port.Path{{Remote: sockets[1-i], Local: port.Socket(uint64(p.spec.ID))}}
			p.lab.tell(bus.SessionOpened(p.spec))
		}
		for range 200 {
			for i, p := range ends {
				sent, to := p.lab.sent, ends[1-i]
				p.lab.sent = nil
				for _, d := range sent {
					to.lab.receive(port.Path{Remote: sockets[i], Local: port.Socket(uint64(to.spec.ID))}, d.data)
				}
			}
			a.pass(10 * port.Millisecond)
			b.pass(10 * port.Millisecond)
		}
		p, q := a.w.sessions[x.spec.ID], b.w.sessions[y.spec.ID]
		if p.dialling().controlled == q.dialling().controlled {
			t.Errorf("both ends are controlled: %t", p.dialling().controlled)
		}
		if want := first < dialTieBreaker; p.dialling().controlled != want {
			t.Errorf("tie-breakers %d and %d: the first is controlled: %t", first, dialTieBreaker, !want)
		}
		if len(a.said(bus.KindSessionClaimed)) != 1 || len(b.said(bus.KindSessionClaimed)) != 1 || p.ending ||
			q.ending || !p.paths[p.selected].nominated && !q.paths[q.selected].nominated {
			t.Error("an end has no path, or was not nominated")
		}
	}
}

// In the controlled role the upstream nominates. We do not.
func TestDialControlled(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 2, published()...)
	l.receive(d.path, d.request(stun.Request{TieBreaker: dialTieBreaker + 1}))
	l.pass(100 * port.Millisecond)
	for _, c := range d.checks()[1:] {
		if !c.Controlled {
			t.Error("a check in the wrong role")
		}
	}
	for range 3 {
		for _, c := range d.checks() {
			if c.UseCandidate {
				t.Error("a nomination in the controlled role")
			}
		}
		d.answer()
		l.pass(10 * port.Millisecond)
	}
	d.answer()
	l.receive(d.candidates[1], d.request(stun.Request{UseCandidate: true, TieBreaker: dialTieBreaker + 1}))
	if s := l.w.sessions[d.spec.ID]; s.selected < 0 || s.paths[s.selected].Path != d.candidates[1] {
		t.Errorf("path %d of %v is selected; expected the upstream's choice", s.selected, s.paths)
	}
}

// A check from an address that is no candidate makes it one. There are never more than eight.
func TestDialPeerReflexive(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	l.pass(10 * port.Millisecond)
	l.forget()
	other := candidate(50, d.spec.ID)
	l.receive(other, d.request(stun.Request{Controlled: true}))
	if n := len(l.answers(other)); n != 2 {
		t.Errorf("%d datagrams; expected an answer and a check", n)
	}
	checks := d.checks()
	if len(checks) != 1 || checks[0].path != other || checks[0].UseCandidate {
		t.Fatalf("checked %v; expected the new path", checks)
	}
	d.answer()
	if got := d.checks(); len(got) != 1 || got[0].path != other || !got[0].UseCandidate {
		t.Errorf("%d checks; expected a nomination of the new path", len(got))
	}
	for i := range 100 {
		l.pass(port.Second / 4)
		l.receive(candidate(60+i, d.spec.ID), d.request(stun.Request{Controlled: true}))
		d.answer()
	}
	if n := len(l.w.sessions[d.spec.ID].paths); n > maxPaths {
		t.Errorf("%d paths; expected %d at most", n, maxPaths)
	}
}

// DTLS counts only once some candidate answered.
func TestDialRecordsNeedPath(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	l.receive(d.path, []byte{22, 254, 253})
	if n := len(l.said(bus.KindRecordReceived)); n != 0 || l.drops(DropRecords) != 1 {
		t.Errorf("%d records were passed on before any answer", n)
	}
	d.answer()
	l.receive(d.path, []byte{22, 254, 253})
	if n := len(l.said(bus.KindRecordReceived)); n != 1 {
		t.Errorf("%d records were passed on; expected 1", n)
	}
}

// A pull's stream can be watched before it is connected: its media comes once there are keys.
func TestDialWatchedBeforeConnected(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	sealer, err := srtp.NewSealer(d.keys)
	if err != nil {
		t.Fatal(err)
	}
	p := &pub{party: d.party, sealer: sealer, generation: 1}
	l.tell(bus.PublicationOpened(1, 1, l.w.address(), d.spec))
	viewer := l.watch(1, watched(true)...)
	d.answer()
	d.answer()
	l.tell(bus.SessionKeyed(0, d.spec.ID, d.ours))
	l.pass(100 * port.Millisecond)
	p.frame(0, 1000, true)
	if n := len(viewer.sent()); n == 0 {
		t.Error("the viewer was sent nothing")
	}
	if n := len(l.said(bus.KindMediaBegan)); n != 1 {
		t.Errorf("media began %d times", n)
	}
}

// Checks and their answers allocate nothing.
func TestDialAllocatesNothing(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 1, published()...)
	d.link()
	s := l.w.sessions[d.spec.ID]
	var answer [256]byte
	if n := testing.AllocsPerRun(100, func() {
		l.w.check(l.now, s, 0)
		l.w.Poll(l.now, &l.out)
		var id [12]byte
		copy(id[:], l.out.Frames[0].Data[8:])
		l.out.Frames[0].Data = l.memory[0][:0]
		l.out.Filled = 0
		data := l.hasher.AppendSuccess(answer[:0], &id, d.path.Remote, d.spec.Dial.Password)
		l.w.HandlePacket(l.now, &port.Inbound{Path: d.path, Data: data, Arrival: l.now})
	}); n != 0 {
		t.Errorf("a check and its answer allocate %.1f times", n)
	}
	if l.drops(DropUnasked)+l.drops(DropSTUNAuth)+l.drops(DropSTUN) != 0 {
		t.Error("answers were dropped")
	}
}

// Nothing of a session that ended is left.
func TestDialLeavesNothing(t *testing.T) {
	l := newLab(t, 0, 1)
	d := l.dial(api.Publisher, 8, published()...)
	l.pass(3 * port.Second)
	l.tell(bus.SessionClosed(d.spec.ID))
	l.pass(5 * port.Second)
	if len(l.w.sessions) != 0 || len(l.w.byPath) != 0 || len(l.routes) != 0 || len(l.w.deadlines) != 0 {
		t.Errorf("%d sessions, %d paths, %d routes, %d deadlines are left",
			len(l.w.sessions), len(l.w.byPath), len(l.routes), len(l.w.deadlines))
	}
}

// Only an authentic answer gives a dialled session a path.
func FuzzDialResponse(f *testing.F) {
	build := func(tb testing.TB) (*lab, *dialled, heard) {
		l := newLab(tb, 0, 1)
		d := l.dial(api.Publisher, 2, published()...)
		return l, d, d.checks()[0]
	}
	l, d, c := build(f)
	good := d.success(&c)
	f.Add(good)
	f.Add(l.hasher.AppendError(nil, &c.TransactionID, stun.CodeRoleConflict, nil, d.spec.Dial.Password))
	f.Add(l.hasher.AppendError(nil, &c.TransactionID, stun.CodeUnknownAttribute, []uint16{0x7ABC},
		d.spec.Dial.Password))
	f.Add(l.hasher.AppendSuccess(nil, &c.TransactionID, netip.MustParseAddrPort("[2001:db8::1]:9"),
		d.spec.Dial.Password))
	f.Add(d.request(stun.Request{UseCandidate: true, TieBreaker: 1}))
	f.Add(c.data)
	f.Fuzz(func(t *testing.T, data []byte) {
		l, d, c := build(t)
		r, authentic := l.hasher.VerifyResponse(data, d.spec.Dial.Password)
		authentic = authentic && r.Code == 0 && r.TransactionID == c.TransactionID
		if len(data) > port.MaxDatagram {
			return
		}
		l.receive(c.path, data)
		if n := len(l.said(bus.KindSessionClaimed)); (n == 1) != authentic {
			t.Errorf("claimed %d times by a response that is authentic: %t", n, authentic)
		}
		l.pass(2 * port.Second)
	})
}

// A fault in the replica of a pulled stream is blamed on the pull, of which its followers know only the publication.
func TestFaultOfPullAtFollower(t *testing.T) {
	l := newLab(t, 0, 2)
	spec := &bus.Session{ID: 77, Role: api.Publisher, Stream: 1, Tracks: published()}
	l.tell(bus.PublicationOpened(1, 1, 1, spec))
	l.watch(1, watched(true)...)
	l.forget()
	st := l.stream(1)
	st.pub.tracks[0].layers[0] = nil
	l.w.chores.add(l.now, st)
	l.now = l.w.chores.next()
	if !panics(func() { l.w.HandleTimeout(l.now) }) {
		t.Fatal("it did not panic")
	}
	if id, ok := l.w.Abandon(); !ok || id != spec.ID {
		t.Fatalf("session %d is blamed (%t); expected the pull, %d", id, ok, spec.ID)
	}
	l.poll()
	l.w.HandleTimeout(l.now)
	ended := l.said(bus.KindSessionEnded)
	if len(ended) != 1 || ended[0].ID != spec.ID || ended[0].Reason != api.ReasonFault {
		t.Errorf("ended %+v; expected the pull, for a fault", ended)
	}
}
