package bus

import (
	"testing"

	"ringcast/engine/port"
)

// take receives everything that waits at e.
func take(e *Endpoint) (all []Message) {
	for m := e.Next(); m != nil; m = e.Next() {
		all = append(all, *m)
		e.Done()
	}
	return all
}

// Control messages outnumber the lane's slots several times: none is lost, none overtakes another.
func TestControlIsNeverLost(t *testing.T) {
	b := New(2)
	from, to := b.Endpoint(0), b.Endpoint(1)
	const messages = 5*controlSlots + 3
	for n := range uint64(messages) {
		if !from.Send(&Message{Kind: Follow, To: 1, Index: n}) {
			t.Fatalf("control message %d was refused", n)
		}
	}
	if from.Flush(func(int) {}) {
		t.Error("Flush says that all is gone while most waits")
	}
	next := uint64(0)
	for turn := 0; next <= messages; turn++ {
		if turn > 10 {
			t.Fatalf("only %d of %d arrived", next, messages)
		}
		for _, m := range take(to) {
			if m.Index != next {
				t.Fatalf("got message %d; expected %d", m.Index, next)
			}
			next++
		}
		from.Flush(func(int) {})
		if turn == 2 { // new ones come behind those that wait
			from.Send(&Message{Kind: Follow, To: 1, Index: messages})
		}
	}
	if !from.Flush(func(int) {}) {
		t.Error("Flush says that something waits when all is gone")
	}
	if rest := take(to); len(rest) != 0 {
		t.Errorf("%d messages came twice", len(rest))
	}
}

// A receiver that reads nothing holds nobody else up.
func TestFullLaneBlocksOnlyItself(t *testing.T) {
	b := New(3)
	from := b.Endpoint(0)
	for range 2 * controlSlots {
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
	if n == 0 || n > mediaSlots {
		t.Fatalf("%d packets fit", n)
	}
	if !from.Flush(func(int) {}) {
		t.Error("a refused packet waits with the sender")
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
		if !e.Empty() || e.Next() != nil {
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
	if !worker.Empty() || !worker.Flush(func(int) {}) || !controller.Flush(func(int) {}) {
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
	m := to.Next()
	if m == nil || m.ID != 5 || m.Arrival != sent.Arrival || string(m.Data) != "\x01\x02\x03" || m.From != 1 {
		t.Fatalf("got %+v", m)
	}
	to.Done()
}
