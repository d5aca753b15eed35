package attack

import (
	"encoding/binary"
	"sync"
	"testing"

	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/testenv/peer"
)

// The replay windows of package srtp, in packets.
const (
	replayWindow  = 1024
	controlWindow = 64
)

// numbered is packet n with its number in the payload.
func numbered(n uint64) []byte {
	b := peer.Packet(n, 100)
	binary.BigEndian.PutUint64(b[len(b)-8:], n)
	return b
}

// tally is which numbered packets came, and how often.
type tally struct {
	mu    sync.Mutex
	times map[uint64]int
}

func (y *tally) add(payload []byte) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.times[binary.BigEndian.Uint64(payload[len(payload)-8:])]++
}

func (y *tally) has(n uint64) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.times[n] > 0
}

// again is how many packets came more than once.
func (y *tally) again() (n int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for _, times := range y.times {
		if times > 1 {
			n++
		}
	}
	return n
}

// A publisher's packets are sent again from its own address. They are from inside the window, at its edge, outside it,
// and from before the rollover of the sequence numbers. Some are so old that they pass for packets of the next round.
// None is forwarded.
func TestReplay(t *testing.T) {
	const first, last = 64_020, 67_999 // across the rollover at 65,536
	a := newArena(t, engineConfig())
	p := a.join("replay", peer.Config{})
	came := &tally{times: make(map[uint64]int)}
	v := a.watchWith("replay", came.add)
	send := func(n uint64) { sendNumbered(t, p, n) }
	for n := uint64(first); n <= last; n++ {
		send(n)
		if n%200 == 0 || n == last { // no faster than it is forwarded
			until(t, "packet at the viewer", func() bool { return came.has(n) })
		}
	}
	v.whole(t, "the viewer")
	forwarded := v.count()

	replays := 0
	replay := func(what, reason string, from, to uint64) {
		t.Helper()
		before, count := a.drops(reason), 0
		for n := from; n <= to; n++ {
			send(n)
			if count++; count%250 == 0 { // no faster than the server
				ping(t, p)
			}
		}
		a.awaitDrops(reason, before, count)
		t.Logf("%-32s %4d replays, all %s", what, count, reason)
		replays += count
	}
	replay("the newest", "srtp_replayed", last, last)
	replay("inside the window", "srtp_replayed", last-replayWindow+2, last-1)
	replay("at its edge", "srtp_replayed", last-replayWindow-1, last-replayWindow+1)
	replay("outside, of this round", "srtp_replayed", 1<<16, last-replayWindow-2)
	replay("outside, of the round before", "srtp_replayed", first, 1<<16-1)
	if n := v.count() - forwarded; n != 0 {
		t.Errorf("%d replayed packets were forwarded", n)
	}

	// Two jumps make the first packets more than half a round old. So their sequence numbers look like those of the
	// next round, but their tags are of this one.
	for _, start := range []uint64{last + 1 + 29_990, last + 1 + 2*29_990} {
		for n := start; n < start+60; n++ { // packets before the keyframe are lost to the jump
			send(n)
		}
		until(t, "media after a jump", func() bool { return came.has(start + 59) })
	}
	replay("more than half a round old", "srtp_unauthenticated", first, first+1500)
	if n := came.again(); n != 0 {
		t.Errorf("%d packets were forwarded again", n)
	}

	for _, side := range []*peer.Peer{p, v.Peer} {
		a.replayControl(side)
	}
	t.Logf("%d packets and 200 compounds replayed, 0 forwarded or accepted", replays)
	a.sane()
}

// sendNumbered sends packet n with its number in the payload.
func sendNumbered(t *testing.T, p *peer.Peer, n uint64) {
	t.Helper()
	if err := p.SendRTP(numbered(n), rtp.HeaderLen, n); err != nil {
		t.Fatal(err)
	}
}

// replayControl sends a compound of a side 100 times more, within the window and outside it. None is accepted.
func (a *arena) replayControl(side *peer.Peer) {
	t := a.t
	t.Helper()
	old := side.SealRTCP(rtcp.AppendReceiverReport(nil, 1, nil))
	again := func() {
		if err := side.Send(old); err != nil {
			t.Fatal(err)
		}
	}
	received := func() int { return int(a.scrape()["ringcast_received_rtcp_packets_total"]) }
	start, dropped := received(), a.drops("srtp_replayed")
	again() // the first time it is no replay
	for range 50 {
		again()
	}
	for range controlWindow + 10 {
		if err := side.SendRTCP(rtcp.AppendReceiverReport(nil, 1, nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		again()
	}
	a.awaitDrops("srtp_replayed", dropped, 100)
	if n := received() - start; n != 1+controlWindow+10 {
		t.Errorf("%d compounds were accepted, want %d", n, 1+controlWindow+10)
	}
}
