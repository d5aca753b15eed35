package signaling

import (
	"net/http"
	"slices"
	"strings"
)

// Permissions for browsers at other origins. There are no cookies: a resource opens to a secret in the URL or a bearer
// token, so any origin may ask.
const (
	corsMethods = "OPTIONS, GET, HEAD, POST, PATCH, DELETE"
	// corsHeaders are allowed to all; see allowedHeaders for others.
	corsHeaders = "Authorization, Content-Type, If-Match"
	corsExposed = "Location, ETag, Link, Retry-After, Access-Control-Allow-Methods"
	// corsMaxAge is how many seconds a preflight's answer may be kept.
	corsMaxAge = "86400"
)

// allowOrigins marks every response, errors included: a page may not even read the status of one
// that lacks these.
func allowOrigins(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Expose-Headers", corsExposed)
}

// options answers OPTIONS, preflight or not. It depends on nothing that a preflight cannot carry.
func options(w http.ResponseWriter, r *request, methods string, acceptPost, acceptPatch string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header.Values("Access-Control-Request-Headers")))
	h.Set("Vary", "Access-Control-Request-Headers")
	h.Set("Access-Control-Max-Age", corsMaxAge)
	h.Set("Allow", methods)
	if acceptPost != "" {
		h.Set("Accept-Post", acceptPost)
	}
	if acceptPatch != "" {
		h.Set("Accept-Patch", acceptPatch)
	}
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// allowedHeaders are the headers that we know, and any others that a preflight asks for: players and tracing libraries
// add their own, which we ignore. A list that is long or malformed is not repeated.
func allowedHeaders(asked []string) string {
	const mostBytes, mostNames, longestName = 1024, 32, 64
	list := strings.Join(asked, ",")
	if len(list) > mostBytes || strings.Count(list, ",") >= mostNames {
		return corsHeaders
	}
	allowed := corsHeaders
	known := strings.Split(corsHeaders, ", ")
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			continue
		case !validToken(name, longestName):
			return corsHeaders
		case slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }):
			continue
		}
		known = append(known, name)
		allowed += ", " + name
	}
	return allowed
}
