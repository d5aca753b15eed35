package receiver

import "ringcast/engine/port"

// maxRoundTrip bounds the round trip that requests wait for: a publisher may answer late for other reasons.
const maxRoundTrip = 500 * port.Millisecond

// A RoundTrip is the time from a request to the retransmission that answers it. The zero value is unknown. A
// publisher's layers share it: those with few losses, and sound without retransmissions, measure none of their own.
type RoundTrip struct {
	smoothed port.Time // RFC 6298 section 2, 0 while unknown
	// doubt is the longest time that the newest answer may have taken, if it is unknown which of several requests it
	// answers. As long as that is waited for the next answer, so that it is certain (Karn's algorithm). Else it is 0.
	doubt port.Time
}

// note takes in an answer after a time, counted from the first of some requests.
func (t *RoundTrip) note(took port.Time, requests uint8) {
	switch {
	case took <= 0:
	case requests > 1:
		t.doubt = took
	case t.smoothed == 0:
		t.smoothed, t.doubt = took, 0
	default:
		t.smoothed += (took - t.smoothed) / 8
		t.doubt = 0
	}
}

// patience is how long an answer may take before the request is repeated, 0 while unknown.
func (t *RoundTrip) patience() port.Time { return min(max(t.smoothed, t.doubt), maxRoundTrip) * 5 / 4 }
