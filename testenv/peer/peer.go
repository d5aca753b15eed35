// Package peer is a light WebRTC peer for tests: ICE checks, a DTLS client, SRTP, one socket and two goroutines. It
// connects to an Engine without signalling, or to a server by Post. A test can have hundreds of them.
package peer

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/testenv/records"
)

// certificate is shared by all peers of a process: making one takes longer than all else.
var certificate = sync.OnceValues(selfsign.GenerateSelfSigned)

// Config describes a peer.
type Config struct {
	// Profiles are the SRTP profiles that it offers, by default GCM only.
	Profiles []dtls.SRTPProtectionProfile
	// OnRTP and OnRTCP are called with packets that opened, from the peer's own goroutine.
	OnRTP, OnRTCP func(p *Peer, packet []byte)
	// Socket sends and receives for the peer, which closes it: one on another host, for example. By default the peer
	// opens its own.
	Socket *net.UDPConn
}

// A Peer is one side of a session. Offer makes the engine's input, Connect does the rest.
type Peer struct {
	Ours  api.Credentials
	Local api.Local // the server's side, after Connect
	cfg   Config
	cert  tls.Certificate
	conn  *net.UDPConn
	dtls  *dtls.Conn

	checking sync.Mutex   // guards hasher
	hasher   *stun.Hasher // of the checks

	answered chan struct{} // closed at the first success
	answers  chan struct{} // one element after a later success
	once     sync.Once
	records  *records.Conn
	reading  sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	sealer srtp.Sealer
	opener *srtp.Opener
	// Received counts opened RTP packets, Refused those that did not open.
	Received, Refused int
}

// New makes a peer, whose own socket is on the loopback address of the server's family.
func New(cfg Config, server netip.Addr) (*Peer, error) {
	cert, err := certificate()
	if err != nil {
		return nil, err
	}
	if len(cfg.Profiles) == 0 {
		cfg.Profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}
	}
	p := &Peer{
		cfg: cfg, cert: cert, hasher: stun.NewHasher(), answered: make(chan struct{}), answers: make(chan struct{}, 1),
		Ours: api.Credentials{Ufrag: "peer", Password: "thePasswordOfThePeer1234"},
		conn: cfg.Socket,
	}
	p.records = records.New(p.Send)
	if p.conn != nil {
		return p, nil
	}
	local := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	if server.Is6() {
		local.IP = net.IPv6loopback
	}
	if p.conn, err = net.ListenUDP("udp", local); err != nil {
		return nil, err
	}
	return p, nil
}

// Offer is the peer as an engine's input.
func (p *Peer) Offer(tracks ...rtp.Track) api.Offer {
	sum := sha256.Sum256(p.cert.Certificate[0])
	var hex []string
	for _, b := range sum {
		hex = append(hex, fmt.Sprintf("%02X", b))
	}
	return api.Offer{
		ICE:          p.Ours,
		Fingerprints: []api.Fingerprint{{Algorithm: "sha-256", Value: strings.Join(hex, ":")}},
		Tracks:       tracks,
	}
}

// Connect checks, nominates and shakes hands with the server's side of the session.
func (p *Peer) Connect(ctx context.Context, local api.Local) error {
	p.Local = local
	p.reading.Go(p.read)
	for n := 0; ; n++ {
		if err := p.Nominate(); err != nil {
			return err
		}
		select {
		case <-p.answered:
			return p.handshake(ctx)
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no answer to %d checks: %w", n+1, ctx.Err())
		}
	}
}

// Nominate sends one connectivity check that nominates. It is safe from any goroutine once connected.
func (p *Peer) Nominate() error { return p.check(true) }

// Check is Nominate without a nomination.
func (p *Peer) Check() error { return p.check(false) }

func (p *Peer) check(nominate bool) error {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixNano()))
	name := p.Local.ICE.Ufrag + ":" + p.Ours.Ufrag
	p.checking.Lock()
	defer p.checking.Unlock()
	_, err := p.conn.WriteToUDPAddrPort(
		p.hasher.AppendRequest(nil, &id, stun.Request{
			Username: name, Password: p.Local.ICE.Password, Priority: 1, UseCandidate: nominate, TieBreaker: 1,
		}), p.Local.Candidates[0])
	return err
}

// Ping checks until an answer comes. Then the server has handled all that was sent before.
func (p *Peer) Ping(ctx context.Context) error {
	select {
	case <-p.answers: // of an earlier check
	default:
	}
	for {
		if err := p.Check(); err != nil {
			return err
		}
		select {
		case <-p.answers:
			return nil
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no answer to a check: %w", ctx.Err())
		}
	}
}

func (p *Peer) handshake(ctx context.Context) error {
	remote := net.UDPAddrFromAddrPort(p.Local.Candidates[0])
	conn, err := dtls.ClientWithOptions(p.records, remote,
		dtls.WithCertificates(p.cert), dtls.WithInsecureSkipVerify(true),
		dtls.WithSRTPProtectionProfiles(p.cfg.Profiles...),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret))
	if err != nil {
		return err
	}
	p.dtls = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	state, _ := conn.ConnectionState()
	profile, _ := conn.SelectedSRTPProtectionProfile()
	keys := &srtp.Keys{Profile: srtp.Profile(profile)}
	k, s := keys.Profile.KeyLen(), keys.Profile.SaltLen()
	b, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(k+s))
	if err != nil {
		return err
	}
	keys.LocalKey, keys.RemoteKey = b[:k], b[k:2*k]
	keys.LocalSalt, keys.RemoteSalt = b[2*k:2*k+s], b[2*k+s:]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sealer, err = srtp.NewSealer(keys); err != nil {
		return err
	}
	p.opener, err = srtp.NewOpener(keys)
	return err
}

// Profile is the SRTP profile that the handshake chose.
func (p *Peer) Profile() dtls.SRTPProtectionProfile {
	x, _ := p.dtls.SelectedSRTPProtectionProfile()
	return x
}

// Send sends a datagram as it is.
func (p *Peer) Send(b []byte) error {
	_, err := p.conn.WriteToUDPAddrPort(b, p.Local.Candidates[0])
	return err
}

// SealRTP seals a packet whose header is headerLen bytes.
func (p *Peer) SealRTP(packet []byte, headerLen int, index uint64) []byte {
	frame := make([]byte, headerLen, len(packet)+16)
	copy(frame, packet)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sealer.SealRTP(frame, headerLen, packet[headerLen:], index)
}

// SendRTP seals and sends a packet whose header is headerLen bytes.
func (p *Peer) SendRTP(packet []byte, headerLen int, index uint64) error {
	return p.Send(p.SealRTP(packet, headerLen, index))
}

// SealRTCP seals a compound.
func (p *Peer) SealRTCP(compound []byte) []byte {
	b := make([]byte, len(compound), len(compound)+srtp.OverheadRTCP)
	copy(b, compound)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sealer.SealRTCP(b)
}

// SendRTCP seals and sends a compound.
func (p *Peer) SendRTCP(compound []byte) error { return p.Send(p.SealRTCP(compound)) }

// Socket returns the peer's socket.
func (p *Peer) Socket() *net.UDPConn { return p.conn }

// Counts are Received and Refused.
func (p *Peer) Counts() (received, refused int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Received, p.Refused
}

// AwaitClose returns at the server's close_notify, or with ctx's error.
func (p *Peer) AwaitClose(ctx context.Context) error {
	if d, ok := ctx.Deadline(); ok {
		if err := p.dtls.SetReadDeadline(d); err != nil {
			return err
		}
	}
	_, err := p.dtls.Read(make([]byte, 1500))
	if err == nil {
		return errors.New("application data instead of close_notify")
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return nil
}

// Close ends the peer. The server gets only DTLS's own close_notify.
func (p *Peer) Close() {
	if p.dtls != nil {
		_ = p.dtls.Close() // the socket is closed anyway
	}
	_ = p.conn.Close()
	_ = p.records.Close()
	p.reading.Wait()
}

// read sorts datagrams by their first byte (RFC 7983).
func (p *Peer) read() {
	buf := make([]byte, 2048)
	hasher := stun.NewHasher()
	for {
		n, _, err := p.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		b := buf[:n]
		switch {
		case n == 0:
		case b[0] <= 3:
			if r, ok := hasher.VerifyResponse(b, p.Local.ICE.Password); ok && r.Code == 0 {
				p.once.Do(func() { close(p.answered) })
				select {
				case p.answers <- struct{}{}:
				default:
				}
			}
		case b[0] >= 20 && b[0] <= 63:
			p.records.Put(b)
		case b[0] >= 128:
			p.media(b)
		}
	}
}

func (p *Peer) media(b []byte) {
	p.mu.Lock()
	if p.opener == nil {
		p.mu.Unlock()
		return
	}
	if rtp.IsRTCP(b) {
		b, result := p.opener.OpenRTCP(b)
		p.mu.Unlock()
		if result == srtp.OpenOK && p.cfg.OnRTCP != nil {
			p.cfg.OnRTCP(p, b)
		}
		return
	}
	b, result := p.opener.OpenRTP(b)
	if result != srtp.OpenOK {
		p.Refused++
		p.mu.Unlock()
		return
	}
	p.Received++
	p.mu.Unlock()
	if p.cfg.OnRTP != nil {
		p.cfg.OnRTP(p, b)
	}
}
