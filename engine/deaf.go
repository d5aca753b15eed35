package engine

import "time"

const (
	// deafSpan is how long the signs of a deaf or stuck interface must last.
	deafSpan = 2 * time.Second
	// deafLooks is how many looks must have seen them. A process that stood still has had one long look only.
	deafLooks = 4
	// lookEvery is the time between two looks.
	lookEvery = 500 * time.Millisecond
)

// A suspicion grows while one count grows and another, which should follow it, does not.
type suspicion struct {
	cause, effect uint64 // as of the last look
	since         time.Time
	looks         int
}

// confirmed notes the two counts. It reports whether the first has grown in every look for deafSpan while the second
// stood still.
func (s *suspicion) confirmed(now time.Time, cause, effect uint64) bool {
	grown, moved := cause != s.cause, effect != s.effect
	s.cause, s.effect = cause, effect
	switch {
	case moved:
		s.looks = 0
		return false
	case !grown:
		return false // without growth there is no sign
	case s.looks == 0:
		s.since = now
	}
	s.looks++
	return s.looks >= deafLooks && now.Sub(s.since) >= deafSpan
}

// signs are the counts that a look at an interface finds; they only grow.
type signs struct {
	redirected uint64 // packets that the XDP program sent to sockets
	received   uint64 // frames that the sockets received or had no room for
	queues     []queueSigns
}

// queueSigns are the signs of a queue that sends.
type queueSigns struct {
	completed uint64 // sent frames whose memory came back
	waiting   bool   // the queue cannot go on before more memory comes back
}

// A vigil detects outages that no event reports. The program's redirects fail in silence if the socket is not bound to
// the device and queue that they come from (xsk_rcv_check in net/xdp/xsk.c). And no event reports a queue that stopped
// sending.
type vigil struct {
	deafness  suspicion
	stuckness []suspicion // of each queue
	waits     []uint64    // looks that found the queue waiting
}

// look compares the signs with earlier ones. It returns the reason for an outage, or nothing.
func (v *vigil) look(now time.Time, s signs) (why string) {
	for len(v.waits) < len(s.queues) {
		v.stuckness, v.waits = append(v.stuckness, suspicion{}), append(v.waits, 0)
	}
	for i, q := range s.queues {
		if q.waiting {
			v.waits[i]++
		}
		if v.stuckness[i].confirmed(now, v.waits[i], q.completed) {
			why = "stuck: a queue accepts packets, but sends none"
		}
	}
	if v.deafness.confirmed(now, s.redirected, s.received) {
		why = "deaf: the XDP program hands packets over, but no queue receives any"
	}
	return why
}
