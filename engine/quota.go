package engine

import (
	"context"
	"net/netip"
	"strings"
	"unique"

	"ringcast/engine/api"
	"ringcast/engine/port"
)

const (
	// overSpan is how long a publisher may stay above its bitrate. Encoders that start, or that probe the network,
	// overshoot for some seconds.
	overSpan = 10 * port.Second
	// quietSpan is the pause after which a publisher's rate counts no more: its meter keeps the one from before.
	quietSpan = 5 * port.Second
	// maxAgent bounds the length of a user agent, in bytes.
	maxAgent = 200
)

// The limits as metrics name them.
const (
	limitViewers = iota
	limitSource
	limitBitrate
	numLimits
)

var limitNames = [numLimits]string{
	limitViewers: "stream_viewers", limitSource: "source_sessions", limitBitrate: "publisher_bitrate",
}

// A quota holds the limits that an operator may change at any time, and the counts that they need.
type quota struct {
	limits  api.Limits
	sources map[netip.Prefix]*household
	// over holds the publishers above their bitrate.
	over map[*session]excess
}

// A household is the sessions of one source.
type household struct {
	prefix   netip.Prefix
	sessions int
}

// excess is the record of a publisher above its bitrate.
type excess struct {
	since  port.Time
	warned bool
}

// sender holds the facts about a session's peer that signaling reported.
type sender struct {
	address netip.Addr
	agent   unique.Handle[string] // thousands of viewers have the same
	// household is nil where no limit on sources applies.
	household *household
}

func newQuota() quota {
	return quota{sources: make(map[netip.Prefix]*household), over: make(map[*session]excess)}
}

// tighter returns the lower of two limits. 0 is no limit.
func tighter(a, b int) int {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// admit reports whether the limits allow a session, else why not. st is nil for a stream that is new.
func (q *quota) admit(role api.Role, st *stream, p *api.Offer) (why denial, ok bool) {
	if role == api.Subscriber && st != nil && !p.Relay {
		viewers := tighter(q.limits.Viewers, p.Limits.Viewers)
		if st.live != nil {
			viewers = tighter(viewers, st.live.publication.granted.Viewers)
		}
		if viewers > 0 && st.audience()+p.Elsewhere >= viewers {
			return deniedViewers, false
		}
	}
	h := q.sources[prefixOf(p.Source)]
	if h != nil && !p.Authorized && q.limits.SourceSessions > 0 && h.sessions >= q.limits.SourceSessions {
		return deniedSource, false
	}
	return 0, true
}

// add notes the sender of a session that was opened.
func (q *quota) add(s *session, p *api.Offer) {
	s.sender = sender{address: p.Source, agent: unique.Make(readable(p.Agent))}
	prefix := prefixOf(p.Source)
	if p.Authorized || !prefix.IsValid() {
		return
	}
	h := q.sources[prefix]
	if h == nil {
		h = &household{prefix: prefix}
		q.sources[prefix] = h
	}
	h.sessions++
	s.sender.household = h
}

// leave forgets a session that ends.
func (q *quota) leave(s *session) {
	delete(q.over, s)
	h := s.sender.household
	if h == nil {
		return
	}
	if h.sessions--; h.sessions == 0 {
		delete(q.sources, h.prefix)
	}
	s.sender.household = nil
}

// readable cuts a user agent to the characters and the length that a log or a terminal can take.
func readable(agent string) string {
	agent = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, agent[:min(len(agent), maxAgent)])
	return strings.Clone(agent)
}

// bitrate returns the most that a publisher's video may have, in bits a second, 0 for no limit.
func (q *quota) bitrate(s *session) int {
	if s.publication == nil {
		return 0
	}
	return tighter(q.limits.Bitrate, s.publication.granted.Bitrate)
}

// rate returns the rate of all layers together, in bits a second.
func (l *ladder) rate() (sum int) {
	for i := range l.rungs {
		sum += int(l.rungs[i].Rate)
	}
	return sum
}

// weigh compares a live publisher's video with its limit.
func (c *controller) weigh(s *session) {
	limit := c.quota.bitrate(s)
	_, was := c.quota.over[s]
	switch above := limit > 0 && s.publication.ladder.rate() > limit; {
	case above && !was:
		c.quota.over[s] = excess{since: c.now()}
	case !above && was:
		c.absolve(s)
	}
	c.census.over.Store(int64(len(c.quota.over)))
}

// absolve forgets that a publisher was above its bitrate.
func (c *controller) absolve(s *session) {
	if c.quota.over[s].warned {
		c.log.Info("the publisher is within its bitrate again", s.attributes("limit", c.quota.bitrate(s))...)
	}
	delete(c.quota.over, s)
}

// judge warns of publishers that send and have been above their bitrate for overSpan, or ends them.
func (c *controller) judge(now port.Time) {
	for s, x := range c.quota.over {
		p := s.publication
		if p.paused && now-p.quiet >= quietSpan {
			c.absolve(s)
			continue
		}
		if p.paused || now-x.since < overSpan {
			continue
		}
		facts := []any{"bitrate", p.ladder.rate(), "limit", c.quota.bitrate(s)}
		switch {
		case c.quota.limits.Refuse:
			c.census.ended.Add(1)
			c.log.Warn("the publisher stayed above its bitrate", s.attributes(facts...)...)
			c.close(s, api.ReasonBitrate)
		case !x.warned:
			c.census.warned.Add(1)
			c.log.Warn("the publisher is above its bitrate", s.attributes(facts...)...)
			c.quota.over[s] = excess{since: x.since, warned: true}
		}
	}
	c.census.over.Store(int64(len(c.quota.over)))
}

// setLimits replaces the limits, and weighs all publishers by them.
func (c *controller) setLimits(l api.Limits) {
	c.quota.limits = l
	c.census.limits[limitViewers].Store(int64(l.Viewers))
	c.census.limits[limitSource].Store(int64(l.SourceSessions))
	c.census.limits[limitBitrate].Store(int64(l.Bitrate))
	for _, st := range c.streams.named {
		for _, s := range [...]*session{st.live, st.standby} {
			if s != nil {
				c.weigh(s)
			}
		}
	}
}

// Limits returns the limits that are in force.
func (e *Engine) Limits() (l api.Limits) {
	c := e.controller
	_ = c.do(context.Background(), func() { l = c.quota.limits })
	return l
}

// SetLimits changes the limits by a function, and returns those now in force. Fields below 0 count as 0.
func (e *Engine) SetLimits(change func(*api.Limits)) (l api.Limits) {
	c := e.controller
	_ = c.do(context.Background(), func() {
		l = c.quota.limits
		change(&l)
		l.Viewers, l.SourceSessions, l.Bitrate = max(l.Viewers, 0), max(l.SourceSessions, 0), max(l.Bitrate, 0)
		c.setLimits(l)
	})
	return l
}

// Sessions describes the sessions of a stream, the oldest first. There are none of an unknown stream.
func (e *Engine) Sessions(stream string) (all []api.Session) {
	c := e.controller
	_ = c.do(context.Background(), func() { all = c.list(stream) })
	return all
}

// EndStream ends all sessions of a stream for a reason, and returns their number.
func (e *Engine) EndStream(stream string, why api.Reason) (ended int) {
	c := e.controller
	var all []*session
	_ = c.do(context.Background(), func() {
		// Those that wait to publish come first: one of them would take the place of the publisher.
		if st := c.streams.named[stream]; st != nil {
			all = append(all, st.candidates...)
			for _, s := range [...]*session{st.standby, st.live} {
				if s != nil {
					all = append(all, s)
				}
			}
			all = append(all, st.viewers...)
		}
	})
	for len(all) > 0 { // some at a time, so that other requests have their turn
		n := min(len(all), drainTurn)
		_ = c.do(context.Background(), func() {
			for _, s := range all[:n] {
				if c.sessions[s.spec.ID] != nil {
					c.close(s, why)
					ended++
				}
			}
		})
		all = all[n:]
	}
	return ended
}
