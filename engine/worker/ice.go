package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/stun"
	"ringcast/engine/ufrag"
)

const (
	// newPathInterval is the time that one check over an unknown path costs its session, openInterval while the
	// session has no path yet or restarts ICE. Up to newPathBurst may be owed. The XDP program has the same figures.
	newPathInterval = port.Second / 5
	openInterval    = port.Second / 50
	newPathBurst    = port.Second
)

// ice is the credentials of a session that restarted ICE, the newest first. Those in force are the last. Restarts that
// are under way add theirs before them. A session that we dial has one, too.
type ice struct {
	credentials []bus.Names
	// dial is nil for sessions that we do not dial.
	dial *dialling
}

// maxCredentials bounds the credentials of a session: those in force and those of the restart under way. Workers that
// do not own the session keep those of the restart before as well.
const maxCredentials = 3

// handleCheck answers a connectivity check (RFC 8445 section 7.3). Sessions that we do not dial are ICE-lite: always
// controlled, they send no checks. A check that is not authenticated gets no answer, so that our answers cannot be
// aimed at a victim.
func (w *Worker) handleCheck(now port.Time, in *port.Inbound) {
	var c stun.Check
	s, known := w.authenticate(now, in, &c)
	if s == nil {
		return
	}
	w.count(ReceivedChecks)
	r := reply{session: s, remote: in.Path, id: c.TransactionID, password: known.Password}
	switch {
	case c.NumUnknown > 0:
		r.code, r.unknown, r.nUnknown = 420, c.Unknown, c.NumUnknown
	case s.conflicts(&c):
		r.code = stun.CodeRoleConflict
	}
	if r.code != 0 {
		w.refuse(now, s, in, &r)
		return
	}
	at := w.validate(now, s, in.Path)
	if at < 0 {
		return
	}
	if s.live == nil {
		x := &s.paths[at]
		x.proven = x.takes(now, &c) || x.proven
		x.nominated = x.nominated || c.UseCandidate
	}
	if w.forward(now, s, in) {
		return
	}
	r.route = s.paths[at].route
	if s.dialling() != nil {
		w.met(now, s, at, &c)
		w.reply(&r)
		return
	}
	if w.checked(now, s, at, &c) {
		if w.settle(s, known.Ufrag) {
			w.send(bus.SessionNominated(s.spec.ID, known.Ufrag))
		}
		w.claim(now, s, in.Path)
	} else if !s.reached && s.owner == nobody {
		s.reached = true
		w.send(bus.SessionReached(s.spec.ID))
	}
	w.reply(&r)
}

// authenticate finds the session of a check and the credentials that it was made with, the cheapest tests first. For a
// check that is not authentic it counts the drop and returns no session.
func (w *Worker) authenticate(now port.Time, in *port.Inbound, c *stun.Check) (s *session, known api.Credentials) {
	// Nobody can make a tag without an answer of ours, so a forged check costs no look-up and no hash of the message.
	name := stun.LocalUfrag(in.Data)
	id, verdict := w.cfg.Ufrags.Check(name)
	if name != nil && verdict == ufrag.Forged {
		w.drop(DropForged)
		return nil, known
	}
	if !c.Parse(in.Data) {
		if stun.IsIndication(in.Data) {
			w.count(ReceivedIndications)
		} else {
			w.drop(DropSTUN)
		}
		return nil, known
	}
	s = w.sessions[api.SessionID(id.Session)]
	if s == nil || s.ending {
		w.drop(DropUfrag)
		return nil, known
	}
	w.current = s
	known, ok := s.credential(c.LocalUfrag, c.RemoteUfrag)
	switch {
	case !ok:
		w.drop(DropUfrag)
	case !s.admits(now, &in.Path):
		w.drop(DropUfragFlood)
	case !w.answers.hasher.Verify(c, known.Password):
		w.drop(DropSTUNAuth)
	default:
		return s, known
	}
	return nil, known
}

// admits charges a session for a check over an unknown path, and reports whether the session could pay. Else the ufrag
// of one answer would make us verify checks at any rate.
func (s *session) admits(now port.Time, p *port.Path) bool {
	if s.find(p) >= 0 {
		return true
	}
	interval := newPathInterval
	if s.owner == nobody || s.ice != nil && len(s.ice.credentials) > 1 {
		interval = openInterval
	}
	at := max(s.newPathsAt, now) + interval
	if at-now > newPathBurst {
		return false
	}
	s.newPathsAt = at
	return true
}

// refuse answers an authentic check that is in error. Such a check validates no path. Over an unknown path, the answer
// goes by a route that is given up at once.
func (w *Worker) refuse(now port.Time, s *session, in *port.Inbound, r *reply) {
	if w.forward(now, s, in) {
		return
	}
	if at := s.find(&in.Path); at >= 0 && s.paths[at].hasRoute {
		r.route = s.paths[at].route
		w.reply(r)
		return
	}
	if len(w.routes.resting) >= maxRetired {
		w.drop(DropPaths)
		return
	}
	once := path{Path: in.Path, route: w.routes.take(in.Path, s.rate()), hasRoute: true}
	r.route = once.route
	w.retire(now, &once)
	w.reply(r)
}

// restart handles SessionRestarted. A restart that was never completed gives way to the next. The credentials that were
// in force last stay: they are the last of the list. A worker that is not the owner may learn late which restart was
// completed, so it keeps one more.
func (w *Worker) restart(s *session, m *bus.Control) {
	if s.ice == nil {
		s.ice = &ice{credentials: []bus.Names{{Local: s.spec.Local, Remote: s.spec.RemoteUfrag}}}
	}
	all := append([]bus.Names{m.Names}, s.ice.credentials...)
	most := maxCredentials
	if s.owner == w.address() {
		most--
	}
	if n := len(all); n > most {
		all = append(all[:n-2], all[n-1])
	}
	s.ice.credentials = all
}

// settle ends an ICE restart: the peer nominated with some credentials, so older ones are out of force. It reports
// whether there were older ones.
func (w *Worker) settle(s *session, local string) bool {
	if s.ice == nil {
		return false
	}
	all := s.ice.credentials
	for i := range all {
		if all[i].Local.Ufrag != local || i == len(all)-1 {
			continue
		}
		s.ice.credentials = all[: i+1 : i+1]
		return true
	}
	return false
}

// credential finds our password for the user name of a check; ok is false when the name is not in force.
func (s *session) credential(local, remote []byte) (c api.Credentials, ok bool) {
	if s.ice == nil {
		return s.spec.Local, s.spec.Local.Ufrag == string(local) && s.spec.RemoteUfrag == string(remote)
	}
	for _, x := range s.ice.credentials {
		if x.Local.Ufrag == string(local) && x.Remote == string(remote) {
			return x.Local, true
		}
	}
	return c, false
}
