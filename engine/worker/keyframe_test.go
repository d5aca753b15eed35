package worker

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// pli sends a PLI.
func (s *sub) pli() {
	s.lab.Helper()
	s.rtcp(rtcp.AppendPLI(nil, 1, subVideo))
}

// keyframeLab is a publisher and subscribers that have begun, long after any request.
func keyframeLab(t *testing.T, subscribers int) (*lab, *pub, []*sub) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	var subs []*sub
	for range subscribers {
		subs = append(subs, l.watch(1, watched(true)...))
	}
	l.pass(5 * port.Second)
	p.asked()
	l.forget()
	return l, p, subs
}

// At most one PLI in 500 ms goes up, for any number of requests. A request that was held back goes up when it may.
func TestLossPLIsAreCoalesced(t *testing.T) {
	l, p, subs := keyframeLab(t, 20)
	start := l.now
	for l.now < start+2900*port.Millisecond {
		for i, s := range subs {
			if l.now >= start+port.Time(i)*100*port.Millisecond { // each starts to lose at another time
				s.pli()
			}
		}
		l.pass(10 * port.Millisecond)
	}
	var at []port.Time
	for _, f := range p.asked() {
		if f.Type == rtcp.PLI {
			if f.Media != videoSSRC {
				t.Errorf("a PLI for SSRC %x", f.Media)
			}
			at = append(at, f.at)
		}
	}
	if len(at) != 6 || at[0] != start {
		t.Fatalf("%d PLIs in 3 s; want 6, the first at once", len(at))
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] != keyframeInterval {
			t.Errorf("PLIs %v s apart; want %v", (at[i] - at[i-1]).Seconds(), keyframeInterval.Seconds())
		}
	}
}

func TestHeldBackPLIIsSentWhenDue(t *testing.T) {
	l, p, subs := keyframeLab(t, 2)
	subs[0].pli()
	l.pass(100 * port.Millisecond)
	subs[1].pli()
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Fatalf("%d PLIs; want the first alone", n)
	}
	l.pass(400*port.Millisecond - 1)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Fatal("the second PLI came too early")
	}
	l.pass(1)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Error("the PLI that was held back was never sent")
	}
	l.pass(5 * port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d more PLIs that nobody asked for", n)
	}
}

func TestHeldBackPLIIsClearedByKeyframe(t *testing.T) {
	l, p, subs := keyframeLab(t, 2)
	subs[0].pli()
	l.pass(100 * port.Millisecond)
	subs[1].pli()
	p.asked()
	p.frame(1, 3000, true)
	l.pass(2 * port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d PLIs after the keyframe had come", n)
	}
}

// A steady crowd of joiners asks for one keyframe a second at most.
func TestJoinersAskOnceASecond(t *testing.T) {
	l, p, _ := keyframeLab(t, 0)
	start := l.now
	seq := uint64(1)
	var at []port.Time
	for l.now < start+3900*port.Millisecond {
		l.watch(1, watched(true)...)
		key := len(at) > 0 && l.now == at[len(at)-1]+40*port.Millisecond
		p.frame(seq, uint32(seq)*3000, key)
		seq++
		l.pass(20 * port.Millisecond)
		for _, f := range p.asked() {
			if f.Type == rtcp.PLI {
				at = append(at, f.at)
			}
		}
	}
	if len(at) != 4 {
		t.Fatalf("%d PLIs in 4 s; want 4", len(at))
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] < joinKeyframeInterval {
			t.Errorf("PLIs %v s apart", (at[i] - at[i-1]).Seconds())
		}
	}
}

// A joiner of a still picture, or of a stream whose history is gone, gets a keyframe although no packet arrives. The
// worker requests it at once, and again until it comes.
func TestJoinerOfStillPicture(t *testing.T) {
	for _, idle := range []port.Time{0, 3 * port.Second, 7 * port.Second} {
		l, p, _ := keyframeLab(t, 0)
		l.pass(idle)
		p.asked()
		s := l.watch(1, watched(true)...)
		if n := count(p.asked(), rtcp.PLI); n != 1 {
			t.Errorf("still for %v s: %d PLIs on joining; want 1", 5+idle.Seconds(), n)
		}
		l.pass(3600 * port.Millisecond) // all of them are lost
		if n := count(p.asked(), rtcp.PLI); n != 4 {
			t.Errorf("still for %v s: %d PLIs repeated in 3.6 s; want 4, after 0.5, 1.5, 2.5 and 3.5 s",
				5+idle.Seconds(), n)
		}
		l.forget()
		p.frame(1, 3000, true)
		if n := len(s.media(subVideo)); n != 1 {
			t.Errorf("%d packets at the keyframe; want 1", n)
		}
		l.pass(5 * port.Second)
		if n := count(p.asked(), rtcp.PLI); n != 0 {
			t.Errorf("%d PLIs after it; want none", n)
		}
	}
}

// A waiting subscriber requests the first keyframe from a publisher that announced its SSRCs.
func TestJoinerBeforeTheFirstPacket(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	l.watch(1, watched(true)...)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d PLIs at once, though publishers start with a keyframe; want none", n)
	}
	l.pass(keyframeInterval)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs later; want 1", n)
	}
}

// A loss that all subscribers see makes one request, also if their reports come at different times. The keyframe
// answers the reports that cross it.
func TestCrossingPLIs(t *testing.T) {
	l, p, subs := keyframeLab(t, 20)
	for i, s := range subs { // spread over 300 ms; the keyframe comes 105 ms after the first
		if i == 7 {
			p.frame(1, 3000, true)
		}
		s.pli()
		l.pass(15 * port.Millisecond)
	}
	l.pass(3 * port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs for one loss; want 1", n)
	}
	subs[3].pli() // another loss
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs for the next loss; want 1", n)
	}
}

// A subscriber that requests keyframes all the time gets ever fewer. After a quiet time it counts like others.
func TestLossySubscriber(t *testing.T) {
	l, p, subs := keyframeLab(t, 2)
	lossy := subs[0]
	seq := uint64(1)
	ask := func(span port.Time) (plis int) {
		for range span / (100 * port.Millisecond) {
			lossy.pli()
			l.pass(100 * port.Millisecond)
			l.receive(lossy.path, lossy.check())
			l.receive(p.path, p.check())
			n := count(p.asked(), rtcp.PLI)
			l.forget()
			plis += n
			if n > 0 {
				p.frame(seq, uint32(seq)*3000, true)
				seq++
			}
		}
		return plis
	}
	if n := ask(60 * port.Second); n < 4 || n > 8 {
		t.Errorf("%d PLIs in 60 s; want 4 to 8", n)
	}
	for range 4 {
		l.pass(10 * port.Second)
		l.receive(lossy.path, lossy.check())
		l.receive(p.path, p.check())
	}
	l.forget()
	if n := ask(port.Second); n == 0 {
		t.Error("no PLI after a quiet time")
	}
}

// A loss does not wait for the longer interval of a joiner that asked before it.
func TestLossOvertakesJoin(t *testing.T) {
	l, p, subs := keyframeLab(t, 1)
	subs[0].pli() // at 0
	l.pass(100 * port.Millisecond)
	l.watch(1, watched(true)...) // due at 1 s
	p.frame(1, 3000, false)
	p.asked()
	l.pass(100 * port.Millisecond)
	subs[0].pli() // due at 500 ms
	l.pass(301 * port.Millisecond)
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs 500 ms after the last; expected one", n)
	}
}

// A FIR that is repeated with the same number counts once. The next number is another request (RFC 5104 section
// 4.3.1.1).
func TestFIRDedupe(t *testing.T) {
	l, p, subs := keyframeLab(t, 2)
	fir := func(s *sub, command uint8) { s.rtcp(rtcp.AppendFIR(nil, 1, subVideo, command)) }
	for range 20 {
		fir(subs[0], 7)
		l.pass(100 * port.Millisecond)
	}
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d PLIs for one FIR that was repeated", n)
	}
	fir(subs[0], 8)
	l.pass(port.Second)
	fir(subs[1], 8) // another subscriber counts for itself
	l.pass(port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 2 {
		t.Errorf("%d PLIs; expected 2", n)
	}
}

// A PLI for an SSRC that is not the subscriber's video does nothing.
func TestPLIForOtherSSRCs(t *testing.T) {
	l, p, subs := keyframeLab(t, 1)
	subs[0].rtcp(rtcp.AppendPLI(nil, 1, subAudio))
	subs[0].rtcp(rtcp.AppendPLI(nil, 1, 0xDEAD))
	subs[0].rtcp(rtcp.AppendFIR(nil, 1, videoSSRC, 1))
	l.pass(2 * port.Second)
	if n := count(p.asked(), rtcp.PLI); n != 0 {
		t.Errorf("%d PLIs", n)
	}
}

// A publisher that takes FIR but not PLI is sent FIRs, each with its own number.
func TestFIRWherePLIIsNotNegotiated(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Formats[0].Feedback &^= 1 << 1 // PLI
	p := l.publish(1, 1, tracks...)
	p.frame(0, 0, true)
	s := l.watch(1, watched(true)...)
	l.pass(5 * port.Second)
	p.asked()
	numbers := make(map[uint8]bool)
	for range 3 {
		s.pli()
		l.pass(port.Second)
		for _, f := range p.asked() {
			if f.Type == rtcp.PLI {
				t.Error("a PLI that was not negotiated")
			}
			for x := f.FIRs(); ; {
				ssrc, command, ok := x.Next()
				if !ok {
					break
				}
				if ssrc != videoSSRC {
					t.Errorf("a FIR for SSRC %x", ssrc)
				}
				numbers[command] = true
			}
		}
	}
	if len(numbers) != 3 {
		t.Errorf("%d different FIRs; expected 3", len(numbers))
	}
}

// A subscriber that waited before the stream was published gets a keyframe, even if the first packets are none. The
// SSRCs may be announced or not.
func TestWaiterOfNewPublication(t *testing.T) {
	for _, announced := range []bool{true, false} {
		l := newLab(t, 0, 1)
		v := published()[:1]
		if !announced {
			v[0].Encodings[0].SSRC, v[0].Encodings[0].RTXSSRC = 0, 0
		}
		l.publish(1, 1, v...)
		s := l.watch(1, watched(true)...)
		l.tell(bus.PublicationClosed(1, 1))
		l.pass(2 * port.Second)
		p := l.publish(1, 2, v...)
		l.forget()
		for i := range uint64(30) {
			p.frame(100+i, uint32(i*3000), false)
			l.pass(33 * port.Millisecond)
		}
		if count(p.asked(), rtcp.PLI) == 0 {
			t.Errorf("announced %t: no keyframe was asked for in a second", announced)
		}
		p.frame(200, 900_000, true)
		if n := len(s.media(subVideo)); n != 1 {
			t.Errorf("announced %t: %d packets at the keyframe; want 1", announced, n)
		}
	}
}

// If viewers of many streams wait for a keyframe, a call requests keyframes for a few of them, and each comes in time.
func TestKeyframeRequestsAreBounded(t *testing.T) {
	const n = 300
	h := newHerd(t, 1, n, n)
	h.open(h.pubs)
	h.open(h.subs)
	for i := range h.pubs {
		h.send(&h.pubs[i], false)
	}
	h.drive()
	w := h.workers[0]
	if len(w.keyframes) != n {
		t.Fatalf("keyframes are wanted of %d layers; expected %d", len(w.keyframes), n)
	}
	for round := range 5 {
		before := w.counters.Counts[SentPLIs]
		h.now += joinKeyframeInterval
		for _, s := range w.sessions {
			s.heard = h.now
		}
		calls := 0
		for ; w.Deadline() <= h.now; calls++ {
			due := len(w.due)
			w.HandleTimeout(h.now)
			if got := len(w.due) - due; got > maxKeyframes+maxTimeouts {
				t.Fatalf("one call asked %d publishers; expected at most %d", got, maxKeyframes+maxTimeouts)
			}
		}
		h.drive()
		if got := w.counters.Counts[SentPLIs] - before; got != n || calls < n/maxKeyframes {
			t.Errorf("round %d: %d requests in %d calls; expected %d in at least %d",
				round, got, calls, n, n/maxKeyframes)
		}
	}
}
