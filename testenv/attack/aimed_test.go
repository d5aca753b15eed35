package attack

import (
	"testing"
	"time"

	"ringcast/engine/stun"
)

// A viewer nominates a victim's address by one forged check, and goes on with plain checks from its own. The victim
// is sent at most the credit of an unproven path, then the stream returns to the viewer. A second forged nomination,
// of another victim, finds the credit spent. The victims' own sockets do the forging here.
func TestAimedStream(t *testing.T) {
	const credit = 200
	a := newArena(t, engineConfig())
	feed := a.feed("aimed")
	defer feed.stop()
	v := a.watch("aimed")
	v.flows(t, 50)
	ping(t, v.Peer)

	h := stun.NewHasher()
	sent := make([]int, 2)
	for i := range sent {
		victim := a.tuple()
		if err := victim.SetReadBuffer(4 << 20); err != nil {
			t.Fatal(err)
		}
		checks := a.checks()
		id := [12]byte{11: byte(i + 1)}
		victim.send(h.AppendRequest(nil, &id, stun.Request{
			Username: v.Local.ICE.Ufrag + ":" + v.Ours.Ufrag, Password: v.Local.ICE.Password, Priority: 1,
			UseCandidate: true, TieBreaker: 1,
		}))
		until(t, "the forged check", func() bool { return a.checks() > checks })
		if err := v.Check(); err != nil {
			t.Fatal(err)
		}
		v.flows(t, 50) // the stream is back
		b := make([]byte, 2048)
		for {
			n, ok := victim.read(b, 10*time.Millisecond)
			if !ok {
				break
			}
			if n > 0 && b[0] > 3 {
				sent[i]++
			}
		}
	}
	if sent[0] == 0 || sent[0] > credit || sent[1] != 0 {
		t.Errorf("the victims were sent %d and %d datagrams, want 1 to %d and 0", sent[0], sent[1], credit)
	}
	if n := a.scrape()["ringcast_paths_given_up_total"]; n != 1 {
		t.Errorf("%v paths were counted as given up, want 1", n)
	}
	a.sane()
	t.Logf("two victims of forged nominations were sent %d and %d datagrams", sent[0], sent[1])
}

// checks is how many authentic checks the workers took.
func (a *arena) checks() int { return int(a.scrape()["ringcast_received_stun_checks_total"]) }
