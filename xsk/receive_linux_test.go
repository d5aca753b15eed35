package xsk

import (
	"math"
	"slices"
	"testing"
	"time"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

func TestReceiveAcrossTheWrap(t *testing.T) {
	const start = math.MaxUint32 - 100
	k := newKernel(1, testRing, start)
	r := newRig(t, k, rigConfig(func(c *Config) { c.Batch = 7 }))
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	sent, got := 0, 0
	for range 100 {
		for range 5 {
			chunk := append(make([]byte, frame.Headroom), payload(sent)...)
			start := tpl.Put(chunk, len(payload(sent)), 0)
			if !k.sockets[0].receive(chunk[start:]) {
				t.Fatalf("no room after %d", sent)
			}
			sent++
		}
		n := r.Receive(r.clock, &r.in)
		if n > 7 || n != len(r.in.Packets) {
			t.Fatalf("%d of %d in a batch of 7", n, len(r.in.Packets))
		}
		for _, in := range r.in.Packets {
			want := payload(got)
			if !slices.Equal(in.Data, want) || cap(in.Data) != len(want) || in.Arrival != r.clock {
				t.Fatalf("datagram %d: %x", got, in.Data[:4])
			}
			clear(in.Data)
			got++
		}
	}
	if got != sent {
		t.Errorf("%d of %d", got, sent)
	}
	r.expect(port.Stats{port.Received: uint64(got)})
	// Every chunk is in the fill ring again, or handed out.
	r.Receive(r.clock, &r.in)
	if q := k.sockets[0]; q.socket.fill.next-q.fillCons != testRing {
		t.Errorf("%d chunks in the fill ring", q.socket.fill.next-q.fillCons)
	}
}

func TestMalformedFramesAreCountedAndTheirMemoryReturned(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	for range 3 * testRing {
		if !k.sockets[0].receive([]byte{1, 2, 3}) {
			t.Fatal("no room")
		}
		if n := r.Receive(r.clock, &r.in); n != 0 {
			t.Fatalf("%d datagrams", n)
		}
	}
	r.expect(port.Stats{port.Malformed: 3 * testRing})
}

// A frame from outside with a source address of this host is dropped and counted, and its memory returned.
func TestOurOwnAddressesAsSources(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{}) // from local4
	chunk := make([]byte, frame.Headroom+1)
	start := tpl.Put(chunk, 1, 0)
	for i := range 3 * testRing {
		r.hops.own = local4
		if i%3 == 0 {
			r.hops.own = to(1).Remote.Addr()
		}
		if !k.sockets[0].receive(chunk[start:]) {
			t.Fatal("no room")
		}
		want := 0
		if i%3 == 0 {
			want = 1
		}
		if n := r.Receive(r.clock, &r.in); n != want {
			t.Fatalf("%d datagrams, want %d", n, want)
		}
	}
	r.expect(port.Stats{port.Received: testRing})
	if got := r.Details().Counts[OwnSources]; got != 2*testRing {
		t.Errorf("%d counted, want %d", got, 2*testRing)
	}
}

func TestQueuesTakeTurns(t *testing.T) {
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, rigConfig(func(c *Config) { c.Batch = 4 }))
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := make([]byte, frame.Headroom+1)
	start := tpl.Put(chunk, 1, 0)
	for _, q := range k.sockets {
		for range 20 {
			q.receive(chunk[start:])
		}
	}
	for range 4 {
		if n := r.Receive(r.clock, &r.in); n != 4 {
			t.Fatalf("%d datagrams", n)
		}
	}
	r.transmit(testFrames)
	for _, q := range r.Details().Queues {
		if got := q.Counts[QueueReceived]; got != 8 {
			t.Errorf("queue %d: %d received of 16, want 8", q.Queue, got)
		}
	}
}

func TestCompanionIsReadNowAndThen(t *testing.T) {
	r := newRig(t, newKernel(1, testRing, 0), rigConfig(func(c *Config) { c.ReadsCompanion = true }))
	stray := port.Inbound{Path: to(1), Data: payload(3), Arrival: 1}
	r.notes.arrived = []port.Inbound{stray, stray}
	if n := r.Receive(r.clock, &r.in); n != 2 || r.in.Packets[1].Path != to(1) {
		t.Fatalf("%d datagrams", n)
	}
	asked := r.notes.asked
	for range 1000 { // 0.9 ms of busy turns
		r.Receive(r.clock, &r.in)
		r.clock += port.Millisecond / 1100
	}
	if r.notes.asked != asked+1 {
		t.Errorf("asked %d times in a millisecond", r.notes.asked-asked)
	}
	r.clock += port.Millisecond
	r.notes.arrived = []port.Inbound{stray}
	if n := r.Receive(r.clock, &r.in); n != 1 {
		t.Errorf("%d datagrams a millisecond later", n)
	}
	r.expect(port.Stats{port.Received: 3})
	if d := r.Details(); d.Counts[CompanionReceived] != 3 {
		t.Errorf("%+v", d)
	}
}

// The first report of a quiet time wakes the worker, later ones wait for reportSpan at most. Media never wait, and take
// the reports along.
func TestReportsWait(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	q, data := k.sockets[0], arrival(1)
	until := r.clock // reports wait
	sleeps := func(want bool) {
		t.Helper()
		span, sleepy := r.Port.drowse(port.Never)
		if most := time.Duration(until - r.clock); sleepy != want || sleepy && span != most {
			t.Errorf("the port sleeps: %t, for %v; expected %t, for %v", sleepy, span, want, most)
		}
	}
	receives := func(want int) {
		t.Helper()
		if n := r.Receive(r.clock, &r.in); n != want {
			t.Errorf("%d datagrams; expected %d", n, want)
		}
	}
	q.report(data)
	sleeps(false)
	receives(1)
	until = r.clock + reportSpan
	for range 3 {
		r.clock += reportSpan / 4
		q.report(data)
		sleeps(true)
	}
	q.receive(data)
	sleeps(false)
	receives(4)
	until = r.clock + reportSpan
	q.report(data)
	r.clock += reportSpan - 1
	sleeps(true)
	r.clock++
	sleeps(false)
	receives(1)
	r.clock += reportSpan
	if span, sleepy := r.Port.drowse(port.Never); !sleepy || span >= 0 {
		t.Errorf("the port sleeps: %t, for %v; expected no end", sleepy, span)
	}
}

// The more reports come, the less they wait: a wait must not fill their ring. When few come again, they wait as long as
// before.
func TestManyReportsWaitLess(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig())
	q, data := k.sockets[0], arrival(1)
	const ring = testRing / reportsRoom
	waits := func(n int, most port.Time) {
		t.Helper()
		for range n {
			if !q.report(data) {
				t.Fatal("the ring of reports is full")
			}
		}
		r.Receive(r.clock, &r.in)
		if span, _ := r.Port.drowse(port.Never); span != time.Duration(most) {
			t.Errorf("the port sleeps for %v, expected %v", span, time.Duration(most))
		}
	}
	waits(1, reportSpan)
	for range 3 {
		r.clock += reportSpan
		waits(ring, reportSpan/2)
	}
	for range 3 {
		r.clock += reportSpan
		waits(ring/2, reportSpan)
	}
}

// While there is media, reports have a quarter of a batch, even if the batch is not full. The others do not wait.
func TestMediaBeforeReports(t *testing.T) {
	k := newKernel(1, testRing, 0)
	r := newRig(t, k, rigConfig(func(c *Config) { c.Batch = 16 }))
	q := k.sockets[0]
	for range 10 {
		q.report(arrival(1))
	}
	q.receive(arrival(2))
	if n := r.Receive(r.clock, &r.in); n != 1+16/reportsShare || r.in.Packets[0].Data[0] != 2 {
		t.Errorf("%d datagrams, or no media first; expected media and %d reports", n, 16/reportsShare)
	}
	if _, sleepy := r.Port.drowse(port.Never); sleepy {
		t.Error("the port sleeps though reports found no room")
	}
	if n := r.Receive(r.clock, &r.in); n != 10-16/reportsShare {
		t.Errorf("%d datagrams; expected the other reports", n)
	}
}

// Both kinds get their part of a batch if there is too much of both. Reports beyond the batch do not wait.
func TestReportsShareTheBatch(t *testing.T) {
	const batch = 16
	k := newKernel(2, testRing, 0)
	r := newRig(t, k, rigConfig(func(c *Config) { c.Batch = batch }))
	q := k.sockets[0]
	for range testRing / reportsRoom {
		if !q.report(arrival(1)) {
			t.Fatal("no room for reports")
		}
	}
	if q.report(arrival(1)) {
		t.Error("reports may have more than their share of the chunks")
	}
	for range testRing - testRing/reportsRoom {
		if !q.receive(arrival(2)) {
			t.Fatal("reports left too few chunks for media")
		}
	}
	n := r.Receive(r.clock, &r.in)
	reports := 0
	for _, in := range r.in.Packets {
		if in.Data[0] == 1 {
			reports++
		}
	}
	if n != batch || reports != batch/reportsShare {
		t.Errorf("a batch of %d has %d reports; expected %d with %d", n, reports, batch, batch/reportsShare)
	}
	for range testRing {
		if _, sleepy := r.Port.drowse(port.Never); sleepy { // so it has all
			break
		}
		r.Receive(r.clock, &r.in)
	}
	r.Receive(r.clock, &r.in) // gives the last chunks back
	r.expect(port.Stats{port.Received: testRing})
	if free := q.socket.fill.next - q.fillCons; free != testRing {
		t.Errorf("%d chunks on the fill ring; expected all %d", free, testRing)
	}
}

// arrival is a frame with a byte.
func arrival(b byte) []byte {
	tpl := frame.Make([6]byte{2}, [6]byte{3}, to(1), testPort, frame.Options{})
	chunk := append(make([]byte, frame.Headroom), b)
	return chunk[tpl.Put(chunk, 1, 0):]
}
