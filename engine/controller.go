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
	// tick is how often the controller looks for sessions and streams that have expired.
	tick = 500 * time.Millisecond
	// drainTurn bounds the messages, and the events of handshakes, that one turn handles.
	drainTurn = 512
)

// A controller owns the registry of sessions and streams. It is one goroutine: HTTP requests reach it as functions to
// run, workers by messages of the bus, handshakes by events. It announces sessions to all workers, decides which worker
// owns each, and ends them.
type controller struct {
	log     *slog.Logger
	now     func() port.Time
	random  func([]byte)
	bus     *bus.Endpoint
	wake    func(to bus.Address)
	workers int
	limits  SessionConfig
	cname   string // of all sessions (RFC 8834 section 4.9)

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

// session is the controller's record of a session. There are thousands, so pointers lead to the facts that are needed
// only for a while.
type session struct {
	spec   *bus.Session
	stream *stream
	opened port.Time
	owner  bus.Address // a worker, or nobody
	place  int32       // among its stream's viewers or candidates, -1 for none
	keyed  bool
	// restarts counts the session's ICE restarts.
	restarts uint16
	// ufrag is the one in force, that of the last credentials with which the peer nominated.
	ufrag string
	// pending is nil once a subscriber is connected, and once a publisher has its stream.
	pending *pending
	// arrival is nil once the handshake has begun.
	arrival *arrival
	// publication is nil for subscribers.
	publication *publication
	// watching has a meaning for subscribers.
	watching watching
}

// attributes names a session in the log. All records on one session share these keys, so that they can be joined. The
// worker is missing until one has claimed the session.
func (s *session) attributes(more ...any) []any {
	all := []any{"session", uint64(s.spec.ID), "stream", s.stream.name, "role", s.spec.Role.String()}
	if s.owner != nobody {
		all = append(all, "worker", int(s.owner))
	}
	return append(all, more...)
}

// arrival holds the facts about a peer that its handshake needs. It is dropped once that begins.
type arrival struct {
	fingerprints []api.Fingerprint
	passive      bool
	source       netip.Addr
}

// publication is the controller's record of a publisher.
type publication struct {
	heard, media port.Time // of its last authenticated packet of any kind, and of media
	began        port.Time // when its media began; 0 before
	generation   bus.Generation
	since        time.Time
	active       []int
	ladder       ladder
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

// drain handles some of the pending messages and events. It pokes itself for the rest, so that a burst of either leaves
// calls and the ticker their turn.
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
	if c.bus.SendControl(&m) {
		c.wake(m.To)
	}
}

// broadcast passes a message to all workers.
func (c *controller) broadcast(m bus.Control) {
	for w := range c.workers {
		m.To = bus.Address(w)
		c.send(m)
	}
}

// open makes a session, announces it to all workers and returns our side of it. A publisher of a live stream becomes a
// candidate: the live publication stays untouched until the candidate sends authenticated media.
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

// restart makes new credentials for a session. The old ones stay valid until the peer nominates with the new ones.
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

// describe returns our side of a session.
func (c *controller) describe(s *session) api.Local {
	algorithm, value := c.dtls.Fingerprint()
	return api.Local{
		ID: s.spec.ID, ICE: s.spec.Local, Tracks: s.spec.Tracks, CNAME: s.spec.CNAME,
		Fingerprint: api.Fingerprint{Algorithm: algorithm, Value: value},
	}
}

// credentials makes our ICE credentials for a session. Only the password is secret.
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

// token returns n random bytes, a multiple of 3, in letters that ICE and SDP allow.
func (c *controller) token(n int) string {
	b := make([]byte, n)
	c.random(b)
	return base64.RawStdEncoding.EncodeToString(b)
}

// close ends a session: it says goodbye where it can, and frees all of the session's state.
func (c *controller) close(s *session, why api.Reason) { c.fail(s, why, nil) }

// fail is close with the error that caused it, nil for none. The error is logged.
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

// handleMessage handles a message of a worker.
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
			return // the first claim wins; all workers know it
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
	case bus.KindLadder:
		c.measured(s, m)
	case bus.KindSwitched:
		c.switched(s, m)
	case bus.KindSessionHeard:
		if p := s.publication; p != nil {
			p.heard, p.media = max(p.heard, m.Heard), max(p.media, m.MediaAt)
		}
	case bus.KindSessionEnded:
		c.close(s, m.Reason)
	}
}

// startHandshake starts DTLS, unless it has begun. Where too many handshakes are under way, the peer's next flight
// tries again.
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

// handleEvent handles an event of a handshake.
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
			c.bound(s)
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

// settle removes a session from the pending ones.
func (c *controller) settle(s *session) {
	c.census.count(s, -1)
	c.pool.remove(s)
	c.census.count(s, 1)
}

// expire ends pending sessions whose time is over, and viewers whose publisher did not come back. It also turns the
// keys of ufrags.
func (c *controller) expire() {
	now := c.now()
	c.turnUfrags(now)
	for e := c.pool.all.Front(); e != nil; {
		s := e.Value.(*session)
		e = e.Next()
		switch waited := now - s.opened; {
		case waited <= pendingSpan:
			e = nil // all after it are younger
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
			return // all after it were left later
		}
		for len(st.candidates) == 0 && len(st.viewers) > 0 {
			c.close(st.viewers[len(st.viewers)-1], api.ReasonNoPublisher)
		}
	}
}

// shutdown refuses new sessions, ends some of the others, and reports whether none is left.
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
