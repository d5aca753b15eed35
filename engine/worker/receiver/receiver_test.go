package receiver

import (
	"math/rand/v2"
	"slices"
	"testing"

	"ringcast/engine/port"
)

func newReceiver(clockRate uint32) *Receiver {
	r := New(clockRate, new(RoundTrip))
	return &r
}

// accept hands a packet to a receiver that can ask for missing ones.
func accept(r *Receiver, seq uint16, at port.Time) Arrival {
	return r.Accept(at, &Packet{Sequence: seq, Arrival: at, NACK: true})
}

// arrive hands packets to a receiver and returns its answer to the last.
func arrive(r *Receiver, seqs ...int) (ext uint64, v Verdict) {
	for _, seq := range seqs {
		a := accept(r, uint16(seq), 0)
		ext, v = a.Ext, a.Verdict
	}
	return ext, v
}

func numberOf(t *testing.T, r *Receiver, ext uint64) uint64 {
	t.Helper()
	n, ok := r.Number(ext)
	if !ok {
		t.Fatalf("extended sequence number %d has no number", ext)
	}
	return n
}

func TestReceiverWrapAround(t *testing.T) {
	r := newReceiver(90000)
	first, _ := arrive(r, 65530)
	start := numberOf(t, r, first)
	for i := 1; i < 200_000; i++ { // three times around
		ext, a := arrive(r, (65530+i)&0xFFFF)
		if a != Fresh || ext != first+uint64(i) || numberOf(t, r, ext) != start+uint64(i) {
			t.Fatalf("packet %d: extended %d, %d", i, ext, a)
		}
	}
}

func TestReceiverVerdicts(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []int
		seq    int
		want   Verdict
	}{
		{"next", []int{100, 101}, 102, Fresh},
		{"the first again", []int{100}, 100, Duplicate},
		{"an older one again", []int{100, 101, 102, 103}, 101, Duplicate},
		{"a hole filled", []int{100, 102}, 101, Fresh},
		{"a hole filled twice", []int{100, 102, 101}, 101, Duplicate},
		{"the last of the window", append(ladder(0, 4400, 400), 4500), 405, Fresh},
		{"one before the window", append(ladder(0, 4400, 400), 4500), 404, TooOld},
		{"far before the window", append(ladder(0, 30000, 500), 30001), 17, TooOld},
		{"across the wrap", []int{65535, 1}, 0, Fresh},
		{"again across the wrap", []int{65535, 0, 1}, 65535, Duplicate},
		{"the largest gap", []int{100}, 101 + MaxGap, Fresh},
		{"a larger gap", []int{100}, 102 + MaxGap, Restarted},
		{"a gap larger than the window", []int{100}, 100 + 2*window, Restarted},
		{"before the first", []int{100}, 100 - startRoom, Fresh},
		{"too far before the first", []int{100}, 100 - startRoom - 1, TooOld},
		{"before the first, across the wrap", []int{3}, 65530, Fresh},
		{"before the first, again", []int{3, 65530}, 65530, Duplicate},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(90000)
			arrive(r, c.before...)
			if _, got := arrive(r, c.seq); got != c.want {
				t.Errorf("got %d; expected %d", got, c.want)
			}
		})
	}
}

// ladder counts from from to to in steps.
func ladder(from, to, step int) (all []int) {
	for n := from; n <= to; n += step {
		all = append(all, n)
	}
	return all
}

// A bit of the window that a wrap of the window left set must not make a fresh packet a duplicate.
func TestReceiverWindowIsCleared(t *testing.T) {
	r := newReceiver(90000)
	for n := range window {
		arrive(r, n)
	}
	arrive(r, window+300) // a gap within the window
	for n := window; n < window+300; n++ {
		if _, a := arrive(r, n); a != Fresh {
			t.Fatalf("packet %d: %d; expected fresh", n, a)
		}
	}
	arrive(r, window+300+1, 3*window) // a gap of more than all of it
	for n := 2*window + 1; n < 3*window; n++ {
		if _, a := arrive(r, n); a != Fresh {
			t.Fatalf("packet %d after the jump: %d; expected fresh", n, a)
		}
	}
}

// The very first packets in any order: none is lost, their numbers are in the order of the sequence.
func TestReceiverReorderedStart(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		first := rng.IntN(1 << 16)
		order := rng.Perm(20)
		r := newReceiver(90000)
		numbers := make([]uint64, 20)
		for _, i := range order {
			ext, a := arrive(r, (first+i)&0xFFFF)
			if a != Fresh {
				t.Fatalf("order %v from %d: packet %d is %d", order, first, i, a)
			}
			numbers[i] = numberOf(t, r, ext)
		}
		for i := 1; i < len(numbers); i++ {
			if numbers[i] != numbers[i-1]+1 {
				t.Fatalf("order %v from %d: numbers %v", order, first, numbers)
			}
		}
		if _, next := r.AppendMissing(port.Second, make([]uint16, 0, 64)); next != port.Never {
			t.Fatalf("order %v: something is missing when all have come", order)
		}
	}
}

func TestReceiverPaddingAndLatePackets(t *testing.T) {
	r := newReceiver(90000)
	first, _ := arrive(r, 10)
	n := numberOf(t, r, first)
	// 11 is late, 12 padding, 13 media, 14 and 15 padding, 16 late, 17 media.
	skip := func(seq int) {
		ext, _ := arrive(r, seq)
		if !r.Skip(ext) {
			t.Fatalf("padding %d was not left out", seq)
		}
	}
	skip(12)
	e13, _ := arrive(r, 13)
	skip(14)
	skip(15)
	e17, _ := arrive(r, 17)
	e11, _ := arrive(r, 11)
	e16, _ := arrive(r, 16)
	got := []uint64{numberOf(t, r, e11) - n, numberOf(t, r, e13) - n, numberOf(t, r, e16) - n, numberOf(t, r, e17) - n}
	if !slices.Equal(got, []uint64{1, 2, 3, 4}) {
		t.Errorf("the numbers of 11, 13, 16, 17 are %v; expected 1 to 4", got)
	}
	// The number of late padding is reserved already.
	arrive(r, 19)
	e18, _ := arrive(r, 18)
	if r.Skip(e18) {
		t.Error("late padding was left out: the packets after it would move")
	}
}

// A layer that goes on under a new SSRC goes on after the last number.
func TestReceiverRestart(t *testing.T) {
	r := newReceiver(90000)
	r.SSRC = 5
	ext, _ := arrive(r, 100, 101, 102)
	before := numberOf(t, r, ext)
	r.Restart()
	ext, a := arrive(r, 60000)
	if a != Fresh || numberOf(t, r, ext) <= before {
		t.Errorf("after a restart: %d, number %d after %d", a, numberOf(t, r, ext), before)
	}
	if r.SSRC != 5 || r.clockRate != 90000 {
		t.Error("a restart lost the source")
	}
	if len(r.missing.holes) != 0 {
		t.Error("a restart asks for packets that are gone")
	}
}
