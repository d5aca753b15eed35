package worker

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// ladder returns the last ladder that the controller was told of, by RID.
func (x *simulcaster) ladder() map[string]bus.Rung {
	x.Helper()
	all := x.l.said(bus.KindLadder)
	if len(all) == 0 {
		x.Fatal("the controller knows no ladder")
	}
	rungs := make(map[string]bus.Rung)
	for _, r := range *all[len(all)-1].Ladder {
		rungs[x.l.stream(1).pub.tracks[0].layers[r.Layer].rid] = r
	}
	return rungs
}

// checkRate fails where a rung's rate is far from that of packets of a size, so many a second.
func (x *simulcaster) checkRate(r bus.Rung, size, pace float64) {
	x.Helper()
	const overhead = 12 + 12 + 30 // headers, extensions, text
	least, most := size*pace*8, (size+overhead)*pace*8*1.1
	if rate := float64(r.Rate); rate < least || rate > most {
		x.Errorf("rung %d has %d bit/s; want %.0f to %.0f", r.Layer, r.Rate, least, most)
	}
	if float64(r.Size) < size || float64(r.Size) > size+overhead {
		x.Errorf("rung %d has packets of %d bytes; want %.0f", r.Layer, r.Size, size)
	}
}

// The owner measures each layer, and informs the controller when a rate changed.
func TestLadder(t *testing.T) {
	x := newSimulcaster(t, sizes, "hi", "lo", "mid")
	hi, lo := x.rung("hi"), x.rung("lo")
	hi.size, x.rung("mid").size, lo.size = 1000, 400, 100
	x.run(10 * port.Second)
	got := x.ladder()
	x.checkRate(got["hi"], 1000, 1000.0/30)
	x.checkRate(got["mid"], 400, 1000.0/30)
	x.checkRate(got["lo"], 100, 1000.0/30)
	if r := got["mid"]; r.Width != 640 || r.Height != 360 || !r.Sent {
		t.Errorf("the middle rung is %+v; want 640 x 360, sent", r)
	}
	track := &x.l.stream(1).pub.tracks[0]
	for i, rid := range []string{"lo", "mid", "hi"} {
		if l := track.rungs[i].layer; l.rid != rid || track.ladder[i].Rate != got[rid].Rate {
			t.Errorf("rung %d is layer %q with %+v; want %q with %+v", i, l.rid, track.ladder[i], rid, got[rid])
		}
	}

	x.l.forget()
	x.run(10 * port.Second)
	if n := len(x.l.said(bus.KindLadder)); n > 0 {
		t.Errorf("the controller was told %d times of rates that did not change", n)
	}
	hi.size = 600
	x.run(10 * port.Second)
	x.checkRate(x.ladder()["hi"], 600, 1000.0/30)
	if n := len(x.l.said(bus.KindLadder)); n > 10 {
		t.Errorf("the controller was told %d times of one change", n)
	}

	lo.off = true
	x.run(2 * port.Second)
	if r := x.ladder()["lo"]; r.Rate != 0 || r.Sent {
		t.Errorf("a silent rung is %+v; want neither sent nor a rate", r)
	}
	if track.rungs[0].layer.rid != "lo" {
		t.Errorf("the lowest rung is %q; a silent one keeps its place", track.rungs[0].layer.rid)
	}
	lo.off, lo.key = false, true
	x.run(4 * port.Second)
	x.checkRate(x.ladder()["lo"], 100, 1000.0/30)
}

// A keyframe each two seconds, eight times as large as other frames, moves a rate by little.
func TestRateWithKeyframes(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	hi := x.rung("hi")
	hi.size = 100
	var least, most uint32
	for i := range 20 {
		hi.size, hi.key = 800, true
		x.run(ms(30))
		hi.size = 100
		x.run(ms(1970))
		if r := x.ladder()["hi"].Rate; i >= 3 {
			if least == 0 {
				least = r
			}
			least, most = min(least, r), max(most, r)
		}
	}
	if most > least*12/10 {
		t.Errorf("the rate moved from %d to %d bit/s", least, most)
	}
}

// A publisher that sends pictures only when they change keeps its rates while it pauses.
func TestRateOfAPausedPublisher(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	x.run(5 * port.Second)
	before := x.ladder()["hi"].Rate
	for _, r := range x.rungs {
		r.off = true
	}
	x.run(20 * port.Second)
	if got := x.ladder()["hi"]; got.Rate != before || !got.Sent {
		t.Errorf("after a pause of all layers the rung is %+v; want %d bit/s, sent", got, before)
	}
}

// A follower has the owner's ladder.
func TestLadderOfAFollower(t *testing.T) {
	x := newPair(t, false, simulcast)
	for i := range uint64(300) {
		ts := uint32(i) * 900
		hi, lo := vp8(true, false, string(make([]byte, 900))), vp8(true, false, string(make([]byte, 90)))
		if i == 0 {
			hi, lo = vp8Sized(1280, 720, ""), vp8Sized(320, 180, "")
		}
		x.p.layer(hiSSRC, i, ts, hi)
		x.p.layer(loSSRC, i, ts, lo)
		x.pass(10 * port.Millisecond)
	}
	owner, follower := &x.owner.stream(1).pub.tracks[0], &x.follower.stream(1).pub.tracks[0]
	for i := range owner.rungs {
		a, b := owner.rungs[i].layer, follower.rungs[i].layer
		if a.index != b.index || owner.ladder[i] != follower.ladder[i] || owner.ladder[i].Rate == 0 {
			t.Errorf("rung %d is layer %d with %+v at the owner, and layer %d with %+v at the follower",
				i, a.index, owner.ladder[i], b.index, follower.ladder[i])
		}
	}
	late := newLab(t, 2, 3)
	late.tell(bus.PublicationOpened(1, 1, 0, x.p.spec))
	for _, m := range []*bus.Ladder{nil, {}, {{Layer: 9}, {}}, {{}, {}, {}}} {
		late.tell(from(0, bus.LadderChanged(2, 0, owner.layers[0].id(), m)))
	}
}

// Measuring is a part of the way of each packet.
func TestMeasuringDoesNotAllocate(t *testing.T) {
	var m meter
	now := port.Second
	if n := testing.AllocsPerRun(1000, func() {
		now += 10 * port.Millisecond
		m.add(now, 1200)
		m.read(now)
	}); n > 0 {
		t.Errorf("%v allocations a packet", n)
	}
}
