package worker

import (
	"encoding/binary"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/stun"
)

const (
	// checkPace is the pause between the first checks of two candidates (RFC 8445 section 14.2, Ta). A candidate that
	// does not answer is checked again after checkRetry, then after twice as long each time (section 14.3, RTO).
	checkPace  = 20 * port.Millisecond
	checkRetry = 500 * port.Millisecond
	// consentPause is the mean pause between two checks of a session that is heard. Each is drawn from 0.8 to 1.2 of
	// it (RFC 7675 section 5.1).
	consentPause = 5 * port.Second
	// An upstream that was not heard for quietSpan is sent quietChecks checks, one each quietPause. It is gone if it
	// answers none of them within quietPause of the last. A publisher that pauses is heard by its server's answers.
	quietSpan   = port.Second
	quietChecks = 3
	quietPause  = 200 * port.Millisecond
	// maxTurns bounds how often an upstream can make a session change its role by error responses.
	maxTurns = 4
	// maxProbes is how many checks of a session can still be answered: two rounds of all candidates.
	maxProbes = 2 * api.MaxCandidates
	// maxChecks bounds the checks that wait for Poll.
	maxChecks = 1024
	// peerReflexive is the priority of a candidate that the upstream learns by our check (RFC 8445 section 5.1.2.1).
	peerReflexive = 110<<24 | 65535<<8 | 255
)

// dialling is the state of ICE of a session that we dial: a full agent that begins as the controlling one (RFC 8445).
// Its candidate pairs are the session's paths, all from one socket. It nominates the first that answers.
type dialling struct {
	user       string // of our checks
	tieBreaker uint64
	controlled bool
	// turns counts the changes of role that error responses caused.
	turns uint8
	// unanswered counts the checks since the upstream was last heard.
	unanswered uint8
	// next is the path that this round of checks comes to next. The round began at round.
	next  int
	round port.Time
	// retry is the time from one round to the next, and from one nomination to the next.
	retry port.Time
	// due is when the selected path is to be checked again.
	due port.Time
	// triggered is when a check of the upstream last made us check a path.
	triggered port.Time
	// nominated is the path for which a nomination was answered.
	nominated port.Path
	// probes are the last checks, asked is how many were sent.
	probes [maxProbes]probe
	asked  uint32
}

// A probe is a check that may still be answered.
type probe struct {
	path       port.Path // zero once it was answered
	id         [12]byte
	controlled bool
	nominates  bool
}

// A query is a check of ours that waits for Poll.
type query struct {
	session *session
	route   port.Route
	probe   probe
}

// dialling returns the session's state of dialling, nil for a session that its peer opened.
func (s *session) dialling() *dialling {
	if s.ice == nil {
		return nil
	}
	return s.ice.dial
}

// dial makes a session that was announced dial its upstream.
func (w *Worker) dial(now port.Time, s *session) {
	spec := s.spec
	s.owner = w.address()
	s.ice = &ice{
		credentials: []bus.Names{{Local: spec.Local, Remote: spec.RemoteUfrag}},
		dial: &dialling{
			user: spec.RemoteUfrag + ":" + spec.Local.Ufrag, tieBreaker: spec.Dial.TieBreaker,
			round: now, retry: checkRetry,
		},
	}
	for _, p := range spec.Dial.Paths[:min(len(spec.Dial.Paths), maxPaths)] {
		w.validate(now, s, p)
	}
	w.tendDial(now, s)
}

// tendDial sends the check that is due, and gives a silent upstream up.
func (w *Worker) tendDial(now port.Time, s *session) {
	d := s.dialling()
	switch {
	case s.selected < 0:
		w.search(now, s, d)
	case now-s.heard >= quietSpan:
		w.callOut(now, s, d)
	default:
		d.unanswered = 0
		if now >= d.due {
			w.check(now, s, int(s.selected))
			d.due = now + w.pause(s, d)
		}
		w.deadlines.set(s, dialDeadline, min(d.due, s.heard+quietSpan))
	}
}

// search checks the next path of the round.
func (w *Worker) search(now port.Time, s *session, d *dialling) {
	if d.next >= len(s.paths) {
		d.next, d.round, d.retry = 0, now, 2*d.retry
	}
	if len(s.paths) > 0 {
		w.check(now, s, d.next)
	}
	d.next++
	at := now + checkPace
	if d.next >= len(s.paths) {
		at = max(at, d.round+d.retry)
	}
	w.deadlines.set(s, dialDeadline, at)
}

// callOut asks an upstream that is not heard whether it is still there.
func (w *Worker) callOut(now port.Time, s *session, d *dialling) {
	if d.unanswered == quietChecks {
		w.end(s, api.ReasonUpstreamSilent)
		return
	}
	d.unanswered++
	w.check(now, s, int(s.selected))
	w.deadlines.set(s, dialDeadline, now+quietPause)
}

// pause is the time to the next check of the selected path. An unanswered nomination is repeated sooner.
func (w *Worker) pause(s *session, d *dialling) port.Time {
	if d.controlled || d.nominated == s.paths[s.selected].Path {
		d.retry = checkRetry
		return consentPause*4/5 + w.jitter(consentPause*2/5)
	}
	at := d.retry
	d.retry = min(2*d.retry, consentPause)
	return at
}

// check queues a check of a path. As the controlling agent it nominates the selected path each time: so the upstream
// follows when a NAT gives our socket another address.
func (w *Worker) check(now port.Time, s *session, at int) {
	x := &s.paths[at]
	if !x.hasRoute {
		return
	}
	if len(w.answers.checks) == maxChecks {
		w.drop(DropReplies)
		return
	}
	d := s.dialling()
	p := &d.probes[d.asked%maxProbes]
	d.asked++
	*p = probe{path: x.Path, controlled: d.controlled, nominates: !d.controlled && at == int(s.selected)}
	binary.BigEndian.PutUint64(p.id[:], w.cfg.Rand())
	binary.BigEndian.PutUint32(p.id[8:], uint32(w.cfg.Rand()))
	w.answers.checks = append(w.answers.checks, query{s, x.route, *p})
}

// pollChecks writes our checks; false when out is full before.
func (w *Worker) pollChecks(now port.Time, out *Outgoing) bool {
	a := &w.answers
	n := 0
	for ; n < len(a.checks); n++ {
		c := &a.checks[n]
		if c.session.ending || c.session.spec == nil {
			continue
		}
		f := out.Reserve()
		if f == nil {
			break
		}
		w.current = c.session
		d := c.session.dialling()
		f.Data = a.hasher.AppendRequest(f.Data, &c.probe.id, stun.Request{
			Username: d.user, Password: c.session.spec.Dial.Password, Priority: peerReflexive,
			UseCandidate: c.probe.nominates, Controlled: c.probe.controlled, TieBreaker: d.tieBreaker,
		})
		f.Route, f.Born = c.route, now
		out.Submit()
		w.count(SentChecks)
	}
	a.checks = without(a.checks, n)
	w.current = nil
	return len(a.checks) == 0
}

// handleSTUN takes in a check of a peer, or the response to one of ours.
func (w *Worker) handleSTUN(now port.Time, in *port.Inbound) {
	if stun.IsResponse(in.Data) {
		w.handleResponse(now, in)
	} else {
		w.handleCheck(now, in)
	}
}

// handleResponse takes in the response to a check of ours. It is believed once, and only where it came from where the
// check went (RFC 8445 section 7.2.5.2.1).
func (w *Worker) handleResponse(now port.Time, in *port.Inbound) {
	s := w.byPath[in.Path]
	if s == nil || s.ending || s.dialling() == nil {
		w.drop(DropSTUN)
		return
	}
	w.current = s
	d := s.dialling()
	p := d.asks(in)
	if p == nil {
		w.drop(DropUnasked)
		return
	}
	r, ok := w.answers.hasher.VerifyResponse(in.Data, s.spec.Dial.Password)
	if !ok {
		w.drop(DropSTUNAuth)
		return
	}
	asked := *p
	p.path = port.Path{}
	switch r.Code {
	case 0:
		w.answered(now, s, &asked)
	case stun.CodeRoleConflict:
		if asked.controlled != d.controlled || d.turns == maxTurns {
			return
		}
		d.turns++
		d.controlled, d.tieBreaker = !d.controlled, w.cfg.Rand()
		w.check(now, s, s.find(&in.Path))
	}
}

// asks finds the probe that a response claims to answer, nil if there is none.
func (d *dialling) asks(in *port.Inbound) *probe {
	if len(in.Data) < 20 {
		return nil
	}
	for i := range d.probes {
		if p := &d.probes[i]; p.path == in.Path && p.id == [12]byte(in.Data[8:20]) {
			return p
		}
	}
	return nil
}

// answered notes that the upstream answered a check: it receives by that path, and wants to.
func (w *Worker) answered(now port.Time, s *session, p *probe) {
	d := s.dialling()
	if p.nominates {
		d.nominated = p.path
	}
	w.evidence(now, s, s.find(&p.path))
	if s.pub != nil {
		s.pub.checked = now
	}
	w.reach(now, s)
}

// reach notes that a session has a path: the controller begins the handshake, if that is ours to begin, and the path is
// nominated.
func (w *Worker) reach(now port.Time, s *session) {
	d := s.dialling()
	if s.claimed || s.selected < 0 {
		return
	}
	s.claimed = true
	d.due, d.retry = now, checkRetry
	w.send(bus.SessionClaimed(s.spec.ID, s.paths[s.selected].Path))
	w.tendDial(now, s)
}

// met handles a good check of the upstream over a path. Over a path of which we know nothing, a check of ours follows
// (RFC 8445 section 7.3.1.4).
func (w *Worker) met(now port.Time, s *session, at int, c *stun.Check) {
	d := s.dialling()
	if s.paths[at].takes(now, c) {
		w.evidence(now, s, at)
		if s.pub != nil {
			s.pub.checked = now
		}
	}
	if d.controlled && c.UseCandidate {
		w.nominate(now, s, at)
	}
	if !s.paths[at].proven && now-d.triggered >= checkPace {
		d.triggered = now
		w.check(now, s, at)
	}
	w.reach(now, s)
}

// conflicts reports whether a check is to be answered with an error because of its role (RFC 8445 section 7.3.1.1). The
// side with the greater tie-breaker decides. Sessions that we do not dial are lite, so they never control.
func (s *session) conflicts(c *stun.Check) bool {
	d := s.dialling()
	if d == nil {
		return c.Controlled
	}
	if d.controlled && c.Controlling || !d.controlled && c.Controlled || c.Controlled == c.Controlling {
		return false
	}
	if greater := d.tieBreaker >= c.TieBreaker; greater != d.controlled {
		return true
	}
	d.controlled = !d.controlled
	return false
}
