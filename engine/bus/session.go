package bus

import (
	"ringcast/engine/api"
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
	// CNAME is the canonical name in source descriptions, shared by the tracks.
	CNAME string
}
