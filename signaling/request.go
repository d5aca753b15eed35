package signaling

import (
	"cmp"
	"net/http"
	"net/netip"
	"strings"
)

// A request is an HTTP request with all that was found out about its way here.
type request struct {
	*http.Request
	// source is the address that limits and logs count the request for; the zero value is unknown,
	// and hidden is somebody else's.
	source netip.Addr
	// base is the path in front of all paths of this server, as the client sees them: empty, or such as
	// /cast. path is the request's without it.
	base, path string
	// token is the one that the URL had in its query, or empty.
	token string
	// redirect is the token that another node has given the client for this one, or empty.
	redirect string
	// forwarded is set where another node has forwarded the request for the client.
	forwarded bool
}

// received looks at the way of a request. It fails if a trusted proxy writes nonsense.
func (s *Server) received(r *http.Request) (*request, error) {
	if s.proxies.passed(r) {
		keepForProxy(r.Context())
	}
	out := &request{Request: r, source: s.proxies.source(r), base: s.base, path: r.URL.Path}
	out.token, out.redirect = cutSecret(r, queryNames...), cutSecret(r, redirectName)
	prefix, ok, err := s.proxies.prefix(r)
	if ok {
		out.base = prefix
	}
	// The proxy may have taken the base off, or have left it.
	if rest, ok := strings.CutPrefix(out.path, out.base); ok && (rest == "" || rest[0] == '/') {
		out.path = cmp.Or(rest, "/")
	}
	return out, err
}
