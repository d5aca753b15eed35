package worker

import (
	"fmt"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A layeredPair is a publisher of a high and a low layer, and a viewer at another worker than the publisher's. Both
// layers are keyed when one is asked for.
type layeredPair struct {
	*pair
	frame uint64
	off   map[uint32]bool // layers that pause, by SSRC
	// fed counts the packets that the lanes brought, by layer. seen has their places: none may come twice.
	fed  map[uint8]int
	seen map[string]bool
	// wanted are the follower's requests for keyframes.
	wanted []bus.Need
}

func newLayeredPair(t *testing.T) *layeredPair {
	x := &layeredPair{
		pair: newPair(t, true, simulcast), off: make(map[uint32]bool), fed: make(map[uint8]int),
		seen: make(map[string]bool),
	}
	x.follower.w.cfg.EvenRuns = true
	x.owner.w.cfg.Adapt, x.follower.w.cfg.Adapt = false, false
	x.hear = func(m *bus.Control) {
		if m.Kind == bus.KindKeyframeWanted {
			x.wanted = append(x.wanted, m.Need)
		}
	}
	x.lose = func(m *bus.Media) bool {
		if m.Kind == bus.KindPacket {
			x.fed[m.Layer]++
			at := fmt.Sprint(m.Layer, m.Epoch, m.Index, m.Feed)
			if x.seen[at] {
				t.Errorf("packet %s of layer %d came twice", at, m.Layer)
			}
			x.seen[at] = true
		}
		return false
	}
	return x
}

// run lets time pass, in which the layers send.
func (x *layeredPair) run(span port.Time) {
	for end := x.owner.now + span; x.owner.now < end; x.frame++ {
		key := x.frame == 0 || count(x.p.asked(), rtcp.PLI) > 0
		for ssrc, name := range map[uint32]string{hiSSRC: "hi", loSSRC: "lo"} {
			text := fmt.Sprintf("%s %d", name, x.frame)
			payload := vp8(true, key, text)
			if key && name == "hi" {
				payload = vp8Sized(1280, 720, text)
			} else if key {
				payload = vp8Sized(320, 180, text)
			}
			if !x.off[ssrc] {
				x.p.layer(ssrc, x.frame, uint32(x.frame)*2700, payload)
			}
		}
		if x.frame%100 == 0 { // they are still there
			x.follower.receive(x.s.path, x.s.check())
			x.owner.receive(x.p.path, x.p.check())
		}
		x.pass(ms(30))
	}
}

// viewed are the layers that a viewer was sent since forget.
func (x *layeredPair) viewed(s *sub) (rids []string) {
	x.owner.Helper()
	all := s.media(subVideo)
	for i, r := range all {
		text := string(r.payload[2:])
		if len(r.payload) > 11 && r.payload[4] == 0x9D {
			text = string(r.payload[11:])
		}
		if rid := text[:2]; len(rids) == 0 || rids[len(rids)-1] != rid {
			rids = append(rids, rid)
		}
		if i > 0 && r.Sequence != all[i-1].Sequence+1 {
			x.owner.Errorf("sequence number %d follows %d", r.Sequence, all[i-1].Sequence)
		}
		if i > 0 && int32(r.Timestamp-all[i-1].Timestamp) <= 0 {
			x.owner.Errorf("timestamp %d follows %d", r.Timestamp, all[i-1].Timestamp)
		}
	}
	return rids
}

// clear forgets what was sent and fed.
func (x *layeredPair) clear() {
	x.follower.sent = nil
	clear(x.fed)
	x.wanted = nil
}

// A worker is fed the layers that its subscribers want and have, and no other. It leaves a layer two seconds after the
// last of them.
func TestFeedsOnDemand(t *testing.T) {
	x := newLayeredPair(t)
	const hi, lo = 0, 1
	x.run(3 * port.Second)
	x.clear()
	x.run(port.Second)
	if x.fed[lo] > 0 || x.fed[hi] < 30 {
		t.Errorf("fed %v; want the high layer alone", x.fed)
	}
	x.clear()
	x.s.choose(0)
	x.exchange()
	x.run(port.Second)
	if got := x.viewed(x.s); !slices.Equal(got, []string{"hi", "lo"}) && !slices.Equal(got, []string{"lo"}) {
		t.Errorf("the viewer was sent %v; want the low layer", got)
	}
	if x.fed[hi] < 30 || x.fed[lo] < 30 {
		t.Errorf("fed %v; want both layers for a while", x.fed)
	}
	x.run(spareSpan)
	x.clear()
	x.run(port.Second)
	if x.fed[hi] > 0 || x.fed[lo] < 30 {
		t.Errorf("fed %v; want the low layer alone", x.fed)
	}
	other := x.follower.watch(1, watched(true)...)
	x.exchange()
	x.run(port.Second)
	if got := x.viewed(other); !slices.Equal(got, []string{"hi"}) {
		t.Errorf("the other viewer was sent %v; want the high layer", got)
	}
	x.follower.tell(closed(other.party))
	x.s.choose(adapt.AudioOnly)
	x.run(spareSpan + port.Second)
	x.clear()
	x.run(port.Second)
	if len(x.fed) > 0 {
		t.Errorf("fed %v; want nothing for a viewer of sound alone", x.fed)
	}
	x.s.choose(1)
	x.exchange()
	x.run(keyingRefill)
	if got := x.viewed(x.s); !slices.Equal(got, []string{"hi"}) {
		t.Errorf("the viewer was sent %v; want the high layer again", got)
	}
	x.follower.tell(closed(x.s.party))
	x.exchange()
	if n := len(x.owner.stream(1).pub.followers); n != 0 {
		t.Errorf("%d followers are left; want none", n)
	}
	for _, l := range x.owner.stream(1).pub.tracks[0].layers {
		if l.feeds != 0 {
			t.Errorf("%d feeds of layer %s are left", l.feeds, l.rid)
		}
	}
	if used := x.follower.w.storage.memory.Used(); used != 0 {
		t.Errorf("replicas of %d bytes are left", used)
	}
}

// A viewer that goes down and up within two seconds keeps the feed: nothing is primed again.
func TestFeedOutlivesAShortSwitch(t *testing.T) {
	x := newLayeredPair(t)
	x.run(3 * port.Second)
	follows := func() int { return int(x.follower.w.asking.number) }
	x.s.choose(0)
	x.exchange()
	x.run(port.Second)
	before := follows()
	x.s.choose(1)
	x.exchange()
	x.run(port.Second)
	if n := follows() - before; n != 0 {
		t.Errorf("%d layers were followed again", n)
	}
}

// A layer that is followed again brings no packet that a viewer was sent before. A paused layer is primed with those.
func TestLayerFollowedAgain(t *testing.T) {
	x := newLayeredPair(t)
	x.run(3 * port.Second)
	x.off[hiSSRC] = true
	x.s.choose(0)
	x.exchange()
	x.run(spareSpan + 2*port.Second)
	l := x.follower.stream(1).pub.tracks[0].layers[0]
	if l.history.Size() > 0 {
		t.Fatal("the replica of a layer that nobody watches was kept")
	}
	next := l.replica.next
	x.off[hiSSRC] = false
	x.s.choose(1)
	x.exchange()
	x.run(keyingRefill + returnSpan)
	if got := x.viewed(x.s); got[len(got)-1] != "hi" {
		t.Errorf("the viewer was sent %v; want the high layer in the end", got)
	}
	if l.replica.next <= next {
		t.Errorf("the replica goes on to %d after %d", l.replica.next, next)
	}
	seqs := []uint16{}
	for _, r := range x.s.media(subVideo) {
		seqs = append(seqs, r.Sequence)
	}
	for i := range seqs {
		x.s.nack(subVideo, seqs[i])
	}
	x.run(port.Second)
}

// The owner's keyframes answer to why a follower needs one.
func TestNeedsOfAFollower(t *testing.T) {
	x := newLayeredPair(t)
	x.run(5 * port.Second)
	for _, c := range []struct {
		name string
		rung int8
		want bus.Need
	}{{"down", 0, bus.NeedLost}, {"up", 1, bus.NeedRise}} {
		x.run(2 * keyingRefill)
		x.clear()
		x.s.choose(c.rung)
		x.exchange()
		x.run(2 * port.Second)
		if len(x.wanted) == 0 || slices.ContainsFunc(x.wanted, func(n bus.Need) bool { return n != c.want }) {
			t.Errorf("%s: the follower has the needs %v; want %v alone", c.name, x.wanted, c.want)
		}
	}
	x.clear()
	x.s.pli()
	x.exchange()
	if !slices.Equal(x.wanted, []bus.Need{bus.NeedLost}) {
		t.Errorf("a PLI makes the needs %v; want one for a loss", x.wanted)
	}
}

// Viewers who join at a follower are held back by no budget, although others there wait for the same layer and have
// used it up.
func TestJoinersOfAFollower(t *testing.T) {
	x := newLayeredPair(t)
	lost := x.s
	low := bus.LayerID{Stream: 1, Generation: 1, Track: 0, Layer: 1}
	x.run(20 * port.Second)
	waits := func(s *sub) bool { return x.follower.w.sessions[s.spec.ID].sub.video().waiting }
	for range 7 {
		x.owner.tell(from(1, bus.KeyframeWanted(0, low, bus.NeedLost)))
		x.run(port.Second)
	}
	lost.stop()
	lost.choose(0)
	x.exchange()
	x.off[hiSSRC] = true
	x.run(port.Second)
	joiner := x.follower.watch(1, watched(true)[0])
	x.exchange()
	if !waits(lost) || !waits(joiner) {
		t.Fatalf("the viewers wait: %t and %t; want both", waits(lost), waits(joiner))
	}
	x.run(joinKeyframeInterval + ms(100))
	if waits(joiner) {
		t.Errorf("the joiner waits after %d ns; its worker asked for %v", joinKeyframeInterval, x.wanted)
	}
}

// A publication that replaces another has other layers. The worker follows those that its viewers want.
func TestDemandOfTheNextPublication(t *testing.T) {
	x := newLayeredPair(t)
	x.run(3 * port.Second)
	x.s.choose(0)
	x.exchange()
	x.run(2 * port.Second)
	x.owner.tell(bus.PublicationClosed(1, 1))
	x.follower.tell(bus.PublicationClosed(1, 1))
	x.exchange()
	v := published()
	v[0].Encodings = append(v[0].Encodings, rtp.Encoding{SSRC: 0xE001}, rtp.Encoding{SSRC: 0xE002})
	p := x.owner.publish(1, 2, v...)
	x.follower.tell(bus.PublicationOpened(1, 2, 0, p.spec))
	x.exchange()
	x.clear()
	for i := range uint64(200) {
		if i == 20 {
			x.s.choose(0)
			x.exchange()
		}
		key := i == 0 || count(p.asked(), rtcp.PLI) > 0
		for _, ssrc := range []uint32{videoSSRC, 0xE001, 0xE002} {
			p.send(packet{
				ssrc: ssrc, pt: pubVP8, seq: i, ts: uint32(i) * 2700, marker: true,
				payload: vp8(true, key, fmt.Sprintf("%x", ssrc)),
			})
		}
		x.pass(ms(30))
	}
	got := x.s.media(subVideo)
	if len(got) < 50 || string(got[len(got)-1].payload[2:]) != "e002" {
		t.Errorf("%d packets were sent; want those of the lowest of three layers", len(got))
	}
	if pub := x.follower.stream(1).pub; pub.generation != 2 || pub.brings(pub.tracks[0].layers[1]) {
		t.Error("a layer is followed that nobody wants")
	}
}
