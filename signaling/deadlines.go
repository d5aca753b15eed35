package signaling

import (
	"container/heap"
	"time"

	"ringcast/engine/api"
)

// deadlines is a heap of the sessions that end at a time, the earliest first.
type deadlines []*session

// set gives a session a deadline, or takes it away where until is zero.
func (d *deadlines) set(s *session, until time.Time) {
	s.until = until
	switch {
	case s.rank > 0 && until.IsZero():
		heap.Remove(d, s.rank-1)
	case s.rank > 0:
		heap.Fix(d, s.rank-1)
	case !until.IsZero():
		heap.Push(d, s)
	}
}

// Len implements heap.Interface.
func (d deadlines) Len() int { return len(d) }

// Less implements heap.Interface.
func (d deadlines) Less(i, j int) bool { return d[i].until.Before(d[j].until) }

// Swap implements heap.Interface.
func (d deadlines) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].rank, d[j].rank = i+1, j+1
}

// Push implements heap.Interface.
func (d *deadlines) Push(x any) {
	s := x.(*session)
	*d = append(*d, s)
	s.rank = len(*d)
}

// Pop implements heap.Interface.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	s := (*d)[last]
	(*d)[last], s.rank = nil, 0
	*d = (*d)[:last]
	return s
}

// longestSleep bounds the sleep of the timer. Its clock is not that of the deadlines, which may be set meanwhile.
const longestSleep = 30 * time.Second

// arm sets the one timer of all deadlines for the earliest. The caller holds mu.
func (t *sessions) arm() {
	if len(t.deadlines) == 0 {
		return
	}
	sleep := min(max(0, time.Until(t.deadlines[0].until)), longestSleep)
	if t.timer == nil {
		t.timer = time.AfterFunc(sleep, t.onDue)
		return
	}
	t.timer.Reset(sleep)
}

// due takes the sessions whose time is over from the deadlines, and sets the timer for the next.
func (t *sessions) due(now time.Time) (all []*session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.deadlines) > 0 && !now.Before(t.deadlines[0].until) {
		all = append(all, heap.Pop(&t.deadlines).(*session))
	}
	t.arm()
	return all
}

// renew gives a session the token and the end of another admission. One that has ended stays so.
func (t *sessions) renew(s *session, a *admission) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID[s.id] != s {
		return
	}
	s.token = a.token
	t.deadlines.set(s, a.Until)
	t.arm()
}

// shows reports whether a token is the one that opened a session or renewed it.
func (t *sessions) shows(s *session, token string) bool {
	t.mu.Lock()
	digest := s.token
	t.mu.Unlock()
	return digest.Is(token)
}

// endExpired ends the sessions whose tokens have expired.
func (s *Server) endExpired() {
	for _, x := range s.sessions.due(time.Now()) {
		if s.engine.End(x.id, api.ReasonExpired) {
			s.metrics.Ended(x.role)
		}
	}
}
