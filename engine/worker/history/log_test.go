package history

import (
	"bytes"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// Bounds such as a worker gives to the logs of its layers, in bytes.
const (
	capVideo = 8 << 20
	capAudio = 256 << 10
)

// startAge is how old a keyframe may be for a subscriber to start from it.
const startAge = Span / 2

// put appends a packet with a number; its contents follow from the number.
func put(h *Log, number uint64, at port.Time, size int, flags bus.Flags) uint64 {
	ext, payload := contents(number, size)
	p := bus.Packet{Number: number, Timestamp: uint32(number) * 3000, Arrival: at, Flags: flags}
	return h.Append(&p, ext, payload)
}

func contents(number uint64, size int) (ext, payload []byte) {
	payload = make([]byte, size)
	for i := range payload {
		payload[i] = byte(number*31 + uint64(i))
	}
	return []byte{byte(rtp.AudioLevel), 1, byte(number)}[:3*(number%2)], payload
}

// holds fails unless the entry is number with its contents.
func holds(t *testing.T, h *Log, e *Entry, number uint64, size int) {
	t.Helper()
	ext, payload := contents(number, size)
	if e.Number != number || !bytes.Equal(h.Extensions(e), ext) || !bytes.Equal(h.Payload(e), payload) {
		t.Fatalf("the entry holds packet %d (%d bytes); expected %d with %d bytes, intact",
			e.Number, e.size, number, size)
	}
}

func TestHistoryGrowsByBytes(t *testing.T) {
	h := New(NewMemory(nil), capVideo)
	const size = 1200
	for n := range uint64(1000) { // all within one second: nothing may go
		put(&h, n, port.Time(n)*port.Microsecond, size, 0)
	}
	if h.first != 0 || h.next != 1000 {
		t.Fatalf("holds %d to %d; expected all of 1000", h.first, h.next)
	}
	for n := range uint64(1000) {
		e, ok := h.Find(n)
		if !ok {
			t.Fatalf("packet %d is gone", n)
		}
		holds(t, &h, e, n, size)
	}
	if h.Size() < 1000*size || h.Size() > 1000*size*4/3 {
		t.Errorf("the history takes %d bytes for %d; expected at most a third more", h.Size(), 1000*size)
	}
}

func TestHistoryGrowsByEntries(t *testing.T) {
	h := New(NewMemory(nil), capAudio)
	for n := range uint64(500) {
		put(&h, n, port.Time(n), 1, 0)
	}
	if h.first != 0 || h.index.room() < 500 {
		t.Fatalf("holds %d to %d with %d entries", h.first, h.next, h.index.room())
	}
	for n := range uint64(500) {
		if e, ok := h.Find(n); !ok {
			t.Fatalf("packet %d is gone", n)
		} else {
			holds(t, &h, e, n, 1)
		}
	}
}

// Packets that are younger than Span stay, older ones go when room is wanted.
func TestHistoryKeepsASecond(t *testing.T) {
	h := New(NewMemory(nil), capAudio)
	at := port.Time(0)
	for n := range uint64(10_000) {
		at += 20 * port.Millisecond
		put(&h, n, at, 100, 0)
		oldest := h.At(h.first)
		if age := at - oldest.Arrival; n > 50 && age < Span {
			t.Fatalf("after packet %d the oldest is only %v s old", n, age.Seconds())
		}
	}
	if h.index.room() > 128 || h.pages.held() > 4 {
		t.Errorf("50 small packets a second took %d entries and %d pages; expected at most 128 and 4",
			h.index.room(), h.pages.held())
	}
}

// A keyframe stays as long as other packets: nothing starts from one that is older than startAge.
func TestHistoryKeepsTheKeyframeForItsSpan(t *testing.T) {
	const size, pause = 1000, 4 * port.Millisecond // 2 Mbit/s
	for _, every := range []uint64{0, 100, 1000} {
		h := New(NewMemory(nil), capVideo)
		at, most := port.Time(0), 0
		for n := range uint64(10_000) {
			var flags bus.Flags
			if n == 0 || every > 0 && n%every == 0 {
				flags = bus.KeyframeStart
			}
			put(&h, n, at, size, flags)
			if n%125 == 0 {
				h.Tidy(at)
			}
			if age := at - h.key.Arrival; n == 0 || every > 0 || age <= startAge {
				fresh := every == 0 || n%every <= uint64(startAge/pause)
				if fresh && (!h.key.Valid || h.key.Index < h.first) {
					t.Fatalf("keyframes each %d packets: of packet %d none is held, %+v", every, n, h.key)
				}
			}
			most = max(most, h.Size())
			at += pause
		}
		if second := int(port.Second/pause) * size; most > second*4/3 {
			t.Errorf("keyframes each %d packets: the history took up to %d bytes for %d a second", every, most, second)
		}
	}
}

// At the cap the oldest goes, young or not, and the keyframe with it.
func TestHistoryCap(t *testing.T) {
	h := New(NewMemory(nil), 64<<10)
	put(&h, 0, 0, 1000, bus.KeyframeStart)
	for n := uint64(1); n < 500; n++ {
		put(&h, n, port.Time(n), 1000, 0)
		if h.pages.held()*pageSize > 64<<10 {
			t.Fatalf("the history grew to %d pages, over its cap", h.pages.held())
		}
	}
	if h.key.Valid {
		t.Error("the keyframe is gone and still counts")
	}
	held := h.next - h.first
	if most := uint64(64 << 10 / pageSize * 4); held < most-8 || held > most {
		t.Errorf("%d packets of 1017 bytes are held in 64 KB; expected up to %d", held, most)
	}
	if h.cut != 500-held {
		t.Errorf("%d packets count as cut short; expected %d", h.cut, 500-held)
	}
	for n := uint64(500) - held; n < 500; n++ {
		e, ok := h.Find(n)
		if !ok {
			t.Fatalf("packet %d is gone", n)
		}
		holds(t, &h, e, n, 1000)
	}
	if _, ok := h.Find(500 - held - 1); ok {
		t.Error("an evicted packet is found")
	}
}

func TestHistoryFindOfNothing(t *testing.T) {
	h := New(NewMemory(nil), capAudio)
	if _, ok := h.Find(0); ok {
		t.Error("an empty history has packet 0")
	}
	put(&h, 1000, 0, 5, 0)
	for _, n := range []uint64{0, 999, 1001, 1000 + numbersStart, 1000 - numbersStart} {
		if _, ok := h.Find(n); ok {
			t.Errorf("packet %d is found; only 1000 is there", n)
		}
	}
}

func TestHistoryRelease(t *testing.T) {
	h := New(NewMemory(nil), capVideo)
	for n := range uint64(100) {
		put(&h, n, 0, 100, bus.KeyframeStart)
	}
	h.Release()
	if h.Size() != 0 || h.key.Valid || h.first != 100 || h.next != 100 {
		t.Fatalf("released, it holds %d to %d, %d bytes", h.first, h.next, h.Size())
	}
	if _, ok := h.Find(99); ok {
		t.Error("a released packet is found")
	}
	if i := put(&h, 7, 0, 100, 0); i != 100 {
		t.Errorf("the next packet got index %d; expected 100: cursors must not meet others", i)
	}
	if e, ok := h.Find(7); !ok {
		t.Error("the packet after a release is not found")
	} else {
		holds(t, &h, e, 7, 100)
	}
	if h.Start(rtp.Video) != 100 {
		t.Errorf("a replica would start at %d", h.Start(rtp.Video))
	}
}

// The keyframe's first packet may come after others of the same picture, and in several parts.
func TestHistoryKeyframeReordered(t *testing.T) {
	h := New(NewMemory(nil), capVideo)
	add := func(number uint64, ts uint32, start bool) {
		p := bus.Packet{Number: number, Timestamp: ts}
		if start {
			p.Flags = bus.KeyframeStart
		}
		h.Append(&p, nil, []byte{1})
	}
	add(10, 500, false)
	add(13, 900, false) // index 1, of the keyframe
	add(11, 700, false)
	add(12, 900, true) // index 3
	if h.key.Number != 12 || h.key.Index != 1 {
		t.Errorf("the keyframe is %+v; expected number 12 from index 1 on", h.key)
	}
	add(14, 900, true) // a second part does not move it
	if h.key.Number != 12 || h.key.Index != 1 {
		t.Errorf("a later part of the keyframe moved it: %+v", h.key)
	}
	add(8, 300, true) // an older one, late
	if h.key.Number != 12 {
		t.Errorf("an older keyframe took over: %+v", h.key)
	}
	add(16, 1000, true)
	add(15, 1000, true) // the first part, late
	if h.key.Number != 15 || h.key.Index != 6 {
		t.Errorf("the keyframe is %+v; expected number 15 from index 6 on", h.key)
	}
}

func TestHistoryLiveEdgeAndStart(t *testing.T) {
	h := New(NewMemory(nil), capAudio)
	for i, n := range []uint64{1, 2, 5, 6, 3, 4} {
		put(&h, n, port.Time(i), 10, 0)
	}
	if got := h.LiveEdge(); got != 3 {
		t.Errorf("the live edge is index %d; expected 3, of number 6", got)
	}
	if got := h.Start(rtp.Audio); got != 3 {
		t.Errorf("audio starts at %d; expected the live edge", got)
	}
	if got := h.Start(rtp.Video); got != 0 {
		t.Errorf("video without a keyframe starts at %d; expected all 6 packets", got)
	}
	put(&h, 7, 0, 10, bus.KeyframeStart)
	put(&h, 8, 0, 10, 0)
	if got := h.Start(rtp.Video); got != 6 {
		t.Errorf("video starts at %d; expected the keyframe's 6", got)
	}
	h = New(NewMemory(nil), capAudio)
	put(&h, 3, 0, 10, 0)
	if got := h.LiveEdge(); got != 0 {
		t.Errorf("the live edge of one packet is %d", got)
	}
}

// A log gives a burst's memory back once the burst is over. Young packets stay, and an idle log costs nothing.
func TestHistoryShrinks(t *testing.T) {
	h := New(NewMemory(nil), capVideo)
	const size = 1000
	at, n := port.Time(0), uint64(0)
	send := func(packets int, pause port.Time) {
		for i := range packets {
			var flags bus.Flags
			if i%100 == 0 {
				flags = bus.KeyframeStart
			}
			put(&h, n, at, size, flags)
			n++
			at += pause
		}
	}
	send(4000, 100*port.Microsecond) // 80 Mbps
	burst, entries := h.Size(), h.index.room()
	if burst < 4<<20 {
		t.Fatalf("a burst of 4 MB took %d bytes", burst)
	}
	h.Tidy(at)
	if h.Size() != burst || h.first != 0 {
		t.Errorf("young packets went: %d bytes, from %d", h.Size(), h.first)
	}
	for range 40 { // 20 s of 160 kbps
		send(10, 50*port.Millisecond)
		h.Tidy(at)
		for i := h.first; i < h.next; i++ {
			holds(t, &h, h.At(i), i, size)
		}
		for back := range min(uint64(19), n) { // about a second
			if e, ok := h.Find(n - 1 - back); !ok {
				t.Fatalf("packet %d of %d is gone within a second", n-1-back, n)
			} else {
				holds(t, &h, e, n-1-back, size)
			}
		}
	}
	if h.Size() > burst/8 || h.index.room() > entries/8 || h.pages.room() > 1<<20/pageSize/4 {
		t.Errorf("%d bytes and %d packets have room after a burst that took %d and %d",
			h.Size(), h.index.room(), burst, entries)
	}
	small := h.Size()
	allocations := testing.AllocsPerRun(50, func() { h.Tidy(at) })
	if allocations != 0 || h.Size() != small {
		t.Errorf("tidying what is tidy: %v allocations, %d bytes of %d", allocations, h.Size(), small)
	}
	first := h.next
	h.Tidy(at + idleSpan + port.Second)
	if h.Size() != 0 || h.first != first || h.next != first || h.key.Valid {
		t.Errorf("an idle history has %d bytes, packets %d to %d", h.Size(), h.first, h.next)
	}
	put(&h, n, at+10*port.Second, size, bus.KeyframeStart)
	if e, ok := h.Find(n); !ok || h.next != first+1 || !h.key.Valid {
		t.Error("an idle history did not go on")
	} else {
		holds(t, &h, e, n, size)
	}
}

// A publisher cannot make the worker's memory grow past the cap with tiny packets.
func TestTinyPacketsStayUnderTheCap(t *testing.T) {
	h := New(NewMemory(nil), capVideo)
	p := bus.Packet{Flags: bus.KeyframeStart}
	for n := range uint64(600_000) {
		p.Number = n
		h.Append(&p, nil, nil)
		p.Flags = 0
	}
	if got := h.Size(); got > 2*capVideo {
		t.Errorf("the history takes %d bytes; its cap is %d", got, capVideo)
	}
}
