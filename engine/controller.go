package engine

import (
	"encoding/base64"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/dtls"
	"ringcast/engine/port"
	"ringcast/engine/ufrag"
)

const (
	// tick is how often the controller looks for what has expired.
	tick = 500 * time.Millisecond
	// drainTurn bounds the messages, and the events of handshakes, that one turn takes in.
	drainTurn = 512
)

// A controller owns the registry of sessions and streams. It is one goroutine: HTTP requests come to
// it as functions to run, workers as messages of the bus, handshakes as events. It announces sessions
// to all workers, settles who owns which, and sees them off.
type controller struct {
	log     *slog.Logger
	now     func() port.Time
	random  func([]byte)
	bus     *bus.Endpoint
	wake    func(to bus.Address)
	workers int
	limits  SessionConfig
	cname   string // in source descriptions of all sessions

	inbox
	dtls *handshakes

	// The rest belongs to the goroutine.
	sessions   map[api.SessionID]*session
	streams    streamSet
	pool       pool
	lastID     api.SessionID
	negotiated negotiated
	ufrags     ufrags
	closing    bool
	onEnded    []func(api.SessionID, api.Reason)

	census census
}

// session is the controller's knowledge of a session. There are thousands, so what is needed for a
// while only hangs on pointers.
type session struct {
	spec   *bus.Session
	stream *stream
	opened port.Time
	owner  bus.Address // a worker, or nobody
	place  int32       // among its stream's viewers or candidates, -1 for none
	keyed  bool
	// restarts counts the session's ICE restarts.
	restarts uint16
	// ufrag is the one in force: of the last credentials that the peer nominated with.
	ufrag string
	// pending is nil once a subscriber is connected, and once a publisher has its stream.
	pending *pending
	// arrival is nil once the handshake has begun.
	arrival *arrival
	// publication is nil for subscribers.
	publication *publication
}

// attributes names a session in the log. All records on one session share these keys, so that they can be joined: its
// stream and role, and its worker once one has claimed it.
func (s *session) attributes(more ...any) []any {
	all := []any{"session", uint64(s.spec.ID), "stream", s.stream.name, "role", s.spec.Role.String()}
	if s.owner != nobody {
		all = append(all, "worker", int(s.owner))
	}
	return append(all, more...)
}

// arrival is what is known of a peer until its handshake begins.
type arrival struct {
	fingerprints []api.Fingerprint
	passive      bool
	source       netip.Addr
}

// publication is what the controller keeps of a publisher.
type publication struct {
	heard, media port.Time // when it last proved to be there
	began        port.Time // when its media began; 0 before
	generation   bus.Generation
	since        time.Time
	active       []int
}

const nobody = bus.Nobody

// run serves until stop is closed.
func (c *controller) run(stop <-chan struct{}) {
	defer close(c.done)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case f := <-c.calls:
			f()
		case <-c.news:
		case <-ticker.C:
			c.expire()
		case <-stop:
			return
		}
		c.drain()
	}
}

// drain handles some of the messages and events there are. It comes back for the rest, so that a burst of
// either leaves calls and the ticker their turn.
func (c *controller) drain() {
	n := 0
	for ; n < drainTurn; n++ {
		m := c.bus.NextControl()
		if m == nil {
			break
		}
		c.handleMessage(m)
		c.bus.ControlDone()
	}
	events, more := c.dtls.take(drainTurn)
	for i := range events {
		c.handleEvent(&events[i])
	}
	if n == drainTurn || more {
		c.poke()
	}
}

// send passes a message to the worker m.To.
func (c *controller) send(m bus.Control) {
	c.bus.SendControl(&m)
	c.wake(m.To)
}

// broadcast passes a message to all workers.
func (c *controller) broadcast(m bus.Control) {
	for w := range c.workers {
		m.To = bus.Address(w)
		c.send(m)
	}
}

// open makes a session, announces it to all workers and returns our side of it. A publisher of a stream that is
// live becomes a candidate: what is live stays untouched until the candidate's media proves it.
func (c *controller) open(role api.Role, name string, p api.Offer) (api.Local, error) {
	st := c.streams.named[name]
	live := st != nil && st.live != nil
	switch {
	case c.closing:
		return api.Local{}, c.census.deny(deniedClosing)
	case len(c.sessions) >= c.limits.Max:
		return api.Local{}, c.census.deny(deniedFull)
	case role == api.Subscriber && !live:
		return api.Local{}, api.ErrNoPublisher
	case role == api.Publisher && live && !c.limits.Takeover && c.alive(st.live):
		return api.Local{}, c.census.deny(deniedTaken)
	}
	victim, why, ok := c.pool.admit(c.now(), &p)
	if !ok {
		return api.Local{}, c.census.deny(why)
	}
	if victim != nil {
		c.census.evicted.Add(1)
		c.close(victim, api.ReasonEvicted)
	}
	return c.describe(c.announce(role, name, &p)), nil
}

// announce makes a session and tells all workers of it.
func (c *controller) announce(role api.Role, name string, p *api.Offer) *session {
	st := c.streams.open(name)
	c.lastID++
	spec := &bus.Session{
		ID: c.lastID, Role: role, Stream: st.id,
		Local:        c.credentials(c.lastID, role, 0),
		RemoteUfrag:  strings.Clone(p.ICE.Ufrag),
		Tracks:       p.Tracks,
		CNAME:        c.cname,
		CompoundRTCP: p.CompoundRTCP,
	}
	s := &session{
		spec: spec, stream: st, owner: nobody, opened: c.now(),
		arrival: &arrival{fingerprints: p.Fingerprints, passive: p.Passive}, ufrag: spec.Local.Ufrag,
	}
	c.sessions[spec.ID] = s
	if role == api.Publisher {
		s.publication = &publication{}
		st.candidates.add(s)
	} else {
		spec.Tracks = c.negotiated.share(p.Tracks)
		st.viewers.add(s)
		if st.offersOtherMode(spec.Tracks) {
			c.census.modes.Add(1)
		}
	}
	c.pool.add(s, p)
	c.census.count(s, 1)
	c.broadcast(bus.SessionOpened(spec))
	return s
}

// restart makes new credentials for a session; the old ones stay valid until the peer nominates with
// the new.
func (c *controller) restart(id api.SessionID, remote api.Credentials) (api.Local, error) {
	s := c.sessions[id]
	if s == nil {
		return api.Local{}, api.ErrNoSession
	}
	l := c.describe(s)
	s.restarts++
	l.ICE = c.credentials(id, s.spec.Role, s.restarts)
	c.broadcast(bus.SessionRestarted(id, l.ICE, remote.Ufrag))
	return l, nil
}

// describe is our side of a session.
func (c *controller) describe(s *session) api.Local {
	algorithm, value := c.dtls.Fingerprint()
	return api.Local{
		ID: s.spec.ID, ICE: s.spec.Local, Tracks: s.spec.Tracks, CNAME: s.spec.CNAME,
		Fingerprint: api.Fingerprint{Algorithm: algorithm, Value: value},
	}
}

// credentials are our half of a session's. Only the password is secret.
func (c *controller) credentials(id api.SessionID, role api.Role, restart uint16) api.Credentials {
	return api.Credentials{
		Ufrag:    c.ufrags.keys.Make(ufrag.ID{Session: uint64(id), Role: uint8(role), Restart: restart}),
		Password: c.token(18),
	}
}

// keep lists a session's ufrag with the guard once the session has a path, and forget takes it off the list.
func (c *controller) keep(s *session) {
	if err := c.ufrags.keep(s.ufrag); err != nil {
		c.log.Error("the guard cannot keep a ufrag", s.attributes("error", err)...)
	}
}

func (c *controller) forget(s *session) {
	if s.owner == nobody {
		return
	}
	if err := c.ufrags.forget(s.ufrag); err != nil {
		c.log.Error("the guard cannot forget a ufrag", s.attributes("error", err)...)
	}
}

// turnUfrags makes new keys for ufrags when it is time. The workers know them before any ufrag is made by them.
func (c *controller) turnUfrags(now port.Time) {
	turned, err := c.ufrags.turn(now, c.random)
	if err != nil {
		c.log.Error("the guard refuses new keys for ufrags, the old ones stay in use", "error", err)
	}
	if turned {
		c.broadcast(bus.UfragKeysTurned(c.ufrags.keys))
	}
}

// token is n random bytes, a multiple of 3, in letters that ICE and SDP allow.
func (c *controller) token(n int) string {
	b := make([]byte, n)
	c.random(b)
	return base64.RawStdEncoding.EncodeToString(b)
}

// close ends a session: it says goodbye where it can, and everything about it is freed.
func (c *controller) close(s *session, why api.Reason) { c.fail(s, why, nil) }

// fail is close for an error, or nil, that is logged.
func (c *controller) fail(s *session, why api.Reason, cause error) {
	id := s.spec.ID
	if c.sessions[id] == nil {
		return
	}
	delete(c.sessions, id)
	c.forget(s)
	goodbye := c.dtls.Close(id)
	c.census.count(s, -1)
	c.pool.remove(s)
	c.leave(s)
	for w := range c.workers {
		m := bus.SessionClosed(id)
		if m.To = bus.Address(w); m.To == s.owner {
			m = bus.Goodbye(m.To, id, goodbye)
		}
		c.send(m)
	}
	attributes := s.attributes("reason", why.String())
	if cause != nil {
		attributes = append(attributes, "error", cause)
	}
	c.log.Info("session ended", attributes...)
	for _, f := range c.onEnded {
		f(id, why)
	}
}

// handleMessage takes in what a worker tells.
func (c *controller) handleMessage(m *bus.Control) {
	s := c.sessions[m.ID]
	if s == nil {
		return // ended meanwhile
	}
	switch m.Kind {
	case bus.KindSessionReached:
		c.pool.reached(s)
	case bus.KindSessionClaimed:
		c.pool.reached(s)
		if s.owner != nobody {
			return // the first claim wins; all have been told
		}
		s.owner = m.From
		c.keep(s)
		s.arrival.source = m.Path.Remote.Addr()
		c.broadcast(bus.SessionOwned(m.ID, m.From, m.Path))
		c.startHandshake(s)
	case bus.KindRecordReceived:
		c.startHandshake(s)
		c.dtls.Receive(m.ID, m.Data)
	case bus.KindSessionNominated:
		c.forget(s)
		if s.ufrag = m.Local.Ufrag; s.owner != nobody {
			c.keep(s)
		}
		c.broadcast(bus.SessionSettled(m.ID, m.Local.Ufrag))
	case bus.KindSessionConnected:
		c.dtls.Confirm(m.ID)
	case bus.KindMediaBegan:
		c.contend(s)
	case bus.KindFormatActive:
		if p := s.publication; p != nil && p.generation == m.Generation && int(m.Track) < len(p.active) {
			p.active[m.Track] = int(m.PayloadType)
		}
	case bus.KindSessionHeard:
		if p := s.publication; p != nil {
			p.heard, p.media = max(p.heard, m.Heard), max(p.media, m.MediaAt)
		}
	case bus.KindSessionEnded:
		c.close(s, m.Reason)
	}
}

// startHandshake lets DTLS begin, unless it has, or too many are under way: then the peer's next
// flight tries again.
func (c *controller) startHandshake(s *session) {
	a := s.arrival
	if a == nil || s.owner == nobody {
		return
	}
	err := c.dtls.Start(dtls.Params{ID: s.spec.ID, Source: a.source, Client: a.passive, Fingerprints: a.fingerprints})
	if err != nil {
		c.log.Debug("handshake not started", s.attributes("error", err)...)
		return
	}
	s.arrival = nil
}

// handleEvent takes in what a handshake came to.
func (c *controller) handleEvent(e *dtls.Event) {
	s := c.sessions[e.ID]
	if s == nil {
		return
	}
	switch e.Kind {
	case dtls.Send:
		c.send(bus.SendRecord(s.owner, e.ID, e.Datagram))
	case dtls.Keyed:
		s.keyed = true
		c.send(bus.SessionKeyed(s.owner, e.ID, e.Keys))
		switch {
		case s.spec.Role == api.Subscriber:
			c.settle(s)
		case s.stream.live == nil:
			c.goLive(s)
		}
		c.log.Info("session connected", s.attributes("srtp", e.Keys.Profile.String())...)
	case dtls.Failed:
		c.fail(s, api.ReasonHandshakeFailed, e.Err)
	case dtls.Closed:
		c.close(s, api.ReasonBye)
	}
}

// settle takes a session out of those that are pending.
func (c *controller) settle(s *session) {
	c.census.count(s, -1)
	c.pool.remove(s)
	c.census.count(s, 1)
}

// expire ends sessions that never got anywhere, and those that wait for a publisher in vain. It turns the ufrags' keys.
func (c *controller) expire() {
	now := c.now()
	c.turnUfrags(now)
	for e := c.pool.all.Front(); e != nil; {
		s := e.Value.(*session)
		e = e.Next()
		switch waited := now - s.opened; {
		case waited <= pendingSpan:
			e = nil // all others are younger
		case s.owner == nobody:
			c.close(s, api.ReasonNeverConnected)
		case waited <= 2*pendingSpan:
		case s.keyed:
			c.close(s, api.ReasonNoMedia)
		default:
			c.close(s, api.ReasonNeverConnected)
		}
	}
	for e := c.streams.orphans.Front(); e != nil; {
		st := e.Value.(*stream)
		e = e.Next()
		if now-st.left < port.Time(c.limits.Grace) {
			return // all others were left later
		}
		for len(st.candidates) == 0 && len(st.viewers) > 0 {
			c.close(st.viewers[len(st.viewers)-1], api.ReasonNoPublisher)
		}
	}
}

// shutdown refuses new sessions, ends some of those there are, and reports whether none is left.
func (c *controller) shutdown() (done bool) {
	c.closing = true
	n := 0
	for _, s := range c.sessions {
		if n++; n > drainTurn {
			return false
		}
		c.close(s, api.ReasonShutdown)
	}
	return true
}
