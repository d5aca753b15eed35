package signaling

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// A Secret is a token that prints as "hidden", so that no log or message shows it.
type Secret = access.Secret

// doors are the gates of the two roles; a nil one is open.
type doors struct{ publish, view access.Gate }

// newDoors gives each role its shared token's gate, or else the gate of both.
func newDoors(cfg *Config) doors {
	d := doors{cfg.Gate, cfg.Gate}
	if cfg.PublishToken != "" {
		d.publish = access.NewShared(cfg.PublishToken, cfg.ViewToken)
	}
	if cfg.ViewToken != "" {
		d.view = access.NewShared(cfg.ViewToken, cfg.PublishToken)
	}
	return d
}

// of is the gate of a role.
func (d *doors) of(role api.Role) access.Gate {
	if role == api.Subscriber {
		return d.view
	}
	return d.publish
}

// An admission is a grant, and the token that it was given for.
type admission struct {
	access.Grant
	token access.Digest
	// guarded is set where the role has a gate.
	guarded bool
}

// authorize lets a request to a resource of a role pass if its token is good for it.
func (s *Server) authorize(r *request, action access.Action, role api.Role, stream string) (admission, error) {
	token, _ := s.credential(r, role)
	return s.admit(r, access.Request{Action: action, Role: role, Stream: stream, Token: token})
}

// admit asks the role's gate. Another node of the cluster needs no token but its own, which was checked before.
func (s *Server) admit(r *request, ask access.Request) (admission, error) {
	gate := s.doors.of(ask.Role)
	if gate == nil {
		return admission{}, nil
	}
	if fromNode(r) {
		return admission{guarded: true}, nil
	}
	ask.Source = r.source
	grant, err := gate.Admit(r.Context(), ask)
	s.metrics.Count(gate, err)
	if err != nil {
		return admission{}, s.refused(r, ask.Role, err)
	}
	return admission{grant, access.DigestOf(ask.Token), true}, nil
}

// authorizeSession finds the session of one URL, and lets the request pass that shows the token which opened it. That
// one is good for as long as the session lives. Another token is admitted as for a new session. By a PATCH it renews
// the session: the new token's end replaces the old.
func (s *Server) authorizeSession(r *request, role api.Role, place, secret string) (*session, error) {
	found, ok := s.sessions.find(role, place, secret)
	stream := place
	switch {
	case ok:
		stream = found.stream
	case place == fixedPlace:
		stream = ""
	}
	if token, _ := s.credential(r, role); ok && (s.doors.of(role) == nil || s.sessions.shows(found, token)) {
		return found, nil
	}
	action := access.Read
	if r.Method == http.MethodPatch {
		action = access.Renew
	}
	admitted, err := s.authorize(r, action, role, stream)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, noSession()
	case action == access.Renew:
		s.sessions.renew(found, &admitted)
	}
	return found, nil
}

// streamKey is the stream that the bearer of a request to a fixed URL names: {key}, and where the role has a gate,
// {key}:{token}.
func (s *Server) streamKey(r *request, role api.Role) (string, admission, error) {
	gate := s.doors.of(role)
	form := "the stream key"
	if gate != nil {
		form = "the stream key, a colon and the " + access.TokenName(role)
	}
	form = "expected Authorization: Bearer with " + form + ", or " + r.url(role, anyStream)
	key, ok := s.credential(r, role)
	if !ok {
		return "", admission{}, unauthorized("", "neither the path nor a bearer names a stream; "+form)
	}
	token := ""
	if gate != nil {
		key, token, _ = strings.Cut(key, access.KeySeparator)
	}
	// Text that is no name may be a token that came without its key, so nothing repeats it.
	if !validStream(key) {
		return "", admission{}, unauthorized("invalid_token", "the bearer's key cannot name a stream; "+form)
	}
	key = strings.Clone(key) // not a slice of the header
	admitted, err := s.admit(r, access.Request{Action: access.Open, Role: role, Stream: key, Token: token})
	return key, admitted, err
}

// credential is the token that a request shows to a role's gate; ok is false without one, or with several.
func (s *Server) credential(r *request, role api.Role) (text string, ok bool) {
	if text, ok = bearer(r); ok {
		return text, true
	}
	if gate := s.doors.of(role); gate != nil && gate.QueryTokens() {
		return r.token, r.token != ""
	}
	return "", false
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

// queryNames are the parameters of a URL that hold a token, for players that cannot set headers. One is the short form
// that people type, the other that of RFC 6750 section 2.3.
var queryNames = []string{"token", "access_token"}

// cutSecret takes parameters out of a request's URL before anything can log, quote or answer with it. It returns the
// value of the one that was there, or nothing where there were several.
func cutSecret(r *http.Request, names ...string) (value string) {
	var rest []string
	found := 0
	for pair := range strings.SplitSeq(r.URL.RawQuery, "&") {
		name, text, _ := strings.Cut(pair, "=")
		if name, _ = url.QueryUnescape(name); !slices.Contains(names, name) {
			rest = append(rest, pair)
			continue
		}
		found++
		value, _ = url.QueryUnescape(text) // an unreadable one is none
	}
	if found == 0 {
		return ""
	}
	r.URL.RawQuery = strings.Join(rest, "&")
	r.RequestURI = r.URL.RequestURI()
	if found > 1 {
		return ""
	}
	return value
}

// refused is a gate's error in HTTP's words.
func (s *Server) refused(r *request, role api.Role, err error) error {
	refusal := (*access.Refusal)(nil)
	if !errors.As(err, &refusal) {
		return openProblem(err, "") // the client has hung up
	}
	switch refusal.Reason.Kind() {
	case access.Forbidden:
		return &problem{
			status: http.StatusForbidden, kind: "forbidden", title: "Not allowed",
			detail: refusal.Detail, challenge: challenge("insufficient_scope"),
		}
	case access.TryAgain:
		return &problem{
			status: http.StatusServiceUnavailable, kind: "access", title: "Access not decided",
			detail: refusal.Detail, retryAfter: refusal.RetryAfter,
		}
	}
	if _, shown := s.credential(r, role); !shown {
		return unauthorized("", refusal.Detail)
	}
	return unauthorized("invalid_token", refusal.Detail)
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
