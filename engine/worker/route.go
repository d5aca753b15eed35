package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
)

// routeRest is how long a route that is no longer used keeps its meaning. It is longer than frames and goodbyes may
// wait in a port, so that none of them goes to another peer.
const routeRest = GoodbyeSpan + port.StaleAfter

// The rates bound the datagrams of RTP that a peer may send by one path in a second. The same bounds hold for RTCP.
// They are about four times an honest peer's need.
const (
	// viewerRate is more than a viewer is served for: 1,024 datagrams of RTCP (maxControl). Browsers send 5 to 7 a
	// second, and 15 to 25 while all video carries transport-wide numbers. When they lose a fifth of 20 Mbit/s at
	// random, they send about 450: a NACK for each gap, 50 repetitions, 20 reports of arrivals.
	viewerRate = 2000
	// publisherRate is much more than a publisher sends, and keeps the flood of a whole line off the workers. At
	// 40,000, four times 96 Mbit/s, junk with a publisher's forged address and port displaced its media. Four in five
	// of 200,000 packets a second were dropped, genuine or not. To accept them all costs an eighth of a core more.
	publisherRate = 200_000
)

// rate returns the datagrams of RTP a second that the peer may send by one path.
func (s *session) rate() uint32 {
	if s.spec.Role == api.Publisher {
		return publisherRate
	}
	return viewerRate
}

// maxRetired bounds the routes that may rest when a refused check takes one more.
const maxRetired = 256

// routes hands out the numbers of paths, and takes them back once no frame refers to them.
type routes struct {
	changes []port.RouteChange // for the port, until Poll
	resting []restingRoute
	free    []port.Route
	next    port.Route
}

// A restingRoute keeps its meaning until a time.
type restingRoute struct {
	route port.Route
	until port.Time
}

// take gives a path a number that no frame refers to, with the rate that the peer may send at.
func (r *routes) take(p port.Path, rate uint32) port.Route {
	route := r.next
	if n := len(r.free); n > 0 {
		route, r.free = r.free[n-1], r.free[:n-1]
	} else {
		r.next++
	}
	r.changes = append(r.changes, port.RouteChange{Route: route, Path: p, Rate: rate})
	return route
}

// rest retires a route.
func (r *routes) rest(now port.Time, route port.Route) {
	r.resting = append(r.resting, restingRoute{route, now + routeRest})
}

// due is when the next route has rested.
func (r *routes) due() port.Time {
	if len(r.resting) == 0 {
		return port.Never
	}
	return r.resting[0].until
}

// recycle revokes a few of the routes that have rested.
func (r *routes) recycle(now port.Time) {
	n := 0
	for ; n < min(len(r.resting), maxRecycled) && r.resting[n].until <= now; n++ {
		route := r.resting[n].route
		r.changes = append(r.changes, port.RouteChange{Route: route})
		r.free = append(r.free, route)
	}
	r.resting = without(r.resting, n)
}

// poll appends the changes for the port.
func (r *routes) poll(out []port.RouteChange) []port.RouteChange {
	out = append(out, r.changes...)
	r.changes = r.changes[:0]
	return out
}

// retire gives up the route of a path, if it has one.
func (w *Worker) retire(now port.Time, p *path) {
	if p.hasRoute {
		p.hasRoute = false
		w.routes.rest(now, p.route)
	}
}

// recycleAt is when routes are to be recycled. Answers that the port has not taken refer to routes: as long as any
// waits, no route changes its meaning.
func (w *Worker) recycleAt() port.Time {
	if w.answers.waiting() > 0 {
		return port.Never
	}
	return w.routes.due()
}
