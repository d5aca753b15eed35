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

type retired struct {
	route port.Route
	at    port.Time
}

// takeRoute gives a path of a session a number that no frame refers to.
func (w *Worker) takeRoute(s *session, p port.Path) port.Route {
	var r port.Route
	if n := len(w.freeRoutes); n > 0 {
		r = w.freeRoutes[n-1]
		w.freeRoutes = w.freeRoutes[:n-1]
	} else {
		r = w.nextRoute
		w.nextRoute++
	}
	w.routes = append(w.routes, port.RouteChange{Route: r, Path: p, Rate: s.rate()})
	return r
}

func (w *Worker) retire(now port.Time, p *path) {
	if p.hasRoute {
		p.hasRoute = false
		w.retired = append(w.retired, retired{p.route, now + routeRest})
	}
}

// recycleAt is when the next route has rested. A port that takes nothing leaves answers waiting here: as long as
// they do, no route changes its meaning.
func (w *Worker) recycleAt() port.Time {
	if len(w.retired) == 0 || len(w.replies)+len(w.records) > 0 {
		return port.Never
	}
	return w.retired[0].at
}

// recycle revokes the routes that have rested.
func (w *Worker) recycle(now port.Time) {
	if w.recycleAt() > now {
		return
	}
	n := 0
	for n < min(len(w.retired), maxRecycled) && w.retired[n].at <= now {
		r := w.retired[n].route
		w.routes = append(w.routes, port.RouteChange{Route: r})
		w.freeRoutes = append(w.freeRoutes, r)
		n++
	}
	if n > 0 {
		w.retired = w.retired[:copy(w.retired, w.retired[n:])]
	}
}
