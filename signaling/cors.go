package signaling

import "net/http"

// What browsers at other origins may do and see. There are no cookies: what opens a resource is a
// secret in the URL or a bearer token, so any origin may ask.
const (
	corsMethods = "OPTIONS, GET, HEAD, POST, PATCH, DELETE"
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
func options(w http.ResponseWriter, methods string, acceptPost, acceptPatch string) {
	h := w.Header()
	h.Set("Access-Control-Allow-Headers", corsHeaders)
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
