package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
)

const (
	// maxKeys bounds the keys of one set, and so the work for a token without a key ID.
	maxKeys = 64
	// The sizes of RSA keys, in bits. A longer one would take milliseconds a token.
	leastRSA, mostRSA = 2048, 8192
	// leastSecret is the least length of a shared secret in bytes (RFC 7518 section 3.2).
	leastSecret = 32
)

// A key checks the signatures of tokens by one algorithm.
type key struct {
	// id is the key's name in tokens, or empty.
	id, algorithm string
	public        any
}

// The algorithms that a key of some type may have (RFC 7518 section 3.1). The first is that of a key that names none.
var (
	rsaAlgorithms    = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	curveAlgorithms  = map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
)

// An origin is the place that keys come from.
type origin uint8

const (
	fromFile origin = iota
	// fromURL: keys that we cannot use are for others, and secrets are none.
	fromURL
)

// parseKeys reads a set of keys (RFC 7517), one key of a set, or PEM blocks.
func parseKeys(text []byte, from origin) ([]key, error) {
	trimmed := bytes.TrimSpace(text)
	if !bytes.HasPrefix(trimmed, []byte("{")) {
		if from == fromURL {
			return nil, errors.New("a JSON object with keys expected")
		}
		return parsePEM(trimmed)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(trimmed, &set); err != nil {
		return nil, fmt.Errorf("read a set of keys: %w", err)
	}
	if set.Keys == nil && from == fromFile {
		set.Keys = []json.RawMessage{trimmed}
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys, expected at most %d", len(set.Keys), maxKeys)
	}
	var keys []key
	for i, text := range set.Keys {
		k, err := parseJWK(text, from)
		switch {
		case err == nil:
			keys = append(keys, k)
		case from == fromFile:
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
	}
	if keys == nil {
		return nil, errors.New("no key that can check signatures")
	}
	return keys, nil
}

// parseJWK reads one JSON Web Key.
func parseJWK(text []byte, from origin) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(text, &m); err != nil {
		return key{}, errors.New("not a JSON Web Key")
	}
	// Certificates beside the key are of no use to us.
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	secret := m.KTY == jwkset.KtyOct
	switch {
	case secret && from == fromURL:
		return key{}, errors.New("a secret that everybody can fetch")
	case secret && m.ALG == "":
		return key{}, errors.New("a secret without alg; expected HS256, HS384 or HS512 to be named")
	case !secret && m.D != "":
		return key{}, errors.New("a private key; expected the public one only")
	case m.USE != "" && m.USE != jwkset.UseSig:
		return key{}, errors.New("a key for another use than signatures")
	case len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return key{}, errors.New("a key whose key_ops lacks verify")
	}
	parsed, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, errors.New("not a key of a kind that is known here") // the error may quote a secret
	}
	return newKey(parsed.Key(), m.KID, string(m.ALG))
}

// parsePEM reads public keys and certificates.
func parsePEM(text []byte) ([]key, error) {
	var keys []key
	for len(keys) <= maxKeys {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		var public any
		var err error
		switch text = rest; {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, errors.New("a private key; expected the public one only")
		case block.Type == "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				public = c.PublicKey
			}
		case block.Type == "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		default:
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("read a block %q of PEM: %w", block.Type, err)
		}
		k, err := newKey(public, "", "")
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(bytes.TrimSpace(text)) > 0 || keys == nil || len(keys) > maxKeys {
		return nil, fmt.Errorf("expected 1 to %d blocks of PEM, or JSON Web Keys", maxKeys)
	}
	return keys, nil
}

// newKey gives a key its algorithm: the one that it names, or else that of its type.
func newKey(public any, id, algorithm string) (key, error) {
	var fitting []string
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < leastRSA || bits > mostRSA {
			return key{}, fmt.Errorf("an RSA key of %d bits, expected %d to %d", bits, leastRSA, mostRSA)
		}
		fitting = rsaAlgorithms
	case *ecdsa.PublicKey:
		if a, ok := curveAlgorithms[p.Curve.Params().Name]; ok {
			fitting = []string{a}
		}
	case ed25519.PublicKey:
		fitting = []string{"EdDSA"}
	case []byte:
		if len(p) < leastSecret {
			return key{}, fmt.Errorf("a secret of %d bytes, expected at least %d", len(p), leastSecret)
		}
		fitting = secretAlgorithms
	}
	if fitting == nil {
		return key{}, fmt.Errorf("a key of type %T, expected one for RS, PS, ES, EdDSA or HS signatures", public)
	}
	if algorithm == "" {
		algorithm = fitting[0]
	}
	if !slices.Contains(fitting, algorithm) {
		return key{}, fmt.Errorf("a key with another alg than one of %s", strings.Join(fitting, ", "))
	}
	return key{id, algorithm, public}, nil
}
