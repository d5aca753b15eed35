package worker

import (
	"ringcast/engine/port"
	"ringcast/engine/stun"
)

const (
	// maxReplies and maxRecords bound the answers that wait for Poll.
	maxReplies = 1024
	maxDTLSOut = 1024
	// GoodbyeSpan is how long a session's goodbye may wait for the port: nothing is sent again after it.
	GoodbyeSpan = port.Second
)

// answers are the datagrams to peers that wait for Poll beside media and reports.
type answers struct {
	hasher  *stun.Hasher
	replies []reply
	records []record
	// checks are our own, of sessions that we dial.
	checks []query
}

// A reply answers a check.
type reply struct {
	session  *session
	route    port.Route
	remote   port.Path
	id       [12]byte
	code     int // 0 for success
	unknown  [4]uint16
	nUnknown int
	password string
}

// A record is a datagram of DTLS records from the controller. At until it is worth nothing, and its route may lead
// elsewhere.
type record struct {
	route port.Route
	until port.Time
	data  []byte
}

func newAnswers() answers {
	return answers{hasher: stun.NewHasher(), replies: make([]reply, 0, 64)}
}

// waiting is the number of answers that the port has not taken yet.
func (a *answers) waiting() int { return len(a.replies) + len(a.records) + len(a.checks) }

// write writes a reply.
func (a *answers) write(b []byte, r *reply) []byte {
	if r.code == 0 {
		return a.hasher.AppendSuccess(b, &r.id, r.remote.Remote, r.password)
	}
	return a.hasher.AppendError(b, &r.id, r.code, r.unknown[:r.nUnknown], r.password)
}

// reply queues the answer to a check.
func (w *Worker) reply(r *reply) {
	if len(w.answers.replies) == maxReplies {
		w.drop(DropReplies)
		return
	}
	w.answers.replies = append(w.answers.replies, *r)
}

// sendRecord queues a datagram of DTLS records for a session's peer.
func (w *Worker) sendRecord(now port.Time, s *session, data []byte) {
	r, ok := s.way()
	if !ok || len(w.answers.records) >= maxDTLSOut {
		w.drop(DropReplies)
		return
	}
	w.answers.records = append(w.answers.records, record{r, now + port.StaleAfter, data})
}

// sendGoodbye queues the last datagram of DTLS records for a session's peer. It may wait longer than others, and
// finds room always.
func (w *Worker) sendGoodbye(now port.Time, s *session, data []byte) {
	if r, ok := s.way(); ok && len(data) > 0 {
		w.answers.records = append(w.answers.records, record{r, now + GoodbyeSpan, data})
	}
}

// pollReplies writes answers to checks; false when out is full before.
func (w *Worker) pollReplies(now port.Time, out *Outgoing) bool {
	a := &w.answers
	n := 0
	for ; n < len(a.replies); n++ {
		f := out.Reserve()
		if f == nil {
			break
		}
		r := &a.replies[n]
		w.current = r.session
		if r.session.ending || r.session.spec == nil {
			continue
		}
		f.Data = a.write(f.Data, r)
		f.Route, f.Born = r.route, now
		out.Submit()
	}
	a.replies = without(a.replies, n)
	w.current = nil
	return len(a.replies) == 0
}

// pollRecords writes the controller's DTLS; false when out is full before.
func (w *Worker) pollRecords(now port.Time, out *Outgoing) bool {
	a := &w.answers
	n := 0
	for ; n < len(a.records); n++ {
		r := &a.records[n]
		if now >= r.until {
			w.drop(DropReplies)
			continue
		}
		f := out.Reserve()
		if f == nil {
			break
		}
		f.Data = append(f.Data, r.data...)
		f.Route, f.Born = r.route, r.until-port.StaleAfter
		out.Submit()
	}
	a.records = without(a.records, n)
	return len(a.records) == 0
}
