package signaling

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// A problem is an error that an HTTP peer is told about, as RFC 9457 wants it told.
type problem struct {
	status int
	// kind is the last part of the type URI, by which programs distinguish problems.
	kind string
	// title is the same for every problem of a kind; detail has the fault, and the expected form.
	title, detail string
	// offered and available name codecs, where those do not match.
	offered, available []string
	// retryAfter is in seconds; 0 is unsaid.
	retryAfter int
	// accept goes out as Accept-Post or Accept-Patch, whichever the method is.
	accept string
	// allow are the methods that the resource has.
	allow string
	// challenge goes out as WWW-Authenticate.
	challenge string
	// cause is for the log only.
	cause error
	// private: the detail quotes a path, which may hold the secret of a session's URL. It is not logged.
	private bool
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.detail + ": " + p.cause.Error()
	}
	return p.detail
}

func (p *problem) Unwrap() error { return p.cause }

// problemTypes is the prefix of the kinds. A tag URI (RFC 4151) claims no web address.
const problemTypes = "tag:ringcast,2026:"

func malformed(format string, args ...any) *problem {
	return &problem{
		status: http.StatusBadRequest, kind: "malformed-sdp", title: "Malformed session description",
		detail: fmt.Sprintf(format, args...),
	}
}

func tooMuch(format string, args ...any) *problem {
	return &problem{
		status: http.StatusBadRequest, kind: "sdp-limit", title: "Session description beyond limits",
		detail: fmt.Sprintf(format, args...),
	}
}

func unacceptable(format string, args ...any) *problem {
	return &problem{
		status: http.StatusUnprocessableEntity, kind: "not-negotiable", title: "Offer cannot be answered",
		detail: fmt.Sprintf(format, args...),
	}
}

func internal(cause error) *problem {
	return &problem{
		status: http.StatusInternalServerError, kind: "internal", title: "Internal error",
		detail: "the server failed to handle the request; its log says why", cause: cause,
	}
}

// asProblem returns err in the peer's words; an error of any other type is the server's fault.
func asProblem(err error) *problem {
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	return internal(err)
}

func (p *problem) write(w http.ResponseWriter, r *request) {
	body, err := json.Marshal(struct {
		Type      string   `json:"type"`
		Title     string   `json:"title"`
		Status    int      `json:"status"`
		Detail    string   `json:"detail"`
		Offered   []string `json:"offered,omitempty"`
		Available []string `json:"available,omitempty"`
	}{problemTypes + p.kind, p.title, p.status, p.detail, p.offered, p.available})
	if err != nil { // strings and numbers always marshal
		body = []byte("{}")
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.accept != "" && r.Method == http.MethodPatch {
		h.Set("Accept-Patch", p.accept)
	} else if p.accept != "" {
		h.Set("Accept-Post", p.accept)
	}
	w.WriteHeader(p.status)
	_, _ = w.Write(body) // a peer that has gone away needs no answer
}

// quote is s in quotes, cut short, so that a problem never repeats a hostile offer at length.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most]
		for len(s) > 0 && !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return strconv.Quote(s)
}
