package engine

import (
	"container/list"
	"context"
	"encoding/binary"
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

const (
	// answerSpan is how long a dialled session waits for its Answer, connectSpan how long it may take from then on to
	// have its keys.
	answerSpan  = 10 * port.Second
	connectSpan = 10 * port.Second
	// maxDials bounds the dialled sessions that are not connected yet.
	maxDials = 1024
)

// dials are the sessions that we dial and that are not connected yet. They take no place in the pool, which is for
// peers that come by themselves.
type dials struct {
	// worker serves all dialled sessions, nobody where the engine does not dial.
	worker bus.Address
	// unanswered and connecting have the oldest first.
	unanswered, connecting list.List
}

// dialling is the controller's record of a session that it dials.
type dialling struct {
	// since is when the session was dialled, or answered.
	since port.Time
	// in is the session's place in connecting once it was answered, else in unanswered. It is nil once the session is
	// connected.
	in       *list.Element
	answered bool
	// hidden keeps the stream of a pull out of the list.
	hidden bool
	// reached is set once the session has a path.
	reached bool
}

// Dial makes our half of a session toward an upstream: a pull of a stream for a Publisher, a push for a Subscriber.
// Nothing is sent, and no other session knows of it, before Answered. Without that it ends after 10 s with
// api.ReasonUpstreamUnreachable. The Local has no candidates: the upstream learns our address by our checks.
//
// A pull fails with api.ErrStreamTaken while a publisher of this server's own has the stream. A push fails with
// api.ErrNoPublisher while there is none.
func (e *Engine) Dial(ctx context.Context, role api.Role, stream string, d api.Dial) (l api.Local, err error) {
	if ended := e.controller.do(ctx, func() { l, err = e.controller.dial(role, stream, &d) }); ended != nil {
		return api.Local{}, ended
	}
	return l, err
}

// Answered gives a dialled session its upstream's half: checks begin. From then on a pull's stream can be subscribed
// to. The session ends with api.ReasonUpstreamUnreachable unless it is connected within 10 s.
//
// An answer without usable candidates is api.ErrNoCandidate. A session that was answered before, or has ended, is
// api.ErrNoSession. A pull whose stream got a publisher of this server's own in the meantime is api.ErrStreamTaken, and
// ends with api.ReasonLocalPublisher.
func (e *Engine) Answered(ctx context.Context, id api.SessionID, a api.Answer) (err error) {
	if ended := e.controller.do(ctx, func() { err = e.controller.answered(id, &a) }); ended != nil {
		return ended
	}
	return err
}

// dialled reports whether we opened the session.
func (s *session) dialled() bool { return s.dial != nil }

// hidden reports whether a publisher's stream is in no list.
func (s *session) hidden() bool { return s.dialled() && s.dial.hidden }

// relays reports whether a subscriber is another server, so that it is no viewer: a node that pulls, or a push.
func (s *session) relays() bool { return s.spec.Relay || s.dialled() }

// ready reports whether a publisher's tracks may be announced: it is connected, or its upstream answered.
func (s *session) ready() bool { return s.keyed || s.dialled() && s.dial.answered }

// dial makes a session of which no worker knows.
func (c *controller) dial(role api.Role, name string, d *api.Dial) (api.Local, error) {
	st := c.streams.named[name]
	live := st != nil && st.live != nil
	switch {
	case c.dials.worker == nobody:
		return api.Local{}, api.ErrNoDialling
	case c.closing:
		return api.Local{}, c.census.deny(deniedClosing)
	case len(c.sessions) >= c.limits.Max:
		return api.Local{}, c.census.deny(deniedFull)
	case c.dials.unanswered.Len()+c.dials.connecting.Len() >= maxDials:
		return api.Local{}, c.census.deny(deniedBusy)
	case role == api.Subscriber && !live:
		return api.Local{}, api.ErrNoPublisher
	case role == api.Publisher && live && c.keeps(st.live):
		return api.Local{}, c.census.deny(deniedTaken)
	}
	peer := api.Offer{Tracks: d.Tracks, Agent: d.Agent, Limits: d.Limits}
	s := c.register(role, name, &peer)
	s.dial = &dialling{since: c.now(), hidden: d.Hidden}
	s.dial.in = c.dials.unanswered.PushBack(s)
	if role == api.Subscriber {
		s.stream.relays++
	}
	c.census.count(s, 1)
	return c.describe(s), nil
}

// keeps reports whether a stream's publisher is one of our own that no pull may replace.
func (c *controller) keeps(live *session) bool { return !live.dialled() && c.alive(live) }

// answered announces a dialled session to its worker, and the publication of a pull to all.
func (c *controller) answered(id api.SessionID, a *api.Answer) error {
	s := c.sessions[id]
	if s == nil || !s.dialled() || s.dial.answered {
		return api.ErrNoSession
	}
	var candidates []netip.AddrPort
	for _, x := range a.Candidates {
		if x.IsValid() && x.Port() != 0 && len(candidates) < api.MaxCandidates {
			candidates = append(candidates, netip.AddrPortFrom(x.Addr().Unmap(), x.Port()))
		}
	}
	live := s.stream.live
	switch {
	case len(candidates) == 0:
		return api.ErrNoCandidate
	case s.publication != nil && live != nil && c.keeps(live):
		c.close(s, api.ReasonLocalPublisher)
		return c.census.deny(deniedTaken)
	}
	d := s.dial
	c.dials.unanswered.Remove(d.in)
	d.since, d.answered = c.now(), true
	d.in = c.dials.connecting.PushBack(s)
	s.arrival = &arrival{fingerprints: a.Fingerprints, passive: a.Passive}
	s.owner = c.dials.worker
	c.reach(s.spec, a, candidates)
	m := bus.SessionOpened(s.spec)
	m.To = s.owner
	c.send(m)
	if s.publication != nil && live == nil {
		c.goLive(s)
	}
	return nil
}

// reach completes the description of a dialled session, of which no worker knows yet.
func (c *controller) reach(spec *bus.Session, a *api.Answer, candidates []netip.AddrPort) {
	spec.RemoteUfrag, spec.CompoundRTCP = a.ICE.Ufrag, a.CompoundRTCP
	if spec.Tracks = a.Tracks; spec.Role == api.Subscriber {
		spec.Tracks = c.negotiated.share(a.Tracks)
	}
	var random [8]byte
	c.random(random[:])
	d := &bus.Dial{Password: a.ICE.Password, TieBreaker: binary.BigEndian.Uint64(random[:])}
	for _, x := range candidates {
		d.Paths = append(d.Paths, port.Path{Remote: x, Local: port.Socket(uint64(spec.ID))})
	}
	spec.Dial = d
}

// reached notes that a dialled session has a path. Its handshake begins, if that is ours to begin.
func (c *controller) reached(s *session) {
	s.dial.reached = true
	if s.arrival != nil && s.arrival.passive {
		c.startHandshake(s)
	}
}

// connected notes that a dialled session has its keys.
func (c *controller) connected(s *session) {
	c.census.count(s, -1)
	c.dials.remove(s)
	c.census.count(s, 1)
}

// remove takes a session off the lists of those that are not connected.
func (d *dials) remove(s *session) {
	switch x := s.dial; {
	case x == nil || x.in == nil:
		return
	case x.answered:
		d.connecting.Remove(x.in)
	default:
		d.unanswered.Remove(x.in)
	}
	s.dial.in = nil
}

// expireDials ends dialled sessions whose time is over. It begins handshakes for which there was no room before.
func (c *controller) expireDials(now port.Time) {
	for e := c.dials.unanswered.Front(); e != nil; e = c.dials.unanswered.Front() {
		s := e.Value.(*session)
		if now-s.dial.since <= answerSpan {
			break // all after it are younger
		}
		c.close(s, api.ReasonUpstreamUnreachable)
	}
	for e := c.dials.connecting.Front(); e != nil; {
		s := e.Value.(*session)
		e = e.Next()
		switch {
		case now-s.dial.since > connectSpan:
			c.close(s, api.ReasonUpstreamUnreachable)
		case s.dial.reached:
			c.reached(s)
		}
	}
}

// displacement is why a publisher ends whose place another has.
func displacement(s *session) api.Reason {
	if s.dialled() {
		return api.ReasonLocalPublisher
	}
	return api.ReasonReplaced
}

// contendDialled decides on a pull whose media has begun. It takes the stream from another pull: so a stream goes on
// while its upstream changes. It takes the stream from a publisher of our own only if that is not alive.
func (c *controller) contendDialled(s *session) {
	switch live := s.stream.live; {
	case live == s || s.stream.standby == s || !s.keyed:
	case live == nil:
		c.goLive(s)
	case c.keeps(live):
		c.close(s, api.ReasonLocalPublisher)
	default:
		c.goLive(s)
		c.close(live, api.ReasonReplaced)
	}
}
