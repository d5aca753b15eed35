package engine

import (
	"container/list"
	"net/netip"

	"ringcast/engine/api"
	"ringcast/engine/port"
)

const (
	// pendingSpan is how long a session may stay without a nominated path. Within twice that time its peer must have
	// its keys, and a publisher that waits to replace another must send media.
	pendingSpan = 10 * port.Second
	// reachSpan is the age up to which a session that no check has reached does not give way. When 2,000 viewers came
	// at once, some took more than a second for their first check. A session that gave way costs its peer the ten
	// seconds after which ICE fails, and a refusal only a Retry-After. A source may still open 400 a second that never
	// connect: its share lasts for so long.
	reachSpan = 2 * port.Second
	// leastShare is the smallest share of the pool for one source: a classroom.
	leastShare = 64
)

// waiting are the sessions that are still to connect: those of peers that come by themselves, and those that we dial.
type waiting struct {
	pool  pool
	dials dials
}

// A pool bounds the sessions that are pending: opened, and still to connect. Anybody can open a session with a single
// request. So no source may have more than a share of the pool. Sessions that no check ever reached make room for new
// ones. A reserve is for publishers with a token, if there is one.
type pool struct {
	limit, share, reserve int
	// all holds every pending session, unreached the sessions that may give way. Both have the oldest first.
	all, unreached list.List
	sources        map[netip.Prefix]*origin
}

// An origin is a network that one party is assumed to hold: an IPv4 address, or an IPv6 /64.
type origin struct {
	prefix    netip.Prefix
	pending   int
	unreached list.List // its own part of pool.unreached
}

// pending is a session's place in the pool.
type pending struct {
	// source is nil where no share applies: the source is unknown, or the publisher is authorized.
	source *origin
	in     *list.Element // of pool.all
	// unreached and bySource are the session's places among those that may give way, nil for one that may not.
	unreached, bySource *list.Element
}

func newPool(cfg *SessionConfig) pool {
	limit := cfg.MaxPending
	p := pool{limit: limit, share: min(limit, max(leastShare, limit/4)), sources: make(map[netip.Prefix]*origin)}
	if cfg.Reserve {
		p.reserve = limit / 8
	}
	return p
}

// admit decides on a session that is to be opened. With ok set there is room once victim, which may be nil, has ended.
// Else why is the reason to deny the session.
func (p *pool) admit(now port.Time, peer *api.Offer) (victim *session, why denial, ok bool) {
	room := p.limit
	waiting := &p.unreached
	if !peer.Authorized {
		room -= p.reserve
		if x := p.sources[prefixOf(peer.Source)]; x != nil && x.pending >= p.share {
			room, waiting, why = 0, &x.unreached, deniedShare
		}
	}
	if p.all.Len() < room {
		return nil, why, true
	}
	if why != deniedShare {
		why = deniedBusy
	}
	if e := waiting.Front(); e != nil {
		if s := e.Value.(*session); now-s.opened >= reachSpan {
			return s, why, true
		}
	}
	return nil, why, false
}

// add gives a session that was admitted its place.
func (p *pool) add(s *session, peer *api.Offer) {
	s.pending = &pending{in: p.all.PushBack(s)}
	if peer.Authorized {
		return
	}
	s.pending.unreached = p.unreached.PushBack(s)
	prefix := prefixOf(peer.Source)
	if !prefix.IsValid() {
		return
	}
	x := p.sources[prefix]
	if x == nil {
		x = &origin{prefix: prefix}
		p.sources[prefix] = x
	}
	x.pending++
	s.pending.source, s.pending.bySource = x, x.unreached.PushBack(s)
}

// reached notes that an authenticated check reached a session. Its peer exists, so it does not give way any more.
func (p *pool) reached(s *session) {
	x := s.pending
	if x == nil || x.unreached == nil {
		return
	}
	p.unreached.Remove(x.unreached)
	if x.bySource != nil {
		x.source.unreached.Remove(x.bySource)
	}
	x.unreached, x.bySource = nil, nil
}

// remove removes a session that is not pending any more.
func (p *pool) remove(s *session) {
	x := s.pending
	if x == nil {
		return
	}
	p.reached(s)
	p.all.Remove(x.in)
	if x.source != nil {
		if x.source.pending--; x.source.pending == 0 {
			delete(p.sources, x.source.prefix)
		}
	}
	s.pending = nil
}

// prefixOf returns the part of an address that one party is assumed to hold. It is not valid for the zero Addr.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
