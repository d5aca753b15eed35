package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
)

// nobody owns a session that was announced but not claimed.
const nobody = bus.Nobody

// forward passes a packet on to the worker that owns its session, if that is another one.
func (w *Worker) forward(now port.Time, s *session, in *port.Inbound) bool {
	if s.live != nil {
		return false
	}
	if at := s.find(&in.Path); at >= 0 && s.paths[at].proven {
		s.paths[at].heard = now
	}
	if w.outbox.stray(s.owner, s.spec.ID, in) {
		w.count(Forwarded)
	} else {
		w.drop(DropStrays)
	}
	return true
}

// claim asks the controller to become the owner of a session that nobody owns.
func (w *Worker) claim(now port.Time, s *session, p port.Path) {
	if s.claimed || s.owner != nobody {
		return
	}
	s.claimed = true
	if s.selected < 0 { // DTLS came before the nomination
		if at := s.find(&p); at >= 0 {
			w.nominate(now, s, at)
		}
	}
	w.send(bus.SessionClaimed(s.spec.ID, p))
}

// own handles SessionOwned.
func (w *Worker) own(now port.Time, s *session, owner bus.Address, claimed port.Path) {
	s.owner = owner
	if owner != w.address() {
		for i := range s.paths {
			w.retire(now, &s.paths[i])
		}
		if s.live != nil {
			w.early.take(s)
			w.deadlines.remove(s)
		}
		s.live = nil
		// A publisher's media may come here before a check does. When AF_XDP is taken away, all of it comes by the
		// kernel's socket, which one worker reads.
		if s.spec.Role == api.Publisher && claimed.Remote.IsValid() {
			w.validate(now, s, claimed)
		}
		return
	}
	s.heard = now
	w.deadlines.set(s, consentDeadline, now+consentSpan)
}
