package dtls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	_ "crypto/sha256" // for Fingerprint
	_ "crypto/sha512"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"ringcast/engine/api"
)

// Our certificate is valid at any time: the clock may be wrong at start, and the process may run for years.
// Peers compare its fingerprint, but some TLS libraries look at the dates as well. The end is that of a
// certificate without one (RFC 5280 section 4.1.2.5).
var (
	validFrom  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	validUntil = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// newCertificate makes a self-signed certificate on P-256.
func newCertificate(random io.Reader) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("generate a key: %w", err)
	}
	serial := make([]byte, 16)
	if _, err := io.ReadFull(random, serial); err != nil {
		return tls.Certificate{}, fmt.Errorf("draw a serial number: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of the same length always
	template := x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		Subject:      pkix.Name{CommonName: "ringcast"},
		NotBefore:    validFrom,
		NotAfter:     validUntil,
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(random, &template, &template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign it: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("parse it: %w", err)
	}
	// Without its Leaf pion parses the certificate in every handshake.
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// digest is a Fingerprint made ready to compare.
type digest struct {
	hash crypto.Hash
	sum  []byte
}

// trusted are the algorithms that a fingerprint may use. SHA-1 and MD5 are no longer among them
// (RFC 8122 section 5).
var trusted = map[string]crypto.Hash{
	"sha-256": crypto.SHA256,
	"sha-384": crypto.SHA384,
	"sha-512": crypto.SHA512,
}

// usable returns those of the fingerprints that are well-formed and of a trusted algorithm.
func usable(fingerprints []api.Fingerprint) []digest {
	var digests []digest
	for _, f := range fingerprints {
		hash, ok := trusted[strings.ToLower(f.Algorithm)]
		if !ok || len(f.Value) != 3*hash.Size()-1 {
			continue
		}
		sum, err := hex.DecodeString(strings.ReplaceAll(f.Value, ":", ""))
		if err != nil || len(sum) != hash.Size() {
			continue
		}
		digests = append(digests, digest{hash, sum})
	}
	return digests
}

// fingerprintOf writes the SHA-256 fingerprint of a certificate.
func fingerprintOf(der []byte) string {
	h := crypto.SHA256.New()
	h.Write(der)
	var b strings.Builder
	for i, octet := range h.Sum(nil) {
		if i > 0 {
			b.WriteByte(':')
		}
		fmt.Fprintf(&b, "%02X", octet)
	}
	return b.String()
}

// FingerprintError means that the peer's certificate is none of those that its SDP announced: either its signalling is
// wrong or somebody sits between us.
type FingerprintError struct {
	// Got is the SHA-256 fingerprint of the certificate that the peer showed, or empty.
	Got string
}

func (e *FingerprintError) Error() string {
	if e.Got == "" {
		return "the peer showed no certificate"
	}
	return "the peer's certificate has fingerprint sha-256 " + e.Got + ", which its SDP does not announce"
}

// checkFingerprint compares the peer's leaf certificate with the fingerprints of its SDP.
func checkFingerprint(digests []digest, certificates [][]byte) error {
	if len(certificates) == 0 {
		return &FingerprintError{}
	}
	for _, d := range digests {
		h := d.hash.New()
		h.Write(certificates[0])
		if subtle.ConstantTimeCompare(h.Sum(nil), d.sum) == 1 {
			return nil
		}
	}
	return &FingerprintError{Got: fingerprintOf(certificates[0])}
}
