package dtls

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/srtp"
)

// Errors of Start.
var (
	// ErrTooMany: as many handshakes are in flight as may be; try again later.
	ErrTooMany = errors.New("too many DTLS handshakes in flight")
	// ErrTooManyFromSource is the ErrTooMany of a single source address.
	ErrTooManyFromSource = fmt.Errorf("%w from this source", ErrTooMany)
	// ErrNoFingerprint: none of the peer's fingerprints is of an algorithm that we trust.
	ErrNoFingerprint = errors.New("no usable certificate fingerprint (sha-256, sha-384 or sha-512)")
	// ErrExists: the session is known already.
	ErrExists = errors.New("the DTLS session exists already")
	// ErrShutdown: Shutdown was called.
	ErrShutdown = errors.New("the DTLS endpoint is shut down")
)

// Errors of a Failed event, beside those of the protocol itself.
var (
	// ErrTimeout: the handshake did not end within Config.Timeout.
	ErrTimeout = errors.New("the DTLS handshake timed out")
	// ErrNoProfile: the peer accepted none of our SRTP protection profiles.
	ErrNoProfile = errors.New("no SRTP protection profile in common")
)

// errForgotten is the cause that ends a handshake in flight when its session is closed.
var errForgotten = errors.New("the DTLS session was closed")

// Config configures an Endpoint. Start from DefaultConfig.
type Config struct {
	Log *slog.Logger
	// MaxHandshakes is the number of handshakes that may be in flight.
	MaxHandshakes int
	// MaxPerSource is the number of handshakes that may come from one IPv4 address or IPv6 /64.
	MaxPerSource int
	// Concurrency is the number of handshakes that may compute at the same time.
	Concurrency int
	// Timeout is the longest time of a handshake.
	Timeout time.Duration
	// Rand is for the certificate's serial number. Since Go 1.26 crypto/ecdsa always takes its own randomness for keys
	// and signatures.
	Rand io.Reader
}

// DefaultConfig returns the defaults. Handshakes may compute on half of the processors, but on at least one.
func DefaultConfig() Config {
	return Config{
		Log: slog.New(slog.DiscardHandler), MaxHandshakes: 2000, MaxPerSource: 256,
		Concurrency: max(1, runtime.NumCPU()/2), Timeout: 10 * time.Second, Rand: rand.Reader,
	}
}

func (c *Config) validate() error {
	if c.MaxHandshakes < 1 || c.MaxPerSource < 1 || c.Concurrency < 1 || c.Timeout < 1 {
		return errors.New("dtls: a limit in the configuration is not positive")
	}
	return nil
}

// Params describe one handshake.
type Params struct {
	ID api.SessionID
	// Source is the address that ICE validated; it only counts towards MaxPerSource.
	Source netip.Addr
	// Client is set when we send the ClientHello, because the peer is passive.
	Client bool
	// Fingerprints are the certificates that the peer may show; one match suffices.
	Fingerprints []api.Fingerprint
}

// EventKind distinguishes Events.
type EventKind uint8

const (
	// Send: Datagram is to be sent to the peer.
	Send EventKind = iota + 1
	// Keyed: the handshake is complete and Keys are out.
	Keyed
	// Failed: the handshake failed for Err, and the session is forgotten.
	Failed
	// Closed: the peer ended the session with an authenticated close_notify or fatal alert. Close
	// is still to be called.
	Closed
)

func (k EventKind) String() string {
	switch k {
	case Send:
		return "send"
	case Keyed:
		return "keyed"
	case Failed:
		return "failed"
	case Closed:
		return "closed"
	}
	return "unknown"
}

// Event is a report of an Endpoint to the controller about a session.
type Event struct {
	ID       api.SessionID
	Kind     EventKind
	Datagram []byte
	Keys     *srtp.Keys
	Err      error
}

// Endpoint runs handshakes and keeps the sessions that they leave. Start comes first for each session, then Receive for
// every datagram of it. Confirm follows once media was seen, Close at the end. After a Failed event Close does nothing.
type Endpoint struct {
	cfg         Config
	emit        func(Event)
	certificate tls.Certificate
	fingerprint string
	// slots holds one element for each handshake that computes.
	slots chan struct{}
	// running counts the goroutines of handshakes.
	running sync.WaitGroup
	counts  counters

	mu       sync.Mutex // guards the fields below; never held while emitting
	sessions map[api.SessionID]*session
	sources  map[netip.Prefix]int // handshakes in flight
	inFlight int
	shutdown bool
}

// New makes an Endpoint and its certificate. It calls emit for every event; see the package's notes
// on concurrency.
func New(cfg Config, emit func(Event)) (*Endpoint, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	certificate, err := newCertificate(cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("make the DTLS certificate: %w", err)
	}
	return &Endpoint{
		cfg:         cfg,
		emit:        emit,
		certificate: certificate,
		fingerprint: fingerprintOf(certificate.Certificate[0]),
		slots:       make(chan struct{}, cfg.Concurrency),
		sessions:    make(map[api.SessionID]*session),
		sources:     make(map[netip.Prefix]int),
	}, nil
}

// Fingerprint returns that of our certificate as SDP writes it (RFC 8122 section 5).
func (e *Endpoint) Fingerprint() (algorithm, value string) {
	return "sha-256", e.fingerprint
}

// Start begins the handshake of a session. As client it sends the first flight; as server it waits
// for the peer's. Config.Timeout counts from here.
func (e *Endpoint) Start(p Params) error {
	digests := usable(p.Fingerprints)
	if len(digests) == 0 {
		return ErrNoFingerprint
	}
	source := sourceOf(p.Source)

	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.shutdown:
		return ErrShutdown
	case e.sessions[p.ID] != nil:
		return ErrExists
	case e.inFlight >= e.cfg.MaxHandshakes:
		e.counts.refused.Add(1)
		return ErrTooMany
	case e.sources[source] >= e.cfg.MaxPerSource:
		e.counts.refusedSource.Add(1)
		return ErrTooManyFromSource
	}
	h := newHandshake(e, p, digests, source)
	e.sessions[p.ID] = h.session
	e.inFlight++
	e.sources[source]++
	e.counts.started.Add(1)
	e.running.Add(1)
	go h.run()
	return nil
}

// Receive takes in a datagram of DTLS records and owns it from then on. Datagrams of unknown
// sessions are ignored.
func (e *Endpoint) Receive(id api.SessionID, datagram []byte) {
	e.mu.Lock()
	s := e.sessions[id]
	e.mu.Unlock()
	if s == nil {
		e.counts.dropped[DropUnknownSession].Add(1)
		return
	}
	s.receive(e, datagram)
}

// Confirm notes that the peer's first authenticated SRTP or SRTCP was seen. It proves that the peer has our last
// flight, which is freed.
func (e *Endpoint) Confirm(id api.SessionID) {
	e.mu.Lock()
	s := e.sessions[id]
	e.mu.Unlock()
	if s != nil {
		s.confirm()
	}
}

// Close forgets a session. If the session was keyed, Close returns our close_notify, the datagram to send to the peer.
// Else the result is nil, and a handshake in flight ends without an event.
func (e *Endpoint) Close(id api.SessionID) (closeNotify []byte) {
	e.mu.Lock()
	s := e.sessions[id]
	delete(e.sessions, id)
	e.mu.Unlock()
	if s == nil {
		return nil
	}
	return s.close(errForgotten)
}

// Shutdown ends the handshakes in flight, without events, and waits for their goroutines or ctx.
// Start fails from then on. Sessions that are keyed stay until Close.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	e.shutdown = true
	var pending []*session
	for id, s := range e.sessions {
		if !s.isKeyed() {
			pending = append(pending, s)
			delete(e.sessions, id)
		}
	}
	e.mu.Unlock()
	for _, s := range pending {
		s.close(ErrShutdown)
	}

	ended := make(chan struct{})
	go func() {
		e.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for DTLS handshakes to end: %w", ctx.Err())
	}
}

// landed takes a handshake that is over out of the accounts; unless it was keyed, its session goes
// too.
func (e *Endpoint) landed(h *handshake, keyed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inFlight--
	if e.sources[h.source]--; e.sources[h.source] == 0 {
		delete(e.sources, h.source)
	}
	if !keyed && e.sessions[h.session.id] == h.session {
		delete(e.sessions, h.session.id)
	}
}

// sourceOf returns the part of an address that one party is assumed to hold.
func sourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 64
	if a.Is4() {
		bits = 32
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of those share one account
	}
	return prefix
}
