package api

import (
	"net/netip"

	"ringcast/engine/rtp"
)

// MaxCandidates is how many candidates of an Answer are tried.
const MaxCandidates = 8

// A Dial is our half of a session that we open toward another server, the upstream. With the Local that comes back, its
// caller makes an offer: setup:actpass, no ice-lite, no candidates. Nothing is sent before the upstream's Answer.
//
// A dialled session of a Publisher is a pull: the upstream sends us media, and the session publishes it here. One of a
// Subscriber is a push.
type Dial struct {
	// Tracks are the media lines of the offer. The engine fills in the SSRCs of a push's.
	Tracks []rtp.Track
	// Agent names the upstream, for operators to read.
	Agent string
	// Limits bound a pull's stream, as those of an Offer do.
	Limits Limits
	// Hidden keeps the stream of a pull out of the engine's list of streams.
	Hidden bool
}

// An Answer is the upstream's half of a dialled session.
type Answer struct {
	// ICE are the upstream's credentials.
	ICE Credentials
	// Fingerprints are those of the certificates that the upstream may show; one match suffices.
	Fingerprints []Fingerprint
	// Passive is set when the upstream waits for our ClientHello: it answered setup:passive. Else it sends one.
	Passive bool
	// CompoundRTCP is set when the upstream did not answer reduced-size RTCP for every media line.
	CompoundRTCP bool
	// Candidates are the upstream's UDP addresses, the best first. The first MaxCandidates are tried. The caller
	// decides which addresses may be dialled.
	Candidates []netip.AddrPort
	// Tracks are the negotiated media lines. Those of a pull have the upstream's encodings, with SSRCs and RIDs.
	Tracks []rtp.Track
}
