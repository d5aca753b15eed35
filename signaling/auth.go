package signaling

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"ringcast/engine/api"
)

// A token is the secret that a bearer must show. The zero value is none, and nothing matches it.
type token struct {
	set  bool
	hash [sha256.Size]byte
}

func newToken(text string) token {
	return token{set: text != "", hash: sha256.Sum256([]byte(text))}
}

// is compares in a time that gives away nothing of the token, not even its length.
func (t token) is(text string) bool {
	hash := sha256.Sum256([]byte(text))
	return t.set && subtle.ConstantTimeCompare(t.hash[:], hash[:]) == 1
}

// tokens guard the two roles.
type tokens struct{ publish, view token }

// of is the token of a role, and that of the other one.
func (t *tokens) of(role api.Role) (own, other token) {
	if role == api.Subscriber {
		return t.view, t.publish
	}
	return t.publish, t.view
}

// keySeparator stands between a stream key and a token in one bearer. No stream's name contains it.
const keySeparator = ":"

// authorize lets a request to a resource of a role pass if its bearer is the role's token. A client
// that shows {key}:{token} on a fixed URL shows the same on the session's, so that form passes too.
func (s *Server) authorize(r *request, role api.Role) error {
	if own, _ := s.tokens.of(role); !own.set {
		return nil
	}
	text, ok := bearer(r)
	if !ok {
		return unauthorized("", "no Authorization: Bearer; expected the "+tokenName(role))
	}
	_, behindKey, _ := strings.Cut(text, keySeparator)
	return s.admit(role, text, behindKey)
}

// admit is nil if any of the texts is the role's token.
func (s *Server) admit(role api.Role, texts ...string) error {
	own, other := s.tokens.of(role)
	known := false
	for _, text := range texts {
		if own.is(text) {
			return nil
		}
		known = known || other.is(text)
	}
	if known {
		return &problem{
			status: http.StatusForbidden, kind: "forbidden", title: "Not allowed",
			detail:    "the bearer token is valid, but not for this; expected the " + tokenName(role),
			challenge: challenge("insufficient_scope"),
		}
	}
	return unauthorized("invalid_token", "the bearer token is wrong; expected the "+tokenName(role))
}

// streamKey is the stream that the bearer of a request to a fixed URL names: {key}, and where the role
// has a token, {key}:{token}.
func (s *Server) streamKey(r *request, role api.Role) (string, error) {
	own, _ := s.tokens.of(role)
	form := "the stream key"
	if own.set {
		form = "the stream key, a colon and the " + tokenName(role)
	}
	form = "expected Authorization: Bearer with " + form + ", or " + r.url(role, anyStream)
	key, ok := bearer(r)
	if !ok {
		return "", unauthorized("", "neither the path nor a bearer names a stream; "+form)
	}
	if own.set {
		var text string
		key, text, _ = strings.Cut(key, keySeparator)
		if err := s.admit(role, text); err != nil {
			return "", err
		}
	}
	// Text that is no name may be a token that came without its key, so nothing repeats it.
	if !validStream(key) {
		return "", unauthorized("invalid_token", "the bearer's key cannot name a stream; "+form)
	}
	return strings.Clone(key), nil // not a slice of the header
}

// bearer is the token of RFC 6750 section 2.1; ok is false without one, or with several.
func bearer(r *request) (text string, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimSpace(text)
	return text, text != "" && strings.EqualFold(scheme, "Bearer")
}

func tokenName(role api.Role) string {
	if role == api.Subscriber {
		return "view token"
	}
	return "publish token"
}

// unauthorized is a 401; a request that showed nothing is told no error (RFC 6750 section 3.1).
func unauthorized(reason, detail string) *problem {
	return &problem{
		status: http.StatusUnauthorized, kind: "unauthorized", title: "Not authorized",
		detail: detail, challenge: challenge(reason),
	}
}

func challenge(reason string) string {
	text := `Bearer realm="ringcast"`
	if reason != "" {
		text += `, error="` + reason + `"`
	}
	return text
}
