package api

// Reason is why a session ended.
type Reason uint8

const (
	// ReasonClosed: the peer or an operator closed it.
	ReasonClosed Reason = iota
	ReasonConsentExpired
	ReasonNeverConnected
	// ReasonBye: an RTCP BYE or a DTLS close_notify.
	ReasonBye
	ReasonHandshakeFailed
	// ReasonCodec: the publisher sends a format that the subscriber did not negotiate.
	ReasonCodec
	ReasonShutdown
	// ReasonNoPublisher: a subscriber's publisher left, and none came in time.
	ReasonNoPublisher
	// ReasonReplaced: another publisher has the stream now.
	ReasonReplaced
	// ReasonFault: a defect of ours ended it.
	ReasonFault
	// ReasonEvicted: nothing had reached the session, and another took its place.
	ReasonEvicted
	// ReasonTaken: another publisher, which is alive, has the stream.
	ReasonTaken
	// ReasonNoMedia: the publisher connected, but sent no media, while another had the stream.
	ReasonNoMedia
)

var reasonNames = [...]string{
	"closed", "consent expired", "never connected", "bye", "handshake failed", "codec not negotiated", "shutdown",
	"no publisher", "replaced", "fault", "made room", "stream taken", "no media",
}

func (r Reason) String() string { return reasonNames[r] }
