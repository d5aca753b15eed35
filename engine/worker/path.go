package worker

import (
	"encoding/binary"

	"ringcast/engine/port"
	"ringcast/engine/stun"
)

const (
	// holdSpan is longer than the pause between two checks of any known client. A path that was silent for as long
	// gives way to another that is heard.
	holdSpan = 6 * port.Second
	// takeSpan is longer than the pause between two reports of any known client. A path that was silent for as long may
	// become another session's.
	takeSpan = 8 * port.Second
	// An unproven path is sent pathCredit datagrams at most, for trialSpan at most. A session gets a new
	// pathCredit no more often than once in creditSpan, so that nominations of ever more addresses gain nothing.
	pathCredit = 200
	trialSpan  = 3 * port.Second
	creditSpan = 30 * port.Second
	// maxPaths bounds the validated paths of a session.
	maxPaths = 8
	// pathSpan is the least time between two evictions of a path in a session that already has maxPaths. Peers
	// send their checks no faster (RFC 8445 section 14.2, Ta). Without it, checks of one session from forged addresses
	// would use up the routes and the guard's list, which all sessions share.
	pathSpan = 50 * port.Millisecond
)

// A path that an authenticated check validated. See the package's notes on paths.
type path struct {
	port.Path
	// heard is when the peer last proved by this path that it is there, 0 before the first time.
	heard port.Time
	// route is the number that we send by. An owner has one, and any worker while nobody owns the session.
	route port.Route
	// transaction is a part of the transaction ID of the last check that introduced or nominated the path.
	transaction uint32
	hasRoute    bool
	// proven is set once something authentic came over the path after its first check was answered.
	proven bool
	// nominated is set once the peer nominated the path.
	nominated bool
}

// isProven reports whether the peer proved, within the time of consent, that it receives by the path.
func (p *path) isProven(now port.Time) bool { return p.proven && now-p.heard < consentSpan }

// find is the index of a path, or -1. The selected one is looked at first.
func (s *session) find(p *port.Path) int {
	if s.live != nil && s.selected >= 0 && s.paths[s.selected].Path == *p {
		return int(s.selected)
	}
	for i := range s.paths {
		if s.paths[i].Path == *p {
			return i
		}
	}
	return -1
}

// way is the route of the selected path; ok is false where there is none.
func (s *session) way() (r port.Route, ok bool) {
	if s.live == nil || s.selected < 0 || !s.paths[s.selected].hasRoute {
		return 0, false
	}
	return s.paths[s.selected].route, true
}

// route is where media and reports of the session go. ok is false before a nomination, and when the selected
// path is unproven and its credit spent; that is counted.
func (w *Worker) route(s *session) (r port.Route, ok bool) {
	if r, ok = s.way(); ok && s.withheld() {
		w.drop(DropUnproven)
		return 0, false
	}
	return r, ok
}

// withheld reports whether the selected path is unproven and has used up its credit.
func (s *session) withheld() bool { return s.trial && s.credit <= 0 }

// spend takes one datagram from the credit of an unproven path. False when that was the last.
func (w *Worker) spend(now port.Time, s *session) bool {
	if s.credit--; s.credit > 0 {
		return true
	}
	w.deadlines.set(s, pathDeadline, now)
	return false
}

// checked notes a good check over a path and reports whether it nominates the path. For a session without a path, any
// check does: the path may have become another session's, and some peers nominate only once. A check proves the path
// unless it is the first, the nomination itself, or a repetition of either: one forged datagram can cause those.
func (w *Worker) checked(now port.Time, s *session, at int, c *stun.Check) (nominates bool) {
	if s.paths[at].takes(now, c) {
		w.evidence(now, s, at)
		if s.pub != nil {
			s.pub.checked = now
		}
	}
	nominates = c.UseCandidate || s.selected < 0 && s.owner == w.address()
	if nominates {
		w.nominate(now, s, at)
	}
	return nominates
}

// takes notes a good check and reports whether it is evidence for the path. The first check and the first nomination
// are none, nor are their repetitions.
func (x *path) takes(now port.Time, c *stun.Check) (evidence bool) {
	transaction := binary.BigEndian.Uint32(c.TransactionID[4:])
	known := x.heard > 0 && (!c.UseCandidate || x.nominated)
	if known && transaction != x.transaction {
		return true
	}
	x.heard, x.transaction = now, transaction
	return false
}

// evidence notes that an authentic packet came over a path after its first check was answered. Only that keeps the
// session alive.
func (w *Worker) evidence(now port.Time, s *session, at int) {
	x := &s.paths[at]
	s.heard, x.heard = now, now
	x.proven = true
	switch {
	case at == int(s.selected):
		if s.trial && s.sub != nil {
			w.serve(s.sub) // with the packets that the trial withheld
		}
		s.trial = false
	case at == int(s.wanted), s.selected < 0, s.withheld(), now-s.paths[s.selected].heard >= holdSpan:
		w.selectPath(s, at, false)
	case s.timers.at[pathDeadline] == port.Never:
		w.deadlines.set(s, pathDeadline, s.paths[s.selected].heard+holdSpan)
	}
}

// nominate follows a nomination: at once to a proven path, on credit to another.
func (w *Worker) nominate(now port.Time, s *session, at int) {
	x := &s.paths[at]
	x.nominated = true
	if at == int(s.selected) || at == int(s.wanted) {
		return
	}
	if x.isProven(now) {
		w.selectPath(s, at, false)
		return
	}
	x.proven = false
	if now >= s.creditAt {
		s.credit, s.creditAt = pathCredit, now+creditSpan
	}
	if s.credit <= 0 && s.selected >= 0 {
		s.wanted = int16(at)
		w.tendPaths(now, s)
		return
	}
	w.selectPath(s, at, true)
	s.trialEnd = now + trialSpan
	w.tendPaths(now, s)
}

// selectPath makes a path the selected one, on trial while it is unproven.
func (w *Worker) selectPath(s *session, at int, trial bool) {
	if s.selected >= 0 {
		s.wavered = true
		w.count(PathMoves)
	}
	s.selected, s.wanted, s.trial = int16(at), -1, trial
	if s.sub != nil {
		w.serve(s.sub) // with the packets that wait
	}
}

// tendPaths ends trials, leaves a silent path for one that is heard, and forgets paths that were nominated and not
// proven in time.
func (w *Worker) tendPaths(now port.Time, s *session) {
	next := port.Never
	if s.trial && s.keyed() {
		if s.credit > 0 && now < s.trialEnd {
			next = s.trialEnd
		} else {
			w.endTrial(now, s)
		}
	}
	if s.selected >= 0 && !s.trial {
		if at := s.lastProven(now); at >= 0 && now-s.paths[at].heard < holdSpan {
			if quiet := s.paths[s.selected].heard + holdSpan; now < quiet {
				next = min(next, quiet)
			} else {
				w.selectPath(s, at, false)
			}
		}
	}
	for i := 0; i < len(s.paths); i++ {
		x := &s.paths[i]
		if !x.nominated || x.proven || i == int(s.selected) {
			continue
		}
		if at := x.heard + holdSpan; now < at {
			next = min(next, at)
			continue
		}
		w.forget(now, s, x.Path)
		i--
	}
	w.deadlines.set(s, pathDeadline, next)
}

// endTrial goes back to the path that was proven last. Without one, nothing more is sent until the selected path
// is proven.
func (w *Worker) endTrial(now port.Time, s *session) {
	back := s.lastProven(now)
	if back < 0 {
		s.credit = 0
		return
	}
	w.count(PathsGivenUp)
	unproven := s.selected
	w.selectPath(s, back, false)
	s.wanted = unproven
}

// lastProven is the proven path that was heard last, but for the selected one, or -1.
func (s *session) lastProven(now port.Time) int {
	best := -1
	for i := range s.paths {
		if x := &s.paths[i]; i != int(s.selected) && x.isProven(now) && (best < 0 || x.heard > s.paths[best].heard) {
			best = i
		}
	}
	return best
}

// shaken notes the end of the handshake. It took a round trip, so it proves the selected path if all of our flights
// went there.
func (w *Worker) shaken(now port.Time, s *session) {
	if s.selected >= 0 && !s.wavered {
		w.evidence(now, s, int(s.selected))
	}
	s.trialEnd = now + trialSpan // the handshake's time does not count
	s.records = min(s.records, maxKeyedRecords)
	w.tendPaths(now, s)
}

// holds reports whether a session keeps a path against another's checks. Else any peer with a session could take a path
// away with one check from a forged address. A connected session holds its proven paths, each until it was silent for
// takeSpan. If another worker owns the session, checks prove a path here as well, and forwarded packets keep it.
func (s *session) holds(now port.Time, p *port.Path) bool {
	at := s.find(p)
	if at < 0 || s.ending || s.live != nil && !s.keyed() {
		return false
	}
	return s.paths[at].proven && now-s.paths[at].heard < takeSpan
}

// validate notes that an authenticated check came over p, and returns the path's index. Where the session may not have
// the path, validate counts the drop and returns -1.
func (w *Worker) validate(now port.Time, s *session, p port.Path) int {
	at := s.find(&p)
	if at < 0 {
		if other := w.byPath[p]; other != nil {
			if other.holds(now, &p) {
				w.drop(DropPathHeld)
				return -1
			}
			// The peer reuses its socket for a new session.
			w.forget(now, other, p)
		}
		if len(s.paths) == maxPaths {
			if s.live != nil {
				if now-s.moved < pathSpan {
					w.drop(DropPaths)
					return -1
				}
				s.moved = now
			}
			w.forget(now, s, s.oldestPath())
		}
		at = len(s.paths)
		s.paths = append(s.paths, path{Path: p})
		w.byPath[p] = s
	}
	if x := &s.paths[at]; !x.hasRoute && s.live != nil {
		x.route, x.hasRoute = w.routes.take(p, s.rate()), true
	}
	return at
}

// oldestPath is the first validated path that is not in use. It is an unproven one if there is any.
func (s *session) oldestPath() port.Path {
	oldest := -1
	for i := range s.paths {
		if s.live != nil && (i == int(s.selected) || i == int(s.wanted)) {
			continue
		}
		if !s.paths[i].proven {
			return s.paths[i].Path
		}
		if oldest < 0 {
			oldest = i
		}
	}
	return s.paths[oldest].Path
}

// forget removes one path of a session.
func (w *Worker) forget(now port.Time, s *session, p port.Path) {
	delete(w.byPath, p)
	for i := range s.paths {
		if s.paths[i].Path != p {
			continue
		}
		w.retire(now, &s.paths[i])
		s.paths = append(s.paths[:i], s.paths[i+1:]...)
		if s.live == nil {
			return
		}
		s.wanted = shifted(s.wanted, i)
		if s.selected = shifted(s.selected, i); s.selected < 0 {
			s.selected, s.trial, s.wavered = int16(s.lastProven(now)), false, true
			if s.sub != nil {
				w.serve(s.sub)
			}
		}
		return
	}
}

// shifted is an index after the element i was removed, -1 if it was i.
func shifted(index int16, i int) int16 {
	switch {
	case index == int16(i):
		return -1
	case index > int16(i):
		return index - 1
	}
	return index
}
