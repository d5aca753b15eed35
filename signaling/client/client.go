package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ringcast/engine/api"
)

// The media types of offers and answers, and of SDP fragments (RFC 8840 section 9).
const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

const (
	// maxBody is the most bytes of a response.
	maxBody      = 1 << 20
	maxRedirects = 5
	// idleTimeout closes connections without requests: each costs goroutines on both sides.
	idleTimeout = 2 * time.Second
	idleConns   = 64
)

var (
	// ErrUnreachable is wrapped by the error of a request without an HTTP response.
	ErrUnreachable = errors.New("server unreachable")
	// ErrRedirect is wrapped by the error of a redirect that was not followed.
	ErrRedirect = errors.New("redirect refused")
	// ErrAnswer is wrapped by the error of a response that makes no sense.
	ErrAnswer = errors.New("unusable answer")
	// ErrCodec is wrapped by the error of an answer that refuses video, or all media.
	ErrCodec = errors.New("codec refused")
)

// Config describes a Client.
type Config struct {
	// Role is the client's side of a stream: a Publisher speaks WHIP, a Subscriber WHEP.
	Role api.Role
	// Token is the bearer token, or empty. A redirect to another host does not take it along.
	Token string
	// Transport carries the requests. By default it is NewTransport(nil).
	Transport http.RoundTripper
}

// A Client opens sessions at servers.
type Client struct {
	role  api.Role
	token string
	http  http.Client
}

// New makes a client.
func New(c Config) *Client {
	if c.Transport == nil {
		c.Transport = NewTransport(nil)
	}
	return &Client{
		role: c.Role, token: c.Token,
		http: http.Client{Transport: c.Transport, CheckRedirect: checkRedirect},
	}
}

// NewTransport makes a transport for HTTP/1.1 that keeps few idle connections, and those for two seconds. config may be
// nil.
func NewTransport(config *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: idleConns,
		IdleConnTimeout:     idleTimeout,
	}
}

// CloseIdleConnections closes the connections of the transport that carry no request now.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Post sends an offer to a WHIP or WHEP endpoint. An error after the server has opened a session comes with that
// session, without an Answer, so that the caller can delete it.
func (c *Client) Post(ctx context.Context, endpoint, offer string) (*Session, error) {
	res, body, err := c.do(ctx, request{method: http.MethodPost, url: endpoint, contentType: sdpType, body: offer})
	if res == nil {
		return nil, err
	}
	if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
		return nil, c.refusal(endpoint, res, body)
	}
	s := &Session{client: c, etag: strongTag(res.Header)}
	if err == nil {
		err = s.opened(res, body)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w", endpoint, err)
	}
	return s, nil
}

// A request is one HTTP request; its content type, its body and the tag of If-Match may be empty.
type request struct {
	method, url       string
	contentType, body string
	match             string
}

// do returns a response and its whole body, and the response alone when the body cannot be read.
func (c *Client) do(ctx context.Context, r request) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for header, value := range map[string]string{"Content-Type": r.contentType, "If-Match": r.match} {
		if value != "" {
			req.Header.Set(header, value)
		}
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // without the URL, which is part of our text
		}
		if errors.Is(err, ErrRedirect) {
			return nil, nil, fmt.Errorf("%s: %w", r.url, err)
		}
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, r.url, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	switch {
	case err != nil:
		return res, nil, fmt.Errorf("%w: read the response: %w", ErrUnreachable, err)
	case len(body) > maxBody:
		return res, nil, fmt.Errorf("%w: the response is longer than %d bytes", ErrAnswer, maxBody)
	}
	return res, body, nil
}

// checkRedirect accepts redirects that keep the method (RFC 9725 section 4.5), but none from https to http.
func checkRedirect(to *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d in a row, the last to %s", ErrRedirect, maxRedirects, to.URL)
	case to.Method != from.Method:
		return fmt.Errorf("%w: status %d turns %s into %s; expected 307 or 308 to %s",
			ErrRedirect, to.Response.StatusCode, from.Method, to.Method, to.URL)
	case from.URL.Scheme == "https" && to.URL.Scheme != "https":
		return fmt.Errorf("%w: from https to %s", ErrRedirect, to.URL)
	}
	return nil
}
