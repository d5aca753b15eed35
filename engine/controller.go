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
	sessions map[api.SessionID]*session
	streams  streamSet
	waiting
	quota      quota
	lastID     api.SessionID
	negotiated negotiated
	ufrags     ufrags
	closing    bool
	observers

	census census
}

// observers are functions of others, which the controller calls.
type observers struct {
	onEnded []func(api.SessionID, api.Reason)
	onMedia []func()
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
	sender  sender
	// publication is nil for subscribers.
	publication *publication
	// watching has a meaning for subscribers.
	watching watching
	// dial is nil unless we opened the session.
	dial *dialling
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
	// flows is since when media comes without a pause, 0 while none comes. paused is set once it stayed away, since
	// quiet.
	flows, quiet port.Time
	paused       bool
	// backup is set for the publisher that stands by for another.
	backup     bool
	generation bus.Generation
	since      time.Time
	granted    api.Limits // by the offer
	active     []int
	ladder     ladder
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

// broadcast passes a message to all workers that serve peers which come by themselves.
func (c *controller) broadcast(m bus.Control) {
	for w := range c.workers {
		m.To = bus.Address(w)
		c.send(m)
	}
}

// broadcastAll passes a message to all workers, the one of dialled sessions too.
func (c *controller) broadcastAll(m bus.Control) { c.broadcastBut(m, nobody) }

// broadcastBut is broadcastAll without one worker.
func (c *controller) broadcastBut(m bus.Control, but bus.Address) {
	for w := range c.workers {
		if m.To = bus.Address(w); m.To != but {
			c.send(m)
		}
	}
	if m.To = c.dials.worker; m.To != nobody && m.To != but {
		c.send(m)
	}
}

// open makes a session, announces it to all workers and returns our side of it. A publisher of a live stream becomes a
// candidate: the live publication stays untouched until the candidate sends authenticated media.
func (c *controller) open(role api.Role, name string, p api.Offer) (api.Local, error) {
	st := c.streams.named[name]
	live := st != nil && st.live != nil
	p.Authorized = p.Authorized || p.Relay
	switch {
	case c.closing:
		return api.Local{}, c.census.deny(deniedClosing)
	case len(c.sessions) >= c.limits.Max:
		return api.Local{}, c.census.deny(deniedFull)
	case role == api.Subscriber && !live:
		return api.Local{}, api.ErrNoPublisher
	case role == api.Publisher:
		if why, refused := c.refuses(st, p.Backup); refused {
			return api.Local{}, c.census.deny(why)
		}
	}
	if why, ok := c.quota.admit(role, st, &p); !ok {
		return api.Local{}, c.census.deny(why)
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
	s := c.register(role, name, p)
	if role == api.Subscriber && s.stream.offersOtherMode(s.spec.Tracks) {
		c.census.modes.Add(1)
	}
	s.arrival = &arrival{fingerprints: p.Fingerprints, passive: p.Passive}
	c.pool.add(s, p)
	c.census.count(s, 1)
	c.broadcast(bus.SessionOpened(s.spec))
	return s
}

// register makes a session.
func (c *controller) register(role api.Role, name string, p *api.Offer) *session {
	st := c.streams.open(name)
	c.lastID++
	spec := &bus.Session{
		ID: c.lastID, Role: role, Stream: st.id,
		Local:        c.credentials(c.lastID, role, 0),
		RemoteUfrag:  strings.Clone(p.ICE.Ufrag),
		Tracks:       p.Tracks,
		CNAME:        c.cname,
		CompoundRTCP: p.CompoundRTCP,
		Relay:        p.Relay && role == api.Subscriber,
	}
	s := &session{spec: spec, stream: st, owner: nobody, opened: c.now(), ufrag: spec.Local.Ufrag}
	c.sessions[spec.ID] = s
	if role == api.Publisher {
		s.publication = &publication{granted: p.Limits, backup: p.Backup}
		st.candidates.add(s)
	} else {
		spec.Tracks = c.tracksFor(st, p)
		st.viewers.add(s)
		if spec.Relay {
			st.relays++
		}
	}
	c.quota.add(s, p)
	return s
}

// restart makes new credentials for a session. The old ones stay valid until the peer nominates with the new ones.
func (c *controller) restart(id api.SessionID, remote api.Credentials) (api.Local, error) {
	s := c.sessions[id]
	if s == nil || s.dialled() {
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
	tracks := s.spec.Tracks
	if s.spec.Relay {
		tracks = gather(tracks)
	}
	return api.Local{
		Bitrate: c.quota.bitrate(s),
		ID:      s.spec.ID, ICE: s.spec.Local, Tracks: tracks, CNAME: s.spec.CNAME,
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
	if s.owner == nobody || s.dialled() {
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
		c.broadcastAll(bus.UfragKeysTurned(c.ufrags.keys))
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
	c.dials.remove(s)
	c.leave(s)
	c.bury(s, goodbye)
	attributes := s.attributes("reason", why.String())
	if cause != nil {
		attributes = append(attributes, "error", cause)
	}
	c.log.Info("session ended", attributes...)
	for _, f := range c.onEnded {
		f(id, why)
	}
}

// bury removes a session that has ended from the workers that know it. Its owner says goodbye to the peer.
func (c *controller) bury(s *session, goodbye []byte) {
	if s.owner != nobody {
		c.send(bus.Goodbye(s.owner, s.spec.ID, goodbye))
	}
	if s.dialled() {
		return
	}
	m := bus.SessionClosed(s.spec.ID)
	for w := range c.workers {
		if m.To = bus.Address(w); m.To != s.owner {
			c.send(m)
		}
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
		c.claimed(s, m)
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
	case bus.KindMediaFlows:
		c.flows(s, m)
	case bus.KindMediaPaused:
		c.pauses(s, m)
	case bus.KindFormatActive:
		c.formatActive(s, m)
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

// formatActive notes the payload type that a publisher sends.
func (c *controller) formatActive(s *session, m *bus.Control) {
	p := s.publication
	if p == nil || p.generation != m.Generation || int(m.Track) >= len(p.active) {
		return
	}
	first := p.active[m.Track] < 0
	p.active[m.Track] = int(m.PayloadType)
	if !first || s.dialled() {
		return
	}
	for _, f := range c.onMedia {
		f()
	}
}

// claimed gives a session to the first worker that claims it. A dialled session has its worker already.
func (c *controller) claimed(s *session, m *bus.Control) {
	if s.dialled() {
		if s.arrival != nil {
			s.arrival.source = m.Path.Remote.Addr()
		}
		c.reached(s)
		return
	}
	c.pool.reached(s)
	if s.owner != nobody {
		return // all workers know it
	}
	s.owner = m.From
	c.keep(s)
	s.arrival.source = m.Path.Remote.Addr()
	c.broadcast(bus.SessionOwned(m.ID, m.From, m.Path))
	if s.arrival.passive {
		c.startHandshake(s)
	}
}

// startHandshake starts DTLS, unless it has begun. An active peer's begins with its first flight, so that peers who
// send none take no place. Where too many handshakes are under way, the peer's next flight tries again.
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
		if s.dialled() {
			c.connected(s)
		}
		c.send(bus.SessionKeyed(s.owner, e.ID, e.Keys))
		switch {
		case s.spec.Role == api.Subscriber:
			c.settle(s)
			c.bound(s)
		case s.stream.live == nil || !s.dialled() && c.rival(s.stream, s.publication.backup) == nil:
			c.enter(s)
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

// expire ends pending sessions whose time is over, and viewers whose publisher did not come back. It also judges
// publishers above their bitrate, and turns the keys of ufrags.
func (c *controller) expire() {
	now := c.now()
	c.turnUfrags(now)
	c.judge(now)
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
	c.expireDials(now)
	for st := range c.streams.backed {
		c.arbitrate(st)
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
