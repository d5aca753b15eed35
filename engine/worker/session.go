package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

const (
	// consentSpan is how long a peer may be silent (RFC 7675 section 5.1).
	consentSpan = 30 * port.Second
	// maxPaths bounds the validated paths of a session.
	maxPaths = 8
	// maxRecords bounds the datagrams of DTLS that one session passes to the controller before
	// its next recordsRefill.
	maxRecords    = 64
	recordsRefill = port.Second
	// maxEarly bounds the packets that are kept for a session until its keys are known.
	maxEarly = 32
)

// nobody owns a session that was announced but not claimed.
const nobody = -1

// A path that an authenticated check validated.
type path struct {
	port.Path
	// route is what we send on; only an owner, or a worker while nobody owns the session, has it.
	route    port.Route
	hasRoute bool
}

// A session is one peer's ICE and DTLS association as one worker sees it. Every worker has one for
// each announced session, to answer checks and to know where packets belong; all but the paths is
// used by its owner alone.
type session struct {
	spec  *bus.Session
	owner int // worker number or nobody
	// credentials are those in force: the first ones, and during an ICE restart the new ones
	// before them.
	credentials []credentials
	// claimed is set once this worker asked to become the owner.
	claimed bool
	paths   []path
	// selected is the index of the path that was nominated last, or -1.
	selected int
	timers   timers
	// heard is when the peer last proved that it is there.
	heard port.Time
	// checked is when it last did so by STUN or SRTCP.
	checked port.Time
	// told is the heard that the controller knows of, of a publisher.
	told port.Time
	// records is what is left of maxRecords until recordsAt.
	records   int
	recordsAt port.Time
	connected bool
	faulty    bool           // it made us panic and waits for its end
	early     []port.Inbound // RTP and RTCP of before the keys, copied

	pub *publisher
	sub *subscriber
	// reports is which RTCP is to be written at the next Poll; inDue is whether the session is
	// in the worker's list of those.
	reports reports
	inDue   bool
}

// credentials are what checks of a session are authenticated by.
type credentials struct {
	local  bus.Credentials
	remote string // the peer's user name fragment
}

// reports is a set of RTCP to write.
type reports uint8

const (
	wantReport reports = 1 << iota
	wantFeedback
	wantNACK
	wantPLI
)

// route is where the session is sent to; ok is false before a nomination, and after a fault.
func (s *session) route() (r port.Route, ok bool) {
	if s.selected < 0 || !s.paths[s.selected].hasRoute {
		return 0, false
	}
	return s.paths[s.selected].route, true
}

// open handles SessionOpened.
func (w *Worker) open(spec *bus.Session) {
	if w.sessions[spec.ID] != nil {
		return
	}
	s := &session{spec: spec, owner: nobody, selected: -1, timers: newTimers(), records: maxRecords}
	s.credentials = []credentials{{spec.Local, spec.RemoteUfrag}}
	w.sessions[spec.ID] = s
	w.byUfrag[spec.Local.Ufrag] = s
}

// restart handles SessionRestarted. A restart that was never completed gives way to the next.
func (w *Worker) restart(s *session, m *bus.Message) {
	if len(s.credentials) == 2 {
		delete(w.byUfrag, s.credentials[0].local.Ufrag)
		s.credentials = s.credentials[1:]
	}
	s.credentials = []credentials{{m.Local, m.Remote}, s.credentials[0]}
	w.byUfrag[m.Local.Ufrag] = s
}

// settle ends an ICE restart: the peer nominated with the new credentials.
func (w *Worker) settle(s *session, local string) {
	if len(s.credentials) == 2 && s.credentials[0].local.Ufrag == local {
		delete(w.byUfrag, s.credentials[1].local.Ufrag)
		s.credentials = s.credentials[:1:1]
	}
}

// credential finds those that a check's user name names.
func (s *session) credential(local, remote []byte) *credentials {
	for i := range s.credentials {
		if c := &s.credentials[i]; c.local.Ufrag == string(local) && c.remote == string(remote) {
			return c
		}
	}
	return nil
}

// own handles SessionOwned.
func (w *Worker) own(now port.Time, s *session, owner int) {
	s.owner = owner
	if owner != w.cfg.Index {
		for i := range s.paths {
			w.retire(now, &s.paths[i])
		}
		s.selected, s.early = -1, nil
		return
	}
	s.heard = now
	w.deadlines.set(s, consentDeadline, now+consentSpan)
}

// key handles SessionKeyed: from now on media flows.
func (w *Worker) key(now port.Time, s *session, keys *srtp.Keys) {
	if s.pub != nil || s.sub != nil {
		return // one association, one key (RFC 5764 section 4.1)
	}
	if s.spec.Role == bus.Publisher {
		opener, err := w.cfg.NewOpener(keys)
		if err != nil {
			w.drop(DropKeys)
			return
		}
		s.pub = newPublisher(w, opener)
		w.deadlines.set(s, reportDeadline, now+port.Second)
		return
	}
	sealer, err := w.cfg.NewSealer(keys)
	if err != nil {
		w.drop(DropKeys)
		return
	}
	s.sub = w.subscribe(now, s, sealer)
	w.replayEarly(now, s)
	w.deadlines.set(s, reportDeadline, now+w.jitter(port.Second))
}

// close handles SessionClosed. What the controller sent before it still leaves: a path's route
// outlives its session by a little.
func (w *Worker) close(now port.Time, s *session) {
	delete(w.sessions, s.spec.ID)
	for _, c := range s.credentials {
		delete(w.byUfrag, c.local.Ufrag)
	}
	for i := range s.paths {
		w.retire(now, &s.paths[i])
		delete(w.byPath, s.paths[i].Path)
	}
	s.paths, s.selected, s.early = nil, -1, nil
	w.deadlines.remove(s)
	if s.sub != nil {
		w.unsubscribe(s.sub)
	}
	if s.pub != nil && s.pub.publication != nil {
		s.pub.publication.session = nil
	}
	s.spec = nil // still in a list? then it is skipped there
}

// end gives a session up: the controller decides and answers with SessionClosed.
func (w *Worker) end(s *session, why bus.Reason) {
	w.deadlines.remove(s)
	w.send(bus.Message{Kind: bus.SessionEnded, To: bus.ControllerAddress, ID: s.spec.ID, Reason: why})
}

// validate notes that an authenticated check came over p and returns the path's index.
func (w *Worker) validate(now port.Time, s *session, p port.Path) int {
	at := -1
	for i := range s.paths {
		if s.paths[i].Path == p {
			at = i
			break
		}
	}
	if at < 0 {
		if other := w.byPath[p]; other != nil {
			// The same pair of addresses now belongs to another session: a peer that reuses
			// its socket. The authenticated newcomer wins.
			w.forget(now, other, p)
		}
		if len(s.paths) == maxPaths {
			at = 0
			if s.selected == 0 {
				at = 1
			}
			w.retire(now, &s.paths[at])
			delete(w.byPath, s.paths[at].Path)
			s.paths[at] = path{Path: p}
		} else {
			at = len(s.paths)
			s.paths = append(s.paths, path{Path: p})
		}
		w.byPath[p] = s
	}
	if x := &s.paths[at]; !x.hasRoute && (s.owner == nobody || s.owner == w.cfg.Index) {
		x.route, x.hasRoute = w.takeRoute(p), true
	}
	return at
}

// forget removes one path of a session.
func (w *Worker) forget(now port.Time, s *session, p port.Path) {
	delete(w.byPath, p)
	for i := range s.paths {
		if s.paths[i].Path != p {
			continue
		}
		w.retire(now, &s.paths[i])
		last := len(s.paths) - 1
		s.paths[i] = s.paths[last]
		s.paths = s.paths[:last]
		switch s.selected {
		case i:
			s.selected = -1
		case last:
			s.selected = i
		}
		return
	}
}

// routeRest is how long a route that is no longer used keeps its meaning, so that frames which the
// port kept are never sent to somebody else. It is longer than port.StaleAfter.
const routeRest = 2 * port.StaleAfter

type retired struct {
	route port.Route
	at    port.Time
}

// takeRoute gives a path a number that no frame refers to.
func (w *Worker) takeRoute(p port.Path) port.Route {
	var r port.Route
	if n := len(w.freeRoutes); n > 0 {
		r = w.freeRoutes[n-1]
		w.freeRoutes = w.freeRoutes[:n-1]
	} else {
		r = w.nextRoute
		w.nextRoute++
	}
	w.routes = append(w.routes, port.RouteChange{Route: r, Path: p})
	return r
}

func (w *Worker) retire(now port.Time, p *path) {
	if p.hasRoute {
		p.hasRoute = false
		w.retired = append(w.retired, retired{p.route, now + routeRest})
	}
}

// recycle revokes the routes that have rested.
func (w *Worker) recycle(now port.Time) {
	n := 0
	for n < len(w.retired) && w.retired[n].at <= now {
		r := w.retired[n].route
		w.routes = append(w.routes, port.RouteChange{Route: r})
		w.freeRoutes = append(w.freeRoutes, r)
		n++
	}
	if n > 0 {
		w.retired = w.retired[:copy(w.retired, w.retired[n:])]
	}
}
