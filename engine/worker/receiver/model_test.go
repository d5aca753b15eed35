package receiver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Numbers are dense and in order for all packets that are not left out, with loss, delays, repetitions and padding. A
// late packet may have no number after much padding, but never a wrong one.
func TestReceiverNumbersAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			numbersModel(t, rand.New(rand.NewPCG(seed, 5)), 3000)
		})
	}
}

func FuzzReceiverNumbers(f *testing.F) {
	f.Add(uint64(1), uint16(500))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		numbersModel(t, rand.New(rand.NewPCG(seed, 6)), int(steps%3000))
	})
}

func numbersModel(t *testing.T, rng *rand.Rand, steps int) {
	x := &model{
		T: t, rand: rng, receiver: newReceiver(90000), seen: make(map[int]bool),
		numbers: make(map[int]uint64), skipped: make(map[int]bool), inserted: make(map[int]int),
	}
	for _, s := range x.traffic(steps) {
		x.take(s)
	}
	x.dense()
}

// A model is a receiver with all that happened to it, by sequence numbers that do not wrap around.
type model struct {
	*testing.T
	rand     *rand.Rand
	receiver *Receiver
	end      int   // the next sequence number
	origin   int64 // extended sequence number minus our own
	seen     map[int]bool
	numbers  map[int]uint64
	skipped  map[int]bool
	inserted map[int]int // how many numbers before a packet
}

// A sent packet arrives at a time.
type sent struct {
	seq     int
	padding bool
	at      int
}

// traffic returns packets in an order that a network might make of them.
func (x *model) traffic(steps int) []sent {
	x.end = x.rand.IntN(1 << 16)
	loss, reorder, padding := x.rand.Float64()*0.3, x.rand.Float64()*0.3, x.rand.Float64()*0.3
	var all []sent
	for i := range steps {
		s := sent{x.end, x.rand.Float64() < padding, 4 * i}
		x.end++
		if x.rand.Float64() < loss {
			s.at += 4 * x.rand.IntN(300) // asked for again
			if x.rand.IntN(3) == 0 {
				continue
			}
		} else if x.rand.Float64() < reorder {
			s.at += 4 * x.rand.IntN(6)
		}
		all = append(all, s)
		if x.rand.IntN(50) == 0 {
			all = append(all, sent{s.seq, s.padding, s.at + x.rand.IntN(100)})
		}
	}
	slices.SortStableFunc(all, func(a, b sent) int { return a.at - b.at })
	return all
}

// take hands a packet to the receiver and checks the answer.
func (x *model) take(s sent) {
	r := x.receiver
	ext, v := arrive(r, s.seq)
	if len(x.seen) == 0 {
		x.origin = int64(ext) - int64(s.seq)
	}
	if v == TooOld || v == Restarted {
		return
	}
	if (v == Duplicate) != x.seen[s.seq] {
		x.Fatalf("packet %d: %d, though seen before is %t", s.seq, v, x.seen[s.seq])
	}
	if x.seen[s.seq] = true; v == Duplicate {
		return
	}
	if got := int64(ext) - int64(s.seq); got != x.origin {
		x.Fatalf("packet %d was extended to %d, %d too far", s.seq, ext, got-x.origin)
	}
	if s.padding && r.Skip(ext) {
		x.skipped[s.seq] = true
		return
	}
	if r.Newest(ext) && x.rand.IntN(20) == 0 {
		x.inserted[s.seq] = 1 + x.rand.IntN(3)
		r.Insert(ext, x.inserted[s.seq])
	}
	n, ok := r.Number(ext)
	if !ok {
		if got := x.shifts(s.seq); got < maxShifts {
			x.Fatalf("packet %d has no number, with only %d shifts after it; expected one up to %d",
				s.seq, got, maxShifts)
		}
		return
	}
	x.numbers[s.seq] = n
}

// shifts counts the rows of padding, and the insertions, from a packet on.
func (x *model) shifts(from int) (n int) {
	last := -2
	for s := from; s <= x.end; s++ {
		if x.inserted[s] > 0 {
			n++
		}
		if x.skipped[s] {
			if last != s-1 {
				n++
			}
			last = s
		}
	}
	return n
}

// dense fails unless any two numbers are as far apart as there are packets between them that were not left out.
func (x *model) dense() {
	last, lastNumber := -1, uint64(0)
	for s := range x.end + 1 {
		n, ok := x.numbers[s]
		if !ok {
			continue
		}
		if last >= 0 {
			want := uint64(0)
			for i := last; i < s; i++ {
				if !x.skipped[i] {
					want++
				}
				want += uint64(x.inserted[i+1])
			}
			if n-lastNumber != want {
				x.Fatalf("packets %d and %d have the numbers %d and %d; expected %d apart",
					last, s, lastNumber, n, want)
			}
		}
		last, lastNumber = s, n
	}
}
