package engine

import (
	"container/list"
	"slices"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

const (
	// A publisher is alive, and keeps its stream, while its last media is at most mediaSpan old, or its last
	// authenticated packet at most heardSpan. So a crashed encoder can come back soon. A paused one keeps its stream
	// between two checks: Chromium's come every 2.7 s, Firefox's every 5.
	mediaSpan = 2 * port.Second
	heardSpan = 6 * port.Second
)

// stream is a name that is published or watched.
type stream struct {
	id   bus.StreamID
	name string
	live *session // the workers have its publication
	// standby is the publisher that waits for live to fail: the backup, or the primary while the backup is live. Its
	// worker has its publication as that of the stream spare, which nobody watches.
	standby *session
	spare   bus.StreamID
	// candidates are publishers that may become live, viewers the subscribers. relays of these are other servers.
	candidates, viewers group
	relays              int
	left                port.Time     // when the last live publisher left
	orphan              *list.Element // of streamSet.orphans
}

// A streamSet is all streams that are published or watched.
type streamSet struct {
	named      map[string]*stream
	backed     map[*stream]struct{} // those with a standby
	orphans    list.List            // streams whose viewers wait for a publisher, in the order in which theirs left
	last       bus.StreamID
	generation bus.Generation // of the last publication
}

// open returns the stream of a name, a new one if there is none.
func (all *streamSet) open(name string) *stream {
	st := all.named[name]
	if st == nil {
		st = &stream{id: all.last + 1, spare: all.last + 2, name: name}
		all.last += 2
		all.named[name] = st
	}
	return st
}

// orphan notes that a stream's viewers wait for a publisher from now on.
func (all *streamSet) orphan(st *stream) { st.orphan = all.orphans.PushBack(st) }

// adopt notes that a stream's viewers wait no longer.
func (all *streamSet) adopt(st *stream) {
	if st.orphan != nil {
		all.orphans.Remove(st.orphan)
		st.orphan = nil
	}
}

// A group holds the sessions of one kind that a stream has, in no order.
type group []*session

func (g *group) add(s *session) {
	s.place = int32(len(*g))
	*g = append(*g, s)
}

// remove removes a member.
func (g *group) remove(s *session) {
	last := len(*g) - 1
	(*g)[s.place] = (*g)[last]
	(*g)[s.place].place = s.place
	(*g)[last] = nil
	*g = (*g)[:last]
	s.place = -1
}

// describe returns the facts about a stream that everybody may know.
func (st *stream) describe() api.Stream {
	p := st.live.publication
	return api.Stream{
		Name: st.name, Publisher: st.live.spec.ID, Tracks: st.live.spec.Tracks, Active: slices.Clone(p.active),
		Since:       p.since,
		Subscribers: st.audience(), Ladder: p.ladder.describe(st.audience()), SoundOnly: p.ladder.soundOnly,
		Backup: p.backup, Standby: st.standby != nil, Pulled: st.live.dialled(),
	}
}

// offersOtherMode reports whether a subscriber's tracks fit the published ones only by rtp.ModeFit.
func (st *stream) offersOtherMode(tracks []rtp.Track) bool {
	for i, t := range st.live.spec.Tracks {
		active := st.live.publication.active[i]
		for _, o := range tracks {
			if o.Kind == t.Kind && fitOf(t.Formats, active, o.Formats) == rtp.ModeFit {
				return true
			}
		}
	}
	return false
}

// fitOf returns how well an offer fits the active one of the published formats. While none is active, it is the first
// published format that the offer fits at all.
func fitOf(published []rtp.Format, active int, offered []rtp.Format) rtp.Fit {
	for i := range published {
		f := &published[i]
		if active >= 0 && active != int(f.PayloadType) {
			continue
		}
		if m := f.Match(offered); m != nil {
			return f.Fit(m)
		}
	}
	return rtp.NoFit
}

// alive reports whether a publisher may keep its stream to itself.
func (c *controller) alive(s *session) bool {
	now := c.now()
	p := s.publication
	return s.keyed && (now-p.media < mediaSpan || now-p.heard < heardSpan)
}

// goLive makes a connected publisher's session the stream's publication on all workers. The previous one is left to the
// caller.
func (c *controller) goLive(s *session) {
	st := s.stream
	if st.live == nil {
		c.census.streams.Add(1)
	} else {
		c.census.addRungs(&st.live.publication.ladder, -1)
	}
	if st.standby == s {
		c.unseat(st) // the workers move its publication
		c.streams.generation++
		s.publication.generation = c.streams.generation
	} else {
		c.admit(s)
	}
	p := s.publication
	p.since = time.Now()
	st.live = s
	c.streams.adopt(st)
	m := bus.PublicationOpened(st.id, p.generation, s.owner, s.spec)
	m.To = s.owner
	c.send(m) // before any other worker can ask it for the stream
	c.broadcastBut(m, s.owner)
	c.boundAll(st)
}

// admit gives a publisher, which is a candidate or live, a publication that begins now.
func (c *controller) admit(s *session) {
	if s.place >= 0 {
		c.settle(s)
		s.stream.candidates.remove(s)
	}
	c.streams.generation++
	p := s.publication
	p.generation, p.heard = c.streams.generation, c.now()
	p.flows, p.paused = 0, false
	p.active = make([]int, len(s.spec.Tracks))
	for i := range p.active {
		p.active[i] = -1
	}
	p.ladder = newLadder(s.spec.Tracks)
}

// contend decides on a publisher whose media has begun. A stream has a place for a primary publisher and one for a
// backup. Without takeover a live publisher keeps its place while it is alive. With takeover the newcomer wins if it
// was opened after the other one's media began. So the first to send wins among publishers that wait at the same time.
func (c *controller) contend(s *session) {
	p := s.publication
	if p.began == 0 {
		p.began = c.now()
	}
	if s.dialled() {
		c.contendDialled(s)
		return
	}
	st, rival := s.stream, c.rival(s.stream, p.backup)
	switch {
	case rival == s || !s.keyed:
	case rival == nil:
		c.enter(s)
	case c.holds(rival) && !c.limits.Takeover:
		c.close(s, api.ReasonTaken)
	case c.holds(rival) && rival.publication.began > s.opened:
		c.close(s, api.ReasonReplaced)
	case rival == st.live:
		c.goLive(s)
		c.close(rival, displacement(rival))
	default:
		c.dismiss(st)
		c.seat(s)
		c.close(rival, displacement(rival))
	}
}

// enter gives a connected publisher a place that is free.
func (c *controller) enter(s *session) {
	if s.stream.live == nil {
		c.goLive(s)
	} else {
		c.seat(s)
	}
}

// leave removes a session that ends from its stream. When the live publisher leaves, a connected candidate takes its
// place.
func (c *controller) leave(s *session) {
	st := s.stream
	c.quota.leave(s)
	switch {
	case st.live == s:
		st.live, st.left = nil, c.now()
		c.census.streams.Add(-1)
		c.census.addRungs(&s.publication.ladder, -1)
		c.broadcastAll(bus.PublicationClosed(st.id, s.publication.generation))
		if !c.succeed(st) && len(st.viewers) > 0 {
			c.streams.orphan(st)
		}
	case st.standby == s:
		c.dismiss(st)
	case s.spec.Role == api.Subscriber:
		c.unwatch(s)
		st.viewers.remove(s)
		if s.relays() {
			st.relays--
		}
	case s.place >= 0:
		st.candidates.remove(s)
	}
	if len(st.viewers) == 0 {
		c.streams.adopt(st)
		if st.live == nil && st.standby == nil && len(st.candidates) == 0 {
			delete(c.streams.named, st.name)
		}
	}
}

// succeed gives a stream whose live publisher has left to the standby, else to a connected candidate. It reports
// whether there was any.
func (c *controller) succeed(st *stream) bool {
	if c.closing {
		return false
	}
	if st.standby != nil {
		c.hand(st, handEnded)
		return true
	}
	i := slices.IndexFunc(st.candidates, (*session).ready)
	if i >= 0 {
		c.goLive(st.candidates[i])
	}
	return i >= 0
}
