package session

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/elliptic"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/logging"

	"ringcast/engine/api"
	"ringcast/engine/srtp"
	"ringcast/signaling/client"
	"ringcast/testenv/records"
)

// flightInterval is the time after which an unanswered flight is sent again. Browsers begin at 50 ms, but a generator
// on the server's machine must not add load when replies are late already.
const flightInterval = 200 * time.Millisecond

// silent is pion's logger at a level without messages: handshakes return their errors.
var silent = &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled, Writer: io.Discard}

// A Certificate is our certificate in DTLS.
type Certificate struct {
	pair tls.Certificate
	// Fingerprint is the certificate's SHA-256 hash as SDP writes it.
	Fingerprint string
}

// NewCertificate makes a self-signed ECDSA P-256 certificate. All sessions of a process may share it.
func NewCertificate() (*Certificate, error) {
	pair, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	sum := sha256.Sum256(pair.Certificate[0])
	return &Certificate{pair: pair, Fingerprint: colons(sum[:])}, nil
}

func colons(sum []byte) string {
	hex := make([]string, len(sum))
	for i, b := range sum {
		hex[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(hex, ":")
}

// Handshake runs DTLS over a network and returns the SRTP keys. It is the client or, if the answer demands it, the
// server. It closes the network and leaves no goroutines.
func Handshake(ctx context.Context, network *records.Conn, c *Certificate, a *client.Answer) (*srtp.Keys, error) {
	defer network.Close()
	options := []dtls.Option{
		dtls.WithCertificates(c.pair),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80),
		dtls.WithEllipticCurves(elliptic.X25519, elliptic.P256),
		dtls.WithFlightInterval(flightInterval),
		dtls.WithLoggerFactory(silent),
		// Nobody signs these certificates; the fingerprints are verified.
		dtls.WithInsecureSkipVerify(true),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			return checkFingerprint(a.Fingerprints, raw)
		}),
	}
	conn, err := dial(network, options, a.Server)
	if err != nil {
		return nil, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // nobody hears a last alert
		return nil, err
	}
	state, ok := conn.ConnectionState()
	profile, chosen := conn.SelectedSRTPProtectionProfile()
	if !ok || !chosen {
		return nil, errors.New("the server chose no SRTP profile")
	}
	return export(&state, srtp.Profile(profile), a.Server)
}

func dial(network *records.Conn, options []dtls.Option, server bool) (*dtls.Conn, error) {
	if server {
		all := []dtls.ServerOption{
			dtls.WithClientAuth(dtls.RequireAnyClientCert),
			dtls.WithInsecureSkipVerifyHello(true),
		}
		for _, o := range options {
			all = append(all, o)
		}
		return dtls.ServerWithOptions(network, network.LocalAddr(), all...)
	}
	var all []dtls.ClientOption
	for _, o := range options {
		all = append(all, o)
	}
	return dtls.ClientWithOptions(network, network.LocalAddr(), all...)
}

// export derives the SRTP master keys (RFC 5764 section 4.2).
func export(state *dtls.State, profile srtp.Profile, server bool) (*srtp.Keys, error) {
	k, s := profile.KeyLen(), profile.SaltLen()
	b, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(k+s))
	if err != nil {
		return nil, fmt.Errorf("export the SRTP keys: %w", err)
	}
	keys := &srtp.Keys{
		Profile:  profile,
		LocalKey: b[:k], RemoteKey: b[k : 2*k],
		LocalSalt: b[2*k : 2*k+s], RemoteSalt: b[2*k+s:],
	}
	if server {
		keys.LocalKey, keys.RemoteKey = keys.RemoteKey, keys.LocalKey
		keys.LocalSalt, keys.RemoteSalt = keys.RemoteSalt, keys.LocalSalt
	}
	return keys, nil
}

func checkFingerprint(wanted []api.Fingerprint, raw [][]byte) error {
	if len(raw) == 0 {
		return errors.New("the server showed no certificate")
	}
	for _, f := range wanted {
		var sum []byte
		switch f.Algorithm {
		case "sha-256":
			x := sha256.Sum256(raw[0])
			sum = x[:]
		case "sha-384":
			x := sha512.Sum384(raw[0])
			sum = x[:]
		case "sha-512":
			x := sha512.Sum512(raw[0])
			sum = x[:]
		default:
			continue
		}
		if strings.EqualFold(colons(sum), f.Value) {
			return nil
		}
	}
	return errors.New("the certificate matches no fingerprint of the answer")
}
