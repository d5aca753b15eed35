package worker

import (
	"fmt"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// A keyer is a simulcaster that is asked for keyframes by many viewers.
type keyer struct {
	*simulcaster
	viewers []*sub
	// together keys all layers when one is asked for, as libwebrtc does.
	together bool
	requests []port.Time
	proven   port.Time // when the viewers last proved that they are there
}

func newKeyer(t *testing.T, viewers int, together bool) *keyer {
	x := &keyer{simulcaster: newSimulcaster(t, sizes, "lo", "mid", "hi"), together: together}
	for range viewers {
		x.viewers = append(x.viewers, x.l.watch(1, watched(true)[0]))
	}
	x.pass(20 * port.Second)
	x.requests, x.asked = nil, nil
	return x
}

// pass lets time pass.
func (x *keyer) pass(span port.Time) {
	for end := x.l.now + span; x.l.now < end; {
		before := len(x.asked)
		x.run(ms(10))
		x.hear()
		for range x.asked[before:] {
			x.requests = append(x.requests, x.l.now)
			for _, r := range x.rungs {
				r.key = r.key || x.together && !r.deaf
			}
		}
		if x.l.now-x.proven > 5*port.Second {
			x.proven = x.l.now
			for _, s := range x.viewers {
				x.l.receive(s.path, s.check())
			}
		}
		x.l.sent = nil
	}
}

// checkBudget fails where more requests were made in any 30 s than a track's budget has.
func (x *keyer) checkBudget() {
	x.Helper()
	const most = 6
	for i := range x.requests {
		n := 0
		for n < len(x.requests)-i && x.requests[i+n]-x.requests[i] < 30*port.Second {
			n++
		}
		if n > most {
			x.Errorf("%d keyframes were requested in the 30 s after %.2f s; want %d at most", n,
				(x.requests[i] - x.start).Seconds(), most)
			return
		}
	}
}

// A flood of PLIs and of changes of rungs makes the publisher send no more keyframes than its budget. They are spread:
// nobody waits for longer than the budget takes to be refilled.
func TestFloodKeepsToTheBudget(t *testing.T) {
	for _, together := range []bool{true, false} {
		t.Run(fmt.Sprint("together ", together), func(t *testing.T) {
			x := newKeyer(t, 12, together)
			for i := range 900 {
				for n, s := range x.viewers {
					switch (i + n) % 3 {
					case 0:
						s.pli()
					case 1:
						s.choose(int8((i/7 + n) % 3))
					}
				}
				x.pass(ms(100))
			}
			x.checkBudget()
			if n := len(x.requests); n < 12 {
				t.Errorf("%d keyframes were requested in 90 s; want the budget to be used", n)
			}
			for i := 1; i < len(x.requests); i++ {
				if d := x.requests[i] - x.requests[i-1]; d > keyingRefill*3/2 {
					t.Errorf("no keyframe was requested for %.1f s", d.Seconds())
				}
			}
		})
	}
}

// The budget holds for viewers of other workers as well.
func TestFloodOfAFollower(t *testing.T) {
	x := newLayeredPair(t)
	x.run(20 * port.Second)
	n := 0
	for i := range 600 {
		x.s.choose(int8(i / 5 % 2))
		x.s.pli()
		x.follower.hand(bus.KeyframeWanted(0, x.follower.stream(1).pub.tracks[0].layers[0].id(), bus.NeedLost))
		id := x.owner.stream(1).pub.tracks[0].layers[i%2].id()
		x.owner.tell(from(1, bus.KeyframeWanted(0, id, bus.Need(i%2*2))))
		before := x.owner.counted(SentPLIs)
		x.run(ms(100))
		n += int(x.owner.counted(SentPLIs) - before)
	}
	if n > 14 { // two at once, and one each six seconds
		t.Errorf("%d keyframes were requested in 60 s; want 14 at most", n)
	}
}

// A publisher that keys all layers when one is asked for is asked once for all of them. One that keys single layers is
// asked for each.
func TestLayersKeyedTogether(t *testing.T) {
	for _, together := range []bool{true, false} {
		t.Run(fmt.Sprint(together), func(t *testing.T) {
			x := newKeyer(t, 2, together)
			learn := func() {
				x.viewers[0].choose(1)
				x.pass(2 * keyingRefill)
				x.viewers[0].choose(2)
				x.pass(3 * keyingRefill)
			}
			learn()
			if got := x.l.stream(1).pub.tracks[0].keying; got.together != together {
				t.Errorf("layers are keyed together: %t; want %t", got.together, together)
			}
			x.asked = nil
			x.viewers[0].choose(0)
			x.viewers[1].choose(1)
			x.pass(port.Second)
			want := 1
			if !together {
				want = 2
			}
			if len(x.asked) != want {
				t.Errorf("keyframes were asked for of %v; want %d", x.asked, want)
			}
			x.together = !together // it changes
			x.pass(5 * keyingRefill)
			x.viewers[0].choose(2)
			x.viewers[1].choose(2)
			x.pass(5 * keyingRefill)
			learn()
			if got := x.l.stream(1).pub.tracks[0].keying; got.together == together {
				t.Errorf("layers are keyed together: %t; want %t after the publisher changed", got.together, !together)
			}
		})
	}
}

// Viewers who go up are patient, and leave a keyframe for those who go down.
func TestRiseIsPatient(t *testing.T) {
	x := newKeyer(t, 3, true)
	a, b, c := x.viewers[0], x.viewers[1], x.viewers[2]
	for _, s := range x.viewers {
		s.choose(0)
	}
	x.pass(5 * keyingRefill)
	x.requests = nil
	start := x.l.now
	a.choose(2)
	x.pass(ms(100))
	b.choose(2)
	x.pass(ms(900))
	if n := len(x.requests); n != 1 {
		t.Errorf("%d keyframes in the first second of two who go up; want 1", n)
	}
	a.choose(1)
	x.pass(ms(100))
	if n := len(x.requests); n != 2 {
		t.Errorf("%d keyframes once one goes down; want 2", n)
	}
	x.requests = nil
	c.choose(2)
	x.pass(2 * keyingRefill)
	if n := len(x.requests); n != 1 || x.requests[0]-start < keyingRefill {
		t.Errorf("keyframes after %v; want one, when two can be paid for", x.requests)
	}
}

// One viewer who asks for keyframes of one layer all the time keeps nobody from another, although each layer is keyed
// alone.
func TestFloodOfOneLayer(t *testing.T) {
	const hi = 2
	for _, c := range []struct {
		name     string
		from, to int8
	}{{"up", 0, hi}, {"down", hi, 0}} {
		t.Run(c.name, func(t *testing.T) {
			x := newKeyer(t, 2, false)
			a, hostile := x.viewers[0], x.viewers[1]
			a.choose(c.from)
			hostile.choose(c.from)
			x.pass(5 * keyingRefill)
			want := x.l.stream(1).pub.tracks[0].rungs[c.to].layer
			for i := range 60 {
				if i == 30 {
					a.choose(c.to)
				}
				hostile.pli()
				x.pass(ms(1500))
				if x.l.w.sessions[a.spec.ID].sub.video().have() == want {
					if waited := i - 30; waited > 12 {
						t.Errorf("the viewer was sent the layer after %d PLIs in 18 s, want sooner", waited)
					}
					x.checkBudget()
					return
				}
			}
			t.Error("the viewer was never sent the layer that it wants")
		})
	}
}

// A viewer whose layer was stopped, and who is then put on a higher rung, still waits without a picture. It does not
// wait for as long as those who are sent a lower layer meanwhile.
func TestStoppedViewerGoesUp(t *testing.T) {
	x := newKeyer(t, 1, true)
	for _, r := range x.rungs {
		r.deaf = true
	}
	v := x.viewers[0]
	line := x.l.w.sessions[v.spec.ID].sub.video()
	v.stop()
	v.choose(0)
	x.pass(port.Second) // two requests, unanswered
	if !line.waiting {
		t.Fatal("the layer was not stopped")
	}
	line.stopped = false
	v.choose(2)
	for _, r := range x.rungs {
		r.deaf = false
	}
	x.pass(keyingRefill)
	if line.waiting {
		t.Errorf("the viewer was sent no picture within %d ns, want one as for a loss", keyingRefill)
	}
}

// A request that is not answered is repeated once within the budget.
func TestUnansweredRequest(t *testing.T) {
	x := newKeyer(t, 1, true)
	for _, r := range x.rungs {
		r.deaf = true
	}
	start := x.l.now
	x.viewers[0].choose(0)
	x.pass(keyingRefill - ms(100))
	if len(x.requests) != 2 {
		t.Fatalf("%d requests before the budget was refilled; want 2", len(x.requests))
	}
	if d := x.requests[1] - start; d < answerSpan+defaultTrip || d > answerSpan+defaultTrip+ms(30) {
		t.Errorf("the request was repeated after %.0f ms; want %.0f", d.Seconds()*1000,
			(answerSpan+defaultTrip).Seconds()*1000)
	}
}

// Joiners are not held back by the budget.
func TestJoinersPayNothing(t *testing.T) {
	x := newKeyer(t, 1, true)
	for range 6 {
		x.viewers[0].pli()
		x.pass(ms(400))
	}
	x.requests = nil
	x.viewers = append(x.viewers, x.l.watch(1, watched(true)[0]))
	x.pass(joinKeyframeInterval + ms(100))
	if len(x.requests) != 1 {
		t.Errorf("%d keyframes for a joiner; want 1 within a second", len(x.requests))
	}
	if n := count(x.p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d more were asked for", n)
	}
}
