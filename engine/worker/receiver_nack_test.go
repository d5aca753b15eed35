package worker

import (
	"slices"
	"testing"

	"ringcast/engine/port"
)

// A hole is asked for after a pause for reordering, then with growing pauses, then never again.
func TestNACKSchedule(t *testing.T) {
	r := newReceiver(90000)
	r.accept(100, 0, true)
	r.accept(102, 0, true)
	var asked []port.Time
	at := port.Time(0)
	if _, next := r.due(at, make([]uint16, 0, 8)); next != nackDelay {
		t.Fatalf("the first look is due at %v s", next.Seconds())
	}
	for range 20 {
		seqs, next := r.due(at, make([]uint16, 0, 8))
		if len(seqs) > 0 {
			if !slices.Equal(seqs, []uint16{101}) {
				t.Fatalf("asks for %v; expected 101", seqs)
			}
			asked = append(asked, at)
		}
		if next == port.Never {
			break
		}
		at = next
	}
	if len(asked) != nackTries || asked[0] != nackDelay {
		t.Fatalf("asked at %v; expected %d times from %d on", asked, nackTries, nackDelay)
	}
	for i := 2; i < len(asked); i++ {
		if asked[i]-asked[i-1] <= asked[i-1]-asked[i-2] {
			t.Errorf("the pauses do not grow: %v", asked)
		}
	}
	if last := asked[len(asked)-1]; last < port.Second/2 || last > 2*port.Second {
		t.Errorf("gave up after %v s; expected about a second", last.Seconds())
	}
}

func TestNACKNotForReordering(t *testing.T) {
	r := newReceiver(90000)
	r.accept(100, 0, true)
	r.accept(102, 0, true)
	r.accept(101, nackDelay-1, true)
	if seqs, next := r.due(nackDelay, make([]uint16, 0, 8)); len(seqs) > 0 || next != port.Never {
		t.Errorf("asks for %v, next look at %d; expected nothing", seqs, next)
	}
}

func TestNACKOnlyWhereNegotiated(t *testing.T) {
	r := newReceiver(90000)
	r.accept(100, 0, false)
	r.accept(102, 0, false)
	if seqs, next := r.due(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 || next != port.Never {
		t.Errorf("asks for %v", seqs)
	}
}

// More holes than one request holds: the rest at once, none is forgotten.
func TestNACKInParts(t *testing.T) {
	r := newReceiver(90000)
	r.accept(0, 0, true)
	r.accept(301, 0, true)
	asked := make(map[uint16]bool)
	for turn := range 3 {
		seqs, next := r.due(nackDelay, make([]uint16, 0, 128))
		for _, s := range seqs {
			asked[s] = true
		}
		if turn < 2 && next > nackDelay {
			t.Fatalf("turn %d: the rest waits until %v s", turn, next.Seconds())
		}
	}
	if len(asked) != 300 {
		t.Errorf("%d packets were asked for; expected 300", len(asked))
	}
}

// What fell out of the window, or lies before a restart, is not asked for any more.
func TestNACKForgetsTheLost(t *testing.T) {
	r := newReceiver(90000)
	r.accept(0, 0, true)
	r.accept(2, 0, true)
	for seq := uint16(3); seq < window+3; seq++ {
		r.accept(seq, 0, true)
	}
	if seqs, _ := r.due(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 {
		t.Errorf("asks for %v, which would come too late", seqs)
	}
	r = newReceiver(90000)
	r.accept(0, 0, true)
	r.accept(2, 0, true)
	r.accept(2+maxGap+2, 0, true)
	if seqs, _ := r.due(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 {
		t.Errorf("after a restart it asks for %v", seqs)
	}
}

// However much is lost, the list of it is bounded.
func TestNACKListIsBounded(t *testing.T) {
	r := newReceiver(90000)
	seq := uint16(0)
	for range 3000 {
		r.accept(seq, 0, true)
		seq += 300
	}
	if len(r.missing) > maxGap {
		t.Errorf("%d holes are kept", len(r.missing))
	}
}

// A loss is asked for after its own pause, however long an older one's is by then.
func TestNACKOfANewLoss(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.frame(2, 0, false) // 1 never comes
	l.pass(500 * port.Millisecond)
	p.asked()
	p.frame(4, 0, false)
	p.sound(0, 0)
	p.sound(2, 0)
	l.pass(nackDelay)
	all := p.asked()
	if v, a := seqs(all, videoSSRC), seqs(all, audioSSRC); len(v) == 0 || v[len(v)-1] != 3 || len(a) != 1 {
		t.Errorf("after %v s asked for %v of video and %v of audio; expected 3 and 1", nackDelay.Seconds(), v, a)
	}
}
