package engine

import (
	"cmp"
	"slices"
	"time"

	"ringcast/engine/api"
)

// list describes the sessions of a stream, the oldest first.
func (c *controller) list(stream string) (all []api.Session) {
	st := c.streams.named[stream]
	if st == nil {
		return nil
	}
	for _, s := range [...]*session{st.live, st.standby} {
		if s != nil {
			all = append(all, c.describeSession(s))
		}
	}
	for _, g := range [...]group{st.candidates, st.viewers} {
		for _, s := range g {
			all = append(all, c.describeSession(s))
		}
	}
	slices.SortFunc(all, func(a, b api.Session) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// describeSession returns the facts about a session that operators may know.
func (c *controller) describeSession(s *session) api.Session {
	out := api.Session{
		ID: s.spec.ID, Role: s.spec.Role, Source: s.sender.address, Agent: s.sender.agent.Value(),
		Opened: time.Now().Add(-time.Duration(c.now() - s.opened)), Connected: s.keyed,
		Live: s.stream.live == s, Relay: s.spec.Relay, Rung: api.NoRung,
	}
	if l := s.ladderOf(); l != nil && s.spec.Role == api.Subscriber {
		if out.Rung = l.find(s.watching.layer); out.Rung != api.NoRung {
			out.RID = l.rungs[out.Rung].RID
		}
		out.Cause = s.watching.cause.String()
	}
	return out
}
