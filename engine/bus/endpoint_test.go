package bus

import (
	"runtime"
	"slices"
	"testing"

	"ringcast/engine/port"
)

// takeControl receives all control messages that wait at e.
func takeControl(e *Endpoint) (all []Control) {
	for m := e.NextControl(); m != nil; m = e.NextControl() {
		all = append(all, *m)
		e.ControlDone()
	}
	return all
}

// takeMedia receives all media messages that wait at e.
func takeMedia(e *Endpoint) (all []Media) {
	for m := e.NextMedia(); m != nil; m = e.NextMedia() {
		all = append(all, *m)
		e.MediaDone()
	}
	return all
}

// tell sends a control message.
func tell(e *Endpoint, m Control) bool { return e.SendControl(&m) }

// feed sends a packet with an index.
func feed(e *Endpoint, to Address, index uint64) bool {
	m := PacketTo(to, LayerID{}, Place{Index: index}, &Packet{}, make([]byte, 1200))
	return e.SendMedia(&m)
}

// ask sends a control message with an index.
func ask(e *Endpoint, to Address, index uint64) bool {
	return tell(e, ResendWanted(to, LayerID{}, 0, Row{Index: index}))
}

// Control messages outnumber a lane's pieces many times over: none is lost, none overtakes another.
func TestControlIsNeverLost(t *testing.T) {
	_, _, ends := joined(2)
	from, to := ends[0], ends[1]
	const rounds, messages = 3, 50*controlSlots + 3
	sent, next := uint64(0), uint64(0)
	for range rounds {
		for range messages {
			if !ask(from, 1, sent) {
				t.Fatalf("control message %d was refused", sent)
			}
			sent++
		}
		for range messages / 2 {
			m := to.NextControl()
			if m == nil || m.Index != next {
				t.Fatalf("got %+v; expected message %d", m, next)
			}
			to.ControlDone()
			next++
		}
	}
	for _, m := range takeControl(to) {
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
		_, controller, ends := joined(4)
		from, to := ends[1], ends[3]
		for w := range skipped {
			tell(ends[w%3], Unfollow(3, LayerID{}, 0))
			takeControl(to)
		}
		opened, closed := PublicationOpened(1, 1, 0, &Session{}), PublicationClosed(1, 1)
		opened.To, closed.To = 3, 3
		tell(controller, opened)
		tell(from, Follow(3, LayerID{}, 0))
		tell(controller, closed)
		if !to.Lags() {
			t.Error("the controller's messages wait and the receiver does not lag")
		}
		var got []Kind
		for _, m := range takeControl(to) {
			got = append(got, m.Kind)
		}
		if want := []Kind{KindPublicationOpened, KindPublicationClosed, KindFollow}; !slices.Equal(got, want) {
			t.Errorf("after %d others the messages came as %v; expected %v", skipped, got, want)
		}
		if to.Lags() {
			t.Error("nothing waits and the receiver lags")
		}
	}
}

// A message that the controller sends while another is in hand does not take its place.
func TestDoneReleasesTheMessageInHand(t *testing.T) {
	_, controller, ends := joined(2)
	ask(ends[1], 0, 1)
	ask(ends[1], 0, 2)
	to := ends[0]
	if m := to.NextControl(); m == nil || m.Index != 1 {
		t.Fatalf("got %+v; expected message 1", m)
	}
	closed := SessionClosed(7)
	closed.To = 0
	tell(controller, closed)
	to.ControlDone()
	got := takeControl(to)
	if len(got) != 2 || got[0].Kind != KindSessionClosed || got[1].Index != 2 {
		t.Errorf("got %+v; expected the controller's message and message 2", got)
	}
}

// A sender whose lane never empties holds nobody up: each has its turn within a round of visits.
func TestLanesTakeTurns(t *testing.T) {
	const workers = 8
	for _, kind := range []string{"control", "media"} {
		_, _, ends := joined(workers)
		send := func(from int) bool { return ask(ends[from], 0, 0) }
		next := func() (from Address, ok bool) {
			m := ends[0].NextControl()
			if m == nil {
				return 0, false
			}
			defer ends[0].ControlDone()
			return m.From, true
		}
		if kind == "media" {
			send = func(from int) bool { return feed(ends[from], 0, 0) }
			next = func() (from Address, ok bool) {
				m := ends[0].NextMedia()
				if m == nil {
					return 0, false
				}
				defer ends[0].MediaDone()
				return m.From, true
			}
		}
		for w := 2; w < workers; w++ {
			send(w)
		}
		heard := map[Address]bool{}
		const bound = 2*visit + workers
		for range bound {
			for range 2 {
				send(1)
			}
			if from, ok := next(); ok {
				heard[from] = true
			}
		}
		if len(heard) != workers-1 {
			t.Errorf("%s: %d senders were heard within %d messages; expected %d", kind, len(heard), bound, workers-1)
		}
	}
}

// A receiver that reads nothing holds nobody else up.
func TestFullLaneBlocksOnlyItself(t *testing.T) {
	_, _, ends := joined(3)
	for range 20 * controlSlots {
		ask(ends[0], 1, 0)
	}
	ask(ends[0], 2, 7)
	if got := takeControl(ends[2]); len(got) != 1 || got[0].Index != 7 {
		t.Errorf("worker 2 got %d messages; expected one", len(got))
	}
}

func TestMediaIsRefusedWhenFull(t *testing.T) {
	b, _, ends := joined(2)
	from, to := ends[0], ends[1]
	n := uint64(0)
	for feed(from, 1, n) {
		n++
	}
	if n < mediaSlots/2 || n > 2*mediaSlots {
		t.Fatalf("%d packets fit; expected %d to %d", n, mediaSlots/2, 2*mediaSlots)
	}
	if o := b.Occupancy(); o <= 0.5 || o > 1 {
		t.Errorf("the occupancy of a full lane is %v; expected more than 0.5, at most 1", o)
	}
	if !ask(from, 1, 0) {
		t.Error("a full media lane stops control")
	}
	if got := takeControl(to); len(got) != 1 {
		t.Errorf("%d control messages arrived; expected 1", len(got))
	}
	if got := takeMedia(to); len(got) != int(n) {
		t.Errorf("%d packets arrived of %d", len(got), n)
	}
	if o := b.Occupancy(); o != 0 {
		t.Errorf("the occupancy of empty lanes is %v; expected 0", o)
	}
}

func TestFromAndDirections(t *testing.T) {
	_, controller, workers := joined(2)
	ends := map[Address]*Endpoint{0: workers[0], 1: workers[1], Controller: controller}
	for from, e := range ends {
		for to := range ends {
			if from != to && !e.SendControl(&Control{Kind: KindSessionOwned, To: to, From: 99, Owner: from}) {
				t.Errorf("%d cannot send to %d", from, to)
			}
		}
	}
	for to, e := range ends {
		if e.Empty() {
			t.Errorf("%d has nothing to receive", to)
		}
		seen := map[Address]bool{}
		for _, m := range takeControl(e) {
			if m.From != m.Owner {
				t.Errorf("a message of %d says that it is from %d", m.Owner, m.From)
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

func TestMessagesWithoutALaneAreRefused(t *testing.T) {
	_, controller, workers := joined(1)
	worker := workers[0]
	for name, sent := range map[string]bool{
		"control to itself":              ask(worker, 0, 0),
		"control to nobody":              ask(worker, Nobody, 0),
		"control to a worker to come":    ask(worker, 7, 0),
		"media to itself":                feed(worker, 0, 0),
		"media to a worker to come":      feed(worker, 7, 0),
		"media to the controller":        feed(worker, Controller, 0),
		"media of the controller":        feed(controller, 0, 0),
		"the controller's to itself":     tell(controller, SessionReached(1)),
		"a datagram for itself":          worker.SendMedia(&Media{Kind: KindDatagram, To: 0}),
		"a datagram for the controller":  worker.SendMedia(&Media{Kind: KindDatagram, To: Controller}),
		"a datagram of the controller's": controller.SendMedia(&Media{Kind: KindDatagram, To: 0}),
	} {
		if sent {
			t.Errorf("%s was accepted", name)
		}
	}
	if !worker.Empty() || !controller.Empty() {
		t.Error("a refused message left something to receive")
	}
}

// An endpoint that joins later is sent to, and sends, like those that were there, with an address beyond theirs.
func TestLateEndpoint(t *testing.T) {
	b, controller, ends := joined(2)
	if ask(ends[0], 5, 1) || feed(ends[0], 5, 1) {
		t.Fatal("a message to an address that nobody has was accepted")
	}
	late := b.Join(5)
	follow := Follow(0, LayerID{Stream: 3}, 0)
	if !late.SendControl(&follow) {
		t.Error("the late endpoint cannot send")
	}
	got := takeControl(ends[0])
	if len(got) != 1 || got[0].From != 5 || got[0].Stream != 3 {
		t.Fatalf("got %+v; expected the request of endpoint 5", got)
	}
	closed := SessionClosed(1)
	closed.To = 5
	if !feed(ends[0], got[0].From, 9) || !tell(controller, closed) {
		t.Error("the late endpoint cannot be sent to")
	}
	if m := takeMedia(late); len(m) != 1 || m[0].Index != 9 || m[0].From != 0 {
		t.Errorf("got %+v; expected packet 9 of worker 0", m)
	}
	if m := takeControl(late); len(m) != 1 || m[0].From != Controller {
		t.Errorf("got %+v; expected one message of the controller", m)
	}
}

// Endpoints join, find each other and talk from goroutines of their own; the race detector looks on.
func TestEndpointsJoinWhileOthersTalk(t *testing.T) {
	const ends, messages = 8, 200
	b := New()
	got := make(chan uint64, ends)
	for a := range Address(ends) {
		go func() {
			e := b.Join(a)
			sum, left := uint64(0), messages
			for heard := 0; heard < messages || left > 0; {
				if left > 0 && ask(e, (a+1)%ends, uint64(left)) {
					left--
				}
				if m := e.NextControl(); m != nil {
					sum += m.Index
					e.ControlDone()
					heard++
				}
				runtime.Gosched()
			}
			got <- sum
		}()
	}
	for range ends {
		if sum := <-got; sum != messages*(messages+1)/2 {
			t.Errorf("an endpoint received messages that add up to %d; expected %d", sum, messages*(messages+1)/2)
		}
	}
}

func TestAddressesAreUnique(t *testing.T) {
	b := New()
	b.Join(3)
	defer func() {
		if recover() == nil {
			t.Error("two endpoints have one address")
		}
	}()
	b.Join(3)
}

// A datagram crosses whole, with its session, path and time.
func TestDatagramCrossesWhole(t *testing.T) {
	_, _, ends := joined(2)
	in := port.Inbound{Arrival: 77 * port.Second, Data: []byte{1, 2, 3}}
	sent := DatagramTo(0, 5, &in)
	ends[1].SendMedia(&sent)
	clear(in.Data)
	m := ends[0].NextMedia()
	if m == nil || m.ID != 5 || m.Arrival != in.Arrival || string(m.Data) != "\x01\x02\x03" || m.From != 1 {
		t.Fatalf("got %+v", m)
	}
	ends[0].MediaDone()
}

// The bytes of control are handed over, those of media are copied.
func TestOwnershipOfData(t *testing.T) {
	_, _, ends := joined(2)
	data := []byte{1, 2, 3}
	tell(ends[0], SendRecord(1, 5, data))
	if m := ends[1].NextControl(); &m.Data[0] != &data[0] {
		t.Error("a control lane copied the data")
	}
	m := PacketTo(1, LayerID{}, Place{}, &Packet{}, data)
	ends[0].SendMedia(&m)
	if m := ends[1].NextMedia(); &m.Data[0] == &data[0] || string(m.Data) != "\x01\x02\x03" {
		t.Errorf("a media lane passed on %v; expected a copy of %v", m.Data, data)
	}
}
