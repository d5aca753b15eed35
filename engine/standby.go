package engine

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// returnSpan is how long a primary publisher that stands by must send without a pause before it gets its stream back.
const returnSpan = 10 * port.Second

// handing is a reason to give a stream to its standby.
type handing int

const (
	// handSilent: the live publisher's media has paused, and the standby's flows.
	handSilent handing = iota
	// handEnded: the live publisher's session has ended.
	handEnded
	// handReturned: the primary is back for good.
	handReturned
	numHandings
)

var handings = [numHandings]string{"silent", "ended", "returned"}

// rival returns the session that has the place of a stream's primary publisher, or of its backup. It is nil if the
// place is free.
func (c *controller) rival(st *stream, backup bool) *session {
	for _, s := range [...]*session{st.live, st.standby} {
		if s != nil && s.publication.backup == backup {
			return s
		}
	}
	return nil
}

// holds reports whether a publisher may keep its place to itself. A standby does while it sends, a pull never does.
func (c *controller) holds(s *session) bool {
	switch {
	case s.dialled():
		return false
	case s == s.stream.standby:
		return s.publication.flows > 0
	}
	return c.alive(s)
}

// refuses returns why a stream takes no other publisher now, if it does not.
func (c *controller) refuses(st *stream, backup bool) (why denial, ok bool) {
	if st == nil || c.limits.Takeover {
		return 0, false
	}
	if s := c.rival(st, backup); s == nil || !c.holds(s) {
		return 0, false
	}
	if backup {
		return deniedBackup, true
	}
	return deniedTaken, true
}

// seat makes a connected publisher the standby of its stream.
func (c *controller) seat(s *session) {
	st := s.stream
	c.admit(s)
	st.standby = s
	c.streams.backed[st] = struct{}{}
	c.census.standbys.Add(1)
	m := bus.PublicationOpened(st.spare, s.publication.generation, s.owner, s.spec)
	m.To = s.owner
	c.send(m)
}

// unseat frees the place of a stream's standby. Its worker keeps the publication.
func (c *controller) unseat(st *stream) {
	st.standby = nil
	delete(c.streams.backed, st)
	c.census.standbys.Add(-1)
}

// dismiss frees the place of a stream's standby and ends its publication.
func (c *controller) dismiss(st *stream) {
	s := st.standby
	c.unseat(st)
	m := bus.PublicationClosed(st.spare, s.publication.generation)
	m.To = s.owner
	c.send(m)
}

// hand gives a stream to its standby. A live publisher becomes the standby.
func (c *controller) hand(st *stream, why handing) {
	old, next := st.live, st.standby
	c.goLive(next)
	if old != nil {
		c.seat(old)
	}
	c.census.handed[why].Add(1)
	c.log.Info("publisher changed", next.attributes("backup", next.publication.backup, "reason", handings[why])...)
}

// flows notes that a publisher's media came, for the first time or after a pause.
func (c *controller) flows(s *session, m *bus.Control) {
	p := s.publication
	if p == nil || p.generation != m.Generation {
		return
	}
	p.paused = false
	if p.flows == 0 {
		p.flows = c.now()
		c.weigh(s)
	}
	c.arbitrate(s.stream)
}

// pauses notes that a publisher's media has stayed away for a while.
func (c *controller) pauses(s *session, m *bus.Control) {
	p := s.publication
	if p == nil || p.generation != m.Generation {
		return
	}
	if !p.paused {
		p.quiet = c.now()
	}
	p.paused, p.flows = true, 0
	c.arbitrate(s.stream)
}

// arbitrate gives a stream to its standby if that is better.
func (c *controller) arbitrate(st *stream) {
	if st.live == nil || st.standby == nil || st.standby.publication.flows == 0 {
		return
	}
	live, standby := st.live.publication, st.standby.publication
	switch {
	case live.paused:
		c.hand(st, handSilent)
	case live.backup && c.now()-standby.flows >= returnSpan:
		c.hand(st, handReturned)
	}
}
