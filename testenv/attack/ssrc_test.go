package attack

import (
	"testing"
	"time"

	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// A publisher seals packets under 65,000 SSRCs, and then reports from as many. The server keeps 64, the memory stays
// where it was, and the track goes on. A viewer that reports from many is capped too.
func TestSSRCExhaustion(t *testing.T) {
	const limit, wanted, reporters = 64, 65_000 / testenv.Slowdown, 5000 / testenv.Slowdown
	a := newArena(t, engineConfig())
	p := a.join("sources", peer.Config{})
	other := a.bystander()
	came := &tally{times: make(map[uint64]int)}
	v := a.watchWith("sources", func(b []byte) {
		if len(b) == 100 {
			came.add(b)
		}
	})
	recovers(t, p, came, 0)

	before := heap()
	start := time.Now()
	const first = 0x10000
	x := &sources{t: t, peer: p, next: first}
	for range limit - 1 + 10 { // the first SSRC is the track's own
		x.send()
	}
	a.awaitDrops("too_many_ssrcs", 0, 10)
	if n := a.drops("too_many_ssrcs"); n != 10 {
		t.Errorf("%d SSRCs refused of %d, want 10", n, limit+10)
	}
	dropped := 0
	moved := newProgress(t)
	for dropped < wanted {
		for i := range 1000 {
			x.send()
			if i%250 == 249 { // no faster than the server
				ping(t, p)
			}
		}
		dropped = a.drops("too_many_ssrcs")
		moved.to(dropped)
	}
	took := time.Since(start)
	reportFrom(t, reporters, p, v.Peer)
	// The track goes on under the last SSRC that was accepted: each new one replaced the one before.
	recoversAs(t, p, came, 1000, first+limit-2)
	grown := heap() - before
	// A window of 1,024 bits for each of 64 sources, and what the peers and the test itself keep.
	if grown > 512<<10 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	a.alive(p, v.Peer)
	other.unharmed(t)
	a.sane()
	t.Logf("%d SSRCs sent in %v, %d dropped over the cap; the heap grew by %d bytes; its track goes on",
		x.next-first, took.Round(time.Millisecond), a.drops("too_many_ssrcs"), grown)
}

// sources sends packets of a publisher, each under an SSRC of its own.
type sources struct {
	t    *testing.T
	peer *peer.Peer
	next uint32 // the next SSRC
}

func (x *sources) send() {
	b := numbered(uint64(x.next))
	rtp.FixedHeader{
		Marker: true, PayloadType: peer.TypeVP8, Sequence: uint16(x.next), Timestamp: x.next, SSRC: x.next,
	}.Put(b)
	if err := x.peer.SendRTP(b, rtp.HeaderLen, uint64(uint16(x.next))); err != nil {
		x.t.Fatal(err)
	}
	x.next++
}

// reportFrom sends receiver reports of two peers, each under so many SSRCs.
func reportFrom(t *testing.T, ssrcs uint32, publisher, viewer *peer.Peer) {
	t.Helper()
	for i := range ssrcs {
		if i%250 == 249 {
			ping(t, publisher)
		}
		for _, x := range []*peer.Peer{publisher, viewer} {
			if err := x.SendRTCP(rtcp.AppendReceiverReport(nil, 0x20000+i, nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// alive fails the test for each of the peers whose session has ended.
func (a *arena) alive(peers ...*peer.Peer) {
	a.t.Helper()
	for _, x := range peers {
		if why, ended := a.ended(x.Local.ID); ended {
			a.t.Errorf("session %d ended: %v", x.Local.ID, why)
		}
	}
}
