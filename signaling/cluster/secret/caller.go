package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
	"time"
)

// A Caller sends requests of one node to others, with a token each. It remembers the ids of the nodes at each base URL.
type Caller struct {
	keys   *Keys
	id     string
	client *http.Client
	clocks *Clocks

	mu  sync.Mutex
	ids map[string]string // by scheme and host
}

// NewCaller makes the caller of the node with an id.
func NewCaller(keys *Keys, id string, client *http.Client, clocks *Clocks) *Caller {
	return &Caller{keys: keys, id: id, client: client, clocks: clocks, ids: make(map[string]string)}
}

// audience is the key of a context's value: the id of the node that a request is for.
type audience struct{}

// To returns a context for requests to a node with an id. Without it the first request to a node is sent twice.
func To(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, audience{}, id)
}

// maxRefusal bounds the part of a refusal that is read, so that its connection can be used again.
const maxRefusal = 4 << 10

// Do sends a request with a body, and returns its answer, which the caller must close. Where the node at the URL
// refuses it with another id or time than expected, Do sends it a second time. The request's own body is not used.
func (c *Caller) Do(r *http.Request, body []byte) (*http.Response, error) {
	if id, ok := r.Context().Value(audience{}).(string); ok {
		c.learn(r, id)
	}
	id := c.IDAt(r)
	for again := false; ; again = true {
		used := c.clocks.Now(id)
		answer, err := c.send(r, id, used, body)
		if err != nil || answer.StatusCode != http.StatusUnauthorized || again {
			return answer, err
		}
		theirs := answer.Header.Get(IDHeader)
		at, err := http.ParseTime(answer.Header.Get("Date"))
		known := theirs == id && used.Sub(at).Abs() <= Span/2 // a Date has no fraction, and the answer took its time
		if theirs == "" || err != nil || known {
			return answer, nil
		}
		c.learn(r, theirs)
		c.clocks.Learn(theirs, at)
		id = theirs
		_, _ = io.CopyN(io.Discard, answer.Body, maxRefusal) // else it is another connection
		_ = answer.Body.Close()
	}
}

// RoundTrip implements http.RoundTripper: it is Do for a request with a body of its own.
func (c *Caller) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		text, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
		_ = r.Body.Close()
		if err != nil || len(text) > maxBody {
			return nil, errBody
		}
		body = text
	}
	return c.Do(r, body)
}

// send sends a request once, for the node with an id, whose clock shows now.
func (c *Caller) send(r *http.Request, id string, now time.Time, body []byte) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(Header, c.keys.NodeToken(NodeToken{
		Issuer: c.id, Audience: id, Method: r.Method, Stream: StreamOf(r.URL.Path), Body: sha256.Sum256(body),
		Time: now,
	}))
	r.ContentLength = int64(len(body))
	if r.Body = http.NoBody; len(body) > 0 {
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.client.Do(r)
}

// IDAt is the id of the node at a request's URL, empty if it is unknown.
func (c *Caller) IDAt(r *http.Request) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ids[baseOf(r)]
}

func (c *Caller) learn(r *http.Request, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ids) >= maxPeers {
		clear(c.ids)
	}
	c.ids[baseOf(r)] = id
}

func baseOf(r *http.Request) string { return r.URL.Scheme + "://" + r.URL.Host }
