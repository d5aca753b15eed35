package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
)

// routeRest is how long a route that is no longer used keeps its meaning, so that frames which the
// port kept are never sent to somebody else. It is longer than port.StaleAfter, and than goodbyes may wait.
const routeRest = GoodbyeSpan + port.StaleAfter

// How much RTP and how much RTCP a peer may send by one path, in datagrams a second: about four times what an honest one
// has to send.
const (
	// viewerRate lets all through that a viewer could be served for: 1,024 datagrams of RTCP (maxControl). Browsers
	// send 15 to 25 a second. Of a stream of 20 Mbit/s with a fifth of the packets lost at random, they send about 450: a
	// NACK for each gap, 50 repetitions, 20 reports of arrivals.
	viewerRate = 2000
	// publisherRate is much more than a publisher sends, and keeps the flood of a whole line off the workers. With
	// 40,000, four times 96 Mbit/s, junk that was forged from a publisher's address and port displaced its media: of
	// 200,000 packets a second four in five were dropped, whosever they were. To take them all costs an eighth of a
	// core more.
	publisherRate = 200_000
)

// rate is what the peer may send by one path.
func (s *session) rate() uint32 {
	if s.spec.Role == api.Publisher {
		return publisherRate
	}
	return viewerRate
}

// maxRetired is how many routes may rest for a refused check to be answered by one more.
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
