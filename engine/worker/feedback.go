package worker

import "ringcast/engine/port"

// A publisher is sent transport-wide feedback as often as libwebrtc's receivers send it. Feedback takes a twentieth of
// the media's rate, within bounds.
const (
	// feedbackSize is a piece of feedback on the wire, in bytes: IPv4, UDP, SRTCP and 30 bytes of its own.
	feedbackSize = 20 + 8 + 10 + 30
	// feedbackBytes of media are as much as one piece of feedback may report on before the next is due.
	feedbackBytes = 20 * feedbackSize
	// The time from the first arrival that is not reported yet to its report lies within these.
	minFeedback = 50 * port.Millisecond
	maxFeedback = 250 * port.Millisecond
)

// unreported is the media of a publisher that arrived since the last feedback. The zero value is none.
type unreported struct {
	since port.Time // the first arrival
	bytes int
}

// note takes in a packet of size bytes. It returns when feedback is due, and whether that changed.
func (u *unreported) note(now port.Time, size int) (at port.Time, changed bool) {
	first, enough := u.bytes == 0, u.bytes >= feedbackBytes
	if first {
		u.since = now
	}
	u.bytes += size
	if u.bytes >= feedbackBytes {
		return max(now, u.since+minFeedback), !enough
	}
	return u.since + maxFeedback, first
}
