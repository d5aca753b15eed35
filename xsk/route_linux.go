package xsk

import (
	"math"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
	"ringcast/xsk/nexthop"
)

// route is a path made ready: all that a frame needs. The path itself is in transmitter.paths.
type route struct {
	template   frame.Template
	room       int16  // the largest payload that fits the path; noHop: it has no next hop
	sender     uint8  // index of the sender
	open       bool   // false: revoked
	admitted   bool   // the guard lets the peer pass
	generation uint32 // of the next hops when it was resolved

	verdict nexthop.Verdict // why it has no next hop
}

// noHop is the room of a route without next hop, less than any frame needs.
const noHop = -1

// setRoutes carries out route changes.
func (t *transmitter) setRoutes(changes []port.RouteChange) {
	for i := range changes {
		c := &changes[i]
		if missing := int(c.Route) + 1 - len(t.routes); missing > 0 {
			t.routes = append(t.routes, make([]route, missing)...)
			t.paths = append(t.paths, make([]port.Path, missing)...)
			t.ways = append(t.ways, make([]nexthop.Way, missing)...)
		}
		r := &t.routes[c.Route]
		before, admitted := t.paths[c.Route], r.admitted
		*r = route{}
		t.paths[c.Route] = c.Path
		t.unfollow(c.Route)
		if c.Path.Remote.IsValid() {
			*r = route{open: true, room: noHop, sender: t.senderOf(c.Route), admitted: t.admit(c)}
			t.ways[c.Route] = t.hops.Follow(c.Path)
			t.resolve(r, c.Route)
		} else {
			t.forget(c.Route)
		}
		if admitted {
			t.dismiss(before)
		}
	}
}

// admit asks the guard to let a peer pass. It comes before the first frame to the peer, who may answer at once.
func (t *transmitter) admit(c *port.RouteChange) bool {
	if t.guard == nil {
		return false
	}
	if err := t.guard.Allow(c.Path, c.Rate); err != nil {
		t.counters.own[GuardRejections]++
		t.warn(&t.quietGuard, "the guard refuses a path", "error", err)
		return false
	}
	return true
}

// dismiss revokes one admit.
func (t *transmitter) dismiss(p port.Path) {
	if err := t.guard.Revoke(p); err != nil {
		t.warn(&t.quietGuard, "the guard keeps a path", "error", err)
	}
}

// unfollow ends the following of the next hops of a route's path.
func (t *transmitter) unfollow(r port.Route) {
	if way := t.ways[r]; way != nil {
		way.Forget()
		t.ways[r] = nil
	}
}

// dismissAll revokes every admit, and ends the following of every path.
func (t *transmitter) dismissAll() {
	for i := range t.routes {
		t.unfollow(port.Route(i))
		if t.routes[i].admitted {
			t.routes[i].admitted = false
			t.dismiss(t.paths[i])
		}
	}
}

// forget makes the kept frames of a route unroutable, so that they do not leave on a path that the route gets later.
func (t *transmitter) forget(r port.Route) {
	for i := range t.lender.frames[:t.lender.kept] {
		if f := &t.lender.frames[i]; f.Route == r {
			f.Route = noRoute
		}
	}
}

// resolve finds the next hop of a route's frames.
func (t *transmitter) resolve(r *route, number port.Route) {
	r.generation = t.generation
	var hop nexthop.Hop
	if hop, r.verdict = t.ways[number].Resolve(); r.verdict != nexthop.Usable {
		r.room = noHop
		return
	}
	options := t.options
	options.HopLimit = hop.HopLimit
	r.template = frame.Make(hop.Source, hop.Destination, t.paths[number], t.localPort, options)
	r.room = int16(min(max(r.template.Room(hop.MTU), 0), math.MaxInt16))
}
