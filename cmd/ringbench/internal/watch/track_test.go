package watch

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"ringcast/engine/rtp"
)

const ms = int64(time.Millisecond)

// feed passes packets, 8 to a frame, to a sampled track, as check does.
type feed struct {
	t   *track
	now int64
	key bool // frames are keyframes
}

func newFeed(plain bool) *feed {
	return &feed{t: &track{info: &rtp.Track{Kind: rtp.Video}, check: &checker{asking: true, plain: plain}}}
}

func (f *feed) packet(seq uint16) {
	h := rtp.Header{SSRC: 7, Sequence: seq, Timestamp: uint32(seq/8) * 3000, Marker: seq%8 == 7}
	ext := f.t.accept(&h, f.now)
	if f.t.check.highest == 0 {
		f.t.check.player.whole = true
	}
	if !f.t.check.note(packet{ext: ext, key: f.key && seq%8 == 0, marker: h.Marker}, f.now) {
		f.t.media--
	}
}

func (f *feed) rtx(seq uint16) {
	f.t.check.note(packet{ext: f.t.unwrap.Peek(seq), marker: seq%8 == 7, resent: true}, f.now)
}

// TestLossIsExact drops every hundredth packet, over the wrap-around of the sequence numbers.
func TestLossIsExact(t *testing.T) {
	const packets = 200_000
	for _, recovers := range []bool{false, true} {
		f := newFeed(false)
		recovered := uint64(0)
		for i := range packets {
			f.now += 4 * ms
			if seq := uint16(65000 + i); i%100 != 50 {
				f.packet(seq)
			}
			seqs, _ := f.t.check.due(f.now, make([]uint16, 0, 16))
			for _, seq := range seqs {
				if recovers && seq%2 == 0 {
					f.rtx(seq)
					recovered++
				}
			}
		}
		c := f.t.check
		if got := f.t.expected(); got != packets {
			t.Errorf("expected %d, want %d", got, packets)
		}
		if missing := f.t.expected() - f.t.received(); missing != packets/100 {
			t.Errorf("missing %d of %d, want every hundredth", missing, packets)
		}
		if c.recovered != recovered || recovers != (recovered > 0) {
			t.Errorf("recovered %d, want %d", c.recovered, recovered)
		}
		// Each missing packet that stays away costs its frame, and no other, as one frame in 12.5 is broken. NACKs for
		// the last few holes are still under way.
		whole := uint64(packets/8) - (packets/100 - recovered)
		if c.player.frames > whole || c.player.frames+40 < whole {
			t.Errorf("%d whole frames, want about %d", c.player.frames, whole)
		}
		if c.late != 0 || c.duplicate != 0 {
			t.Errorf("%d late, %d duplicate", c.late, c.duplicate)
		}
	}
}

func TestReorderedAndDuplicate(t *testing.T) {
	f := newFeed(false)
	for i := 0; i < 4000; i += 2 {
		f.now += 2 * ms
		f.packet(uint16(i + 1))
		f.packet(uint16(i))
		f.packet(uint16(i + 1))
	}
	c := f.t.check
	if f.t.expected() != 4000 || f.t.received() != 4000 || c.duplicate != 2000 || c.late != 2000 || c.recovered != 0 {
		t.Errorf("expected %d, received %d, %d duplicate, %d late, %d recovered",
			f.t.expected(), f.t.received(), c.duplicate, c.late, c.recovered)
	}
	if c.player.freezes != 0 {
		t.Errorf("%d freezes", c.player.freezes)
	}
}

// TestPlainResend distinguishes a resent packet from a late one, without RTX.
func TestPlainResend(t *testing.T) {
	f := newFeed(true)
	f.packet(0)
	f.packet(3)
	f.packet(2) // late
	f.now += 20 * ms
	if seqs, _ := f.t.check.due(f.now, make([]uint16, 0, 8)); !slices.Equal(seqs, []uint16{1}) {
		t.Fatalf("asks for %v", seqs)
	}
	f.packet(1)
	if c := f.t.check; f.t.expected() != 4 || f.t.received() != 3 || c.recovered != 1 || c.late != 1 {
		t.Errorf("received %d, recovered %d, late %d", f.t.received(), c.recovered, c.late)
	}
}

// After a whole keyframe a decoder goes on, and nothing before it is asked for.
func TestKeyframeEndsAHole(t *testing.T) {
	f := newFeed(false)
	for seq := range uint16(16) {
		if seq != 3 { // the first frame stays broken
			f.packet(seq)
		}
	}
	f.key = true
	for seq := range uint16(8) {
		f.now += 10 * ms
		if seqs, _ := f.t.check.due(f.now, make([]uint16, 0, 8)); (f.now == 10*ms) != slices.Equal(seqs, []uint16{3}) {
			t.Errorf("after %d ms it asks for %v", f.now/ms, seqs)
		}
		if n := f.t.check.player.frames; n != 0 {
			t.Errorf("%d whole frames before the keyframe was", n)
		}
		f.packet(16 + seq)
	}
	f.now += 200 * ms
	if seqs, at := f.t.check.due(f.now, make([]uint16, 0, 8)); len(seqs) > 0 || at != 0 {
		t.Errorf("after the keyframe it asks for %v", seqs)
	}
	if n := f.t.check.player.frames; n != 1 {
		t.Errorf("%d whole frames; want the keyframe", n)
	}
}

func TestNACKsEnd(t *testing.T) {
	f := newFeed(false)
	f.packet(0)
	f.packet(2)
	asked := 0
	var at int64
	for f.now < 5*int64(time.Second) {
		f.now += 5 * ms
		var seqs []uint16
		seqs, at = f.t.check.due(f.now, make([]uint16, 0, 8))
		asked += len(seqs)
	}
	if asked != nackTries || at != 0 || !f.t.check.gaveUp {
		t.Errorf("asked %d times, next at %d, gave up: %v", asked, at, f.t.check.gaveUp)
	}
}

func TestFreezes(t *testing.T) {
	f := newFeed(false)
	for i := range 800 {
		if i%8 == 0 {
			f.now += 33 * ms
		}
		if i == 400 {
			f.now += 300 * ms
		}
		f.packet(uint16(i))
	}
	c := f.t.check
	if c.player.frames != 100 || c.player.freezes != 1 || c.player.frozen != 333*time.Millisecond {
		t.Errorf("%d frames, %d freezes of %v", c.player.frames, c.player.freezes, c.player.frozen)
	}
	c.player.finish(f.now + 201*ms)
	if c.player.freezes != 2 {
		t.Error("the freeze at the end is not counted")
	}
}

func TestGapLongerThanWindow(t *testing.T) {
	f := newFeed(false)
	f.packet(0)
	f.packet(20_000)
	f.packet(20_001)
	if f.t.expected() != 20_002 || f.t.received() != 3 || len(f.t.check.missing) != maxAsk {
		t.Errorf("expected %d, received %d, asks for %d", f.t.expected(), f.t.received(), len(f.t.check.missing))
	}
	for i := 20_002; i < 30_000; i++ {
		f.now += ms
		f.packet(uint16(i))
		f.t.check.due(f.now, nil)
	}
	if lag := f.t.check.highest + 1 - f.t.check.player.front; lag != 0 {
		t.Errorf("got %d packets that are not played, want 0", lag)
	}
}

// TestJitter compares with the formula of RFC 3550 section 6.4.1 in floating point.
func TestJitter(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	tr := &track{info: &rtp.Track{Kind: rtp.Video}}
	var j, before float64
	for i := range 2000 {
		at := int64(i)*20*ms + random.Int64N(8*ms)
		h := rtp.Header{SSRC: 1, Sequence: uint16(i), Timestamp: uint32(4_294_900_000 + i*1800)}
		tr.accept(&h, at)
		transit := float64(at)*90_000/1e9 - float64(i*1800)
		if i > 0 {
			d := transit - before
			j += (max(d, -d) - j) / 16
		}
		before = transit
	}
	if got := float64(tr.jitter) / 16; got < j-10 || got > j+10 {
		t.Errorf("jitter %g, want %g", got, j)
	}
}

func TestReportBlock(t *testing.T) {
	tr := &track{info: &rtp.Track{Kind: rtp.Video}}
	for i := range 100 {
		if i%4 != 1 {
			tr.accept(&rtp.Header{SSRC: 9, Sequence: uint16(65500 + i)}, int64(i)*ms)
		}
	}
	tr.lastSR, tr.lastSRAt = 0x12345678, 0
	b := tr.report(500 * ms)
	if b.SSRC != 9 || b.Lost != 25 || b.FractionLost != 64 || b.Highest != 65599 || b.LastSR != 0x12345678 ||
		b.Delay != 32768 {
		t.Errorf("%+v", b)
	}
	if b := tr.report(500 * ms); b.FractionLost != 0 || b.Lost != 25 {
		t.Errorf("again: %+v", b)
	}
}

func TestSourceChange(t *testing.T) {
	tr := &track{info: &rtp.Track{Kind: rtp.Video}, check: &checker{}}
	for i := range 10 {
		tr.accept(&rtp.Header{SSRC: 1, Sequence: uint16(2 * i)}, 0)
	}
	for i := range 5 {
		tr.accept(&rtp.Header{SSRC: 2, Sequence: uint16(30_000 + i)}, 0)
	}
	if tr.expected() != 24 || tr.received() != 15 || tr.restarts != 1 {
		t.Errorf("expected %d, received %d, %d restarts", tr.expected(), tr.received(), tr.restarts)
	}
}

// TestSinkCounts makes reports from a sink's counts as from packets.
func TestSinkCounts(t *testing.T) {
	tr := &track{info: &rtp.Track{Kind: rtp.Video}}
	tr.accept(&rtp.Header{SSRC: 1, Sequence: 65_000}, 0)
	c := Count{Packets: 1100, Bytes: 1_100_000, Media: 1000, Sequence: uint16(66_010 & 0xFFFF)}
	if packets, bytes := tr.absorb(c); packets != 1100 || bytes != 1_100_000 {
		t.Errorf("%d packets, %d bytes", packets, bytes)
	}
	if packets, bytes := tr.absorb(c); packets != 0 || bytes != 0 {
		t.Errorf("%d packets, %d bytes again", packets, bytes)
	}
	if b := tr.report(0); b.Lost != 10 || tr.received() != 1001 || b.Highest != 66_010 {
		t.Errorf("received %d, report %+v", tr.received(), b)
	}
}

func TestWheel(t *testing.T) {
	var w wheel
	random := rand.New(rand.NewPCG(5, 6))
	viewers := make([]*viewer, 50)
	due := map[*viewer]int64{}
	for i := range viewers {
		viewers[i] = &viewer{identity: identity{number: i}}
		at := random.Int64N(4_000 * ms)
		due[viewers[i]] = at
		w.schedule(viewers[i], at)
		w.schedule(viewers[i], at+700*ms) // later: overtaken
	}
	woken := 0
	for now := int64(0); now < 60_000*ms; now += random.Int64N(20 * ms) {
		w.advance(now, func(v *viewer) {
			woken++
			if late := now - due[v]; late < 0 || late > 25*ms {
				t.Fatalf("viewer %d woken %v after it was due", v.number, time.Duration(late))
			}
			at := now + random.Int64N(4_000*ms)
			due[v] = at
			w.schedule(v, at)
			if random.IntN(3) == 0 { // earlier
				due[v] = now + (at-now)/2
				w.schedule(v, due[v])
			}
		})
	}
	if woken < 50*20 {
		t.Errorf("woken %d times", woken)
	}
}

func TestParseStreams(t *testing.T) {
	for text, want := range map[string][]int{
		"0": {0}, "0-3": {0, 1, 2, 3}, "7, 1-2": {
			7, 1,
			2,
		}, "": nil, "a": nil, "3-1": nil, "-1": nil, "0-10000": nil, "1-": nil,
	} {
		got, err := ParseStreams(text)
		if !slices.Equal(got, want) || (err != nil) != (want == nil) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestSampled(t *testing.T) {
	for _, c := range [][2]int{{10, 0}, {10, 1}, {10, 3}, {10, 10}, {10, 20}, {1000, 7}, {1, 1}} {
		cfg := Audience{Crowd: Crowd{{Viewers: c[0]}}, Sample: c[1]}
		n := 0
		for i := range c[0] {
			if cfg.sampled(place{0, i}) {
				n++
			}
		}
		if n != min(c[0], c[1]) {
			t.Errorf("%d of %d sampled, want %d", n, c[0], c[1])
		}
	}
}

// A keyframe in several slices, after parameter sets of their own packet, is one.
func TestKeyframesAreCountedOnce(t *testing.T) {
	var p player
	for _, timestamp := range []uint32{0, 0, 0, 90_000, 90_000, 180_000} {
		p.key(timestamp)
	}
	if p.keyframes != 3 {
		t.Errorf("%d keyframes, want 3", p.keyframes)
	}
}
