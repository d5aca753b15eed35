package api

import (
	"net/netip"
	"time"

	"ringcast/engine/rtp"
)

// SessionID names a session for as long as the process runs; it is never reused and never 0.
type SessionID uint64

// Role is the side of a stream that a session is on.
type Role uint8

const (
	Publisher Role = iota + 1
	Subscriber
)

func (r Role) String() string {
	if r == Publisher {
		return "publisher"
	}
	return "subscriber"
}

// Credentials are a user name fragment and password of ICE (RFC 8445 section 5.3).
type Credentials struct {
	Ufrag, Password string
}

// Fingerprint is a certificate's hash in SDP's form (RFC 8122 section 5). The hash has a name, and a value of pairs of
// hexadecimal digits with colons between.
type Fingerprint struct {
	Algorithm, Value string
}

// An Offer is the peer's half of a new session, as negotiation left it.
type Offer struct {
	// ICE are the peer's credentials. Its candidates are of no use to an ICE-lite server (RFC 8445 section 2.5).
	ICE Credentials
	// Fingerprints are those of the certificates that the peer may show; one match suffices.
	Fingerprints []Fingerprint
	// Passive is set when the peer waits for our ClientHello: it offered setup:passive (RFC 5763 section 5).
	Passive bool
	// CompoundRTCP is set when the peer did not offer reduced-size RTCP (a=rtcp-rsize) for every media line. Everything
	// that it is sent is compound then (RFC 3550 section 6.1).
	CompoundRTCP bool
	// Tracks are the negotiated media lines. The engine fills in the SSRCs of a subscriber's.
	Tracks []rtp.Track
	// Source is the address that the peer signals from, before any proxies. The zero Addr is unknown, maybe this
	// machine. The unspecified address stands for all hosts that a proxy hides: they have one share together.
	Source netip.Addr
	// Agent is the peer's User-Agent, for operators to read.
	Agent string
	// Limits are those that the peer was granted. The tighter of these and the server's own holds. A publisher's bound
	// its stream. A subscriber's Viewers keeps it from a stream that has as many. SourceSessions and Refuse have no
	// meaning here.
	Limits Limits
	// Backup is set for a publisher that stands by for another: it gets the stream while that one sends nothing.
	Backup bool
	// Authorized is set for a publisher that showed the token which the server demands. SessionConfig.Reserve of
	// package engine keeps room for these.
	Authorized bool
	// Relay is set for a subscriber that is another node, which serves the stream further. It is sent all layers of
	// each line, as they were recorded: with the publisher's timestamps and extensions, without transport-wide numbers.
	// Local names the layers in the Encodings of its lines, each with its RID and SSRCs. A line that nobody publishes
	// has one, for later. A relay is no viewer: neither counts nor limits of viewers include it. When another
	// publication has other layers, the session ends for ReasonLayers, and is to be opened again.
	Relay bool
	// Elsewhere is the number of the stream's viewers at other servers, which limits of viewers include.
	Elsewhere int
}

// Local is our half of a session that was opened.
type Local struct {
	ID  SessionID
	ICE Credentials
	// Fingerprint is that of the certificate we will show.
	Fingerprint Fingerprint
	// Candidates are the addresses at which the UDP port can be reached, the best first.
	Candidates []netip.AddrPort
	// Tracks are the offer's, with the SSRCs that a subscriber will be sent. Those of a relay are in the Encodings.
	Tracks []rtp.Track
	// Bitrate is the most that a publisher's video may have, in bits a second, 0 for no limit.
	Bitrate int
	// CNAME is the canonical name that the session's tracks share (RFC 8834 section 4.9).
	CNAME string
}

// A Stream describes a published stream.
type Stream struct {
	Name string
	// Publisher is the session that publishes it.
	Publisher SessionID
	// Tracks are those that the publisher negotiated.
	Tracks []rtp.Track
	// Active holds, for each track, the payload type that the publisher sends now, or -1 before its first packet.
	Active []int
	// Since is when it was published.
	Since time.Time
	// Subscribers is the number of sessions that watch it, without relays.
	Subscribers int
	// Ladder holds the layers of its video track, the lowest first.
	Ladder []Rung
	// SoundOnly is the number of subscribers that are sent none of several layers: their networks carry only sound.
	SoundOnly int
	// Backup is set while the backup publisher has the stream. Standby is set while another publisher stands by. Pulled
	// is set while the stream comes from another server: this one dialled its publisher.
	Backup, Standby, Pulled bool
}

// A Rung is one choice of a video track: a layer.
type Rung struct {
	// RID is the layer's restriction identifier (RFC 8851).
	RID string
	// Rate is in bits a second, of RTP packets with their headers, 0 while the layer is silent.
	Rate uint32
	// Width and Height are those of its pictures in pixels, 0 while unknown.
	Width, Height int
	// Subscribers is the number of sessions that are sent it now.
	Subscribers int
}

// NoRung stands for the rung of a subscriber that is sent none of the ladder, or of which nothing is known yet.
const NoRung = -1

// A View describes what one subscriber is sent.
type View struct {
	// Stream is the zero Stream while nobody publishes.
	Stream Stream
	// Rung is the place in Stream.Ladder of the layer that the subscriber is sent, or NoRung.
	Rung int
	// Cause names why the subscriber is sent that rung, such as "capacity" or "loss". It is empty before the first.
	Cause string
}

// A Session describes a session for operators.
type Session struct {
	ID   SessionID
	Role Role
	// Source and Agent are those of its Offer.
	Source netip.Addr
	Agent  string
	// Opened is when its offer was answered.
	Opened time.Time
	// Connected is set once its handshake is over. Live is set for the publisher that has the stream.
	Connected, Live bool
	// Relay is that of its Offer.
	Relay bool
	// Rung and RID are the layer that a subscriber of several is sent, and Cause why; NoRung and empty for others.
	Rung       int
	RID, Cause string
}
