package api

// Reason is why a session ended.
type Reason uint8

const (
	// ReasonClosed: the peer closed it.
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
	// ReasonKicked: an operator ended it.
	ReasonKicked
	// ReasonBitrate: the publisher stayed above its bitrate.
	ReasonBitrate
	// ReasonWorn: the session's keys have sealed all that they may.
	ReasonWorn
	// ReasonExpired: the token that opened it has expired.
	ReasonExpired
	// ReasonLayers: the stream has other layers than the relay was opened for.
	ReasonLayers
	// ReasonUpstreamUnreachable: a dialled session got no answer of its upstream, or was not connected in time.
	ReasonUpstreamUnreachable
	// ReasonUpstreamSilent: the upstream of a dialled session sent nothing any more, and answered no check.
	ReasonUpstreamSilent
	// ReasonLocalPublisher: the pull's stream has a publisher of this server's own.
	ReasonLocalPublisher
)

var reasonNames = [...]string{
	"closed", "consent expired", "never connected", "bye", "handshake failed", "codec not negotiated", "shutdown",
	"no publisher", "replaced", "fault", "made room", "stream taken", "no media",
	"ended by an operator", "above the bitrate limit", "keys worn out", "token expired", "other layers",
	"upstream unreachable", "upstream silent", "published here",
}

func (r Reason) String() string { return reasonNames[r] }
