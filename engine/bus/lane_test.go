package bus

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"
)

// expectLane takes the next message of a lane, which must be n with its data whole.
func expectLane(t testing.TB, l *Lane, n uint64, size int) {
	t.Helper()
	m := l.Peek()
	if m == nil {
		t.Fatalf("message %d is not there", n)
	}
	want := numbered(n, size)
	if m.Index != n || string(m.Data) != string(want.Data) {
		t.Fatalf("got message %d with %d bytes; expected %d with %d, intact", m.Index, len(m.Data), n, size)
	}
	l.Release()
}

// A lane grows while its receiver lags, hands everything out in order across its rings, and does not grow
// while the receiver keeps up.
func TestLaneGrows(t *testing.T) {
	l := newMedia()
	size := func(n uint64) int { return int(n * 131 % 1400) }
	sent, taken := uint64(0), uint64(0)
	for l.Push(numbered(sent, size(sent))) {
		sent++
	}
	if sent < mediaSlots/2 {
		t.Errorf("a lane took %d messages; expected at least %d", sent, mediaSlots/2)
	}
	for ; taken < sent; taken++ {
		expectLane(t, l, taken, size(taken))
	}
	if l.Peek() != nil || l.Len() != 0 {
		t.Errorf("%d messages are left; expected none", l.Len())
	}
	l = newMedia()
	for n := range uint64(10 * mediaSlots) {
		if !l.Push(numbered(n, size(n))) {
			t.Fatalf("message %d was refused", n)
		}
		expectLane(t, l, n, size(n))
	}
	if got := l.in.Load().Cap(); got != mediaStart {
		t.Errorf("a lane whose receiver keeps up has %d slots; expected %d", got, mediaStart)
	}
}

// A message that no arena holds is refused and does no harm.
func TestLaneRefusesWhatNeverFits(t *testing.T) {
	l := newMedia()
	if l.Push(numbered(0, mediaArena+1)) {
		t.Error("a message longer than the largest arena was taken")
	}
	if !l.Push(numbered(1, 100)) {
		t.Error("a short message was refused after one that was too long")
	}
	expectLane(t, l, 1, 100)
}

// One goroutine pushes, another takes, across many rings; the race detector looks on.
func TestLaneStress(t *testing.T) {
	const messages = 20_000
	for _, l := range []*Lane{newControl(), newMedia()} {
		go func() {
			m := &Message{Kind: Media}
			for n := range uint64(messages) {
				m.Index = n
				m.Data = make([]byte, n*131%1400) // a control lane hands it over
				fillData(m.Data, n)
				for !l.Push(m) {
					runtime.Gosched()
				}
			}
		}()
		for n := range uint64(messages) {
			for l.Peek() == nil {
				runtime.Gosched()
			}
			expectLane(t, l, n, int(n*131%1400))
		}
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// What many workers cost before they talk, once the controller has told each something, and once each has
// fed every other. The bounds count bytes and hold on every machine.
func TestMemoryOfABus(t *testing.T) {
	ring := func(slots, arena int) int { return slots*(int(unsafe.Sizeof(Message{}))+8) + arena + 512 }
	for _, workers := range []int{16, 64} {
		var b *Bus
		ends := make([]*Endpoint, workers)
		idle := allocated(func() {
			b = New(workers)
			for w := range ends {
				ends[w] = b.Endpoint(w)
			}
		})
		controller := b.Endpoint(ControllerAddress)
		told := allocated(func() {
			for w := range workers {
				controller.Send(&Message{Kind: SessionOpened, To: w})
			}
		})
		fed := allocated(func() {
			data := make([]byte, 1200)
			for from := range workers {
				for to := range workers {
					ends[from].Send(&Message{Kind: Media, To: to, Data: data})
				}
			}
		})
		t.Logf("%d workers: %d KB idle, %d KB more when told, %d KB more when each feeds each",
			workers, idle>>10, told>>10, fed>>10)
		for _, x := range []struct {
			name       string
			got, bound int
		}{
			{"idle", idle, 16*(workers+1)*(workers+1) + 512*workers + 4096},
			{"told", told, 3 * workers * ring(controlStart, 0) / 2},
			{"fed", fed, 3 * workers * workers * ring(mediaStart, arenaStart) / 2},
		} {
			if x.got > x.bound {
				t.Errorf("%d workers, %s: %d bytes; expected at most %d", workers, x.name, x.got, x.bound)
			}
		}
	}
}

// The media lane allocates nothing once it has the size that its receiver's lag asks for.
func TestMediaLaneAllocatesNothing(t *testing.T) {
	b := New(2)
	from, to := b.Endpoint(0), b.Endpoint(1)
	m := &Message{Kind: Media, To: 1, Data: make([]byte, 1200)}
	turn := func() {
		for range 200 {
			if !from.Send(m) {
				t.Fatal("a packet was refused")
			}
		}
		for to.NextMedia() != nil {
			to.Done()
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations a turn; expected none", n)
	}
}

func BenchmarkLane(b *testing.B) {
	bus := New(16)
	from, to := bus.Endpoint(0), bus.Endpoint(1)
	m := &Message{Kind: Media, To: 1, Data: make([]byte, 1200)}
	for b.Loop() {
		from.Send(m)
		to.NextMedia()
		to.Done()
	}
}

// What a look at lanes of which most are not there costs: each turn of a worker takes one.
func BenchmarkNothing(b *testing.B) {
	for _, workers := range []int{2, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			to := New(workers).Endpoint(1)
			for b.Loop() {
				to.NextControl()
				to.NextMedia()
			}
		})
	}
}
