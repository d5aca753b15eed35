package secret

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"ringcast/signaling/access"
)

// Least is the least length of a cluster's secret, in bytes.
const Least = 32

// ErrShort is the error of a secret that has fewer bytes than Least.
var ErrShort = fmt.Errorf("at least %d characters expected", Least)

// version is that of all tokens and messages that this build writes.
const version = 1

// A label names one of the keys that a secret makes.
type label uint8

const (
	route label = iota
	node
	redirect
	directory
	numLabels
)

var labels = [numLabels]string{"route", "node", "redirect", "directory"}

// A ring holds the keys of one secret.
type ring [numLabels][sha256.Size]byte

func newRing(from access.Secret) (*ring, error) {
	if len(from) < Least {
		return nil, ErrShort
	}
	var r ring
	for l, name := range labels {
		key, err := hkdf.Key(sha256.New, []byte(from), nil, name, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("derive key %s: %w", name, err)
		}
		copy(r[l][:], key)
	}
	return &r, nil
}

// Keys are those of the cluster's secret, and of the next one while it changes. They sign with the former, and accept
// both.
type Keys struct{ accepted []*ring }

// New makes the keys of a secret. next is empty unless the secret is about to change, or has just changed. It fails
// with ErrShort.
func New(current, next access.Secret) (*Keys, error) {
	k := &Keys{}
	for _, s := range []access.Secret{current, next} {
		if s == "" && len(k.accepted) > 0 {
			continue
		}
		r, err := newRing(s)
		if err != nil {
			return nil, err
		}
		k.accepted = append(k.accepted, r)
	}
	return k, nil
}

// A Login is a user name and a password for routes between NATS servers.
type Login struct{ User, Password string }

// Logins are those that a route may show. The first is our own.
func (k *Keys) Logins() []Login {
	const userLen = 8
	var all []Login
	for _, r := range k.accepted {
		key := r[route]
		all = append(all, Login{encoding.EncodeToString(key[:userLen]), encoding.EncodeToString(key[userLen:])})
	}
	return all
}

var encoding = base64.RawURLEncoding

// sum is the HMAC of parts under one key.
func (r *ring) sum(l label, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, r[l][:])
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// sign returns the HMAC of parts.
func (k *Keys) sign(l label, parts ...[]byte) []byte { return k.accepted[0].sum(l, parts...) }

// signed reports whether the holder of a secret has signed parts.
func (k *Keys) signed(l label, mac []byte, parts ...[]byte) bool {
	good := false
	for _, r := range k.accepted {
		good = hmac.Equal(mac, r.sum(l, parts...)) || good
	}
	return good
}

// maxToken bounds the text of a token, in bytes.
const maxToken = 4 << 10

// seal makes a token of a payload.
func (k *Keys) seal(l label, payload []byte) string {
	return encoding.EncodeToString(payload) + "." + encoding.EncodeToString(k.sign(l, payload))
}

// open returns the payload of a token that the holder of a secret made. It fails with a Fault.
func (k *Keys) open(l label, text string) ([]byte, error) {
	if text == "" {
		return nil, Missing
	}
	first, second, ok := strings.Cut(text, ".")
	if !ok || len(text) > maxToken {
		return nil, Malformed
	}
	payload, err := encoding.DecodeString(first)
	mac, errMAC := encoding.DecodeString(second)
	if errors.Join(err, errMAC) != nil {
		return nil, Malformed
	}
	if !k.signed(l, mac, payload) {
		return nil, Forged
	}
	return payload, nil
}

// A Nonce makes a token another one than all others.
type Nonce [16]byte

// draw fills a nonce that is zero.
func (n *Nonce) draw() {
	if *n == (Nonce{}) {
		_, _ = rand.Read(n[:]) // never fails
	}
}

// A Subject is a name for a client's token that gives away nothing of it. All nodes give a token the same name.
func (k *Keys) Subject(token string) string {
	if token == "" {
		return ""
	}
	const subjectLen = 12
	return encoding.EncodeToString(k.sign(redirect, []byte("subject"), []byte(token))[:subjectLen])
}
