package bus

import (
	"slices"
	"testing"

	"ringcast/engine/port"
)

// take receives everything that waits at e.
func take(e *Endpoint) (all []Message) {
	for _, next := range [...]func() *Message{e.NextControl, e.NextMedia} {
		for m := next(); m != nil; m = next() {
			all = append(all, *m)
			e.Done()
		}
	}
	return all
}

// Control messages outnumber a lane's pieces many times over: none is lost, none overtakes another.
func TestControlIsNeverLost(t *testing.T) {
	b := New(2)
	from, to := b.Endpoint(0), b.Endpoint(1)
	const rounds, messages = 3, 50*controlSlots + 3
	sent, next := uint64(0), uint64(0)
	for range rounds {
		for range messages {
			if !from.Send(&Message{Kind: Follow, To: 1, Index: sent}) {
				t.Fatalf("control message %d was refused", sent)
			}
			sent++
		}
		for range messages / 2 {
			m := to.NextControl()
			if m == nil || m.Index != next {
				t.Fatalf("got %+v; expected message %d", m, next)
			}
			to.Done()
			next++
		}
	}
	for _, m := range take(to) {
		if m.Index != next {
			t.Fatalf("got message %d; expected %d", m.Index, next)
		}
		next++
	}
	if next != sent {
		t.Errorf("%d messages arrived of %d", next, sent)
	}
}

// A worker's message never comes before one of the controller's that was sent earlier, wherever the
// receiver is in its round.
func TestCausesComeBeforeEffects(t *testing.T) {
	for skipped := range 4 {
		b := New(4)
		controller, from, to := b.Endpoint(ControllerAddress), b.Endpoint(1), b.Endpoint(3)
		for w := range skipped {
			b.Endpoint(w % 3).Send(&Message{Kind: Unfollow, To: 3})
			take(to)
		}
		controller.Send(&Message{Kind: PublicationOpened, To: 3})
		from.Send(&Message{Kind: Follow, To: 3})
		controller.Send(&Message{Kind: PublicationClosed, To: 3})
		if !to.Behind() {
			t.Error("the controller's messages wait and the receiver is not behind")
		}
		var got []Kind
		for _, m := range take(to) {
			got = append(got, m.Kind)
		}
		if want := []Kind{PublicationOpened, PublicationClosed, Follow}; !slices.Equal(got, want) {
			t.Errorf("after %d others the messages came as %v; expected %v", skipped, got, want)
		}
		if to.Behind() {
			t.Error("nothing waits and the receiver is behind")
		}
	}
}

// A sender whose lane never empties holds nobody up: each has its turn within a round of visits.
func TestLanesTakeTurns(t *testing.T) {
	const workers = 8
	for _, kind := range []Kind{Follow, Media} {
		b := New(workers)
		to := b.Endpoint(0)
		next := to.NextControl
		if kind.Lossy() {
			next = to.NextMedia
		}
		busy := b.Endpoint(1)
		for w := 2; w < workers; w++ {
			b.Endpoint(w).Send(&Message{Kind: kind, To: 0})
		}
		heard := map[int]bool{}
		const bound = 2*visit + workers
		for range bound {
			for range 2 {
				busy.Send(&Message{Kind: kind, To: 0})
			}
			if m := next(); m != nil {
				heard[m.From] = true
				to.Done()
			}
		}
		if len(heard) != workers-1 {
			t.Errorf("kind %d: %d senders were heard within %d messages; expected %d", kind, len(heard), bound, workers-1)
		}
	}
}

// A receiver that reads nothing holds nobody else up.
func TestFullLaneBlocksOnlyItself(t *testing.T) {
	b := New(3)
	from := b.Endpoint(0)
	for range 20 * controlSlots {
		from.Send(&Message{Kind: Follow, To: 1})
	}
	from.Send(&Message{Kind: Follow, To: 2, Index: 7})
	if got := take(b.Endpoint(2)); len(got) != 1 || got[0].Index != 7 {
		t.Errorf("worker 2 got %d messages; expected one", len(got))
	}
}

func TestLossyIsRefusedWhenFull(t *testing.T) {
	b := New(2)
	from, to := b.Endpoint(0), b.Endpoint(1)
	n := uint64(0)
	for from.Send(&Message{Kind: Media, To: 1, Index: n, Data: make([]byte, 1200)}) {
		n++
	}
	if n < mediaSlots/2 || n > 2*mediaSlots {
		t.Fatalf("%d packets fit; expected %d to %d", n, mediaSlots/2, 2*mediaSlots)
	}
	if o := b.Occupancy(); o <= 0.5 || o > 1 {
		t.Errorf("the occupancy of a full lane is %v", o)
	}
	if !from.Send(&Message{Kind: Follow, To: 1}) {
		t.Error("a full media lane stops control")
	}
	got := take(to)
	if got[0].Kind != Follow {
		t.Errorf("the first message is of kind %d; expected control before media", got[0].Kind)
	}
	if len(got) != int(n)+1 {
		t.Errorf("%d packets arrived of %d", len(got)-1, n)
	}
	if o := b.Occupancy(); o != 0 {
		t.Errorf("the occupancy of empty lanes is %v", o)
	}
}

func TestFromAndDirections(t *testing.T) {
	b := New(2)
	ends := map[int]*Endpoint{0: b.Endpoint(0), 1: b.Endpoint(1), ControllerAddress: b.Endpoint(ControllerAddress)}
	for from, e := range ends {
		for to := range ends {
			if from == to {
				continue
			}
			if !e.Send(&Message{Kind: SessionOwned, To: to, From: 99, Worker: from}) {
				t.Errorf("%d cannot send to %d", from, to)
			}
		}
	}
	for to, e := range ends {
		if e.Empty() {
			t.Errorf("%d has nothing to receive", to)
		}
		seen := map[int]bool{}
		for _, m := range take(e) {
			if m.From != m.Worker {
				t.Errorf("a message of %d says that it is from %d", m.Worker, m.From)
			}
			seen[m.From] = true
		}
		if len(seen) != 2 || seen[to] {
			t.Errorf("%d received from %v; expected both others", to, seen)
		}
		if !e.Empty() || e.NextControl() != nil || e.NextMedia() != nil {
			t.Errorf("%d still has something to receive", to)
		}
	}
}

func TestWhatHasNoLaneIsRefused(t *testing.T) {
	b := New(2)
	worker, controller := b.Endpoint(0), b.Endpoint(ControllerAddress)
	for name, sent := range map[string]bool{
		"control to oneself":             worker.Send(&Message{Kind: Follow, To: 0}),
		"media to oneself":               worker.Send(&Message{Kind: Media, To: 0}),
		"media to the controller":        worker.Send(&Message{Kind: Media, To: ControllerAddress}),
		"media of the controller":        controller.Send(&Message{Kind: Media, To: 0}),
		"the controller's to itself":     controller.Send(&Message{Kind: SessionOwned, To: ControllerAddress}),
		"a datagram for oneself":         worker.Send(&Message{Kind: Datagram, To: 0}),
		"a datagram to the controller's": worker.Send(&Message{Kind: Datagram, To: ControllerAddress}),
	} {
		if sent {
			t.Errorf("%s was accepted", name)
		}
	}
	if !worker.Empty() || !controller.Empty() {
		t.Error("a refused message left something behind")
	}
}

// What the workers know of a datagram crosses whole.
func TestDatagramCrossesWhole(t *testing.T) {
	b := New(2)
	from, to := b.Endpoint(1), b.Endpoint(0)
	data := []byte{1, 2, 3}
	sent := Message{Kind: Datagram, To: 0, ID: 5, Arrival: 77 * port.Second, Data: data}
	from.Send(&sent)
	clear(data)
	m := to.NextMedia()
	if m == nil || m.ID != 5 || m.Arrival != sent.Arrival || string(m.Data) != "\x01\x02\x03" || m.From != 1 {
		t.Fatalf("got %+v", m)
	}
	to.Done()
}
