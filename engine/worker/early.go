package worker

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// maxHeldMedia and maxHeldReports bound the early packets of all publishers and of all subscribers.
const (
	maxHeldMedia   = 3072
	maxHeldReports = 1024
)

// hold keeps a packet for a session that is not ready for it: as it came while there are no keys, opened while
// a publisher with keys has no publication. What came before the keys is not authenticated, so a session has few
// places, and the subscribers' are none of the publishers'.
func (w *Worker) hold(s *session, in *port.Inbound, data []byte) {
	held, most, all := &w.heldMedia, maxEarly, maxHeldMedia
	if s.spec.Role == api.Subscriber {
		held, most, all = &w.heldReports, maxEarlyReports, maxHeldReports
	}
	if len(s.early) >= most || *held >= all {
		w.drop(DropNotReady)
		return
	}
	*held++
	s.early = append(s.early, port.Inbound{Path: in.Path, Arrival: in.Arrival, Data: append([]byte(nil), data...)})
}

// takeEarly takes a session's early packets out of what is held.
func (w *Worker) takeEarly(s *session) []port.Inbound {
	held := &w.heldMedia
	if s.spec.Role == api.Subscriber {
		held = &w.heldReports
	}
	early := s.early
	*held -= len(early)
	s.early = nil
	return early
}

// replayEarly handles what a session received before it had its keys.
func (w *Worker) replayEarly(now port.Time, s *session) {
	early := w.takeEarly(s)
	for i := range early {
		w.handleMedia(now, &early[i])
	}
}

// replayOpened handles what a publisher sent between its keys and its publication.
func (w *Worker) replayOpened(now port.Time, s *session) {
	early := w.takeEarly(s)
	for i := range early {
		if in := &early[i]; rtp.IsRTCP(in.Data) {
			w.takeRTCP(s, in.Arrival, in.Data)
		} else {
			w.receive(now, s, in.Arrival, in.Data)
		}
	}
}
