package signaling

import (
	"net/http"
	"net/netip"
)

// A request is an HTTP request with all that was found out about its way here.
type request struct {
	*http.Request
	// source is the address that limits and logs count the request for; the zero value is unknown.
	source netip.Addr
}

func (s *Server) received(r *http.Request) *request {
	return &request{Request: r, source: s.proxies.source(r)}
}
