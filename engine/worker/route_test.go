package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// A guard drops nothing that a session of its role could be served for: the worker's own bounds are tighter.
func TestRouteRates(t *testing.T) {
	l := newLab(t, 0, 1)
	const served = maxControl/controlCost + maxRecords
	for _, c := range []struct {
		role  api.Role
		rate  uint32
		least uint32
	}{{api.Subscriber, viewerRate, served}, {api.Publisher, publisherRate, 10 * served}} {
		p := l.party(c.role, 1, watched(true)...)
		l.receive(p.path, p.check())
		if got := l.rates[p.path]; got != c.rate || got < c.least {
			t.Errorf("a %v may send %d datagrams a second, want %d and no fewer than %d", c.role, got, c.rate, c.least)
		}
		// The path of a check in error gets a route for the answer.
		wrong := pathOf(int(c.role) + 500)
		l.receive(wrong, signed(l, p, p.spec.Local.Password, 0x7ABC, make([]byte, 4), 0x0025, []byte{}))
		if got := l.rates[wrong]; got != c.rate {
			t.Errorf("a %v may send %d datagrams a second by a path once, want %d", c.role, got, c.rate)
		}
	}
}

// While the port takes nothing, answers wait. The route that they leave by rests for as long.
func TestRouteOfAWaitingAnswerRests(t *testing.T) {
	l := newLab(t, 0, 2)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.quietly(p.path, p.check()) // nothing is polled: the answer waits
	l.hand(bus.SessionOwned(p.spec.ID, 1, port.Path{}))
	for range 3 {
		l.now += routeRest
		l.w.HandleTimeout(l.now)
	}
	l.poll() // fails for a frame on a route that leads nowhere
	if n := len(l.answers(p.path)); n != 1 {
		t.Errorf("%d answers; want the one that waited", n)
	}
	l.pass(routeRest)
	if len(l.routes) != 0 {
		t.Errorf("%d routes were never revoked", len(l.routes))
	}
}

// A route rests before it is used again, so that a frame which the port kept never reaches another.
func TestRoutesRest(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, p.check())
	var route port.Route
	for r, path := range l.routes {
		if path == p.path {
			route = r
		}
	}
	l.tell(closed(p))
	if l.routes[route] != p.path {
		t.Error("a route was revoked at once: datagrams that the port kept are lost, or go astray")
	}
	q := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(q.path, q.check())
	if l.routes[route] != p.path {
		t.Fatal("a route was given away while it rested")
	}
	l.pass(routeRest - 1)
	if l.routes[route] != p.path {
		t.Error("a route was revoked before its rest was over")
	}
	l.pass(1)
	if _, ok := l.routes[route]; ok {
		t.Fatal("a rested route was not revoked")
	}
	r := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(r.path, r.check())
	if l.routes[route] != r.path {
		t.Error("a rested route is not used again: the port's table grows without end")
	}
	if l.w.routes.next != 2 {
		t.Errorf("%d routes were made for two sessions at a time", l.w.routes.next)
	}
}
