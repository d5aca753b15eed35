package dtls

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/dtls/v3/pkg/crypto/prf"

	"ringcast/engine/srtp"
)

const (
	flightInterval = 150 * time.Millisecond

	// maxTransmission is the largest datagram that we send. pion counts a fragment's content
	// against its own limit, to which headers and sealing come on top.
	maxTransmission = 1200
	pionMTU         = maxTransmission - recordHeader - handshakeHeader - nonceLen - tagLen

	// maxQueued bounds the bytes of a peer's datagrams that wait for pion, counting queueOverhead for each. Beyond it,
	// the newest is dropped, which the peer will repeat.
	maxQueued     = 8 << 10
	queueOverhead = 64
)

// profiles are the SRTP protection profiles in our order, which is the one that counts where we are
// server.
var profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

// A handshake is one in flight: pion's network connection on one side, the Endpoint on the other.
// pion reads from one goroutine and writes from another.
type handshake struct {
	endpoint *Endpoint
	session  *session
	source   netip.Prefix
	client   bool
	digests  []digest
	started  time.Time
	term     term
	gate     gate
	// secrets belong to pion's goroutine until its handshake is complete, then to run's.
	secrets secrets

	mu       sync.Mutex // guards the fields below
	readable sync.Cond
	sieve    sieve
	inbox    inbox
	// reading is set while pion's reader works on a datagram, inside the gate.
	reading bool
	// expired is the read deadline, which pion moves into the past to wake its reader.
	expired bool
	// final is set when a server's last flight is out: all that pion could still read is not
	// for it.
	final bool
	// detached is set when pion sees no more of the network, nor the network of pion.
	detached    bool
	lastFlight  []byte
	closeNotify []byte
}

// An inbox holds datagrams until pion reads them.
type inbox struct {
	waiting [][]byte
	size    int    // bytes in waiting, with overhead
	last    []byte // the last datagram that was taken
}

// put adds a datagram, and reports false if there is no room.
func (b *inbox) put(datagram []byte) bool {
	size := len(datagram) + queueOverhead
	if b.size+size > maxQueued {
		return false
	}
	if cap(datagram) > size {
		datagram = bytes.Clone(datagram) // do not hold a large buffer for a small part of it
	}
	b.waiting = append(b.waiting, datagram)
	b.size += size
	return true
}

// take returns the oldest datagram, of at least one.
func (b *inbox) take() []byte {
	b.last = b.waiting[0]
	b.waiting[0] = nil
	b.waiting = b.waiting[1:]
	b.size -= len(b.last) + queueOverhead
	return b.last
}

// A term is the time that a handshake has.
type term struct {
	ctx  context.Context
	end  context.CancelCauseFunc // ends the term early
	stop context.CancelFunc      // of the deadline's timer
}

func newTerm(timeout time.Duration) (t term) {
	ctx, end := context.WithCancelCause(context.Background())
	t.end = end
	t.ctx, t.stop = context.WithTimeoutCause(ctx, timeout, ErrTimeout)
	return t
}

// release ends the term and frees its timer.
func (t *term) release() {
	t.stop()
	t.end(nil)
}

func newHandshake(e *Endpoint, p Params, digests []digest, source netip.Prefix) *handshake {
	h := &handshake{
		endpoint: e,
		source:   source,
		client:   p.Client,
		digests:  digests,
		started:  time.Now(),
		sieve:    newSieve(!p.Client),
	}
	h.session = &session{id: p.ID, hs: h}
	h.readable.L = &h.mu
	h.gate.slots = e.slots
	h.term = newTerm(e.cfg.Timeout)
	return h
}

// run is the goroutine of a handshake.
func (h *handshake) run() {
	e, s := h.endpoint, h.session
	defer e.running.Done()
	keys, err := h.shake()
	h.term.release()
	h.endRead()

	if err != nil {
		s.mu.Lock()
		s.hs = nil
		s.mu.Unlock()
		e.landed(h, false)
		if s.isClosed() {
			e.counts.cancelled.Add(1)
			return
		}
		e.counts.failed[classify(err)].Add(1)
		e.cfg.Log.Debug("DTLS handshake failed", "session", s.id, "error", err)
		e.emit(Event{ID: s.id, Kind: Failed, Err: err})
		return
	}

	e.counts.complete(time.Since(h.started))
	e.landed(h, true)
	if !s.isClosed() {
		e.emit(Event{ID: s.id, Kind: Keyed, Keys: keys})
	}

	// Only now may the session see datagrams, or Closed could come before Keyed.
	s.mu.Lock()
	s.hs = nil
	s.mu.Unlock()
	h.mu.Lock()
	last, waiting := h.inbox.last, h.inbox.waiting
	h.mu.Unlock()
	if h.client {
		// The server may say good-bye right after its last flight, and then pion's reader may have taken it. Where we
		// are server, reading ended with our last flight.
		s.receive(e, last)
	}
	for _, datagram := range waiting {
		s.receive(e, datagram)
	}
}

// shake takes pion through the handshake and the session out of it.
func (h *handshake) shake() (*srtp.Keys, error) {
	conn, err := h.dial()
	if err != nil {
		return nil, fmt.Errorf("set up DTLS: %w", err)
	}
	err = conn.HandshakeContext(h.term.ctx)
	h.detach()
	if err != nil {
		if h.term.ctx.Err() != nil {
			err = context.Cause(h.term.ctx)
			if h.alert() >= 0 {
				err = fmt.Errorf("%w; the peer's last plaintext alert was %d", err, h.alert())
			}
		}
		_ = conn.Close()
		return nil, err
	}
	h.term.end(nil) // pion's reader may be waiting for a slot, and Close waits for it
	state, ok := conn.ConnectionState()
	profile, haveProfile := conn.SelectedSRTPProtectionProfile()
	_ = conn.Close() // seals close_notify, which WriteTo keeps
	if !ok {
		return nil, errors.New("the DTLS connection has no state")
	}
	if !haveProfile {
		return nil, ErrNoProfile
	}
	keys, err := h.export(&state, srtp.Profile(profile))
	if err != nil {
		return nil, err
	}
	if h.client {
		if err := h.secrets.read(&state); err != nil {
			return nil, err
		}
	}
	return keys, h.settle()
}

// dial makes pion's connection on h.
func (h *handshake) dial() (*dtls.Conn, error) {
	e := h.endpoint
	certificate := e.certificate
	certificate.PrivateKey = gatedSigner{certificate.PrivateKey.(crypto.Signer), h.term.ctx, &h.gate}
	options := []dtls.Option{
		dtls.WithCertificates(certificate),
		dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithEllipticCurves(elliptic.X25519, elliptic.P256),
		dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithMTU(pionMTU),
		dtls.WithLoggerFactory(silence{}),
		// Nobody signs these certificates: fingerprints are verified instead.
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(func(certificates [][]byte, _ [][]*x509.Certificate) error {
			return checkFingerprint(h.digests, certificates)
		}),
	}
	if h.client {
		client := []dtls.ClientOption{dtls.WithCipherSuites(
			dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			// For servers with an RSA certificate. The record protection is the same.
			dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		)}
		for _, option := range options {
			client = append(client, option)
		}
		return dtls.ClientWithOptions(h, peerAddr{}, client...)
	}
	server := []dtls.ServerOption{
		dtls.WithCipherSuites(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
		// ICE has validated the path already.
		dtls.WithInsecureSkipVerifyHello(true),
		dtls.WithServerHelloMessageHook(h.secrets.greet),
		dtls.WithKeyLogWriter(&h.secrets),
	}
	for _, option := range options {
		server = append(server, option)
	}
	return dtls.ServerWithOptions(h, peerAddr{}, server...)
}

// export derives the SRTP master keys (RFC 5764 section 4.2).
func (h *handshake) export(state *dtls.State, profile srtp.Profile) (*srtp.Keys, error) {
	key, salt := profile.KeyLen(), profile.SaltLen()
	material, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(key+salt))
	if err != nil {
		return nil, fmt.Errorf("export the SRTP keys: %w", err)
	}
	next := func(n int) (part []byte) {
		part, material = material[:n:n], material[n:]
		return part
	}
	clientKey, serverKey, clientSalt, serverSalt := next(key), next(key), next(salt), next(salt)
	keys := &srtp.Keys{
		Profile:  profile,
		LocalKey: serverKey, LocalSalt: serverSalt,
		RemoteKey: clientKey, RemoteSalt: clientSalt,
	}
	if h.client {
		keys.LocalKey, keys.RemoteKey = keys.RemoteKey, keys.LocalKey
		keys.LocalSalt, keys.RemoteSalt = keys.RemoteSalt, keys.LocalSalt
	}
	return keys, nil
}

// settle moves the state that outlives the handshake into the session.
func (h *handshake) settle() error {
	secret := &h.secrets
	if len(secret.master) == 0 {
		return errors.New("the DTLS connection has no master secret")
	}
	keys, err := prf.GenerateEncryptionKeys(secret.master, secret.client[:], secret.server[:],
		0, keyLen, saltLen, sha256.New)
	if err != nil {
		return fmt.Errorf("derive the record keys: %w", err)
	}
	remoteKey, remoteSalt := keys.ClientWriteKey, keys.ClientWriteIV
	if h.client {
		remoteKey, remoteSalt = keys.ServerWriteKey, keys.ServerWriteIV
	}

	h.mu.Lock()
	lastFlight, closeNotify := h.lastFlight, h.closeNotify
	h.mu.Unlock()
	s := h.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errForgotten
	}
	copy(s.remoteKey[:], remoteKey)
	copy(s.remoteSalt[:], remoteSalt)
	s.lastFlight, s.closeNotify = lastFlight, closeNotify
	s.keyed = true
	return nil
}

// classify finds the FailReason of an error.
func classify(err error) FailReason {
	var fingerprint *FingerprintError
	switch {
	case errors.Is(err, ErrTimeout):
		return FailTimeout
	case errors.As(err, &fingerprint):
		return FailFingerprint
	case errors.Is(err, ErrNoProfile):
		return FailProfile
	}
	return FailProtocol
}

// push queues a datagram for pion.
func (h *handshake) push(datagram []byte) {
	dropped := &h.endpoint.counts.dropped
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.detached || h.final {
		// The session will look at it, and needs it whole.
		h.enqueue(datagram)
		return
	}
	kept := h.sieve.sift(datagram, func(r DropReason) { dropped[r].Add(1) })
	if len(kept) > 0 {
		h.enqueue(kept)
	}
}

func (h *handshake) enqueue(datagram []byte) {
	if h.inbox.put(datagram) {
		h.readable.Signal()
	} else {
		h.endpoint.counts.dropped[DropQueue].Add(1)
	}
}

// alert is the description of the peer's last plaintext alert, or -1.
func (h *handshake) alert() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sieve.alert
}

// abort ends the handshake for cause; nothing is emitted any more.
func (h *handshake) abort(cause error) {
	h.term.end(cause)
	h.detach()
}

// detach takes pion off the network: its reads end, and its writes go nowhere.
func (h *handshake) detach() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.detached = true
	h.readable.Broadcast()
}

// endRead leaves the gate if pion's reader is still inside.
func (h *handshake) endRead() {
	h.mu.Lock()
	reading := h.reading
	h.reading = false
	h.mu.Unlock()
	if reading {
		h.gate.leave()
	}
}

// ReadFrom gives pion the next datagram, and with it a compute slot until it asks for another.
func (h *handshake) ReadFrom(p []byte) (int, net.Addr, error) {
	h.endRead()
	datagram, err := h.await()
	if err != nil {
		return 0, nil, err
	}
	if !h.gate.enter(h.term.ctx) {
		return 0, nil, io.EOF
	}
	h.mu.Lock()
	h.reading = true
	h.mu.Unlock()
	return copy(p, datagram), peerAddr{}, nil
}

// await waits for the next datagram.
func (h *handshake) await() ([]byte, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.detached:
			return nil, io.EOF
		case h.expired:
			return nil, os.ErrDeadlineExceeded
		case len(h.inbox.waiting) > 0 && !h.final:
			return h.inbox.take(), nil
		}
		h.readable.Wait()
	}
}

// WriteTo emits a datagram of pion's, and keeps those that the session needs.
func (h *handshake) WriteTo(p []byte, _ net.Addr) (int, error) {
	h.mu.Lock()
	if h.detached {
		if p[0] == typeAlert {
			h.closeNotify = bytes.Clone(p)
		}
		h.mu.Unlock()
		return len(p), nil
	}
	if !h.client && p[0] == typeChangeCipherSpec {
		h.lastFlight = bytes.Clone(p)
		h.final = true
	}
	h.mu.Unlock()
	h.endpoint.emit(Event{ID: h.session.id, Kind: Send, Datagram: bytes.Clone(p)})
	return len(p), nil
}

// Close is called by pion: for our own Close of its connection, or because the peer's alert ended it.
func (h *handshake) Close() error {
	h.detach()
	return nil
}

// SetReadDeadline is called by pion with a time long past, to wake its reader, or with none.
func (h *handshake) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.expired = !t.IsZero()
	h.readable.Broadcast()
	return nil
}

// SetWriteDeadline does nothing: writes never wait.
func (h *handshake) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the read deadline.
func (h *handshake) SetDeadline(t time.Time) error { return h.SetReadDeadline(t) }

// LocalAddr gives an address that says nothing.
func (h *handshake) LocalAddr() net.Addr { return peerAddr{} }

// peerAddr stands for addresses, which pion wants and nobody reads.
type peerAddr struct{}

func (peerAddr) Network() string { return "dtls" }
func (peerAddr) String() string  { return "peer" }
