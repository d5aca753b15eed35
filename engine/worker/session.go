package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

const (
	// consentSpan is how long a peer may be silent (RFC 7675 section 5.1).
	consentSpan = 30 * port.Second
	// holdSpan is longer than the pause between two checks of any client that is known.
	holdSpan = 6 * port.Second
	// maxPaths bounds the validated paths of a session.
	maxPaths = 8
	// pathSpan is how long a session that has maxPaths waits before the next takes the place of one. Peers send
	// their checks no faster (RFC 8445 section 14.2, Ta). Without it, one session with checks from
	// forged addresses would use up the routes, and the guard's list, that all share.
	pathSpan = 50 * port.Millisecond
	// maxRecords bounds the datagrams of DTLS that one session passes to the controller before
	// its next recordsRefill.
	maxRecords    = 64
	recordsRefill = port.Second
	// maxEarly bounds the packets that are kept for a session until its keys are known.
	maxEarly = 128
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
// each announced session, to know where packets belong, and until somebody owns it to answer checks;
// the rest hangs on live. There are thousands, on every worker: this one is 64 bytes.
type session struct {
	spec  *bus.Session
	paths []path
	// ice is nil while spec's credentials are those in force.
	ice *ice
	*live
	owner int32 // worker number or nobody
	// claimed is set once this worker asked to become the owner; ending once the session was given
	// up: nothing of it is handled any more, and nothing sent but the controller's goodbye.
	claimed, ending bool
}

// live is what an owner keeps of a session, and every worker while nobody owns it. It is nil at the
// others.
type live struct {
	timers timers
	// heard is when the peer last proved that it is there.
	heard port.Time
	// moved is when a path last took another's place.
	moved port.Time
	// records is what is left of maxRecords until recordsAt.
	recordsAt port.Time
	records   int16
	// selected is the index of the path that was nominated last, or -1.
	selected  int16
	connected bool
	// reports is which RTCP is to be written at the next Poll; inDue is whether the session is
	// in the worker's list of those.
	inDue   bool
	reports reports
	early   []port.Inbound // RTP and RTCP of before the keys, copied

	pub *publisher
	sub *subscriber
}

// ice is the credentials of a session that restarted ICE: those in force, and while a restart is under
// way the new ones before them.
type ice struct{ credentials []credentials }

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

// route is where the session is sent to; ok is false before a nomination.
func (s *session) route() (r port.Route, ok bool) {
	if s.live == nil || s.selected < 0 || !s.paths[s.selected].hasRoute {
		return 0, false
	}
	return s.paths[s.selected].route, true
}

// open handles SessionOpened.
func (w *Worker) open(spec *bus.Session) {
	if w.sessions[spec.ID] != nil {
		return
	}
	s := &session{spec: spec, owner: nobody, live: &live{selected: -1, timers: newTimers(), records: maxRecords}}
	w.sessions[spec.ID] = s
	w.byUfrag[spec.Local.Ufrag] = s
}

// restart handles SessionRestarted. At the owner a restart that was never completed gives way to the
// next. The others do not learn which was: they know one more, and leave it to the owner to answer.
func (w *Worker) restart(s *session, m *bus.Message) {
	if s.ice == nil {
		s.ice = &ice{[]credentials{{s.spec.Local, s.spec.RemoteUfrag}}}
	}
	old := s.ice.credentials
	switch {
	case s.live != nil && len(old) == 2:
		delete(w.byUfrag, old[0].local.Ufrag)
		old = old[1:]
	case len(old) == 3:
		delete(w.byUfrag, old[2].local.Ufrag)
		old = old[:2]
	}
	s.ice.credentials = append([]credentials{{m.Local, m.Remote}}, old...)
	w.byUfrag[m.Local.Ufrag] = s
}

// settle ends an ICE restart: the peer nominated with the new credentials.
func (w *Worker) settle(s *session, local string) {
	if s.ice != nil && len(s.ice.credentials) == 2 && s.ice.credentials[0].local.Ufrag == local {
		delete(w.byUfrag, s.ice.credentials[1].local.Ufrag)
		s.ice.credentials = s.ice.credentials[:1:1]
	}
}

// credential finds the password of ours for a check's user name; ok is false when the name is not in
// force.
func (s *session) credential(local, remote []byte) (c bus.Credentials, ok bool) {
	if s.ice == nil {
		return s.spec.Local, s.spec.Local.Ufrag == string(local) && s.spec.RemoteUfrag == string(remote)
	}
	for _, x := range s.ice.credentials {
		if x.local.Ufrag == string(local) && x.remote == string(remote) {
			return x.local, true
		}
	}
	return c, false
}

// own handles SessionOwned.
func (w *Worker) own(now port.Time, s *session, owner int, claimed port.Path) {
	s.owner = int32(owner)
	if owner != w.cfg.Index {
		for i := range s.paths {
			w.retire(now, &s.paths[i])
		}
		if s.live != nil {
			w.held -= len(s.early)
		}
		s.live = nil
		// What a publisher sends may come here, too, before a check does: when AF_XDP is taken away, all of
		// it comes by the kernel's socket, which one worker reads.
		if s.spec.Role == bus.Publisher && claimed.Remote.IsValid() {
			w.validate(now, s, claimed)
		}
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

// close handles SessionClosed. What the controller sent before it, and the goodbye with it, still leave: a
// path's route outlives its session by a little.
func (w *Worker) close(now port.Time, s *session) {
	delete(w.sessions, s.spec.ID)
	delete(w.byUfrag, s.spec.Local.Ufrag)
	if s.ice != nil {
		for _, c := range s.ice.credentials {
			delete(w.byUfrag, c.local.Ufrag)
		}
	}
	for i := range s.paths {
		w.retire(now, &s.paths[i])
		delete(w.byPath, s.paths[i].Path)
	}
	s.paths = nil
	if s.live != nil {
		w.held -= len(s.early)
		s.selected, s.early = -1, nil
		w.deadlines.remove(s)
		if s.sub != nil {
			w.unsubscribe(s.sub)
		}
		if s.pub != nil && s.pub.publication != nil {
			s.pub.publication.session = nil
		}
	}
	s.spec = nil // still in a list? then it is skipped there
}

// end gives a session up: the controller decides and answers with SessionClosed.
func (w *Worker) end(s *session, why bus.Reason) {
	if s.ending {
		return
	}
	s.ending = true
	if s.live != nil {
		w.deadlines.remove(s)
	}
	w.send(bus.Message{Kind: bus.SessionEnded, To: bus.ControllerAddress, ID: s.spec.ID, Reason: why})
}

// holds reports whether a session keeps its paths against another's checks: else anybody with a session
// could take a path away with one check from a forged address. A session that is connected holds them
// until it was silent for holdSpan; what another worker owns is left to that worker's judgement.
func (s *session) holds(now port.Time) bool {
	return s.live == nil || !s.ending && (s.pub != nil || s.sub != nil) && now-s.heard < holdSpan
}

// validate notes that an authenticated check came over p and returns the path's index. Where it must not, it
// counts the drop and returns -1.
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
			if other.holds(now) {
				w.drop(DropPathHeld)
				return -1
			}
			// A peer that reuses its socket, the old session forgotten.
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
		x.route, x.hasRoute = w.takeRoute(p), true
	}
	return at
}

// oldestPath is the path that was validated first and is not sent on.
func (s *session) oldestPath() port.Path {
	if s.live != nil && s.selected == 0 {
		return s.paths[1].Path
	}
	return s.paths[0].Path
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
		switch {
		case s.live == nil:
		case s.selected == int16(i):
			s.selected = -1
		case s.selected > int16(i):
			s.selected--
		}
		return
	}
}

// routeRest is how long a route that is no longer used keeps its meaning, so that frames which the
// port kept are never sent to somebody else. It is longer than port.StaleAfter, and than goodbyes may wait.
const routeRest = GoodbyeSpan + port.StaleAfter

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
