package worker

import (
	"fmt"
	"strings"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A simulcaster is a publisher of several layers of one picture, which answers keyframe requests, and one viewer.
type simulcaster struct {
	testing.TB
	l       *lab
	p       *pub
	s       *sub
	start   port.Time
	rungs   []*encoder
	checked port.Time
	// asked are the RIDs of the layers whose keyframes were requested, in order.
	asked []string
}

// An encoder makes one layer of a simulcaster. It has a frame of one packet each every.
type encoder struct {
	rid   string
	ssrc  uint32
	width uint16
	every port.Time
	next  port.Time
	seq   uint64
	base  uint32
	size  int
	// late is how long after its capture a frame is sent.
	late port.Time
	// off stops the layer, key makes its next frame a keyframe. deaf leaves requests unanswered.
	off, key, deaf bool
}

// newSimulcaster makes layers that the publisher lists in this order. Each begins with a keyframe, which shows the size
// of its pictures unless the width is 0.
func newSimulcaster(t testing.TB, widths map[string]uint16, rids ...string) *simulcaster {
	l := newLab(t, 0, 1)
	l.w.cfg.Adapt = false
	v := simulcast()[0]
	v.Encodings = nil
	for _, rid := range rids {
		v.Encodings = append(v.Encodings, rtp.Encoding{RID: rid})
	}
	x := &simulcaster{TB: t, l: l, p: l.publish(1, 1, v), start: l.now}
	for i, rid := range rids {
		x.rungs = append(x.rungs, &encoder{
			rid: rid, ssrc: 0xD001 + uint32(i), width: widths[rid], every: 30 * port.Millisecond, next: l.now,
			seq: 100, base: uint32(i) * 0x5555_5555, size: 10, key: true,
		})
	}
	x.s = l.watch(1, watched(false)[0])
	return x
}

// choose puts a viewer on a rung.
func (s *sub) choose(rung int8) {
	s.lab.Helper()
	sub := s.lab.w.sessions[s.spec.ID].sub
	for i := range sub.tracks {
		if t := &sub.tracks[i]; t.spec.Kind == rtp.Video {
			t.rung = rung
		}
	}
	s.lab.w.serve(sub)
	s.lab.poll()
}

// stop makes a viewer's present layer end at once.
func (s *sub) stop() {
	sub := s.lab.w.sessions[s.spec.ID].sub
	sub.tracks[len(sub.tracks)-1].stopped = true
}

// rung finds a layer.
func (x *simulcaster) rung(rid string) *encoder {
	for _, r := range x.rungs {
		if r.rid == rid {
			return r
		}
	}
	x.Fatalf("no layer %q", rid)
	return nil
}

func (x *simulcaster) timestamp(r *encoder) uint32 {
	return r.base + rtp.Ticks(int64(x.l.now-x.start), 90_000)
}

// report sends a sender report of each layer, which relates its clock to the others'.
func (x *simulcaster) report() {
	x.Helper()
	for _, r := range x.rungs {
		x.p.report(r.ssrc, x.timestamp(r))
	}
}

// run lets time pass, in which the layers send their frames.
func (x *simulcaster) run(span port.Time) {
	x.Helper()
	for end := x.l.now + span; x.l.now < end; x.l.pass(10 * port.Millisecond) {
		if x.l.now-x.checked > 5*port.Second { // they are still there
			x.checked = x.l.now
			x.l.receive(x.s.path, x.s.check())
			x.l.receive(x.p.path, x.p.check())
		}
		x.hear()
		for _, r := range x.rungs {
			if r.off || x.l.now < r.next {
				continue
			}
			x.send(r)
			r.next = x.l.now + r.every
		}
	}
}

// hear makes keyframes of the layers of which one was requested.
func (x *simulcaster) hear() {
	x.Helper()
	for _, f := range x.p.asked() {
		for _, r := range x.rungs {
			if f.Type == rtcp.PLI && f.Media == r.ssrc {
				r.key = r.key || !r.deaf
				x.asked = append(x.asked, r.rid)
			}
		}
	}
}

func (x *simulcaster) send(r *encoder) {
	x.Helper()
	text := fmt.Sprintf("%s %d %s", r.rid, x.l.now-r.late-x.start, strings.Repeat("x", r.size))
	payload := vp8(true, r.key, text)
	if r.key && r.width > 0 {
		payload = vp8Sized(r.width, r.width*9/16, text)
	}
	r.key = false
	ext := append([]byte{idMID << 4, 'v', idRID<<4 | byte(len(r.rid)-1)}, r.rid...)
	x.p.send(packet{
		ssrc: r.ssrc, pt: pubVP8, seq: r.seq, ts: x.timestamp(r) - rtp.Ticks(int64(r.late), 90_000), marker: true,
		ext: ext, payload: payload,
	})
	r.seq++
}

// A shown is a frame that the viewer was sent.
type shown struct {
	rid      string
	captured port.Time
	at       port.Time
	received
}

// shown are the frames that the first viewer was sent since forget.
func (x *simulcaster) shown() []shown { return x.shownTo(x.s) }

// shownTo are the frames that a viewer was sent since forget.
func (x *simulcaster) shownTo(s *sub) (all []shown) {
	x.Helper()
	for _, r := range s.media(subVideo) {
		f := shown{received: r, at: r.at - x.start}
		at := 2
		if r.payload[1] == 0 && len(r.payload) > 4 && r.payload[4] == 0x9D {
			at = 11
		}
		if _, err := fmt.Sscan(string(r.payload[at:]), &f.rid, &f.captured); err != nil {
			x.Fatal(err)
		}
		all = append(all, f)
	}
	return all
}

// layers are the layers in the order in which the viewer was sent them.
func layers(all []shown) (rids []string) {
	for _, f := range all {
		if n := len(rids); n == 0 || rids[n-1] != f.rid {
			rids = append(rids, f.rid)
		}
	}
	return rids
}

// checkTime fails where the timestamps do not go on as the captures did, or a frame is older than the one before.
func (x *simulcaster) checkTime(all []shown) {
	x.Helper()
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		got, want := int32(b.Timestamp-a.Timestamp), int32(rtp.Ticks(int64(b.captured-a.captured), 90_000))
		if want < 0 || got < want-90 || got > want+90 {
			x.Errorf("at %.2f s the timestamps went on by %d from layer %s to %s; want %d, a ms off at most",
				b.at.Seconds(), got, a.rid, b.rid, want)
		}
	}
}

var sizes = map[string]uint16{"lo": 320, "mid": 640, "hi": 1280}

// A switch to another layer starts at a keyframe that the viewer has not seen the moment of. An earlier one, even if it
// is fresh, would leave the picture later than the sound for good.
func TestSwitchDoesNotGoBack(t *testing.T) {
	for _, reported := range []bool{true, false} {
		t.Run(fmt.Sprint("reported ", reported), func(t *testing.T) {
			x := newSimulcaster(t, sizes, "lo", "hi")
			hi := x.rung("hi")
			x.run(90 * port.Millisecond)
			if reported {
				x.report()
			}
			hi.off = true
			x.run(port.Second)
			hi.off, hi.key, hi.deaf = false, true, true
			x.run(returnSpan - 200*port.Millisecond)
			hi.key = true // 200 ms before the layer counts again
			x.run(ms(450))
			if got := layers(x.shown()); got[len(got)-1] != "lo" {
				t.Errorf("the viewer was sent %v; want the low layer, until a keyframe of the other comes", got)
			}
			hi.key = true
			x.run(port.Second)
			all := x.shown()
			if got := layers(all); got[len(got)-1] != "hi" {
				t.Errorf("the viewer was sent %v; want the high layer in the end", got)
			}
			x.checkTime(all)
		})
	}
}

// ms returns milliseconds as a time.
func ms(n port.Time) port.Time { return n * port.Millisecond }

// A keyframe that comes just after the same picture of the present layer will do: the encoder sends layers one by one.
// Its timestamps are moved so that they grow. These moves do not add up from switch to switch.
func TestSwitchAtTheSamePicture(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	x.run(ms(100))
	x.report()
	hi := x.rung("hi")
	for range 20 {
		hi.off = true
		x.run(port.Second)
		hi.off, hi.key = false, true
		x.run(keyingRefill + port.Second)
	}
	all := x.shown()
	if got := layers(all); len(got) < 40 {
		t.Fatalf("the viewer was sent %d stretches; want 40", len(got))
	}
	x.checkTime(all)
	first, last := all[0], all[len(all)-1]
	got, want := last.Timestamp-first.Timestamp, rtp.Ticks(int64(last.captured-first.captured), 90_000)
	if d := int32(got - want); d < -90 || d > 90 {
		t.Errorf("after 40 switches the timestamps are %d off; want at most 90", d)
	}
}

// An encoder may send each picture of a layer after the next one of another layer. Then no keyframe is later than the
// last picture that the viewer has seen. After a while, one that is a little older must do. A single late one is
// skipped.
func TestSwitchToALateLayer(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	hi := x.rung("hi")
	x.run(ms(100))
	x.report()
	hi.off, hi.late = true, ms(40)
	x.run(port.Second)
	hi.off, hi.key = false, true
	x.run(returnSpan + ms(500))
	if got := layers(x.shown()); got[len(got)-1] != "lo" {
		t.Errorf("the viewer was sent %v; want the low layer as long as a better keyframe may come", got)
	}
	x.run(keyingRefill + port.Second)
	all := x.shown()
	if got := layers(all); got[len(got)-1] != "hi" {
		t.Fatalf("the viewer was sent %v; want the high layer in the end", got)
	}
	first, last := all[0], all[len(all)-1]
	got, want := last.Timestamp-first.Timestamp, rtp.Ticks(int64(last.captured-first.captured), 90_000)
	if d := int32(got - want); d < 0 || d > 50*90 {
		t.Errorf("the high layer is shown %d units late; want at most %d", d, 50*90)
	}
}

// The best layer is the one with the largest pictures, not the one with the most bits. While no layer shows its size,
// it is the first that the publisher listed.
func TestOrderOfLayers(t *testing.T) {
	for _, c := range []struct {
		name  string
		sizes map[string]uint16
		rids  []string
		want  string
	}{
		{"smallest first", sizes, []string{"lo", "mid", "hi"}, "hi"},
		{"largest first", sizes, []string{"hi", "mid", "lo"}, "hi"},
		{"no sizes", nil, []string{"a", "b", "c"}, "a"},
		{"alike", map[string]uint16{"a": 640, "b": 640}, []string{"a", "b"}, "a"},
		{"one without", map[string]uint16{"b": 320, "c": 160}, []string{"a", "b", "c"}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newSimulcaster(t, c.sizes, c.rids...)
			for _, r := range x.rungs { // the bits say the contrary
				r.size = 1000
				if r.rid == c.want {
					r.size = 1
				}
			}
			x.run(10 * port.Second)
			if best := x.l.stream(1).pub.tracks[0].top(); best.rid != c.want {
				t.Errorf("the best layer is %q; want %q", best.rid, c.want)
			}
			if got := layers(x.shown()); got[len(got)-1] != c.want {
				t.Errorf("the viewer was sent %v; want %q in the end", got, c.want)
			}
		})
	}
}

// A layer whose first keyframe was lost without a trace is asked for another, or nobody would ever see the layer. If
// the size is still unknown after some, the worker asks no more.
func TestSizeOfALostKeyframe(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	x.rung("hi").key = false
	x.run(3 * port.Second)
	if got := layers(x.shown()); got[len(got)-1] != "hi" {
		t.Errorf("the viewer was sent %v; want the high layer in the end", got)
	}
	x = newSimulcaster(t, map[string]uint16{"lo": 320, "mid": 640}, "lo", "mid", "hi")
	x.run(20 * port.Second)
	asked := 0
	for _, rid := range x.asked {
		if rid == "hi" {
			asked++
		}
	}
	if asked != maxQueries {
		t.Errorf("%d keyframes were asked for of a layer without a size; want %d", asked, maxQueries)
	}
}

// A layer is silent after four of its mean distances of frames, 300 ms to 2 s, while others are sent. Then the next
// lower one's keyframe is asked for at once.
func TestSilentLayer(t *testing.T) {
	for _, c := range []struct{ every, silent port.Time }{
		{ms(30), minSilence}, {ms(70), minSilence}, {ms(200), ms(800)}, {ms(400), ms(1600)}, {port.Second, maxSilence},
	} {
		t.Run(fmt.Sprint(c.every.Seconds()), func(t *testing.T) {
			x := newSimulcaster(t, sizes, "lo", "hi", "mid")
			for _, r := range x.rungs {
				r.every = c.every
			}
			x.rung("mid").every, x.rung("lo").every = ms(30), ms(30)
			x.run(20 * port.Second)
			hi := x.rung("hi")
			last := hi.next - hi.every
			hi.off = true
			x.asked, x.s.lab.sent = nil, nil
			x.run(3 * port.Second)
			all := x.shown()
			if len(all) == 0 || layers(all)[0] != "mid" {
				t.Fatalf("the viewer was sent %v; want the middle layer", layers(all))
			}
			// It is noticed with a frame of the others, and the keyframe is the one after that.
			got, want := all[0].at+x.start-last, c.silent
			if got <= want || got > want+ms(80) {
				t.Errorf("the middle layer was sent after %.0f ms; want %.0f, at most 80 more",
					got.Seconds()*1000, want.Seconds()*1000)
			}
			if len(x.asked) != 1 || x.asked[0] != "mid" {
				t.Errorf("keyframes were asked for of %v; want one of the middle layer", x.asked)
			}
			x.checkTime(all)
		})
	}
}

// A pause of all layers makes no layer silent: the network may be down, or the screen may not change. After the pause,
// the order in which layers come back does not matter.
func TestPauseOfAllLayers(t *testing.T) {
	for _, pause := range []port.Time{ms(500), port.Second, 10 * port.Second, 60 * port.Second} {
		x := newSimulcaster(t, sizes, "lo", "hi")
		x.run(port.Second)
		for _, r := range x.rungs {
			r.off = true
		}
		x.run(pause)
		x.rung("lo").off = false
		x.run(ms(150)) // the high layer's frames are large and come later
		x.rung("hi").off = false
		x.run(port.Second)
		if got := layers(x.shown()); len(got) > 2 || got[len(got)-1] != "hi" {
			t.Errorf("a pause of %v s: the viewer was sent %v; want the high layer all the time", pause.Seconds(), got)
		}
	}
}

// Layers whose frames come slower and slower do not count as silent, until one stops.
func TestSlowingLayers(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	for every := ms(50); every < ms(700); every += ms(50) {
		for _, r := range x.rungs {
			r.every = every
		}
		x.run(5 * port.Second)
	}
	if got := layers(x.shown()); len(got) > 2 || got[len(got)-1] != "hi" {
		t.Errorf("the viewer was sent %v; want the high layer all the time", got)
	}
	x.rung("hi").off = true
	x.run(5 * port.Second)
	if got := layers(x.shown()); got[len(got)-1] != "lo" {
		t.Errorf("the viewer was sent %v; want the low layer in the end", got)
	}
}

// A layer that comes and goes is not followed before it has sent for two seconds. A layer with a BYE is left at once.
func TestLayerComesAndGoes(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "hi")
	hi := x.rung("hi")
	x.run(port.Second)
	hi.off = true
	x.run(port.Second)
	x.l.forget()
	for range 5 {
		hi.off, hi.key = false, true
		x.run(port.Second)
		hi.off = true
		x.run(port.Second)
	}
	if got := layers(x.shown()); len(got) != 1 || got[0] != "lo" {
		t.Errorf("the viewer was sent %v; want the low layer alone", got)
	}
	hi.off, hi.key = false, true
	x.run(returnSpan + ms(500))
	if got := layers(x.shown()); len(got) != 2 || got[1] != "hi" {
		t.Errorf("the viewer was sent %v; want the high layer after it was sent for 2 s", got)
	}
	x.l.forget()
	hi.off = true
	x.p.rtcp(rtcp.AppendBye(nil, hi.ssrc))
	x.run(ms(100))
	if got := layers(x.shown()); len(got) != 1 || got[0] != "lo" {
		t.Errorf("after a goodbye the viewer was sent %v; want the low layer", got)
	}
}
