package signaling

import (
	"sync"

	"ringcast/engine/bus"
)

// session is what signaling keeps of a session while it lives.
type session struct {
	id     bus.SessionID
	role   bus.Role
	stream string
	// place and secret are the last segments of the session's URL: the stream or fixedPlace, and
	// what opens the session, so that who knows it may end the session.
	place, secret string
	transport     transportLine

	// patching is held while a PATCH is served, so that of two ICE restarts one is first. It
	// guards the rest.
	patching sync.Mutex
	// etag is the entity tag of the current ICE session, quotes included.
	etag string
	// remote are all credentials that the peer has shown for the current ICE session. Some stacks
	// use another pair for each media line, and trickle for lines whose pair was not chosen.
	remote []bus.Credentials
	// past are those of earlier ICE sessions, the latest last.
	past []bus.Credentials
}

// fixedPlace is where the URL of a session has a stream's name, if the session was opened without one
// in the path: that name is a key, and a key is not for logs. Such a session of a stream whose name is
// this differs by its secret.
const fixedPlace = "-"

// sessions finds sessions by the secret in their URL. The zero value is ready.
type sessions struct {
	mu       sync.Mutex
	bySecret map[string]*session
	// byID also holds sessions whose URL is gone already but which the engine has yet to end.
	byID map[bus.SessionID]*session
	// opening is how many calls to the engine are under way, and early which sessions ended
	// while some were: the end of one may be reported before its opening has returned here.
	opening int
	early   map[bus.SessionID]bus.Reason
}

// begin must come before each call that opens a session, and end after add or its failure.
func (t *sessions) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening++
}

func (t *sessions) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.opening--; t.opening == 0 {
		clear(t.early)
	}
}

// add makes s known, or reports why it has ended already.
func (t *sessions) add(s *session) (why bus.Reason, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if why, ended := t.early[s.id]; ended {
		delete(t.early, s.id)
		return why, false
	}
	if t.bySecret == nil {
		t.bySecret = make(map[string]*session)
		t.byID = make(map[bus.SessionID]*session)
	}
	t.bySecret[s.secret] = s
	t.byID[s.id] = s
	return 0, true
}

// find is the session of one URL. A secret under another stream's or role's path is unknown.
func (t *sessions) find(role bus.Role, place, secret string) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.bySecret[secret]
	if !ok || s.role != role || s.place != place {
		return nil, false
	}
	return s, true
}

// forget takes the session's URL away; it reports false if somebody else already has.
func (t *sessions) forget(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.bySecret[s.secret]; !ok {
		return false
	}
	delete(t.bySecret, s.secret)
	return true
}

// ended removes a session that is over. It returns nil for one not known (yet).
func (t *sessions) ended(id bus.SessionID, why bus.Reason) *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byID[id]
	if !ok {
		if t.opening > 0 {
			if t.early == nil {
				t.early = make(map[bus.SessionID]bus.Reason)
			}
			t.early[id] = why
		}
		return nil
	}
	delete(t.byID, id)
	delete(t.bySecret, s.secret)
	return s
}
