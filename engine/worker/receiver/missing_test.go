package receiver

import (
	"slices"
	"testing"

	"ringcast/engine/port"
)

// A hole is asked for after a pause for reordering, then with growing pauses, then never again.
func TestNACKSchedule(t *testing.T) {
	r := newReceiver(90000)
	accept(r, 100, 0)
	accept(r, 102, 0)
	var asked []port.Time
	at := port.Time(0)
	if _, next := r.AppendMissing(at, make([]uint16, 0, 8)); next != NACKDelay {
		t.Fatalf("the first look is due at %v s", next.Seconds())
	}
	for range 20 {
		seqs, next := r.AppendMissing(at, make([]uint16, 0, 8))
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
	if len(asked) != nackTries || asked[0] != NACKDelay {
		t.Fatalf("asked at %v; expected %d times from %d on", asked, nackTries, NACKDelay)
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
	accept(r, 100, 0)
	accept(r, 102, 0)
	accept(r, 101, NACKDelay-1)
	if seqs, next := r.AppendMissing(NACKDelay, make([]uint16, 0, 8)); len(seqs) > 0 || next != port.Never {
		t.Errorf("asks for %v, next look at %d; expected nothing", seqs, next)
	}
}

func TestNACKOnlyWhereNegotiated(t *testing.T) {
	r := newReceiver(90000)
	r.Accept(0, &Packet{Sequence: 100})
	r.Accept(0, &Packet{Sequence: 102})
	if seqs, next := r.AppendMissing(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 || next != port.Never {
		t.Errorf("asks for %v", seqs)
	}
}

// More holes than one request holds: the rest at once, none is forgotten.
func TestNACKInParts(t *testing.T) {
	r := newReceiver(90000)
	accept(r, 0, 0)
	accept(r, 301, 0)
	asked := make(map[uint16]bool)
	for turn := range 3 {
		seqs, next := r.AppendMissing(NACKDelay, make([]uint16, 0, 128))
		for _, s := range seqs {
			asked[s] = true
		}
		if turn < 2 && next > NACKDelay {
			t.Fatalf("turn %d: the rest waits until %v s", turn, next.Seconds())
		}
	}
	if len(asked) != 300 {
		t.Errorf("%d packets were asked for; expected 300", len(asked))
	}
}

// A packet that fell out of the window, or lies before a restart, is not asked for any more.
func TestNACKForgetsTheLost(t *testing.T) {
	r := newReceiver(90000)
	accept(r, 0, 0)
	accept(r, 2, 0)
	for seq := uint16(3); seq < window+3; seq++ {
		accept(r, seq, 0)
	}
	if seqs, _ := r.AppendMissing(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 {
		t.Errorf("asks for %v, which would come too late", seqs)
	}
	r = newReceiver(90000)
	accept(r, 0, 0)
	accept(r, 2, 0)
	accept(r, 2+MaxGap+2, 0)
	if seqs, _ := r.AppendMissing(port.Second, make([]uint16, 0, 8)); len(seqs) > 0 {
		t.Errorf("after a restart it asks for %v", seqs)
	}
}

// However much is lost, the list of it is bounded.
func TestNACKListIsBounded(t *testing.T) {
	r := newReceiver(90000)
	seq := uint16(0)
	for range 3000 {
		accept(r, seq, 0)
		seq += 300
	}
	if len(r.missing.holes) > MaxGap {
		t.Errorf("%d holes are kept", len(r.missing.holes))
	}
}
