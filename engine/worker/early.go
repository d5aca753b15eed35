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

// early counts the early packets of all publishers and of all subscribers.
type early struct{ media, reports int }

// of returns the count that a session's packets belong to, and the bounds of the session's own and of all.
func (e *early) of(s *session) (count *int, own, all int) {
	if s.spec.Role == api.Subscriber {
		return &e.reports, maxEarlyReports, maxHeldReports
	}
	return &e.media, maxEarly, maxHeldMedia
}

// hold keeps a copy of a packet for a session; false where there is no room.
func (e *early) hold(s *session, in *port.Inbound, data []byte) bool {
	count, own, all := e.of(s)
	if len(s.early) >= own || *count >= all {
		return false
	}
	*count++
	s.early = append(s.early, port.Inbound{Path: in.Path, Arrival: in.Arrival, Data: append([]byte(nil), data...)})
	return true
}

// take removes and returns the packets that are kept for a session.
func (e *early) take(s *session) []port.Inbound {
	count, _, _ := e.of(s)
	packets := s.early
	*count -= len(packets)
	s.early = nil
	return packets
}

// hold keeps a packet for a session that is not ready for it. Without keys it is kept as it came, and opened while a
// publisher with keys has no publication. Packets of before the keys are not authenticated, so a session has few
// places, and subscribers take none of the publishers' places.
func (w *Worker) hold(s *session, in *port.Inbound, data []byte) {
	if !w.early.hold(s, in, data) {
		w.drop(DropNotReady)
	}
}

// replayEarly handles the packets that a session received before it had its keys.
func (w *Worker) replayEarly(now port.Time, s *session) {
	packets := w.early.take(s)
	for i := range packets {
		w.handleSRTP(now, &packets[i])
	}
}

// replayOpened handles the packets that a publisher sent between its keys and its publication.
func (w *Worker) replayOpened(now port.Time, s *session) {
	packets := w.early.take(s)
	for i := range packets {
		if in := &packets[i]; rtp.IsRTCP(in.Data) {
			w.takeRTCP(s, in.Arrival, in.Data)
		} else {
			w.receive(now, s, in.Arrival, in.Data)
		}
	}
}
