package signaling

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"ringcast/engine/api"
)

// maxPast is how many credentials of earlier ICE sessions a session remembers.
const maxPast = 8

// patch takes an SDP fragment. New credentials in it ask for an ICE restart, with any If-Match. Without them it
// trickles candidates. An ICE-lite server has no use for candidates, but reports those that it cannot read.
func (s *Server) patch(w http.ResponseWriter, r *request, to *session) error {
	body, err := s.body(w, r, fragmentType, s.maxBody)
	if err != nil {
		return err
	}
	f, err := parseFragment(body, s.limits)
	if err != nil {
		return err
	}
	to.patching.Lock()
	defer to.patching.Unlock()
	if err := to.precondition(r.Header.Values("If-Match")); err != nil {
		return err
	}
	remote := f.credentialsOf(to.mid)
	// A fragment that was sent under If-Match: * for an earlier ICE session may come late. It must not bring that
	// session back.
	if remote.Ufrag == "" || knownCredentials(to.remote, remote) || knownCredentials(to.past, remote) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if remote.Password == "" {
		return malformed("a=ice-ufrag:%s is not the session's; expected a new a=ice-pwd with it for an ICE restart",
			quote(remote.Ufrag))
	}
	return s.restart(w, r, to, f.credentials, remote)
}

// restart begins a new ICE session. When it fails, the old one stays as it is (RFC 9725 section
// 4.3.3).
func (s *Server) restart(
	w http.ResponseWriter, r *request, of *session, all []api.Credentials, remote api.Credentials,
) error {
	chance, err := s.draw()
	if err != nil {
		return internal(err)
	}
	local, err := s.engine.Restart(r.Context(), of.id, remote, r.source)
	if err != nil {
		return restartProblem(err)
	}
	of.restarted(chance.etag, all)
	s.log.Info("ICE restarted", "session", uint64(of.id), "stream", of.stream, "role", of.role.String(),
		"source", r.source)

	answer := of.transport().fragment(local)
	h := w.Header()
	h.Set("Content-Type", fragmentType)
	h.Set("Content-Length", strconv.Itoa(len(answer)))
	h.Set("ETag", of.etag.String())
	s.addICE(h) // the credentials of the 201 may have ended
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(answer) // both ICE sessions live on until the peer uses one
	return nil
}

func restartProblem(err error) *problem {
	p := &problem{
		status: http.StatusServiceUnavailable, title: "ICE not restarted",
		detail: "the ICE session stays as it was: ", cause: err,
	}
	switch {
	case errors.Is(err, api.ErrNoSession): // it ended a moment ago
		return noSession()
	case errors.Is(err, api.ErrFull):
		p.kind, p.retryAfter = "full", retryFull
		p.detail += "the server takes no more now; try again later"
	case errors.Is(err, api.ErrNoAddress):
		p.kind, p.retryAfter = "no-address", retryBusy
		p.detail += "the server has no address now; try again soon"
	case errors.Is(err, api.ErrClosing):
		p.kind, p.retryAfter = "closing", retryClosing
		p.detail += "the server is shutting down; try again later"
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p.kind, p.retryAfter = "gone", retryStream
		p.detail += "the request was given up before its answer; try again"
	default:
		return internal(err)
	}
	return p
}

// precondition checks If-Match (RFC 9725 section 4.3.2): the client must say which ICE session it
// means, or that it means whichever is the current one.
func (s *session) precondition(values []string) error {
	if len(values) == 0 {
		return &problem{
			status: http.StatusPreconditionRequired, kind: "no-precondition", title: "Precondition required",
			detail: "no If-Match; expected the ETag of the current ICE session, or * for whichever is current",
		}
	}
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			// Readers after MediaMTX's write the asterisk in quotes, and so does an
			// example of RFC 9725. Weak tags match nothing (RFC 9110 section 13.1.1).
			if tag = strings.TrimSpace(tag); tag == "*" || tag == `"*"` || tag == s.etag.String() {
				return nil
			}
		}
	}
	return &problem{
		status: http.StatusPreconditionFailed, kind: "precondition", title: "Precondition failed",
		detail: "If-Match names another ICE session than the current one; expected the ETag of the 201 " +
			"or of the last 200 to a PATCH",
	}
}

// restarted replaces the ICE session.
func (s *session) restarted(tag etag, remote []api.Credentials) {
	s.past = slices.Concat(s.past, s.remote)
	s.past = slices.Clone(s.past[max(0, len(s.past)-maxPast):])
	s.remote = hashedAll(remote)
	s.etag = tag
}

// knownCredentials reports whether c is one of known; a password left out is not compared.
func knownCredentials(known []shown, c api.Credentials) bool {
	h := hashed(c)
	return slices.ContainsFunc(known, func(k shown) bool {
		return k.ufrag == h.ufrag && (c.Password == "" || k.password == h.password)
	})
}
