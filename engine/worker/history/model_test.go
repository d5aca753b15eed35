package history

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// A log against a list of the packets that were put into it: with reordered numbers, gaps, bursts, pauses, keyframes
// and housekeeping.
func TestHistoryAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			newModel(t, rand.New(rand.NewPCG(seed, 0))).run(4000)
		})
	}
}

func FuzzHistory(f *testing.F) {
	f.Add(uint64(1), uint16(100))
	f.Add(uint64(123), uint16(169))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		newModel(t, rand.New(rand.NewPCG(seed, 1))).run(int(steps % 2000))
	})
}

// A model is a log under a random load, with the list of all packets that were put into it.
type model struct {
	*testing.T
	rand   *rand.Rand
	limit  int // of the log, in bytes
	budget *budget.Budget
	memory *Memory
	log    Log
	all    []modelPacket // by index
	now    port.Time
	pace   int64    // the longest pause between two packets
	number uint64   // the next new one
	late   []uint64 // numbers that were overtaken
}

type modelPacket struct {
	number uint64
	size   int
	at     port.Time
}

func newModel(t *testing.T, r *rand.Rand) *model {
	x := &model{T: t, rand: r, number: 1000}
	x.limit = 32 << 10 << r.IntN(4)
	x.budget = budget.New(int64(r.IntN(2) * (16<<10 + r.IntN(256<<10))))
	x.memory = NewMemory(x.budget)
	x.log = New(x.memory, x.limit)
	x.pace = x.anyPace()
	return x
}

func (x *model) anyPace() int64 { return 1 + x.rand.Int64N(int64(50*port.Millisecond)) }

func (x *model) run(steps int) {
	for range steps {
		x.pass()
		if x.rand.IntN(20) == 0 {
			x.tidy()
		}
		x.put()
	}
	h := &x.log
	for i := h.first; i < h.next; i++ {
		e, ok := h.Find(x.all[i].number)
		if !ok {
			x.Fatalf("packet %d (index %d of %d to %d) is not found", x.all[i].number, i, h.first, h.next)
		}
		holds(x.T, h, e, x.all[i].number, x.all[i].size)
	}
}

// pass lets time pass.
func (x *model) pass() {
	x.now += port.Time(x.rand.Int64N(x.pace))
	if x.rand.IntN(500) == 0 {
		x.pace = x.anyPace()
	}
	if x.rand.IntN(300) == 0 {
		x.now += 2 * idleSpan * port.Time(x.rand.IntN(2))
	}
}

// tidy does a worker's housekeeping.
func (x *model) tidy() {
	h := &x.log
	h.Tidy(x.now)
	x.memory.Trim()
	if x.rand.IntN(4) == 0 {
		h.span = []port.Time{Least, Span / 2, Span}[x.rand.IntN(3)]
	}
	if n := len(x.all); n > 0 && x.now-x.all[n-1].at > idleSpan && h.Size() != 0 {
		x.Fatalf("an idle log holds %d bytes", h.Size())
	}
}

// next is the number of the next packet: a late one, the next, or the one after it.
func (x *model) next() uint64 {
	switch {
	case len(x.late) > 0 && x.rand.IntN(3) == 0:
		n := x.late[0]
		x.late = x.late[1:]
		return n
	case x.rand.IntN(10) == 0:
		x.late = append(x.late, x.number)
		x.number++
	}
	x.number++
	return x.number - 1
}

// put stores a packet and checks the log.
func (x *model) put() {
	h := &x.log
	n := x.next()
	var flags bus.Flags
	if x.rand.IntN(200) == 0 {
		flags = bus.KeyframeStart
	}
	size := x.rand.IntN(1300)
	before := h.first
	i := put(h, n, x.now, size, flags)
	if i != uint64(len(x.all)) {
		x.Fatalf("packet %d got index %d; expected %d", n, i, len(x.all))
	}
	x.all = append(x.all, modelPacket{n, size, x.now})
	if h.first > i || h.next != i+1 || h.pages.held()*pageSize > x.limit {
		x.Fatalf("holds %d to %d in %d pages; the cap is %d bytes", h.first, h.next, h.pages.held(), x.limit)
	}
	if m := x.memory; m.used != h.Size() || x.budget.Held() != int64(h.Size()+len(m.free)*pageSize) {
		x.Fatalf("a log of %d bytes and %d free pages: used %d, drawn %d",
			h.Size(), len(m.free), m.used, x.budget.Held())
	}
	// Any held index is whole, the oldest above all.
	for _, j := range [...]uint64{h.first, i, h.first + x.rand.Uint64N(h.next-h.first)} {
		holds(x.T, h, h.At(j), x.all[j].number, x.all[j].size)
	}
	if h.first > before {
		x.mayEvict()
	}
	if h.key.Valid && (h.key.Index < h.first || h.key.Index >= h.next) {
		x.Fatalf("the keyframe's index %d is not among %d to %d", h.key.Index, h.first, h.next)
	}
}

// mayEvict fails unless the packet that went last was old, or the cap or the budget was reached. A packet on its way
// stays in any case.
func (x *model) mayEvict() {
	h, b := &x.log, x.budget
	age := x.now - x.all[h.first-1].at
	full := h.pages.held()*pageSize == x.limit || h.index.room() >= x.limit/smallPacket
	refused := b.Held()+int64(max(pageSize, indexSize(h.index.room()))) > b.Limit()-b.Limit()/16
	if age <= h.span && !full && (!refused || age <= Least) {
		x.Fatalf("a packet %v s old went at %d bytes of %d, budget %d of %d",
			age.Seconds(), h.Size(), x.limit, b.Held(), b.Limit())
	}
}
