package worker

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// checkSequence fails where sequence numbers do not go on by one.
func (x *simulcaster) checkSequence(all []shown) {
	x.Helper()
	for i := 1; i < len(all); i++ {
		if a, b := all[i-1], all[i]; b.Sequence != a.Sequence+1 {
			x.Errorf("at %.2f s the sequence numbers went on from %d to %d", b.at.Seconds(), a.Sequence, b.Sequence)
		}
	}
}

// sees fails where a viewer was sent other layers since forget.
func (x *simulcaster) sees(s *sub, want ...string) []shown {
	x.Helper()
	all := x.shownTo(s)
	if got := layers(all); !slices.Equal(got, want) {
		x.Errorf("at %.2f s a viewer was sent %v; want %v", (x.l.now - x.start).Seconds(), got, want)
	}
	x.checkTime(all)
	x.checkSequence(all)
	return all
}

// Each viewer is sent the layer of its rung, and goes over alone.
func TestEachViewerHasItsRung(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	low, middle, top := x.s, x.l.watch(1, watched(true)[0]), x.l.watch(1, watched(true)[0])
	x.run(port.Second)
	low.choose(0)
	middle.choose(1)
	x.run(10 * port.Second)
	x.l.forget()
	x.run(port.Second)
	x.sees(low, "lo")
	x.sees(middle, "mid")
	x.sees(top, "hi")
	x.report()
	x.l.forget()
	x.run(ms(100))
	middle.choose(0)
	x.run(port.Second)
	x.sees(low, "lo")
	x.sees(middle, "mid", "lo")
	x.sees(top, "hi")
	x.l.forget()
	x.run(ms(100))
	middle.choose(2)
	x.run(keyingRefill + port.Second)
	x.sees(middle, "lo", "hi")
	for _, l := range x.l.stream(1).pub.tracks[0].layers {
		if want := map[string]int{"lo": 1, "mid": 0, "hi": 2}[l.rid]; l.users != want || l.wanted != want {
			t.Errorf("layer %s has %d users and is wanted by %d; want %d", l.rid, l.users, l.wanted, want)
		}
	}
	for _, s := range []*sub{low, middle, top} {
		x.l.tell(closed(s.party))
	}
	for _, l := range x.l.stream(1).pub.tracks[0].layers {
		if l.users != 0 || l.wanted != 0 || l.request.waiting != [bus.NumNeeds]int32{} {
			t.Errorf("layer %s counts %d users, wanted by %d, %v wait; want none", l.rid, l.users, l.wanted,
				l.request.waiting)
		}
	}
}

// The present layer goes on until the keyframe of the wanted one comes.
func TestPresentLayerGoesOn(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	lo := x.rung("lo")
	x.run(2 * port.Second)
	x.report()
	lo.deaf = true
	x.l.forget()
	x.s.choose(0)
	x.run(2 * port.Second)
	if all := x.sees(x.s, "hi"); len(all) < 60 {
		t.Errorf("the viewer was sent %d frames in 2 s; want all", len(all))
	}
	x.l.forget()
	x.run(ms(100))
	lo.key = true
	x.run(port.Second)
	x.sees(x.s, "hi", "lo")
}

// A packet of a layer is news for those that are sent the layer, and for no others.
func TestNewsOfALayer(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	x.l.watch(1, watched(true)[0])
	x.run(port.Second)
	x.s.choose(0)
	x.run(10 * port.Second)
	st := x.l.stream(1)
	for _, l := range st.pub.tracks[0].layers {
		x.l.w.wakeFor(l, forReady)
		left := map[string]int{}
		for _, l := range st.pub.tracks[0].layers {
			left[l.rid] = l.circle.left
		}
		want := map[string]int{"lo": 0, "mid": 0, "hi": 0}
		if l.rid != "mid" {
			want[l.rid] = 1 // nobody is sent the layer between
		}
		if !maps.Equal(left, want) {
			t.Errorf("after a packet of %s %v are to be visited; want %v", l.rid, left, want)
		}
		x.l.poll()
	}
}

// sendParts sends parts of a picture of the high layer of simulcast.
func (p *pub) sendParts(seq *uint64, ts uint32, key bool, parts ...string) {
	p.lab.Helper()
	for i, part := range parts {
		x := packet{
			ssrc: hiSSRC, pt: pubVP8, seq: *seq, ts: ts, marker: part == "end",
			ext:     append([]byte{idMID << 4, 'v', idRID<<4 | 1}, "hi"...),
			payload: vp8(i == 0 && part == "start", key, part),
		}
		p.send(x)
		*seq++
	}
}

// A layer that is stopped ends with the picture in hand, and is not repaired any more. That holds after the viewer went
// on to another layer, too.
func TestStoppedLayer(t *testing.T) {
	l := newLab(t, 0, 1)
	l.w.cfg.Adapt = false
	p := l.publish(1, 1, simulcast()...)
	s := l.watch(1, watched(true)[0])
	seq := uint64(100)
	frame := func() {
		l.pass(ms(30))
		p.layer(loSSRC, seq, uint32(seq)*900, vp8(true, false, "lo"))
		p.sendParts(&seq, uint32(seq)*900, false, "start", "middle", "end")
	}
	p.sendParts(&seq, uint32(seq)*900, true, "start", "middle", "end")
	for range 20 {
		frame()
	}
	l.pass(ms(30))
	ts := uint32(seq) * 900
	p.sendParts(&seq, ts, false, "start", "middle")
	l.forget()
	s.choose(0)
	s.stop()
	p.sendParts(&seq, ts, false, "end")
	for range 3 {
		frame()
	}
	got := s.media(subVideo)
	if len(got) != 1 || string(got[0].payload[2:]) != "end" {
		t.Fatalf("%d packets were sent after the stop; want the last of the picture in hand", len(got))
	}
	last := got[0]
	resends := func() int {
		s.nack(subVideo, last.Sequence, last.Sequence-1)
		l.pass(ms(10))
		return len(s.media(subVideoRTX))
	}
	if n := resends(); n != 0 {
		t.Errorf("%d packets of a stopped layer were sent again", n)
	}
	l.forget()
	l.pass(ms(30))
	p.layer(loSSRC, seq, uint32(seq)*900, vp8(true, true, "lo 2"))
	got = s.media(subVideo)
	if len(got) != 1 || got[0].Sequence != last.Sequence+1 || string(got[0].payload[2:]) != "lo 2" {
		t.Fatalf("%d packets were sent at the keyframe; want it, with the next number", len(got))
	}
	if n := resends(); n != 0 {
		t.Errorf("%d packets of the layer before were sent again", n)
	}
	s.nack(subVideo, got[0].Sequence)
	if n := len(s.media(subVideoRTX)); n != 1 {
		t.Errorf("%d packets of the present layer were sent again; want 1", n)
	}
}

// Sound alone ends the video after a picture. Later it goes on as if it had never paused, and nobody asks for keyframes
// meanwhile.
func TestVideoPauses(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	x.run(2 * port.Second)
	x.report()
	x.l.forget()
	x.s.choose(adapt.AudioOnly)
	x.run(20 * port.Second)
	if n := len(x.shown()); n > 1 {
		t.Errorf("%d pictures were sent", n)
	}
	if n := count(x.p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d keyframes were asked for", n)
	}
	before := x.l.w.sessions[x.s.spec.ID].sub.tracks[0]
	x.s.choose(0)
	x.run(port.Second)
	all := x.sees(x.s, "lo")
	if len(all) < 20 {
		t.Fatalf("%d pictures were sent; want the layer from its keyframe on", len(all))
	}
	passed := all[0].at + x.start - before.lastSent
	d := int32(all[0].Timestamp - before.lastTimestamp - rtp.Ticks(int64(passed), 90_000))
	if uint16(before.highest)+1 != all[0].Sequence || d < -90 || d > 90 {
		t.Errorf("the video goes on from number %d with %d, %d units off; want the next, 90 at most",
			before.highest, all[0].Sequence, d)
	}
	x.s.choose(adapt.AudioOnly) // before the next publication, too
	x.run(ms(100))
	x.l.tell(bus.PublicationClosed(1, 1))
	x.l.publish(1, 2, x.p.spec.Tracks...)
	x.l.pass(port.Second)
}

// A rung whose layer is silent is replaced by the next lower one, or else the next higher. Its viewers come back after
// the layer was sent for two seconds.
func TestSilentRungs(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	low, middle, top := x.s, x.l.watch(1, watched(true)[0]), x.l.watch(1, watched(true)[0])
	x.run(port.Second)
	low.choose(0)
	middle.choose(1)
	x.run(8 * port.Second)
	x.report()
	mid, lo := x.rung("mid"), x.rung("lo")
	x.l.forget()
	x.run(ms(100))
	mid.off = true
	x.run(port.Second)
	x.sees(middle, "mid", "lo")
	x.sees(top, "hi")
	x.l.forget()
	x.run(ms(100))
	lo.off = true
	x.run(port.Second)
	x.sees(low, "lo", "hi")
	x.sees(middle, "lo", "hi")
	x.l.forget()
	mid.off, mid.key = false, true
	x.run(returnSpan - ms(100))
	x.sees(middle, "hi")
	x.run(keyingRefill + port.Second)
	x.sees(middle, "hi", "mid")
	x.sees(low, "hi", "mid") // the next higher one
	lo.off, lo.key = false, true
	x.l.forget()
	x.run(returnSpan + keyingRefill)
	x.sees(low, "mid", "lo")
	x.sees(top, "hi")
}

// Another publication has a ladder of its own. Its viewers begin on the highest rung.
func TestRungsOfTheNextPublication(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	x.run(port.Second)
	x.l.tell(bus.Choose(0, x.s.spec.ID, bus.LayerID{Stream: 1, Generation: 1, Track: 0, Layer: 1}))
	x.run(2 * port.Second)
	if got := layers(x.shown()); got[len(got)-1] != "mid" {
		t.Errorf("the viewer was sent %v; want the chosen layer in the end", got)
	}
	x.l.tell(bus.PublicationClosed(1, 1))
	x.l.tell(closed(x.p.party))
	p := x.l.publish(1, 2, simulcast()...)
	x.l.forget()
	for i := range uint64(200) {
		key := count(p.asked(), rtcp.PLI) > 0 || i == 0
		hi, lo := vp8(true, key, "hi"), vp8(true, key, "lo")
		if i == 0 {
			hi, lo = vp8Sized(1280, 720, "hi"), vp8Sized(320, 180, "lo")
		}
		p.layer(hiSSRC, i, uint32(i)*2700, hi)
		p.layer(loSSRC, i, uint32(i)*2700, lo)
		x.l.pass(ms(30))
	}
	got := x.s.media(subVideo)
	if len(got) == 0 || string(got[len(got)-1].payload[2:]) != "hi" {
		t.Errorf("%d packets were sent; want the highest rung in the end", len(got))
	}
	for _, l := range x.l.stream(1).pub.tracks[0].layers {
		if want := map[string]int{"hi": 1}[l.rid]; l.users != want || l.wanted != want {
			t.Errorf("layer %s has %d users and is wanted by %d; want %d", l.rid, l.users, l.wanted, want)
		}
	}
}

// Payload formats with counters go on through switches in both directions.
func TestSwitchesOfCounters(t *testing.T) {
	l := newLab(t, 0, 1)
	l.w.cfg.Adapt = false
	p := l.publish(1, 1, simulcast()...)
	s := l.watch(1, watched(false)[0])
	for i := range uint64(900) {
		switch i {
		case 300:
			s.choose(0)
		case 600:
			s.choose(1)
		}
		key := i%100 == 0
		p.layer(loSSRC, 100+i, uint32(i)*2700, vp8ID(true, key, uint16(i), uint8(i), fmt.Sprint("lo ", i)))
		p.layer(hiSSRC, 7000+i, uint32(i)*2700+77, vp8ID(true, key, uint16(9000+3*i), uint8(7*i), fmt.Sprint("hi ", i)))
		l.pass(ms(30))
	}
	got := s.media(subVideo)
	switched := 0
	for i := 1; i < len(got); i++ {
		if goesOn(t, &got[i-1], &got[i]) {
			switched++
		}
	}
	if switched != 2 || len(got) < 890 {
		t.Errorf("%d packets with %d switches; want 900 with two", len(got), switched)
	}
}
