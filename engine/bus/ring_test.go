package bus

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"testing"
)

// A line is a ring or a lane of messages that carry numbers.
type line interface {
	push(n uint64, data []byte) bool
	// peek returns number and data of the oldest message.
	peek() (n uint64, data []byte, ok bool)
	release()
	len() int
}

type (
	// copying are rings and lanes with an arena, handing those without.
	copying struct{ carrier[Media] }
	handing struct{ carrier[Control] }
)

// A carrier is a ring or a lane of one type of message.
type carrier[M any] interface {
	reserve(n int) (*M, []byte)
	submit()
	peek() *M
	release()
	len() int
}

func (q copying) push(n uint64, data []byte) bool {
	slot, room := q.reserve(len(data))
	if slot == nil {
		return false
	}
	*slot = Media{Kind: KindPacket, Place: Place{Index: n}, Data: room}
	copy(room, data)
	q.submit()
	return true
}

func (q copying) peek() (n uint64, data []byte, ok bool) {
	if m := q.carrier.peek(); m != nil {
		return m.Index, m.Data, true
	}
	return 0, nil, false
}

func (q handing) push(n uint64, data []byte) bool {
	slot, _ := q.reserve(0)
	if slot == nil {
		return false
	}
	*slot = Control{Kind: KindSendRecord, Row: Row{Index: n}, Data: data}
	q.submit()
	return true
}

func (q handing) peek() (n uint64, data []byte, ok bool) {
	if m := q.carrier.peek(); m != nil {
		return m.Index, m.Data, true
	}
	return 0, nil, false
}

// newLine is a ring, with an arena unless its length is 0.
func newLine(slots, arena int) line {
	if arena == 0 {
		return handing{newRing[Control](slots, 0)}
	}
	return copying{newRing[Media](slots, arena)}
}

// payload is size bytes that say n.
func payload(n uint64, size int) []byte {
	b := make([]byte, size)
	fillData(b, n)
	return b
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
func expect(t testing.TB, q line, n uint64, size int) {
	t.Helper()
	got, data, ok := q.peek()
	if !ok {
		t.Fatalf("message %d is not there", n)
	}
	if got != n || !bytes.Equal(data, payload(n, size)) {
		t.Fatalf("got message %d with %d bytes; expected %d with %d, intact", got, len(data), n, size)
	}
	q.release()
}

// waits reports whether a message waits.
func waits(q line) bool {
	_, _, ok := q.peek()
	return ok
}

// Messages come out in the order in which they went in, while slots and arena wrap around many times
// at different moments.
func TestRingWrapAround(t *testing.T) {
	for _, arena := range []int{0, 1000} {
		r := newLine(8, arena)
		in, out := uint64(0), uint64(0)
		size := func(n uint64) int { return int(n * 37 % 250) }
		for out < 5000 {
			for r.push(in, payload(in, size(in))) {
				in++
			}
			if r.len() == 0 {
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
	r := newLine(4, 0)
	for n := range uint64(4) {
		if !r.push(n, payload(n, 3)) {
			t.Fatalf("message %d of 4 was refused", n)
		}
	}
	if r.push(4, payload(4, 3)) || r.len() != 4 {
		t.Errorf("a fifth message was accepted, or %d messages wait; expected a refusal and 4", r.len())
	}
	expect(t, r, 0, 3)
	if !r.push(4, payload(4, 3)) {
		t.Error("the slot that Release gave back was refused")
	}
	for n := uint64(1); n < 5; n++ {
		expect(t, r, n, 3)
	}
	if waits(r) {
		t.Error("an empty ring has a message")
	}
}

func TestRingRefusesWhenArenaIsFull(t *testing.T) {
	r := newLine(64, 1000)
	for n := range uint64(3) {
		if !r.push(n, payload(n, 300)) {
			t.Fatalf("message %d was refused", n)
		}
	}
	if r.push(3, payload(3, 300)) {
		t.Fatal("300 bytes were put into the 100 that are left")
	}
	if !r.push(3, payload(3, 100)) {
		t.Fatal("100 bytes do not fit into the 100 that are left")
	}
	if !r.push(4, payload(4, 0)) {
		t.Error("a message without data was refused by a full arena")
	}
	expect(t, r, 0, 300)
	if r.push(5, payload(5, 301)) {
		t.Error("301 bytes were put into the 300 that Release gave back")
	}
	if !r.push(5, payload(5, 300)) {
		t.Error("300 bytes do not fit into the 300 that Release gave back")
	}
	expect(t, r, 1, 300)
	expect(t, r, 2, 300)
	expect(t, r, 3, 100)
	expect(t, r, 4, 0)
	expect(t, r, 5, 300)
}

func TestRingRefusesWhatNeverFits(t *testing.T) {
	r := newLine(4, 100)
	if r.push(0, payload(0, 101)) {
		t.Error("101 bytes went into an arena of 100")
	}
	if !r.push(1, payload(1, 100)) {
		t.Error("100 bytes do not fit an arena of 100")
	}
	expect(t, r, 1, 100)
}

// Appending to borrowed data must not run into the next message's.
func TestRingDataHasNoSpareCapacity(t *testing.T) {
	r := newLine(4, 64)
	r.push(1, payload(1, 8))
	r.push(2, payload(2, 8))
	_, first, _ := r.peek()
	_ = append(first, 0xFF)
	r.release()
	expect(t, r, 2, 8)
}

// A released slot refers to nothing of its message.
func TestRingReleaseForgets(t *testing.T) {
	r := newRing[Control](2, 0)
	slot, _ := r.reserve(0)
	*slot = Control{Kind: KindSessionOpened, Session: &Session{}, Data: make([]byte, 16)}
	r.submit()
	r.peek()
	r.release()
	if slot.Session != nil || slot.Data != nil {
		t.Errorf("a released slot holds session %v and %d bytes; expected nothing", slot.Session, len(slot.Data))
	}
}

// One goroutine pushes, another takes; the race detector looks on.
func TestRingStress(t *testing.T) {
	const messages, slots = 5_000, 16
	for _, arena := range []int{0, 4096} {
		r := newLine(slots, arena)
		size := func(n uint64) int { return int(n * 131 % 1400) }
		go func() {
			for n := range uint64(messages) {
				// A ring without an arena hands the bytes over, so each has its own.
				data := payload(n, size(n))
				for !r.push(n, data) {
					runtime.Gosched()
				}
			}
		}()
		for n := range uint64(messages) {
			for !waits(r) {
				runtime.Gosched()
			}
			if l := r.len(); l < 1 || l > slots {
				t.Fatalf("%d messages wait in %d slots", l, slots)
			}
			expect(t, r, n, size(n))
		}
	}
}

// Pushes and releases in any order, against a list: the messages are the same and in the same order. A push is refused
// only where no slot is free, or not enough bytes in one piece.
func FuzzRing(f *testing.F) {
	f.Add([]byte{10, 20, 0xFF, 30, 0xFF, 0xFF, 0xFF})
	f.Add(bytes.Repeat([]byte{200, 0xFF}, 40))
	f.Add(bytes.Repeat([]byte{90, 90, 90, 0xFF, 0xFF}, 20))
	f.Fuzz(func(t *testing.T, ops []byte) {
		const slots, arena = 8, 512
		r := newLine(slots, arena)
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
					if waits(r) {
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
			if got := r.push(n, payload(n, size)); got != fits {
				t.Fatalf("a push of %d bytes gave %t with %d messages of %d bytes held", size, got, len(model), taken)
			}
			if fits {
				model = append(model, held{n, size, gap})
				taken += gap + size
				head += gap + size
				n++
			}
			if r.len() != len(model) {
				t.Fatalf("%d messages wait; expected %d", r.len(), len(model))
			}
		}
		for _, h := range model {
			expect(t, r, h.n, h.size)
		}
	})
}
