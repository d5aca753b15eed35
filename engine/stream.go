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
	// candidates are publishers that may become live, viewers the subscribers.
	candidates, viewers group
	left                port.Time     // when the last live publisher left
	orphan              *list.Element // of streamSet.orphans
}

// A streamSet is all streams that are published or watched.
type streamSet struct {
	named      map[string]*stream
	orphans    list.List // streams whose viewers wait for a publisher, in the order in which theirs left
	last       bus.StreamID
	generation bus.Generation // of the last publication
}

// open returns the stream of a name, a new one if there is none.
func (all *streamSet) open(name string) *stream {
	st := all.named[name]
	if st == nil {
		all.last++
		st = &stream{id: all.last, name: name}
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
		Name: st.name, Tracks: st.live.spec.Tracks, Active: slices.Clone(p.active), Since: p.since,
		Subscribers: len(st.viewers), Ladder: p.ladder.describe(len(st.viewers)), SoundOnly: p.ladder.soundOnly,
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

// goLive makes a connected publisher's session the stream's publication on all workers, and ends the previous one.
func (c *controller) goLive(s *session) {
	st := s.stream
	old := st.live
	c.settle(s)
	st.candidates.remove(s)
	c.streams.generation++
	p := s.publication
	p.generation, p.since, p.heard = c.streams.generation, time.Now(), c.now()
	p.active = make([]int, len(s.spec.Tracks))
	for i := range p.active {
		p.active[i] = -1
	}
	p.ladder = newLadder(s.spec.Tracks)
	if old == nil {
		c.census.streams.Add(1)
	} else {
		c.census.addRungs(&old.publication.ladder, -1)
	}
	st.live = s
	c.streams.adopt(st)
	m := bus.PublicationOpened(st.id, p.generation, s.owner, s.spec)
	m.To = s.owner
	c.send(m) // before any other worker can ask it for the stream
	for w := range c.workers {
		if m.To = bus.Address(w); m.To != s.owner {
			c.send(m)
		}
	}
	c.boundAll(st)
	if old != nil {
		c.close(old, api.ReasonReplaced)
	}
}

// contend decides on a publisher whose media has begun. Without takeover a live publisher keeps the stream while it is
// alive. With takeover the newcomer wins if it was opened after the live one's media began. So the first to send wins
// among publishers that wait at the same time.
func (c *controller) contend(s *session) {
	live := s.stream.live
	s.publication.began = c.now()
	switch {
	case live == s || !s.keyed:
	case live == nil || !c.alive(live):
		c.goLive(s)
	case !c.limits.Takeover:
		c.close(s, api.ReasonTaken)
	case live.publication.began > s.opened:
		c.close(s, api.ReasonReplaced)
	default:
		c.goLive(s)
	}
}

// leave removes a session that ends from its stream. When the live publisher leaves, a connected candidate takes its
// place.
func (c *controller) leave(s *session) {
	st := s.stream
	switch {
	case st.live == s:
		st.live, st.left = nil, c.now()
		c.census.streams.Add(-1)
		c.census.addRungs(&s.publication.ladder, -1)
		c.broadcast(bus.PublicationClosed(st.id, s.publication.generation))
		if i := slices.IndexFunc(st.candidates, func(x *session) bool { return x.keyed }); i >= 0 && !c.closing {
			c.goLive(st.candidates[i])
		} else if len(st.viewers) > 0 {
			c.streams.orphan(st)
		}
	case s.spec.Role == api.Subscriber:
		c.unwatch(s)
		st.viewers.remove(s)
	case s.place >= 0:
		st.candidates.remove(s)
	}
	if len(st.viewers) == 0 {
		c.streams.adopt(st)
		if st.live == nil && len(st.candidates) == 0 {
			delete(c.streams.named, st.name)
		}
	}
}
