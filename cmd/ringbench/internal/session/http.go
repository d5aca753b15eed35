package session

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	maxAnswer = 1 << 20
	// maxDetail is how much of a refusal's body is shown.
	maxDetail = 300
	// idleTimeout ends connections that no further request came on: each costs goroutines on both
	// sides.
	idleTimeout = 2 * time.Second
	idleConns   = 64
)

// ErrUnreachable is wrapped by the error of a request that got no HTTP answer.
var ErrUnreachable = errors.New("server unreachable")

// A Refusal is an HTTP answer other than the one that was hoped for.
type Refusal struct {
	Protocol string // WHIP or WHEP
	URL      string
	Status   int
	Detail   string // what the server said, cut to a line
	// RetryAfter is the header of that name, or empty.
	RetryAfter string
}

func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s: %d %s", r.URL, r.Status, http.StatusText(r.Status))
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if hint := r.hint(); hint != "" {
		s += " (" + hint + ")"
	}
	return s
}

// hint is what whoever typed the command can do.
func (r *Refusal) hint() string {
	switch r.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return "give the server's token with --token"
	case http.StatusNotFound:
		return "is the URL right? It must name the stream"
	case http.StatusConflict:
		if r.Protocol == "WHIP" {
			return "somebody publishes this stream already"
		}
		return "nobody publishes this stream yet"
	case http.StatusUnprocessableEntity, http.StatusNotAcceptable:
		return "codec or offer refused"
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		if r.RetryAfter != "" {
			return "the server is full; retry after " + r.RetryAfter + " s"
		}
		return "the server is full"
	}
	return ""
}

// An Endpoint is where to POST to.
type Endpoint struct {
	Client   *http.Client
	Protocol string // WHIP or WHEP, for messages
	Token    string // a bearer token, or empty
}

// NewEndpoint makes an endpoint with an HTTP client of its own. insecure accepts any certificate.
func NewEndpoint(protocol, token string, insecure bool) *Endpoint {
	return &Endpoint{
		Protocol: protocol, Token: token,
		Client: &http.Client{Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{InsecureSkipVerify: insecure}, // as the user asked
			MaxIdleConnsPerHost: idleConns,
			IdleConnTimeout:     idleTimeout,
			ForceAttemptHTTP2:   false,
		}},
	}
}

// Post sends an offer and reads the answer. resource is the session's URL, absolute, or empty where the
// server gave none. The errors are a *Refusal, or wrap ErrUnreachable, ErrAnswer or ErrCodec.
func (e *Endpoint) Post(ctx context.Context, endpoint, offer string) (resource string, a *Answer, err error) {
	res, err := e.do(ctx, http.MethodPost, endpoint, strings.NewReader(offer))
	if err != nil {
		return "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return "", nil, fmt.Errorf("%w: read the answer of %s: %w", ErrUnreachable, endpoint, err)
	}
	if res.StatusCode != http.StatusCreated && res.StatusCode != http.StatusOK {
		return "", nil, &Refusal{
			Protocol: e.Protocol, URL: endpoint, Status: res.StatusCode, Detail: detail(body), RetryAfter: res.Header.Get("Retry-After"),
		}
	}
	if location := res.Header.Get("Location"); location != "" {
		// Relative to the URL that answered, which a redirect may have changed.
		u, err := res.Request.URL.Parse(location)
		if err != nil {
			return "", nil, fmt.Errorf("%w: Location: %w", ErrAnswer, err)
		}
		resource = u.String()
	}
	a, err = ParseAnswer(body)
	if err != nil {
		return resource, nil, fmt.Errorf("%s: %w", endpoint, err)
	}
	return resource, a, nil
}

// Delete ends a session. An empty resource does nothing.
func (e *Endpoint) Delete(ctx context.Context, resource string) error {
	if resource == "" {
		return nil
	}
	res, err := e.do(ctx, http.MethodDelete, resource, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		return &Refusal{Protocol: e.Protocol, URL: resource, Status: res.StatusCode, Detail: detail(body)}
	}
	return nil
}

func (e *Endpoint) do(ctx context.Context, method, target string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/sdp")
	}
	if e.Token != "" {
		req.Header.Set("Authorization", "Bearer "+e.Token)
	}
	res, err := e.Client.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the URL is named below
		}
		return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, target, err)
	}
	return res, nil
}

// detail is the reason in a refusal's body: problem JSON's (RFC 9457), else its beginning.
func detail(body []byte) string {
	var problem struct{ Title, Detail string }
	text := string(body)
	if json.Unmarshal(body, &problem) == nil && problem.Title+problem.Detail != "" {
		text = problem.Detail
		if text == "" {
			text = problem.Title
		}
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
