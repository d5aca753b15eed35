package attack

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/stun"
	"ringcast/testenv"
	"ringcast/testenv/forge"
	"ringcast/testenv/peer"
)

// Content types of DTLS records.
const (
	changeCipherSpec = 20
	alert            = 21
	handshake        = 22
	applicationData  = 23
)

// An abuser has a session and a validated tuple, and shakes hands as it pleases.
type abuser struct {
	*tuple
	local api.Local
}

// offender is the engine's input for a peer whose certificate nobody will ever see.
func offender() api.Offer {
	return api.Offer{
		ICE: api.Credentials{Ufrag: "peer", Password: "thePasswordOfThePeer1234"},
		Fingerprints: []api.Fingerprint{
			{Algorithm: "sha-256", Value: fmt.Sprintf("%X%s", 0xAB, string(bytes.Repeat([]byte(":AB"), 31)))},
		},
	}
}

func (a *arena) abuser(stream string) *abuser {
	a.t.Helper()
	p := offender()
	p.Tracks = append(p.Tracks, peer.Video())
	local, err := a.Subscribe(a.t.Context(), stream, p)
	if err != nil {
		a.t.Fatal(err)
	}
	return &abuser{a.tuple(), local}
}

// check asks until it is answered.
func (x *abuser) check(h *stun.Hasher, nominate bool) {
	x.t.Helper()
	b := make([]byte, 2048)
	for start := time.Now(); time.Since(start) < patience; {
		id := [12]byte{1}
		x.send(h.AppendRequest(nil, &id, stun.Request{
			Username: x.local.ICE.Ufrag + ":peer", Password: x.local.ICE.Password, Priority: 1, UseCandidate: nominate,
			TieBreaker: 1,
		}))
		for {
			n, ok := x.read(b, 100*time.Millisecond)
			if !ok {
				break
			}
			if r, ok := h.VerifyResponse(b[:n], x.local.ICE.Password); ok && r.Code == 0 {
				return
			}
		}
	}
	x.t.Fatal("a check was not answered")
}

// abuse sends 60 pieces of a handshake that never ends, in one of three ways, and returns the number of records. A
// session may send 64 records a second to DTLS; the worker drops more.
func (x *abuser) abuse(round, way int, junk []byte) (sent int) {
	number := uint64(round * 100)
	send := func(contentType byte, epoch uint16, body []byte) {
		number++
		sent++
		x.send(forge.Record(contentType, epoch, number, body...))
	}
	for k := range 60 {
		start := round*60 + k
		switch way {
		case 0: // large pieces of messages without their first byte
			send(handshake, 0, forge.Fragment(11, 12_000, uint16(start/9%15), 1+start%9*1200, junk[:1150]))
		case 1: // small ones, which cost more to keep than they hold
			send(handshake, 0, forge.Fragment(11, 12_000, 1, 1+2*start, junk[:1]))
		case 2: // sealed before there are keys, and out of place
			send(handshake, 1, junk[:64])
			send(applicationData, 1, junk[:100])
			send(changeCipherSpec, 0, []byte{1})
		}
	}
	return sent
}

// allRefused fails the test for each session that ended for another reason than its handshake.
func (a *arena) allRefused(all []*abuser) {
	t := a.t
	t.Helper()
	for _, x := range all {
		why, ok := a.ended(x.local.ID)
		if !ok || why != api.ReasonHandshakeFailed {
			until(t, "end of a session", func() bool { why, ok = a.ended(x.local.ID); return ok })
			if why != api.ReasonHandshakeFailed {
				t.Errorf("session %d ended: %v", x.local.ID, why)
			}
		}
	}
}

// Peers with valid sessions and paths never let their handshakes end. They send messages without a beginning or an end,
// records of the next epoch before there are keys, and thousands of small fragments. The memory for each stays small,
// each is refused after ten seconds, and others connect in the meantime.
func TestDTLSAbuse(t *testing.T) {
	const abusers, budget = 160, 64 << 10
	last := 5500 * time.Millisecond // a round a second, well before the handshakes' deadline
	if testenv.Slowdown > 1 {
		last = 1500 * time.Millisecond
	}
	a := newArena(t, engineConfig())
	other := a.bystander()
	h := stun.NewHasher()
	var all []*abuser
	for range abusers {
		x := a.abuser("bystander")
		x.check(h, false) // validates, but does not nominate: no handshake yet
		all = append(all, x)
	}
	before, stacks := heap(), stack()
	nominated := time.Now()
	junk := bytes.Repeat([]byte{0x5a}, 1200)
	for _, x := range all {
		x.check(h, true)
		x.send(forge.Record(handshake, 0, 0, forge.Fragment(11, 12_000, 1, 1, junk[:1])...)) // begins the handshake
	}
	inFlight := func() int { return int(a.scrape()["ringcast_dtls_handshakes_in_flight"]) }
	until(t, "handshakes begun", func() bool { return inFlight() == abusers })
	begun := time.Now()
	idle := heap()

	sent, rounds := 0, 0
	for ; time.Since(begun) < last; rounds++ {
		// A session may send 64 records a second to DTLS; more are dropped by the worker.
		for i, x := range all {
			sent += x.abuse(rounds, i%3, junk)
			x.check(h, false) // no faster than the server
		}
		// The quota of the next second; meanwhile others connect.
		v := a.watch("bystander")
		v.flows(t, 10)
		until(t, "next second", func() bool { return time.Since(begun) > time.Duration(rounds+1)*time.Second })
	}
	held, stacked := (heap()-before)/abusers, (stack()-stacks)/abusers
	// On a slow machine the first may be refused already, but none before its time.
	if n, age := inFlight(), time.Since(nominated); n != abusers && age < 10*time.Second {
		t.Errorf("%d handshakes in flight after %v, want %d", n, age, abusers)
	}
	if held > budget {
		t.Errorf("a handshake holds %d bytes", held)
	}
	until(t, "abusers refused", func() bool { return inFlight() == 0 })
	refusedAfter := time.Since(begun)
	a.allRefused(all)
	after := heap() - before
	other.unharmed(t)
	a.sane()
	m := a.scrape()
	t.Logf("%d abusers, %d records: %d bytes of heap a handshake (idle %d; budget %d) and %d of stacks; refused "+
		"after %v, %v for the deadline; %d others connected meanwhile; %d bytes left a session",
		abusers, sent, held, (idle-before)/abusers, budget, stacked, refusedAfter.Round(100*time.Millisecond),
		m[`ringcast_dtls_handshakes_total{outcome="failed: timeout"}`], rounds, after/abusers)
}

// Foreign records arrive on the victim's own validated tuple, before, during and after its handshake: plaintext alerts,
// application data before the keys, contradictory fragments. The victim still connects and stays connected.
func TestForgedRecords(t *testing.T) {
	const victims = 10
	a := newArena(t, engineConfig())
	other := a.bystander()
	junk := bytes.Repeat([]byte{0x5a}, 40)
	records := [][]byte{
		forge.Record(alert, 0, 900, 2, 40),
		forge.Record(alert, 0, 901, 2, 0),
		forge.Record(alert, 0, 902, 1, 0),
		forge.Record(applicationData, 0, 903, junk...),
		forge.Record(applicationData, 1, 904, junk...),
		forge.Record(alert, 1, 905, junk[:26]...),
		forge.Record(handshake, 0, 906, forge.Fragment(20, 12, 3, 0, junk[:12])...),
		forge.Record(handshake, 0, 907, forge.Fragment(0, 0, 0, 0, nil)...),
		forge.Record(handshake, 0, 908, forge.Fragment(11, 10, 1, 5, junk)...),
		forge.Record(handshake, 0, 909, forge.Fragment(11, 1<<24-1, 1, 0, junk)...),
		forge.Record(handshake, 5, 910, junk...),
		forge.Record(25, 0, 911, junk...),
		{handshake, 0xfe},
		{0x2f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14},
	}
	sent := 0
	var last *viewer
	for range victims {
		v := newViewer(t)
		defer v.Close()
		local, err := a.Subscribe(t.Context(), "bystander", v.Offer(peer.Video()))
		if err != nil {
			t.Fatal(err)
		}
		v.expect(local)
		v.Local = local
		if err := v.Check(); err != nil { // validates the path; nobody reads the answer yet
			t.Fatal(err)
		}
		for _, r := range records {
			if err := v.Send(bytes.Clone(r)); err != nil {
				t.Fatal(err)
			}
		}
		connect(t, v.Peer, local)
		for _, r := range records {
			if err := v.Send(bytes.Clone(r)); err != nil {
				t.Fatal(err)
			}
		}
		sent += 2 * len(records)
		v.flows(t, 10)
		if why, ended := a.ended(local.ID); ended {
			t.Errorf("session %d ended: %v", local.ID, why)
		}
		last = v
	}
	last.flows(t, 10)
	other.unharmed(t)
	a.sane()
	t.Logf("%d forged records on the tuples of %d victims: all connected and stayed", sent, victims)
}

// A peer that shows another certificate than its offer named is refused, and its session ends.
func TestWrongFingerprint(t *testing.T) {
	const liars = 10
	a := newArena(t, engineConfig())
	other := a.bystander()
	for range liars {
		p, err := peer.New(peer.Config{}, loopback)
		if err != nil {
			t.Fatal(err)
		}
		offer := p.Offer(peer.Video())
		offer.Fingerprints = offender().Fingerprints
		local, err := a.Subscribe(t.Context(), "bystander", offer)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		connected := make(chan error, 1)
		go func() { connected <- p.Connect(ctx, local) }()
		until(t, "refusal", func() bool { _, ended := a.ended(local.ID); return ended })
		if why, _ := a.ended(local.ID); why != api.ReasonHandshakeFailed {
			t.Errorf("session %d ended: %v", local.ID, why)
		}
		cancel()
		<-connected
		p.Close()
	}
	m := a.scrape()
	if n := m[`ringcast_dtls_handshakes_total{outcome="failed: fingerprint"}`]; n != liars {
		t.Errorf("%v of %d refused for their fingerprint", n, liars)
	}
	if n := m[`ringcast_dtls_handshakes_total{outcome="completed"}`]; n != 2 {
		t.Errorf("%v handshakes completed, want 2", n)
	}
	other.unharmed(t)
	a.sane()
	t.Logf("%d of %d wrong fingerprints refused", liars, liars)
}
