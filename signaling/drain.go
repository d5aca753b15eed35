package signaling

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"ringcast/engine/api"
)

const (
	// drainInterval is the time between two looks at the viewers that are still here.
	drainInterval = 50 * time.Millisecond
	// targetRate is the most viewers a second that one other server gets: half of those that a core connects.
	targetRate = 150
	// farewellSpan is the time over which the sessions end of the viewers that stayed.
	farewellSpan = 2 * time.Second
	// drainSpread is the number of seconds over which the peers come back that found no room elsewhere.
	drainSpread = 5
)

// Drain brings the viewers to other servers. From now on offers go elsewhere, or get 503. Viewers with an event stream
// are asked to connect again, paced over four fifths of the span. The sessions of those that are here at its end are
// closed over two seconds more. Publishers stay. Drain returns when no viewer is left. If there is no other server, it
// closes all at once.
func (s *Server) Drain(span time.Duration) {
	s.draining.Store(true)
	all := s.sessions.viewers()
	began, asked := time.Now(), 0.0
	s.log.Info("draining", "viewers", len(all), "span", span)
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for last := began; len(s.sessions.viewers()) > 0; <-ticker.C {
		room, nodes := s.balancer.Room()
		now := time.Now()
		if nodes == 0 || now.Sub(began) >= span {
			break
		}
		rate := min(float64(len(all))/(span.Seconds()*4/5), float64(targetRate*room))
		next := min(asked+rate*now.Sub(last).Seconds(), float64(len(all)))
		for _, x := range all[int(math.Ceil(asked)):int(math.Ceil(next))] { // the first at once
			s.audience.tell(x.id, s.reconnection(x))
		}
		asked, last = next, now
	}
	rest := s.sessions.viewers()
	s.log.Info("closing the sessions of viewers that stayed", "viewers", len(rest), "asked", int(math.Ceil(asked)))
	for began, i := time.Now(), 0; i < len(rest); <-ticker.C {
		for ; i < len(rest) && time.Since(began) >= farewellSpan*time.Duration(i)/time.Duration(len(rest)); i++ {
			s.engine.End(rest[i].id, api.ReasonShutdown)
		}
	}
}

// Draining reports whether Drain was called.
func (s *Server) Draining() bool { return s.draining.Load() }

// reconnection is the data of the event that asks a viewer to open another session. It has the URL of an endpoint, or
// an empty one where clients can reach no other server directly.
func (s *Server) reconnection(x *session) string {
	endpoint := ""
	if base, ok := s.balancer.Next(); ok {
		endpoint = base + "/" + whepRoot
		if !x.fixed {
			endpoint += "/" + x.stream
		}
	}
	text, err := json.Marshal(map[string]string{"url": endpoint})
	if err != nil { // strings always marshal
		return "{}"
	}
	return string(text)
}

// viewers are the subscribers that have not ended, the oldest first.
func (t *sessions) viewers() (all []*session) {
	t.mu.Lock()
	for _, x := range t.byID {
		if x.role == api.Subscriber {
			all = append(all, x)
		}
	}
	t.mu.Unlock()
	slices.SortFunc(all, func(x, y *session) int {
		if x.id < y.id {
			return -1
		}
		return 1
	})
	return all
}

// tell gives the data of an event reconnect to the readers of a session. A stream without a reader keeps it.
func (a *audience) tell(id api.SessionID, data string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.bySession[id] {
		select {
		case e.moves <- data:
		default:
		}
	}
}

// drained is the problem of an offer to a server that drains while no other has room.
func drained() *problem {
	return &problem{
		status: http.StatusServiceUnavailable, kind: "draining", title: "Server draining",
		detail:     "the server ends soon, and no other takes the session now; try again soon",
		retryAfter: retryBusy + rand.IntN(drainSpread),
	}
}
