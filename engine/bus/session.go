package bus

import (
	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
)

// StreamID names a stream, that is, a name that is or was published under.
type StreamID uint32

// Generation counts the publications of all streams; a later publication has a larger one.
type Generation uint32

// LayerID names a layer: a publication, a media line and an encoding, the latter two by their places in the offer.
type LayerID struct {
	Stream       StreamID
	Generation   Generation
	Track, Layer uint8
}

// These stand for numbers in a LayerID. A follower asks for EveryTrack of a publication. A subscriber that may be sent
// all layers has BestLayer, and one that is sent no video has NoLayer.
const (
	EveryTrack = 0xFF
	BestLayer  = 0xFF
	NoLayer    = 0xFE
)

// Session describes a session to every worker. It is immutable once announced, so that all share one copy.
type Session struct {
	ID     api.SessionID
	Role   api.Role
	Stream StreamID
	// Local are our credentials; RemoteUfrag is the peer's half of the user name.
	Local       api.Credentials
	RemoteUfrag string
	// Tracks are the negotiated media lines in the order of the offer.
	Tracks []rtp.Track
	// CompoundRTCP is set when the peer did not offer reduced-size RTCP (RFC 5506 section 5).
	CompoundRTCP bool
	// Relay is set for a subscriber that is another node. Then Tracks has a line for each layer, which is named by the
	// only Encoding.
	Relay bool
	// CNAME is the canonical name in source descriptions, shared by the tracks.
	CNAME string
	// Dial is set for a session that we dial. It is announced to one worker only, which owns it from the start.
	Dial *Dial
}

// Dial is how a session reaches its upstream.
type Dial struct {
	// Password is the upstream's, of ICE.
	Password string
	// Paths lead from the session's own socket to the upstream's candidates, the best first, at most
	// api.MaxCandidates.
	Paths []port.Path
	// TieBreaker settles which side controls, if both claim to (RFC 8445 section 5.2).
	TieBreaker uint64
}
