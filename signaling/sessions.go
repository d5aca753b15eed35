package signaling

import (
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// session is signaling's state of a session while it lives. There are thousands, so it has only the hashes of values
// that are only compared.
type session struct {
	id     api.SessionID
	stream string
	// secret is the last segment of the session's URL: anyone who knows it may end the session.
	secret string
	// token is the digest of the token that opened the session or renewed it, where its role has a gate. The session
	// ends at until, if that is not zero. The table's mutex guards these and rank.
	token access.Digest
	until time.Time
	rank  int // in the table's deadlines, counted from 1
	// mid is that of the media line that speaks for the transport, a video line if video is set.
	mid   string
	etag  etag // of the current ICE session
	role  api.Role
	video bool
	fixed bool // the URL has fixedPlace instead of the stream's name
	// videoLine is the index of its live video line in the SDP, or noVideo.
	videoLine int

	// choosing is held while a choice of a layer is served. It guards choices.
	choosing sync.Mutex
	choices  allowance

	// patching is held while a PATCH is served, so that of two ICE restarts one is first. It
	// guards etag and the rest.
	patching sync.Mutex
	// remote are all credentials that the peer has shown for the current ICE session. Some stacks use another pair for
	// each media line, and trickle for lines whose pair was not chosen.
	remote []shown
	// past are those of earlier ICE sessions, the latest last.
	past []shown
}

// place is the segment of the session's URL before the secret.
func (s *session) place() string {
	if s.fixed {
		return fixedPlace
	}
	return s.stream
}

func (s *session) transport() transportLine {
	if s.video {
		return transportLine{kind: "video", mid: s.mid}
	}
	return transportLine{kind: "audio", mid: s.mid}
}

// shown is the hash of ICE credentials that a peer has shown.
type shown struct{ ufrag, password uint64 }

var shownSeed = maphash.MakeSeed()

func hashed(c api.Credentials) shown {
	return shown{maphash.String(shownSeed, c.Ufrag), maphash.String(shownSeed, c.Password)}
}

// hashedAll keeps each pair once: most peers show the same on every line.
func hashedAll(all []api.Credentials) []shown {
	var out []shown
	for _, c := range all {
		if h := hashed(c); !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return slices.Clip(out)
}

// etag is an entity tag without its quotes.
type etag [12]byte

func (e etag) String() string { return `"` + string(e[:]) + `"` }

const noVideo = -1

// fixedPlace stands for a stream's name in the URL of a session that was opened without one in the path. That name is a
// key, and a key is not for logs. Such a session of a stream with this name differs by its secret.
const fixedPlace = "-"

// sessions finds sessions by the secret in their URL. The zero value is ready.
type sessions struct {
	mu       sync.Mutex
	bySecret map[string]*session
	// byID also holds sessions whose URL is gone already but which the engine has yet to end.
	byID map[api.SessionID]*session
	// opening is the number of calls to the engine under way. early are the sessions that ended while some were: an end
	// may be reported before its opening has returned here.
	opening int
	early   map[api.SessionID]api.Reason
	// deadlines are the sessions that end at a time. onDue is called from timer, when some are due.
	deadlines deadlines
	timer     *time.Timer
	onDue     func()
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
func (t *sessions) add(s *session) (why api.Reason, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if why, ended := t.early[s.id]; ended {
		delete(t.early, s.id)
		return why, false
	}
	if t.bySecret == nil {
		t.bySecret = make(map[string]*session)
		t.byID = make(map[api.SessionID]*session)
	}
	t.bySecret[s.secret] = s
	t.byID[s.id] = s
	t.deadlines.set(s, s.until)
	t.arm()
	return 0, true
}

// find is the session of one URL. A secret under another stream's or role's path is unknown.
func (t *sessions) find(role api.Role, place, secret string) (*session, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.bySecret[secret]
	if !ok || s.role != role || s.place() != place {
		return nil, false
	}
	return s, true
}

// count is the number of sessions that have not ended.
func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// live reports whether a session has not ended.
func (t *sessions) live(s *session) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byID[s.id] == s
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

// ended removes a session that is over. One that is still being opened is removed once it is known.
func (t *sessions) ended(id api.SessionID, why api.Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, ok := t.byID[id]
	if !ok {
		if t.opening > 0 {
			if t.early == nil {
				t.early = make(map[api.SessionID]api.Reason)
			}
			t.early[id] = why
		}
		return
	}
	delete(t.byID, id)
	delete(t.bySecret, s.secret)
	t.deadlines.set(s, time.Time{})
}
