package client

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"ringcast/engine/api"
)

// A Session is a session at a server.
type Session struct {
	// URL is the session's own, absolute. It is empty when the server named none; then only the peer connection can
	// end the session.
	URL string
	// Answer is the server's half. Restart changes its credentials and candidates.
	Answer *Answer
	// ICEServers are the STUN and TURN servers that the server recommends (RFC 9725 section 4.6).
	ICEServers []ICEServer

	client *Client
	// etag names the ICE session. It is empty for a server that restarts none.
	etag string
	// plain is set when the URL is http although the endpoint was https. The token is not sent there.
	plain bool
	// events is the URL at which an event stream is opened, or empty.
	events string
}

// opened reads the response to the offer.
func (s *Session) opened(res *http.Response, body []byte) error {
	s.ICEServers = iceServers(res.Header.Values("Link"))
	// URLs are relative to the one that answered, which may be a redirect's.
	base := res.Request.URL
	if location := res.Header.Get("Location"); location != "" {
		u, err := base.Parse(location)
		if err != nil {
			return fmt.Errorf("%w: Location: %w", ErrAnswer, err)
		}
		if err := checkURL(u); err != nil {
			return fmt.Errorf("%w: Location: %w", ErrAnswer, err)
		}
		if !s.client.config.Pinned || u.Scheme == base.Scheme && u.Host == base.Host {
			s.URL, s.plain = u.String(), base.Scheme == "https" && u.Scheme == "http"
		}
	}
	// The POST to this URL has the token.
	link := linkTo(res.Header.Values("Link"), eventsRelation)
	if u, err := base.Parse(link); link != "" && err == nil && u.Scheme == base.Scheme && u.Host == base.Host {
		s.events = u.String()
	}
	a, err := ParseAnswer(body)
	if err != nil {
		return checkType(err, res.Header, sdpType)
	}
	s.Answer = a
	if s.client.config.Read != nil {
		return s.client.config.Read(res.Header, body)
	}
	return nil
}

func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no http or https URL", u)
	}
	return nil
}

// checkType adds the media type to an error if it explains the error.
func checkType(err error, h http.Header, want string) error {
	got := h.Get("Content-Type")
	if essence, _, parse := mime.ParseMediaType(got); parse != nil || essence != want {
		return fmt.Errorf("%w (its Content-Type is %q; expected %s)", err, got, want)
	}
	return err
}

// strongTag returns the entity tag, or nothing for a weak one, which If-Match never matches (RFC 9110 section 13.1.1).
func strongTag(h http.Header) string {
	tag := h.Get("ETag")
	if strings.HasPrefix(tag, "W/") {
		return ""
	}
	return tag
}

// Trickle sends all our candidates, those of the ICE session with these credentials (RFC 9725 section 4.3.2).
func (s *Session) Trickle(ctx context.Context, ours api.Credentials, candidates []netip.AddrPort) error {
	res, body, err := s.patch(ctx, s.etag, ours, candidates)
	switch {
	case res == nil:
		return err
	case res.StatusCode != http.StatusNoContent && res.StatusCode != http.StatusOK:
		return s.client.refusal(s.URL, res, body)
	}
	return nil
}

// Restart asks for a new ICE session (RFC 9725 section 4.3.3). ours are new credentials, candidates our new candidates
// if there are any. The Answer has the server's new credentials then, and its new candidates if it sent some. After an
// error the old ICE session goes on.
func (s *Session) Restart(ctx context.Context, ours api.Credentials, candidates []netip.AddrPort) error {
	res, body, err := s.patch(ctx, "*", ours, candidates)
	switch {
	case res == nil:
		return err
	case res.StatusCode == http.StatusNoContent:
		return fmt.Errorf("%s: %w: ICE did not restart, the server answered 204; expected 200", s.URL, ErrAnswer)
	case res.StatusCode != http.StatusOK:
		return s.client.refusal(s.URL, res, body)
	}
	var f fragment
	if err == nil {
		f, err = parseFragment(body)
		if err != nil {
			err = checkType(err, res.Header, fragmentType)
		}
	}
	if err == nil && f.ice == s.Answer.ICE {
		err = fmt.Errorf("%w: the server's credentials are the old ones; expected new ones", ErrAnswer)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.URL, err)
	}
	s.etag, s.Answer.ICE = strongTag(res.Header), f.ice
	if len(f.candidates) > 0 {
		s.Answer.Candidates = f.candidates
	}
	return nil
}

// errNoURL is the error of a PATCH without a URL.
var errNoURL = errors.New("the server gave the session no URL (Location)")

func (s *Session) patch(
	ctx context.Context, match string, ours api.Credentials, candidates []netip.AddrPort,
) (*http.Response, []byte, error) {
	if s.URL == "" {
		return nil, nil, fmt.Errorf("%w: %w", ErrAnswer, errNoURL)
	}
	f := fragment{ice: ours, candidates: candidates}
	return s.sender().do(ctx, request{
		method: http.MethodPatch, url: s.URL, contentType: fragmentType, match: match,
		body: f.text(&s.Answer.Tracks[0]),
	})
}

// Delete ends the session. It does nothing without a URL.
func (s *Session) Delete(ctx context.Context) error {
	if s.URL == "" {
		return nil
	}
	res, body, err := s.sender().do(ctx, request{method: http.MethodDelete, url: s.URL})
	switch {
	case res == nil:
		return err
	case res.StatusCode/100 != 2:
		return s.client.refusal(s.URL, res, body)
	}
	return nil
}

// sender is the client, without its token where that would travel in the clear.
func (s *Session) sender() *Client {
	if !s.plain {
		return s.client
	}
	c := *s.client
	c.config.Token = ""
	return &c
}
