package receiver

import (
	"testing"

	"ringcast/engine/port"
)

// A publisher answers requests after a round trip, unless the request is lost.
type publisher struct {
	*Receiver
	now       port.Time
	next      uint16
	roundTrip port.Time
	requests  int
	answers   []answer
}

type answer struct {
	seq uint16
	at  port.Time
}

// lose loses a packet, and lets a second pass. loseRequests of the requests for it are lost, too.
func (p *publisher) lose(loseRequests int) {
	p.next++ // the packet that is lost
	ms := port.Millisecond
	for end := p.now + port.Second; p.now < end; p.now += ms {
		if p.now%(20*ms) == 0 {
			p.Accept(p.now, &Packet{Sequence: p.next, Arrival: p.now, NACK: true})
			p.next++
		}
		seqs, _ := p.AppendMissing(p.now, make([]uint16, 0, 8))
		for _, seq := range seqs {
			p.requests++
			if loseRequests--; loseRequests < 0 {
				p.answers = append(p.answers, answer{seq, p.now + p.roundTrip})
			}
		}
		for len(p.answers) > 0 && p.answers[0].at <= p.now {
			p.Accept(p.now, &Packet{Sequence: p.answers[0].seq, Arrival: p.now, NACK: true, Resent: true})
			p.answers = p.answers[1:]
		}
	}
}

// The round trip is known after a few losses, however long it is and if requests are lost. Then a packet is asked for
// once. It is known again soon after it changed.
func TestRoundTrip(t *testing.T) {
	p := &publisher{Receiver: newReceiver(90000), now: port.Second}
	if got := p.RoundTrip(); got != 0 {
		t.Errorf("the round trip is %v s before the first answer; expected 0", got.Seconds())
	}
	p.Accept(p.now, &Packet{Sequence: 0, NACK: true})
	for _, c := range []struct {
		roundTrip port.Time
		lost      int // requests
	}{
		{20 * port.Millisecond, 0},
		{90 * port.Millisecond, 0},
		{300 * port.Millisecond, 0},
		{30 * port.Millisecond, 1},
		{150 * port.Millisecond, 1},
		{30 * port.Millisecond, 0},
	} {
		p.roundTrip = c.roundTrip
		for i := range 80 {
			p.lose(c.lost * (i & 1))
		}
		if got := p.RoundTrip(); got < c.roundTrip*9/10 || got > c.roundTrip*11/10 {
			t.Errorf("with %d requests lost, the round trip is %v s; expected %v", c.lost, got.Seconds(),
				c.roundTrip.Seconds())
		}
		p.requests = 0
		p.lose(0)
		if p.requests != 1 {
			t.Errorf("a packet was asked for %d times over a round trip of %v s; expected once", p.requests,
				c.roundTrip.Seconds())
		}
	}
}

// An answer before the request, and one that no request was for, say nothing.
func TestRoundTripOfNoRequest(t *testing.T) {
	r := newReceiver(90000)
	r.Accept(port.Second, &Packet{Sequence: 1, NACK: true, Arrival: port.Second})
	r.Accept(port.Second, &Packet{Sequence: 5, NACK: true, Arrival: port.Second})
	r.Accept(port.Second, &Packet{Sequence: 2, NACK: true, Arrival: port.Second, Resent: true})
	r.AppendMissing(port.Second+NACKDelay, make([]uint16, 0, 8))
	r.Accept(port.Second, &Packet{Sequence: 3, NACK: true, Arrival: port.Second, Resent: true})
	if got := r.RoundTrip(); got != 0 {
		t.Errorf("the round trip is %v s; expected 0, unknown", got.Seconds())
	}
}
