package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/budget"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/ufrag"
	"ringcast/engine/worker/history"
)

// Config configures a worker. Rand is required.
type Config struct {
	// Index is the worker's number, from 0; Workers is how many there are.
	Index, Workers int
	// Rand is the source of random numbers that others of the process may know: first sequence numbers, SSRCs of our
	// reports, spreading of timers.
	Rand func() uint64
	// Ufrags are the keys that ufrags are checked by, until a message brings others. Without any, no check passes.
	Ufrags *ufrag.Keys
	// Wall is the wall clock at Time 0, in nanoseconds since 1900. Subscribers' sender reports have its time.
	Wall int64
	// EvenRuns pads packets so that a frame makes one run, for ports that send runs as one message.
	EvenRuns bool
	// Adapt chooses a rung for each viewer of a track with several. Without it, all get the highest.
	Adapt bool
	// StartRate is the rate, in bits a second, that a viewer of whom nothing is known is thought to receive.
	StartRate int
	// Memory bounds the histories of all workers that share it; nil is no bound.
	Memory *budget.Budget
	// NewSealer and NewOpener make the ciphers of a session; nil stands for package srtp's.
	NewSealer func(*srtp.Keys) (srtp.Sealer, error)
	NewOpener func(*srtp.Keys) (*srtp.Opener, error)
}

// A Worker is the sans-I/O core: all sessions, tracks and histories of one thread. Its driver passes in the time,
// datagrams and messages, and polls it for those to send. A Worker does no I/O, starts no goroutine and takes no lock.
//
// These methods feed it, one at a time, with a time that never goes back:
//
//   - HandleControl and HandleMedia, for each message of the bus. After receiving a batch of datagrams, the driver
//     passes in all messages of the controller before the first datagram. So a session that was announced before its
//     HTTP answer is known when its first check arrives. A message of another worker comes after all messages that the
//     controller sent earlier.
//   - HandlePacket, for each datagram.
//   - HandleTimeout, when Deadline has passed.
//
// Poll drains it: each call fills one bounded batch of frames, route changes and messages, and reports whether there is
// more. Deadline is to be read after Poll has reported that there is no more.
type Worker struct {
	cfg      Config // Ufrags turn
	counters Counters

	sessions map[api.SessionID]*session
	byPath   map[port.Path]*session
	// current is the session that is being served: it is to blame for a panic.
	current *session
	// streams are those that this worker owns or has subscribers of, announced all that are published.
	streams   map[bus.StreamID]*stream
	announced map[bus.StreamID]announcement
	storage   storage
	hand      hand
	early     early

	// These wait for a time.
	deadlines deadlines
	chores    chores
	keyframes keyframes
	asking    asking

	homes homes

	// These wait for Poll, which takes them in this order.
	routes  routes
	outbox  outbox
	answers answers
	due     []*session // with reports to write
	turns   turns
}

// hand is memory for the packet that is being handled.
type hand struct {
	header rtp.Header
	// completed is an AV1 payload that a sequence header was put into.
	completed [port.MaxDatagram + maxSequence + 2]byte
}

// New makes a worker.
func New(cfg Config) *Worker {
	if cfg.NewSealer == nil {
		cfg.NewSealer = srtp.NewSealer
	}
	if cfg.NewOpener == nil {
		cfg.NewOpener = srtp.NewOpener
	}
	if cfg.Ufrags == nil {
		cfg.Ufrags = &ufrag.Keys{}
	}
	return &Worker{
		cfg:       cfg,
		sessions:  make(map[api.SessionID]*session),
		byPath:    make(map[port.Path]*session),
		streams:   make(map[bus.StreamID]*stream),
		announced: make(map[bus.StreamID]announcement),
		storage:   storage{memory: history.NewMemory(cfg.Memory)},
		outbox:    newOutbox(),
		answers:   newAnswers(),
	}
}

// HandlePacket takes in one datagram; in.Data may be changed and is not kept.
func (w *Worker) HandlePacket(now port.Time, in *port.Inbound) {
	w.current = nil
	if len(in.Data) == 0 {
		w.drop(DropUnknownProtocol)
		return
	}
	switch b := in.Data[0]; { // RFC 7983 section 7
	case b <= 3:
		w.handleSTUN(now, in)
	case 20 <= b && b <= 63:
		w.handleRecord(now, in)
	case 128 <= b && b <= 191:
		w.handleSRTP(now, in)
	default:
		w.drop(DropUnknownProtocol)
	}
}

// recordAlert is the first byte of a DTLS record with an alert (RFC 6347 section 4.1).
const recordAlert = 21

// handleRecord passes DTLS to the controller.
func (w *Worker) handleRecord(now port.Time, in *port.Inbound) {
	s := w.byPath[in.Path]
	if s == nil || s.ending {
		w.drop(DropPath)
		return
	}
	w.current = s
	if w.forward(now, s, in) {
		return
	}
	s.refill(now)
	// A peer that was heard by SRTP or SRTCP is done with the handshake, so only its alerts have a meaning.
	if s.records == 0 || s.connected && in.Data[0] != recordAlert || s.selected < 0 && s.spec.Dial != nil {
		w.drop(DropRecords)
		return
	}
	s.records--
	w.claim(now, s, in.Path)
	w.send(bus.RecordReceived(s.spec.ID, in.Path, append([]byte(nil), in.Data...)))
}

// handleSRTP takes in RTP and RTCP.
func (w *Worker) handleSRTP(now port.Time, in *port.Inbound) {
	s := w.byPath[in.Path]
	if s == nil || s.ending {
		w.drop(DropPath)
		return
	}
	w.current = s
	if w.forward(now, s, in) {
		return
	}
	rtcp := rtp.IsRTCP(in.Data)
	switch {
	case s.pub != nil && rtcp:
		w.handlePublisherRTCP(now, s, in)
	case s.pub != nil:
		w.handleRTP(now, s, in)
	case s.sub != nil && rtcp:
		w.handleSubscriberRTCP(now, s, in)
	case s.sub != nil:
		w.drop(DropRole)
	case s.spec.Role == api.Subscriber && !rtcp:
		w.drop(DropRole)
	default:
		// The peer has its keys before the controller has sent us ours.
		w.hold(s, in, in.Data)
	}
}

// authenticated notes fresh SRTP or SRTCP over a path: the peer is there. That is consent enough, though RFC 7675 asks
// for STUN: some publishers send no checks, some subscribers only Binding indications.
func (w *Worker) authenticated(now port.Time, s *session, p *port.Path) {
	if at := s.find(p); at >= 0 {
		w.evidence(now, s, at)
	}
	if !s.connected {
		s.connected = true
		w.send(bus.SessionConnected(s.spec.ID))
	}
}

// HandleControl takes in one control message of the controller or of another worker.
func (w *Worker) HandleControl(now port.Time, m *bus.Control) {
	w.current = nil
	switch m.Kind {
	case bus.KindSessionOpened:
		w.open(now, m.Session)
	case bus.KindUfragKeysTurned:
		w.cfg.Ufrags = m.UfragKeys
	case bus.KindPublicationOpened:
		w.current = w.sessions[m.ID]
		w.openPublication(now, m)
	case bus.KindPublicationClosed:
		w.closePublication(m)
	case bus.KindFollow, bus.KindUnfollow, bus.KindFollowing,
		bus.KindKeyframeWanted, bus.KindResendWanted, bus.KindSenderReport, bus.KindLadder:
		w.handleReplication(now, m)
	default:
		if s := w.sessions[m.ID]; s != nil { // not closed meanwhile
			w.current = s
			w.handleSession(now, s, m)
		}
	}
}

// handleSession takes in a control message about a session.
func (w *Worker) handleSession(now port.Time, s *session, m *bus.Control) {
	switch m.Kind {
	case bus.KindSessionClosed:
		w.sendGoodbye(now, s, m.Data)
		w.close(now, s)
	case bus.KindSessionOwned:
		w.own(now, s, m.Owner, m.Path)
	case bus.KindSessionRestarted:
		w.restart(s, m)
	case bus.KindSessionSettled:
		w.settle(s, m.Local.Ufrag)
	case bus.KindSessionKeyed:
		if s.live != nil {
			w.key(now, s, m.Keys)
		}
	case bus.KindChoose:
		if s.sub != nil {
			w.choose(now, s.sub, m)
		}
	case bus.KindSendRecord:
		w.sendRecord(now, s, m.Data)
	}
}

// HandleMedia takes in one media message of another worker.
func (w *Worker) HandleMedia(now port.Time, m *bus.Media) {
	w.current = nil
	if m.Kind == bus.KindPacket {
		w.handleFed(now, m)
		return
	}
	// The sender forwards only datagrams that came over a path that it validated for this session.
	s := w.sessions[m.ID]
	if s == nil || s.owner != w.address() {
		return
	}
	w.current = s
	if len(m.Data) > 0 && m.Data[0] > 3 { // a check speaks for itself
		w.validate(now, s, m.Path)
	}
	w.HandlePacket(now, &port.Inbound{Path: m.Path, Data: m.Data, Arrival: m.Arrival})
}

// HandleTimeout does a bounded part of the work that is due. Deadline says when to call it again.
func (w *Worker) HandleTimeout(now port.Time) {
	w.current = nil
	if now-w.deadlines.next() > behindSpan {
		w.homes.late = now
	}
	w.repeatKeyframes(now)
	for n := 0; n < maxTimeouts && w.deadlines.next() <= now; n++ {
		s := w.deadlines[0].session
		w.current = s
		for d := deadline(0); d < numDeadlines; d++ {
			if s.timers.at[d] <= now && !s.ending {
				w.deadlines.set(s, d, port.Never)
				w.timeout(now, s, d)
			}
		}
	}
	w.current = nil
	if w.asking.next() <= now {
		w.askAgain(now)
	}
	w.doChores(now)
	if w.recycleAt() <= now {
		w.routes.recycle(now)
	}
}

// blame makes the publisher of a publication the session that is served; p may be nil. It reports false when the
// publisher was given up: until the controller closes the publication, nothing is done for it.
func (w *Worker) blame(p *publication) bool {
	w.current = nil
	if p == nil || p.origin.spec == nil {
		return true
	}
	w.current = p.origin
	return !p.origin.ending
}

// timeout does the work of one deadline of a session.
func (w *Worker) timeout(now port.Time, s *session, d deadline) {
	switch d {
	case pathDeadline:
		w.tendPaths(now, s)
	case consentDeadline:
		if s.dialling() != nil {
			w.tendDial(now, s)
			return
		}
		if quiet := now - s.heard; quiet < consentSpan {
			w.deadlines.set(s, d, s.heard+consentSpan)
			return
		}
		w.end(s, api.ReasonConsentExpired)
	case reportDeadline:
		w.deadlines.set(s, d, now+w.reportPause(now, s))
		w.want(s, wantReport)
	case feedbackDeadline:
		w.want(s, wantFeedback)
	case nackDeadline:
		w.want(s, wantNACK)
	case turnDeadline:
		if s.pub != nil {
			w.listen(now, s)
		}
		if s.sub != nil {
			w.serve(s.sub)
			w.reconsider(now, s.sub)
		}
	}
}

// Abandon gives up the session that was being served, and only that one. The driver calls it after it has recovered
// from a panic in another method. ok is false when no session was being served: then the worker is not to be trusted
// any more.
func (w *Worker) Abandon() (id api.SessionID, ok bool) {
	s := w.current
	w.current = nil
	if s == nil || s.spec == nil {
		return 0, false
	}
	w.end(s, api.ReasonFault)
	return s.spec.ID, true
}

// Deadline is when HandleTimeout is to be called next.
func (w *Worker) Deadline() port.Time {
	return min(
		w.deadlines.next(), w.keyframes.next(), w.asking.next(), w.chores.next(), w.storage.next(), w.recycleAt(),
	)
}

// Counters are the worker's counts so far.
func (w *Worker) Counters() *Counters { return &w.counters }

// Sessions is how many sessions the worker knows of, its own and others'.
func (w *Worker) Sessions() int { return len(w.sessions) }

// jitter is a random time below most.
func (w *Worker) jitter(most port.Time) port.Time {
	return port.Time(w.cfg.Rand() % uint64(most))
}

// address is the worker's on the bus.
func (w *Worker) address() bus.Address { return bus.Address(w.cfg.Index) }
