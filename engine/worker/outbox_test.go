package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// A flood of forwards is bounded; the excess is counted.
func TestStraysAreBounded(t *testing.T) {
	l := newLab(t, 1, 2)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	l.forget()
	for range maxStrays + 10 {
		l.quietly(p.path, clientHello)
	}
	l.poll()
	if n := len(l.brought(bus.KindDatagram)); n != maxStrays || l.drops(DropStrays) != 10 {
		t.Errorf("%d forwarded, %d dropped", n, l.drops(DropStrays))
	}
}

// Control messages that fill a batch make forwarded datagrams wait for the next one.
func TestStraysWaitForRoom(t *testing.T) {
	l := newLab(t, 1, 2)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	l.tell(bus.SessionOwned(p.spec.ID, 0, port.Path{}))
	l.forget()
	l.quietly(p.path, clientHello)
	for range cap(l.out.Media) + 1 {
		l.w.send(bus.SessionReached(p.spec.ID))
	}
	l.poll()
	if n := len(l.brought(bus.KindDatagram)); n != 1 || l.drops(DropStrays) != 0 {
		t.Errorf("%d forwarded and %d dropped, want 1 and 0", n, l.drops(DropStrays))
	}
}
