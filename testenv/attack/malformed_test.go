package attack

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// A bystander is a stream of its own with a viewer, on the same workers.
type bystander struct {
	*viewer
	feed *feed
}

func (a *arena) bystander() bystander {
	a.t.Helper()
	b := bystander{feed: a.feed("bystander")}
	b.viewer = a.watch("bystander")
	b.flows(a.t, 20)
	return b
}

// unharmed waits for more media and fails the test if any was lost.
func (b *bystander) unharmed(t *testing.T) {
	t.Helper()
	b.flows(t, 20)
	b.feed.stop()
	b.whole(t, "the bystander")
}

// recovers sends a keyframe and more under sequence numbers from n on and waits for them at the viewer.
func recovers(t *testing.T, p *peer.Peer, came *tally, n uint64) {
	t.Helper()
	recoversAs(t, p, came, n, peer.VideoSSRC)
}

// recoversAs does so under another SSRC.
func recoversAs(t *testing.T, p *peer.Peer, came *tally, n uint64, ssrc uint32) {
	t.Helper()
	n += 30 - n%30
	for i := range uint64(60) {
		b := numbered(n + i)
		binary.BigEndian.PutUint32(b[8:], ssrc)
		if err := p.SendRTP(b, rtp.HeaderLen, n+i); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "media after the attack", func() bool { return came.has(n + 59) })
}

// A publisher sends every value of the padding's count with payloads that are shorter, as long and longer, in media and
// in retransmissions. Impossible packets are dropped, nothing panics.
func TestPadding(t *testing.T) {
	const longest = 24
	a := newArena(t, engineConfig())
	p := a.join("padding", peer.Config{})
	other := a.bystander()
	came := &tally{times: make(map[uint64]int)}
	a.watchWith("padding", func(b []byte) {
		if len(b) == 100 {
			came.add(b)
		}
	})
	recovers(t, p, came, 0)
	sent, wrong := 0, 0
	before := a.drops("rtp_malformed")
	next := [2]uint64{1000, 1000}
	for kind, ssrc := range [2]uint32{peer.VideoSSRC, peer.VideoSSRC + 1} {
		pt := [2]uint8{peer.TypeVP8, peer.TypeRTX}[kind]
		for length := range longest + 1 {
			for value := range 256 {
				n := next[kind]
				next[kind]++
				b := make([]byte, rtp.HeaderLen+length)
				rtp.FixedHeader{
					Marker: true, PayloadType: pt, Sequence: uint16(n), Timestamp: uint32(n) * 3000, SSRC: ssrc,
				}.Put(b)
				b[0] |= 0x20
				if length > 0 {
					b[len(b)-1] = byte(value)
				}
				if length == 0 || value == 0 || value > length {
					wrong++
				}
				if err := p.SendRTP(b, rtp.HeaderLen, n); err != nil {
					t.Fatal(err)
				}
				sent++
			}
			ping(t, p) // no faster than the server
		}
	}
	a.awaitDrops("rtp_malformed", before, wrong)
	if got := a.drops("rtp_malformed") - before; got != wrong {
		t.Errorf("%d packets dropped, want %d", got, wrong)
	}
	recovers(t, p, came, next[0])
	other.unharmed(t)
	a.sane()
	t.Logf("%d packets, %d with impossible padding and dropped, 0 panics; a bystander lost nothing", sent, wrong)
}

// A publisher seals headers of all kinds. They have contributing sources, and one-byte, two-byte and unknown extension
// blocks of random content with right and wrong lengths.
func TestExtensions(t *testing.T) {
	const packets = 40_000 / testenv.Slowdown
	a := newArena(t, engineConfig())
	track := peer.Video()
	for e := range track.Extensions {
		track.Extensions[e] = uint8(e + 1)
	}
	p := a.join("extensions", peer.Config{}, track)
	other := a.bystander()
	came := &tally{times: make(map[uint64]int)}
	a.watchWith("extensions", func(b []byte) {
		if len(b) == 100 {
			came.add(b)
		}
	})
	recovers(t, p, came, 0)

	seed := seeded(t)
	malformed, n := 0, uint64(1000)
	for i := range packets {
		b, headerLen := oddHeader(seed, uint16(n))
		if headerLen == 0 {
			malformed++
			headerLen = rtp.HeaderLen
		}
		if err := p.SendRTP(b, headerLen, n); err != nil {
			t.Fatal(err)
		}
		n++
		if i%250 == 249 {
			ping(t, p)
		}
		if i%1000 == 999 || i == packets-1 { // no faster than the server
			recovers(t, p, came, n)
			n += 100
		}
	}
	other.unharmed(t)
	a.sane()
	t.Logf("%d packets, %d of them with lengths that lie; dropped: %d as malformed RTP, %d for the tag; 0 panics; "+
		"the stream went on and a bystander lost nothing",
		packets, malformed, a.drops("rtp_malformed"), a.drops("srtp_unauthenticated"))
}

// oddHeader is a packet with a random header, and how long that is; 0 if it claims to be longer than the
// packet.
func oddHeader(r *rand.Rand, seq uint16) (packet []byte, headerLen int) {
	b := make([]byte, rtp.HeaderLen)
	rtp.FixedHeader{
		Marker: r.IntN(2) == 0, PayloadType: peer.TypeVP8, Sequence: seq, Timestamp: uint32(seq) * 3000,
		SSRC: peer.VideoSSRC,
	}.Put(b)
	sources := 0
	if r.IntN(4) == 0 {
		sources = r.IntN(16)
	}
	b[0] |= byte(sources)
	kept := sources
	if r.IntN(10) == 0 {
		kept = r.IntN(sources + 1)
	}
	for range 4 * kept {
		b = append(b, byte(r.Uint32()))
	}
	whole := kept == sources
	if r.IntN(8) != 0 {
		b[0] |= 0x10
		words := r.IntN(12)
		profile := []uint16{0xBEDE, 0xBEDE, 0x1000 | uint16(r.IntN(16)), uint16(r.Uint32())}[r.IntN(4)]
		claimed := words
		if r.IntN(10) == 0 {
			claimed = []int{words + 1 + r.IntN(50), 0xFFFF, 0x3FFF}[r.IntN(3)]
		}
		b = binary.BigEndian.AppendUint16(b, profile)
		b = binary.BigEndian.AppendUint16(b, uint16(claimed))
		for range words {
			// Numbers and lengths that mean something more often than chance has it.
			b = append(b, byte(r.IntN(10))<<4|byte(r.IntN(16)), byte(r.IntN(24)), byte(r.Uint32()), byte(r.Uint32()))
		}
		if claimed != words {
			whole = false
		}
	}
	if !whole {
		return b, 0
	}
	headerLen = len(b)
	for range r.IntN(30) {
		b = append(b, byte(r.Uint32()))
	}
	return b, headerLen
}
