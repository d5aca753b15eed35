package bus

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
)

// numbered is a message that carries n, and n again at both ends of size bytes of data.
func numbered(n uint64, size int) *Message {
	m := &Message{Kind: Media, Index: n, Data: make([]byte, size)}
	fillData(m.Data, n)
	return m
}

func fillData(b []byte, n uint64) {
	for i := range b {
		b[i] = byte(n + uint64(i)*7)
	}
	if len(b) >= 8 {
		binary.BigEndian.PutUint64(b, n)
	}
}

// expect takes the next message, which must be n with its data whole.
func expect(t testing.TB, r *Ring, n uint64, size int) {
	t.Helper()
	m := r.Peek()
	if m == nil {
		t.Fatalf("message %d is not there", n)
	}
	want := make([]byte, size)
	fillData(want, n)
	if m.Index != n || !bytes.Equal(m.Data, want) {
		t.Fatalf("got message %d with %d bytes; expected %d with %d, intact", m.Index, len(m.Data), n, size)
	}
	r.Release()
}

// Messages come out in the order in which they went in, while slots and arena wrap around many times
// at different moments.
func TestRingWrapAround(t *testing.T) {
	for _, arena := range []int{0, 1000} {
		r := NewRing(8, arena)
		in, out := uint64(0), uint64(0)
		size := func(n uint64) int { return int(n * 37 % 250) }
		for out < 5000 {
			for r.Push(numbered(in, size(in))) {
				in++
			}
			if r.Len() == 0 {
				t.Fatalf("arena %d: an empty ring refuses message %d of %d bytes", arena, in, size(in))
			}
			for range 1 + out%3 {
				if out < in {
					expect(t, r, out, size(out))
					out++
				}
			}
		}
	}
}

func TestRingRefusesWhenSlotsAreFull(t *testing.T) {
	r := NewRing(4, 0)
	for n := range uint64(4) {
		if !r.Push(numbered(n, 3)) {
			t.Fatalf("message %d of 4 was refused", n)
		}
	}
	if r.Push(numbered(4, 3)) || r.Len() != 4 || r.Cap() != 4 {
		t.Errorf("a fifth message was taken: %d of %d", r.Len(), r.Cap())
	}
	expect(t, r, 0, 3)
	if !r.Push(numbered(4, 3)) {
		t.Error("the slot that Release gave back was refused")
	}
	for n := uint64(1); n < 5; n++ {
		expect(t, r, n, 3)
	}
	if r.Peek() != nil {
		t.Error("an empty ring has a message")
	}
}

func TestRingRefusesWhenArenaIsFull(t *testing.T) {
	r := NewRing(64, 1000)
	for n := range uint64(3) {
		if !r.Push(numbered(n, 300)) {
			t.Fatalf("message %d was refused", n)
		}
	}
	if r.Push(numbered(3, 300)) {
		t.Fatal("300 bytes were put into the 100 that are left")
	}
	if !r.Push(numbered(3, 100)) {
		t.Fatal("100 bytes do not fit into the 100 that are left")
	}
	if !r.Push(numbered(4, 0)) {
		t.Error("a message without data was refused by a full arena")
	}
	expect(t, r, 0, 300)
	if r.Push(numbered(5, 301)) {
		t.Error("301 bytes were put into the 300 that Release gave back")
	}
	if !r.Push(numbered(5, 300)) {
		t.Error("300 bytes do not fit into the 300 that Release gave back")
	}
	expect(t, r, 1, 300)
	expect(t, r, 2, 300)
	expect(t, r, 3, 100)
	expect(t, r, 4, 0)
	expect(t, r, 5, 300)
}

func TestRingRefusesWhatNeverFits(t *testing.T) {
	r := NewRing(4, 100)
	if r.Push(numbered(0, 101)) {
		t.Error("101 bytes went into an arena of 100")
	}
	if !r.Push(numbered(1, 100)) {
		t.Error("100 bytes do not fit an arena of 100")
	}
	expect(t, r, 1, 100)
}

// With an arena the sender's bytes are copied; without they are handed over.
func TestRingOwnership(t *testing.T) {
	r := NewRing(2, 64)
	m := numbered(1, 16)
	r.Push(m)
	clear(m.Data)
	expect(t, r, 1, 16)

	r = NewRing(2, 0)
	m = numbered(2, 16)
	r.Push(m)
	if got := r.Peek(); &got.Data[0] != &m.Data[0] {
		t.Error("a ring without an arena copied the data")
	}
}

// Appending to borrowed data must not run into the next message's.
func TestRingDataHasNoSpareCapacity(t *testing.T) {
	r := NewRing(4, 64)
	r.Push(numbered(1, 8))
	r.Push(numbered(2, 8))
	first := r.Peek()
	_ = append(first.Data, 0xFF)
	r.Release()
	expect(t, r, 2, 8)
}

// Release lets go of what the message refers to.
func TestRingReleaseForgets(t *testing.T) {
	r := NewRing(2, 0)
	m := numbered(1, 16)
	m.Session = &Session{}
	r.Push(m)
	slot := r.Peek()
	r.Release()
	if slot.Session != nil || slot.Data != nil {
		t.Error("a released slot still holds its message")
	}
}

// One goroutine pushes, another takes; the race detector looks on.
func TestRingStress(t *testing.T) {
	const messages = 5_000
	for _, arena := range []int{0, 4096} {
		r := NewRing(16, arena)
		size := func(n uint64) int { return int(n * 131 % 1400) }
		go func() {
			m := &Message{Kind: Media}
			for n := range uint64(messages) {
				m.Index = n
				// A ring without an arena hands the bytes over, so each has its own.
				m.Data = make([]byte, size(n))
				fillData(m.Data, n)
				for !r.Push(m) {
					runtime.Gosched()
				}
			}
		}()
		for n := range uint64(messages) {
			for r.Peek() == nil {
				runtime.Gosched()
			}
			if l := r.Len(); l < 1 || l > r.Cap() {
				t.Fatalf("%d messages wait in %d slots", l, r.Cap())
			}
			expect(t, r, n, size(n))
		}
	}
}

// Any sequence of Push and Release against a list: the same messages, in the same order, and a refusal
// only for want of a slot or of bytes in one piece.
func FuzzRing(f *testing.F) {
	f.Add([]byte{10, 20, 0xFF, 30, 0xFF, 0xFF, 0xFF})
	f.Add(bytes.Repeat([]byte{200, 0xFF}, 40))
	f.Add(bytes.Repeat([]byte{90, 90, 90, 0xFF, 0xFF}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) {
		const slots, arena = 8, 512
		r := NewRing(slots, arena)
		// A message takes its bytes and what was left before the arena's end, if it did not fit there.
		type held struct {
			n         uint64
			size, gap int
		}
		var model []held
		n, taken, head := uint64(0), 0, 0
		for _, op := range ops {
			if op == 0xFF {
				if len(model) == 0 {
					if r.Peek() != nil {
						t.Fatal("an empty ring has a message")
					}
					continue
				}
				expect(t, r, model[0].n, model[0].size)
				taken -= model[0].size + model[0].gap
				model = model[1:]
				continue
			}
			size, gap := int(op), 0
			if rest := arena - head%arena; rest < size {
				gap = rest
			}
			fits := len(model) < slots && taken+gap+size <= arena
			if got := r.Push(numbered(n, size)); got != fits {
				t.Fatalf("Push of %d bytes gave %t with %d messages of %d bytes held", size, got, len(model), taken)
			}
			if fits {
				model = append(model, held{n, size, gap})
				taken += gap + size
				head += gap + size
				n++
			}
			if r.Len() != len(model) {
				t.Fatalf("%d messages wait; expected %d", r.Len(), len(model))
			}
		}
		for _, h := range model {
			expect(t, r, h.n, h.size)
		}
	})
}
