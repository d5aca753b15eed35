package attack

import (
	"encoding/binary"
	"testing"
	"time"

	"ringcast/engine"
	"ringcast/engine/rtp"
	"ringcast/engine/stun"
	"ringcast/testenv/peer"
)

func engineConfig() engine.Config {
	cfg := engine.DefaultConfig()
	cfg.Workers = 2
	return cfg
}

// forged is an RTP packet with the publisher's SSRC and a tag that nobody's key made.
func forged(seq uint16, size int) []byte {
	b := make([]byte, rtp.HeaderLen+size+16)
	rtp.FixedHeader{
		Marker: true, PayloadType: peer.TypeVP8, Sequence: seq, Timestamp: uint32(seq) * 3000, SSRC: peer.VideoSSRC,
	}.Put(b)
	binary.BigEndian.PutUint64(b[len(b)-8:], uint64(seq)*0x9E3779B97F4A7C15+1)
	return b
}

// Without a session's password nobody gets anything of it or puts anything into it. The right SSRC is not enough, nor
// are packets that the publisher really sealed, nor checks that name the session. The holder of the password moves the
// path.
func TestInjection(t *testing.T) {
	const packets = 1000
	a := newArena(t, engineConfig())
	feed := a.feed("injection")
	defer feed.stop()
	v := a.watch("injection")
	v.flows(t, 50)

	attacker := a.tuple()
	for i := range packets {
		attacker.send(forged(uint16(i), 500)) // as the publisher
		if i%250 == 249 {
			a.awaitDrops("path_not_validated", 0, i)
		}
	}
	for i := range uint64(packets) {
		n := 1<<16 - 4000 + i
		attacker.send(feed.SealRTP(peer.Packet(n, 500), rtp.HeaderLen, n)) // sealed by the publisher
		attacker.send(v.SealRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 1}))
		if i%100 == 99 { // no faster than the server
			a.awaitDrops("path_not_validated", 0, int(packets+2*i))
		}
	}
	a.awaitDrops("path_not_validated", 0, 3*packets)
	// Checks that nominate, for both sessions, with a wrong password.
	h := stun.NewHasher()
	for i := range packets {
		for _, p := range []*peer.Peer{feed.Peer, v.Peer} {
			id := [12]byte{byte(i), byte(i >> 8)}
			attacker.send(h.AppendRequest(nil, &id, stun.Request{
				Username: p.Local.ICE.Ufrag + ":" + p.Ours.Ufrag, Password: "a wrong password of 24 b", Priority: 1,
				UseCandidate: true, TieBreaker: 1,
			}))
		}
		if i%100 == 99 {
			a.awaitRefusals(0, 2*i)
		}
	}
	a.awaitRefusals(0, 2*packets)
	v.flows(t, 50)
	attacker.silent("the attacker")
	v.whole(t, "the viewer")
	p50, p99, most := v.pauses()
	t.Logf("%d forged, %d stolen and %d unauthenticated checks: 0 bytes to the attacker; the viewer lost nothing, "+
		"pauses %v (median), %v (p99), %v at most",
		packets, 2*packets, 2*packets, p50, p99, most)

	a.holderMoves(v, h)
	a.sane()
}

// holderMoves sends a check with the viewer's password from a new address. Media goes there, and no more to the old
// one.
func (a *arena) holderMoves(v *viewer, h *stun.Hasher) {
	t := a.t
	t.Helper()
	moved := a.tuple()
	id := [12]byte{1}
	name := v.Local.ICE.Ufrag + ":" + v.Ours.Ufrag
	check := h.AppendRequest(nil, &id, stun.Request{
		Username: name, Password: v.Local.ICE.Password, Priority: 1, UseCandidate: true, TieBreaker: 1,
	})
	b := make([]byte, 2048)
	media, start := 0, time.Now()
	for media < 20 && time.Since(start) < patience {
		if media == 0 { // again and again, as ICE does: the attacker's checks count for the viewer's
			moved.send(check)
		}
		if n, ok := moved.read(b, 100*time.Millisecond); ok && n > 500 && b[0]>>6 == 2 {
			media++
		}
	}
	if media < 20 {
		t.Errorf("%d packets at the viewer's new address", media)
	}
	ping(t, v.Peer) // then the socket has read all that was sent to the old address before, even in a slow process
	old := v.count()
	for range 20 {
		if _, ok := moved.read(b, patience); !ok {
			t.Fatal("media stopped at the new address")
		}
	}
	ping(t, v.Peer)
	if n := v.count() - old; n != 0 {
		t.Errorf("%d packets still at the old address", n)
	}
}
