package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

const (
	// consentSpan is how long a peer may be silent on all of its paths (RFC 7675 section 5.1).
	consentSpan = 30 * port.Second
	// maxRecords bounds the datagrams of DTLS that one session passes to the controller in a budgetSpan. After the
	// handshake maxKeyedRecords does: they are the peer's last flight again, and its goodbye.
	maxRecords      = 64
	maxKeyedRecords = 8
	// maxControl bounds the RTCP of one session in a budgetSpan. A datagram costs controlCost, and each sequence
	// number that it asks for costs 1. Viewers of 20 Mbit/s with much loss need less than half.
	maxControl  = 8192
	controlCost = 8
	budgetSpan  = port.Second
	// maxEarly bounds the packets that are kept for a publisher until its keys are known. maxEarlyReports does so for a
	// subscriber.
	maxEarly        = 128
	maxEarlyReports = 8
)

// refill makes the session's budgets full again when it is time.
func (s *session) refill(now port.Time) {
	if now < s.refillAt {
		return
	}
	s.refillAt, s.records, s.control = now+budgetSpan, maxRecords, maxControl
	if s.keyed() {
		s.records = maxKeyedRecords
	}
}

// A session is one peer's ICE and DTLS association as one worker sees it. Every worker has one for each announced
// session: to know where packets belong, and to answer checks until a worker owns the session. Everything else is in
// live. Every worker has thousands of sessions, so this struct is 64 bytes.
type session struct {
	spec  *bus.Session
	paths []path
	// ice is nil while spec's credentials are those in force, unless we dial.
	ice *ice
	*live
	owner bus.Address // a worker, or nobody
	// claimed is set once this worker asked to become the owner.
	claimed bool
	// ending is set once the session was given up. Its packets are dropped, and only the controller's goodbye is sent.
	ending bool
	// reached is set once the controller knows that a check reached the session.
	reached bool
	// newPathsAt is the time at which nothing will be owed for checks over unknown paths, see admits.
	newPathsAt port.Time
}

// live is the state of a session at its owner, and at every worker while nobody owns it. Other workers have none.
type live struct {
	timers timers
	// heard is when the peer last proved that it is there, by any path.
	heard port.Time
	// moved is when a path was last evicted for another.
	moved port.Time
	// refillAt is when records and control are full again.
	refillAt port.Time
	// creditAt is when the next unproven path gets a new pathCredit.
	creditAt port.Time
	// trialEnd is when the trial of the selected path ends.
	trialEnd port.Time
	// records is how many more datagrams of DTLS are passed on.
	records int16
	// control is the rest of maxControl.
	control int16
	// credit is how many more datagrams an unproven path is sent.
	credit int16
	// selected is the index of the path that is sent on, or -1.
	selected int16
	// wanted is the index of the path that was nominated last and is to be selected once it is proven, or -1.
	wanted int16
	// trial is set while the selected path is unproven. Datagrams on it are paid from credit.
	trial bool
	// wavered is set once another path than the first was selected.
	wavered   bool
	connected bool
	// inDue is set while the session is in the worker's list of sessions with reports to write.
	inDue bool
	// reports names the RTCP to write at the next Poll.
	reports reports
	// early are the packets that hold keeps.
	early []port.Inbound

	pub *publisher
	sub *subscriber
}

// open handles SessionOpened.
func (w *Worker) open(now port.Time, spec *bus.Session) {
	if w.sessions[spec.ID] != nil {
		return
	}
	s := &session{spec: spec, owner: nobody, live: &live{
		selected: -1, wanted: -1, timers: newTimers(), records: maxRecords, control: maxControl,
	}}
	w.sessions[spec.ID] = s
	if spec.Dial != nil {
		w.dial(now, s)
	}
}

// key handles SessionKeyed: from now on media flows.
func (w *Worker) key(now port.Time, s *session, keys *srtp.Keys) {
	if s.keyed() {
		return // one association, one key (RFC 5764 section 4.1)
	}
	if s.spec.Role == api.Publisher {
		opener, err := w.cfg.NewOpener(keys)
		if err != nil {
			w.drop(DropKeys)
			return
		}
		s.pub = newPublisher(w, opener)
		w.shaken(now, s)
		if st := w.streams[s.spec.Stream]; st != nil && st.pub != nil && st.pub.spec == s.spec {
			w.attach(now, s, st.pub) // we dialled, so the publication was announced before
		}
		w.replayEarly(now, s)
		w.deadlines.set(s, reportDeadline, now+port.Second)
		return
	}
	sealer, err := w.cfg.NewSealer(keys)
	if err != nil {
		w.drop(DropKeys)
		return
	}
	s.sub = w.subscribe(now, s, sealer)
	w.shaken(now, s)
	w.replayEarly(now, s)
	w.deadlines.set(s, reportDeadline, now+w.jitter(port.Second))
}

// close handles SessionClosed. Records that the controller sent before, and the goodbye, still leave: the route of a
// path outlives its session by a little.
func (w *Worker) close(now port.Time, s *session) {
	delete(w.sessions, s.spec.ID)
	for i := range s.paths {
		w.retire(now, &s.paths[i])
		delete(w.byPath, s.paths[i].Path)
	}
	s.paths = nil
	if s.live != nil {
		w.early.take(s)
		s.selected, s.wanted = -1, -1
		w.deadlines.remove(s)
		if s.sub != nil {
			w.unsubscribe(now, s.sub)
		}
		if s.pub != nil && s.pub.publication != nil {
			s.pub.publication.session = nil
		}
	}
	s.spec = nil // still in a list? then it is skipped there
}

// end gives a session up: the controller decides and answers with SessionClosed.
func (w *Worker) end(s *session, why api.Reason) {
	if s.ending {
		return
	}
	s.ending = true
	if s.live != nil {
		w.deadlines.remove(s)
	}
	w.send(bus.SessionEnded(s.spec.ID, why))
}

// keyed reports whether the session has its keys at this worker.
func (s *session) keyed() bool { return s.live != nil && (s.pub != nil || s.sub != nil) }
