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
	ssrc := uint32(first)
	send := func() {
		b := numbered(uint64(ssrc))
		rtp.FixedHeader{
			Marker: true, PayloadType: peer.TypeVP8, Sequence: uint16(ssrc), Timestamp: ssrc, SSRC: ssrc,
		}.Put(b)
		if err := p.SendRTP(b, rtp.HeaderLen, uint64(uint16(ssrc))); err != nil {
			t.Fatal(err)
		}
		ssrc++
	}
	for range limit - 1 + 10 { // the first SSRC is the track's own
		send()
	}
	a.awaitDrops("too_many_ssrcs", 0, 10)
	if n := a.drops("too_many_ssrcs"); n != 10 {
		t.Errorf("%d SSRCs refused of %d, want 10", n, limit+10)
	}
	dropped := 0
	moved := newProgress(t)
	for dropped < wanted {
		for i := range 1000 {
			send()
			if i%250 == 249 { // no faster than the server
				ping(t, p)
			}
		}
		dropped = a.drops("too_many_ssrcs")
		moved.to(dropped)
	}
	took := time.Since(start)
	for i := range uint32(reporters) {
		if i%250 == 249 {
			ping(t, p)
		}
		for _, x := range []*peer.Peer{p, v.Peer} {
			if err := x.SendRTCP(rtcp.AppendReceiverReport(nil, 0x20000+i, nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The track goes on under the last SSRC that was taken: each new one replaced the one before.
	recoversAs(t, p, came, 1000, first+limit-2)
	grown := heap() - before
	// A window of 1,024 bits for each of 64 sources, and what the peers and the test itself keep.
	if grown > 512<<10 {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	for _, x := range []*peer.Peer{p, v.Peer} {
		if why, ended := a.ended(x.Local.ID); ended {
			t.Errorf("session %d ended: %v", x.Local.ID, why)
		}
	}
	other.unharmed(t)
	a.sane()
	t.Logf("%d SSRCs sent in %v, %d dropped over the cap; the heap grew by %d bytes; its track goes on",
		ssrc-first, took.Round(time.Millisecond), a.drops("too_many_ssrcs"), grown)
}
