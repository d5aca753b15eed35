package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
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
	// maxBody is the most bytes of a response where Config does not say.
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
	// MaxBody is the most bytes of a response, 1 MiB where 0.
	MaxBody int64
	// Pinned is for servers that may be hostile: no redirect is followed. A Location whose scheme, host or port is not
	// the endpoint's counts as none.
	Pinned bool
	// Header goes out with each offer.
	Header http.Header
	// Read gets each answer to an offer, if set. An error of it is Post's.
	Read func(h http.Header, answer []byte) error
}

// A Client opens sessions at servers.
type Client struct {
	config Config
	http   http.Client
}

// New makes a client.
func New(c Config) *Client {
	if c.Transport == nil {
		c.Transport = NewTransport(nil)
	}
	c.MaxBody = cmp.Or(c.MaxBody, maxBody)
	check := checkRedirect
	if c.Pinned {
		check = refuseRedirect
	}
	return &Client{config: c, http: http.Client{Transport: c.Transport, CheckRedirect: check}}
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
	res, body, err := c.do(ctx, request{
		method: http.MethodPost, url: endpoint, contentType: sdpType, body: offer, header: c.config.Header,
	})
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
		return s, fmt.Errorf("%s: %w", Shown(endpoint), err)
	}
	return s, nil
}

// A request is one HTTP request; its content type, its body and the tag of If-Match may be empty.
type request struct {
	method, url       string
	contentType, body string
	match             string
	header            http.Header
}

// do returns a response and its whole body, and the response alone when the body cannot be read.
func (c *Client) do(ctx context.Context, r request) (*http.Response, []byte, error) {
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, c.config.MaxBody+1))
	switch {
	case err != nil:
		return res, nil, fmt.Errorf("%w: read the response: %w", ErrUnreachable, err)
	case int64(len(body)) > c.config.MaxBody:
		return res, nil, fmt.Errorf("%w: the response is longer than %d bytes", ErrAnswer, c.config.MaxBody)
	}
	return res, body, nil
}

// send returns a response whose body is still to be read and closed.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	maps.Copy(req.Header, r.header)
	for header, value := range map[string]string{"Content-Type": r.contentType, "If-Match": r.match} {
		if value != "" {
			req.Header.Set(header, value)
		}
	}
	if c.config.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.config.Token)
	}
	res, err := c.http.Do(req)
	switch {
	case err == nil:
		return res, nil
	case errors.Is(err, ErrRedirect):
		return nil, fmt.Errorf("%s: %w", Shown(r.url), cause(err))
	}
	return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, Shown(r.url), cause(err))
}

// cause is an error without the URL around it, which may hold a password.
func cause(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// Shown is a URL for people to read: without user, password, query and fragment, which may hold secrets.
func Shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return shown(u)
}

func shown(u *url.URL) string {
	plain := url.URL{Scheme: u.Scheme, Opaque: u.Opaque, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return plain.String()
}

// refuseRedirect refuses all.
func refuseRedirect(to *http.Request, _ []*http.Request) error {
	return fmt.Errorf("%w: status %d leads to %s; expected an answer, so give the URL that it leads to if you trust it",
		ErrRedirect, to.Response.StatusCode, shown(to.URL))
}

// checkRedirect accepts redirects that keep the method (RFC 9725 section 4.5), but none from https to http.
func checkRedirect(to *http.Request, via []*http.Request) error {
	from := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("%w: more than %d in a row, the last to %s", ErrRedirect, maxRedirects, shown(to.URL))
	case to.Method != from.Method:
		return fmt.Errorf("%w: status %d turns %s into %s; expected 307 or 308 to %s",
			ErrRedirect, to.Response.StatusCode, from.Method, to.Method, shown(to.URL))
	case from.URL.Scheme == "https" && to.URL.Scheme != "https":
		return fmt.Errorf("%w: from https to %s", ErrRedirect, shown(to.URL))
	}
	return nil
}
