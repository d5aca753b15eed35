package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
)

// KeySeparator stands between a stream key and a token in one bearer. No stream's name contains it.
const KeySeparator = ":"

// A Digest stands for a token that is only compared.
type Digest [sha256.Size]byte

// DigestOf is the digest of a token.
func DigestOf(token string) Digest { return sha256.Sum256([]byte(token)) }

// Is reports whether d is the digest of a token, with or without a stream key in front. The time that it takes gives
// away nothing of the token, not even its length.
func (d *Digest) Is(token string) bool {
	whole := DigestOf(token)
	same := subtle.ConstantTimeCompare(d[:], whole[:])
	if _, afterKey, ok := strings.Cut(token, KeySeparator); ok {
		rest := DigestOf(afterKey)
		same |= subtle.ConstantTimeCompare(d[:], rest[:])
	}
	return same == 1
}

// Shared is the gate of a role whose members all know one token. They show it in a header only: it never ends, and
// proxies log URLs.
type Shared struct{ own, other *Digest }

// NewShared is the gate of one token. other is the other role's, or empty.
func NewShared(own, other Secret) *Shared {
	digest := DigestOf(string(own))
	s := &Shared{own: &digest}
	if other != "" {
		digest := DigestOf(string(other))
		s.other = &digest
	}
	return s
}

// Name implements Gate.
func (*Shared) Name() string { return "shared" }

// QueryTokens implements Gate.
func (*Shared) QueryTokens() bool { return false }

// Admit implements Gate. A token of the other role is known, but not enough.
func (s *Shared) Admit(_ context.Context, r Request) (Grant, error) {
	switch name := TokenName(r.Role); {
	case r.Token == "":
		return Grant{}, refuse(NoToken, "no Authorization: Bearer; expected the %s", name)
	case s.own.Is(r.Token):
		return Grant{}, nil
	case s.other != nil && s.other.Is(r.Token):
		return Grant{}, refuse(OtherRole, "the bearer token is valid, but not for this; expected the %s", name)
	default:
		return Grant{}, refuse(WrongToken, "the bearer token is wrong; expected the %s", name)
	}
}
