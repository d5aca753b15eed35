package bus

import (
	"fmt"
	"runtime"
	"testing"
	"unsafe"
)

// A lane grows while its receiver lags, hands everything out in order across its rings, and does not grow
// while the receiver keeps up.
func TestLaneGrows(t *testing.T) {
	l := copying{newMediaLane()}
	size := func(n uint64) int { return int(n * 131 % 1400) }
	sent, taken := uint64(0), uint64(0)
	for l.push(sent, payload(sent, size(sent))) {
		sent++
	}
	if sent < mediaSlots/2 {
		t.Errorf("a lane took %d messages; expected at least %d", sent, mediaSlots/2)
	}
	for ; taken < sent; taken++ {
		expect(t, l, taken, size(taken))
	}
	if waits(l) || l.len() != 0 {
		t.Errorf("%d messages are left; expected none", l.len())
	}
	lane := newMediaLane()
	l = copying{lane}
	for n := range uint64(10 * mediaSlots) {
		if !l.push(n, payload(n, size(n))) {
			t.Fatalf("message %d was refused", n)
		}
		expect(t, l, n, size(n))
	}
	if got := len(lane.in.Load().slots); got != mediaStart {
		t.Errorf("a lane whose receiver keeps up has %d slots; expected %d", got, mediaStart)
	}
}

// A message that no arena holds is refused and does no harm.
func TestLaneRefusesWhatNeverFits(t *testing.T) {
	l := copying{newMediaLane()}
	if l.push(0, payload(0, mediaArena+1)) {
		t.Error("a message longer than the largest arena was taken")
	}
	if !l.push(1, payload(1, 100)) {
		t.Error("a short message was refused after one that was too long")
	}
	expect(t, l, 1, 100)
}

// One goroutine pushes, another takes, across many rings; the race detector looks on.
func TestLaneStress(t *testing.T) {
	const messages = 20_000
	for _, l := range []line{handing{newControlLane()}, copying{newMediaLane()}} {
		go func() {
			for n := range uint64(messages) {
				data := payload(n, int(n*131%1400)) // a control lane hands it over
				for !l.push(n, data) {
					runtime.Gosched()
				}
			}
		}()
		for n := range uint64(messages) {
			for !waits(l) {
				runtime.Gosched()
			}
			expect(t, l, n, int(n*131%1400))
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

// joined makes a bus of workers and the controller.
func joined(workers int) (b *Bus, controller *Endpoint, ends []*Endpoint) {
	b = New()
	controller = b.Join(Controller)
	for w := range workers {
		ends = append(ends, b.Join(Address(w)))
	}
	return b, controller, ends
}

// The memory of a bus is measured before its endpoints talk, and after the controller told each worker something. It is
// measured again after each worker fed every other, and with all lanes full. The bounds count bytes and hold on every
// machine.
func TestMemoryOfABus(t *testing.T) {
	ring := func(message uintptr, slots, arena int) int { return slots*(int(message)+8) + arena + 512 }
	control, media := unsafe.Sizeof(Control{}), unsafe.Sizeof(Media{})
	for _, workers := range []int{1, 4, 16, 64} {
		var controller *Endpoint
		var ends []*Endpoint
		idle := allocated(func() { _, controller, ends = joined(workers) })
		told := allocated(func() {
			for w := range workers {
				m := SessionOpened(&Session{})
				m.To = Address(w)
				controller.SendControl(&m)
			}
		})
		data := make([]byte, 1200)
		feed := func(from, to int) bool {
			m := PacketTo(Address(to), LayerID{}, Place{}, &Packet{}, data)
			return ends[from].SendMedia(&m)
		}
		fed := allocated(func() {
			for from := range workers {
				for to := range workers {
					feed(from, to)
				}
			}
		})
		t.Logf("%d workers: %d KB idle, %d KB more when told, %d KB more when each feeds each",
			workers, idle>>10, told>>10, fed>>10)
		for _, x := range []struct {
			name       string
			got, bound int
		}{
			{"idle", idle, 512*(workers+1) + 16*(workers+1)*(workers+1) + 4096},
			{"told", told, 3 * workers * ring(control, controlStart, 0) / 2},
			{"fed", fed, 3*workers*(workers-1)*ring(media, mediaStart, arenaStart)/2 + 1024},
		} {
			if x.got > x.bound {
				t.Errorf("%d workers, %s: %d bytes; expected at most %d", workers, x.name, x.got, x.bound)
			}
		}
		if workers > 4 {
			continue // as many more lanes, each as large
		}
		full := allocated(func() {
			for from := range workers {
				for to := range workers {
					for feed(from, to) {
						continue
					}
				}
			}
		})
		t.Logf("%d workers: %d KB more when all lanes are full", workers, full>>10)
		// The smaller rings that a lane outgrew count as well: half as much, and so on.
		if bound := 2*workers*(workers-1)*ring(media, mediaSlots, mediaArena) + 1024; full > bound {
			t.Errorf("%d workers, full: %d bytes; expected at most %d", workers, full, bound)
		}
	}
}

// Lanes hold many messages, so that each byte of one counts.
func TestSizesOfMessages(t *testing.T) {
	for _, x := range []struct {
		name      string
		got, most uintptr
	}{
		{"Control", unsafe.Sizeof(Control{}), 256},
		{"Media", unsafe.Sizeof(Media{}), 176},
	} {
		if x.got > x.most {
			t.Errorf("%s takes %d bytes; expected at most %d", x.name, x.got, x.most)
		}
	}
}

// The media lane allocates nothing once it has the size that its receiver's lag asks for.
func TestMediaLaneAllocatesNothing(t *testing.T) {
	_, _, ends := joined(2)
	from, to := ends[0], ends[1]
	m := PacketTo(1, LayerID{}, Place{}, &Packet{}, make([]byte, 1200))
	turn := func() {
		for range 200 {
			if !from.SendMedia(&m) {
				t.Fatal("a packet was refused")
			}
		}
		for to.NextMedia() != nil {
			to.MediaDone()
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations a turn; expected none", n)
	}
}

func BenchmarkLane(b *testing.B) {
	_, _, ends := joined(16)
	m := PacketTo(1, LayerID{}, Place{}, &Packet{}, make([]byte, 1200))
	for b.Loop() {
		ends[0].SendMedia(&m)
		ends[1].NextMedia()
		ends[1].MediaDone()
	}
}

// A look at lanes that nobody has sent on yet: each turn of a worker takes one.
func BenchmarkNothing(b *testing.B) {
	for _, workers := range []int{2, 16, 64} {
		b.Run(fmt.Sprint(workers), func(b *testing.B) {
			_, _, ends := joined(workers)
			for b.Loop() {
				ends[1].NextControl()
				ends[1].NextMedia()
			}
		})
	}
}
