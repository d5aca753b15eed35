package worker

import (
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// pli asks for a keyframe.
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

// However many ask, at most one PLI in 500 ms goes up; the request that was held back goes as soon as it
// may.
func TestLossPLIsAreCoalesced(t *testing.T) {
	l, p, subs := keyframeLab(t, 20)
	start := l.now
	for l.now < start+2900*port.Millisecond {
		for _, s := range subs {
			s.pli()
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
		t.Fatalf("%d PLIs in 3 s; expected 6, the first at once", len(at))
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] != lossKeyframeInterval {
			t.Errorf("PLIs %v s apart", (at[i] - at[i-1]).Seconds())
		}
	}
}

func TestHeldBackPLIIsSentWhenDue(t *testing.T) {
	l, p, subs := keyframeLab(t, 1)
	subs[0].pli()
	l.pass(100 * port.Millisecond)
	subs[0].pli()
	if n := count(p.asked(), rtcp.PLI); n != 1 {
		t.Fatalf("%d PLIs; expected the first", n)
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
	l, p, subs := keyframeLab(t, 1)
	subs[0].pli()
	l.pass(100 * port.Millisecond)
	subs[0].pli()
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
	for l.now < start+3900*port.Millisecond {
		l.watch(1, watched(true)...)
		p.frame(seq, uint32(seq)*3000, false)
		seq++
		l.pass(20 * port.Millisecond)
	}
	var at []port.Time
	for _, f := range p.asked() {
		if f.Type == rtcp.PLI {
			at = append(at, f.at)
		}
	}
	if len(at) != 4 {
		t.Fatalf("%d PLIs in 4 s; expected 4", len(at))
	}
	for i := 1; i < len(at); i++ {
		if at[i]-at[i-1] < joinKeyframeInterval {
			t.Errorf("PLIs %v s apart", (at[i] - at[i-1]).Seconds())
		}
	}
}

// A loss does not wait for the longer interval of a joiner who asked before it.
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

// A FIR is repeated with the same number until it is heard, and counts once; the next number is another
// request (RFC 5104 section 4.3.1.1).
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

// PLIs for what is no video of the subscriber's do nothing.
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
