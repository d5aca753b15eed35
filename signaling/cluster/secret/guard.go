package secret

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// Header has the node token of a request.
	Header = "Ringcast-Node"
	// IDHeader has the node's id in a refusal.
	IDHeader = "Ringcast-Node-Id"

	// maxBody is the largest body of a request between nodes, in bytes.
	maxBody = 256 << 10
)

// A Guard lets requests pass that other nodes of the cluster send to the node with an id.
type Guard struct {
	keys    *Keys
	id      string
	now     func() time.Time
	memory  memory
	metrics *Metrics
}

// NewGuard makes a guard. now is time.Now and metrics are made where nil.
func NewGuard(keys *Keys, id string, now func() time.Time, metrics *Metrics) *Guard {
	if now == nil {
		now = time.Now
	}
	return &Guard{keys: keys, id: id, now: now, metrics: metrics.orNew()}
}

// Wrap guards a handler. The handler can read the whole body, which was compared with the token, and find the token
// with TokenOf.
func (g *Guard) Wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := g.admit(w, r)
		g.metrics.count(aNode, err)
		if err != nil {
			g.refuse(w, err)
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, t)))
	})
}

type tokenKey struct{}

// TokenOf is the token that a Guard has accepted for a request. ok is false for a request that came another way.
func TokenOf(ctx context.Context) (t NodeToken, ok bool) {
	t, ok = ctx.Value(tokenKey{}).(NodeToken)
	return t, ok
}

var errBody = errors.New("the body is too large, or did not come")

// admit fails with a Fault, or with errBody.
func (g *Guard) admit(w http.ResponseWriter, r *http.Request) (NodeToken, error) {
	t, err := g.keys.OpenNode(r.Header.Get(Header))
	now := g.now()
	switch {
	case err != nil:
		return t, err
	case len(r.Header.Values(Header)) > 1:
		return t, Malformed
	case t.Audience != g.id:
		return t, Audience
	case now.Sub(t.Time).Abs() > Span:
		return t, Late
	case t.Method != r.Method, t.Stream != StreamOf(r.URL.Path):
		return t, Other
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return t, errBody
	}
	if sha256.Sum256(body) != t.Body {
		return t, Other
	}
	// A slow body must not make the token last longer than the memory of its first use.
	if now = g.now(); now.Sub(t.Time).Abs() > Span {
		return t, Late
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return t, g.memory.enter(t.Nonce, now)
}

// StreamOf is the stream of a request between nodes: the second segment of its path, as in /whep/NAME. It is empty if
// the path has no such segment.
func StreamOf(path string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	stream, _, _ := strings.Cut(rest, "/")
	return stream
}

// refuse answers with 401, our id and the time. A caller learns from those. A fault of ours is a 503.
func (g *Guard) refuse(w http.ResponseWriter, err error) {
	status, title := http.StatusUnauthorized, "Not a node of this cluster"
	h := w.Header()
	switch {
	case errors.Is(err, Full):
		status, title = http.StatusServiceUnavailable, "Too many requests of other nodes"
		h.Set("Retry-After", "1")
	case errors.Is(err, errBody):
		status, title = http.StatusBadRequest, "Unreadable body"
	default:
		h.Set("WWW-Authenticate", Header)
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Date", g.now().UTC().Format(http.TimeFormat))
	h.Set(IDHeader, g.id)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // a peer that is gone needs no answer
		"type": "tag:ringcast,2026:node-token", "title": title, "status": status, "detail": err.Error(),
	})
}
