package engine

import (
	"errors"
	"net/netip"
	"time"

	"ringcast/engine/bus"
	"ringcast/engine/dtls"
	"ringcast/engine/rtp"
)

// What opening a session can fail with; signaling turns each into its HTTP status.
var (
	// ErrNoPublisher: nobody publishes the stream that was asked for.
	ErrNoPublisher = errors.New("the stream has no publisher")
	// ErrStreamTaken: a live publisher holds the stream.
	ErrStreamTaken = errors.New("the stream has a live publisher")
	// ErrFull: a cap on sessions is reached; try again later.
	ErrFull = errors.New("the server is full")
	// ErrBusy: too many sessions are still to connect; try again soon.
	ErrBusy = errors.New("too many sessions are still to connect")
	// ErrNoAddress: the machine has no address that peers could reach; it may have one soon.
	ErrNoAddress = errors.New("the server has no address")
	// ErrNoSession: the session has ended, or never was.
	ErrNoSession = errors.New("no such session")
	// ErrClosing: the server is shutting down.
	ErrClosing = errors.New("the server is shutting down")
)

// A Peer is what negotiation found out about the other side of a new session.
type Peer struct {
	// ICE are the peer's credentials; its candidates are of no use to an ICE-lite server.
	ICE bus.Credentials
	// Fingerprints are the certificates that the peer may show; one match suffices.
	Fingerprints []Fingerprint
	// Passive is set when the peer waits for our ClientHello (it offered setup:passive).
	Passive bool
	// CompoundRTCP is set when the peer did not offer reduced-size RTCP (a=rtcp-rsize) for every media line: what it
	// is sent is compound then (RFC 3550 section 6.1).
	CompoundRTCP bool
	// Tracks are the negotiated media lines. A subscriber's SSRCs are filled in by the engine.
	Tracks []rtp.Track
	// Source is the address that the peer signals from, behind any proxies. The zero Addr is unknown, maybe this machine;
	// the unspecified address stands for hosts elsewhere that a proxy hides. They share one share.
	Source netip.Addr
	// Authorized is set for a publisher that showed the token which the server demands. Config.Reserve
	// keeps room for these.
	Authorized bool
}

// Fingerprint is a certificate's hash as SDP writes it (RFC 8122 section 5).
type Fingerprint = dtls.Fingerprint

// Local is our side of a session that was opened.
type Local struct {
	ID  bus.SessionID
	ICE bus.Credentials
	// Fingerprint is that of the certificate we will show.
	Fingerprint Fingerprint
	// Candidates are the addresses that the media port is reached at, the best first.
	Candidates []netip.AddrPort
	// Tracks are the peer's, for a subscriber with the SSRCs that it will be sent.
	Tracks []rtp.Track
	// CNAME is the canonical name shared by the session's tracks.
	CNAME string
}

// Stream is what is known of a published stream.
type Stream struct {
	Name string
	// Tracks are what the publisher negotiated.
	Tracks []rtp.Track
	// Active is, for each track, the payload type that the publisher sends now, or -1 before
	// its first packet.
	Active []int
	// Since is when it was published.
	Since time.Time
	// Subscribers is how many sessions watch it.
	Subscribers int
}
