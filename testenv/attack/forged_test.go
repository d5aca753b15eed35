package attack

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// burst is how many datagrams one message of a flood carries.
const burst = 64

// A million packets with wrong tags come from the publisher's own address, with its SSRC and with others, and SRTCP
// from both sides. The sessions live, the memory stays, and the counter moves. The publisher's own packets arrive as
// soon as the line is free.
func TestForgedSRTP(t *testing.T) {
	const control = 64_000 / testenv.Slowdown
	for _, tt := range []struct {
		name    string
		profile dtls.SRTPProtectionProfile
		wanted  int
	}{
		{"AEAD_AES_128_GCM", dtls.SRTP_AEAD_AES_128_GCM, 1_000_000 / testenv.Slowdown},
		{"AES128_CM_HMAC_SHA1_80", dtls.SRTP_AES128_CM_HMAC_SHA1_80, 200_000 / testenv.Slowdown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newArena(t, engineConfig())
			feed := &feed{
				Peer: a.join("forged", peer.Config{Profiles: []dtls.SRTPProtectionProfile{tt.profile}}), next: 30,
			}
			feed.start(t)
			defer feed.stop()
			v := a.watch("forged")
			v.flows(t, 50)
			before := heap()

			seed := seeded(t)
			start := time.Now()
			highest := uint16(feed.sent.Load() + 29)
			n, sent := 0, 0
			moved := newProgress(t)
			for n < tt.wanted {
				for range 8 {
					sent += flood(t, feed.Peer, func(b []byte) {
						// The number is ahead of the last one: otherwise the server would not even check the tag.
						seq := highest + 10_000 + uint16(seed.IntN(10_000))
						ssrc := uint32(peer.VideoSSRC)
						if seed.IntN(2) == 0 {
							ssrc = seed.Uint32()
						}
						rtp.FixedHeader{
							Marker: true, PayloadType: peer.TypeVP8, Sequence: seq, Timestamp: 1, SSRC: ssrc,
						}.Put(b)
						junk(seed, b[rtp.HeaderLen:])
					})
				}
				n = a.drops("srtp_unauthenticated")
				moved.to(n)
			}
			took := time.Since(start)
			for _, p := range []*peer.Peer{feed.Peer, v.Peer} {
				before := a.drops("srtp_unauthenticated")
				for dropped := 0; dropped < control; dropped = a.drops("srtp_unauthenticated") - before {
					moved.to(before + dropped)
					flood(t, p, func(b []byte) {
						b[0], b[1] = 0x80, 201
						junk(seed, b[2:])
						binary.BigEndian.PutUint32(b[len(b)-4:], 1<<31|seed.Uint32()>>1) // the index, of GCM
						b[len(b)-14] |= 0x80                                             // of the other
					})
				}
			}
			grown := heap() - before
			v.flows(t, 50)
			a.alive(feed.Peer, v.Peer)
			if grown > 1<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			lost, _ := v.lost()
			t.Logf("%d sent in %v, %d dropped for their tags: %.0f a second; the heap grew by %d bytes; both "+
				"sessions live (%d of %d packets lost to the full socket)",
				sent, took.Round(time.Millisecond), n, float64(n)/took.Seconds(), grown, lost, v.count())
			a.sane()
		})
	}
}

// flood sends a message full of datagrams that fill writes.
func flood(t *testing.T, p *peer.Peer, fill func([]byte)) int {
	t.Helper()
	const size = rtp.HeaderLen + 16 + 16
	b := make([]byte, burst*size)
	for i := range burst {
		fill(b[i*size:][:size])
	}
	if err := sendMany(p.Socket(), b, size, p.Local.Candidates[0]); err != nil {
		t.Fatal(err)
	}
	return burst
}

func junk(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}
