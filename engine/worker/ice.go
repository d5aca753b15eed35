package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/stun"
)

// handleCheck answers a connectivity check (RFC 8445 section 7.3) as an ICE-lite agent: always
// controlled, never asking itself. What is not authenticated gets no answer at all, so that nobody
// can be made the target of ours.
func (w *Worker) handleCheck(now port.Time, in *port.Inbound) {
	var c stun.Check
	if !c.Parse(in.Data) {
		w.drop(DropSTUN)
		return
	}
	s := w.byUfrag[string(c.LocalUfrag)]
	if s == nil || s.ending {
		w.drop(DropUfrag)
		return
	}
	w.current = s
	known, ok := s.credential(c.LocalUfrag, c.RemoteUfrag)
	if !ok {
		w.drop(DropUfrag)
		return
	}
	if !w.hasher.Verify(&c, known.Password) {
		w.drop(DropSTUNAuth)
		return
	}
	w.count(ReceivedChecks)
	at := w.validate(now, s, in.Path)
	if at < 0 {
		return
	}
	if w.forward(s, in) {
		return
	}
	if len(w.replies) == maxReplies {
		w.drop(DropReplies)
		return
	}
	r := reply{route: s.paths[at].route, remote: in.Path, id: c.TransactionID, password: known.Password}
	switch {
	case c.NumUnknown > 0:
		r.code, r.unknown, r.nUnknown = 420, c.Unknown, c.NumUnknown
	case c.Controlled:
		r.code = 487 // the peer must control: we are lite (RFC 8445 section 7.3.1.1)
	default:
		s.heard = now
		if s.pub != nil {
			s.pub.checked = now
		}
		// A path that was lost to another session is taken back by any check: some peers
		// nominate only once.
		if c.UseCandidate || s.selected < 0 && int(s.owner) == w.cfg.Index {
			s.selected = int16(at)
			w.settle(s, known.Ufrag)
			w.claim(s, in.Path)
		}
	}
	w.replies = append(w.replies, r)
}

// claim asks the controller to become the owner of a session that nobody owns.
func (w *Worker) claim(s *session, p port.Path) {
	if s.claimed || s.owner != nobody {
		return
	}
	s.claimed = true
	if s.selected < 0 { // DTLS came before the nomination
		for i := range s.paths {
			if s.paths[i].Path == p {
				s.selected = int16(i)
			}
		}
	}
	w.send(bus.Message{Kind: bus.SessionClaimed, To: bus.ControllerAddress, ID: s.spec.ID, Path: p})
}
