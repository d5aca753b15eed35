package signaling

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"ringcast/engine/api"
)

// Nodes are the servers of a cluster. The methods may be called concurrently.
type Nodes interface {
	// Self is the id of this server. It has no dot, and is part of the URLs of sessions.
	Self() string
	// Send sends a request of the client at source to another server, with a body. The caller closes the answer's body.
	// It fails with ErrNoNode, ErrUpstream or ErrManyForwards.
	Send(r *http.Request, node string, source netip.Addr, body []byte) (*http.Response, error)
}

var (
	// ErrNoNode is the error of Nodes.Send for an id that no server of the cluster has.
	ErrNoNode = errors.New("no server of the cluster has this id")
	// ErrManyForwards is that for more requests than a client, or all of them, may send to other servers now.
	ErrManyForwards = errors.New("too many requests to other servers")
)

const (
	// clusterSegment comes before the id of the node in the URL of a session: /whep/{stream}/s/{node}.{secret}.
	clusterSegment = "s/"
	// sourceHeader and baseHeader have the client's address and our base, in requests from node to node.
	sourceHeader, baseHeader = "Ringcast-Source", "Ringcast-Base"
	// forwardSpan is the time that another node has for its answer.
	forwardSpan = 5 * time.Second
)

// asForwarded are the headers of a client that go to another node. asAnswered are those of its answer that go back.
var (
	asForwarded = []string{"Authorization", "Content-Type", "If-Match", "User-Agent"}
	asAnswered  = []string{
		"Accept-Patch", "Accept-Post", "Allow", "Content-Type", "Etag", "Link", "Location", "Retry-After",
		"Www-Authenticate", "X-Accel-Buffering", "X-Content-Type-Options",
	}
)

// Forwarded reports whether another node has forwarded a client's request. Only a guarded listener may ask.
func Forwarded(r *http.Request) bool { return len(r.Header.Values(sourceHeader)) > 0 }

// ForwardedHandler serves requests that other nodes forward. Nothing may reach it but what a guard has let pass.
func (s *Server) ForwardedHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, forwardedRequest)
	})
}

// forwardedRequest is a client's request as another node has seen it.
func forwardedRequest(r *http.Request) (*request, error) {
	source, _ := netip.ParseAddr(r.Header.Get(sourceHeader)) // the zero Addr is that of an unknown client
	base, err := ParseBase(r.Header.Get(baseHeader))
	if err != nil {
		base = ""
	}
	out := &request{Request: r, source: source, base: base, path: r.URL.Path, forwarded: true}
	out.token, out.redirect = cutSecret(r, queryNames...), cutSecret(r, redirectName)
	return out, nil
}

// inURL is a secret of this server as its URLs have it.
func (s *Server) inURL(secret string) string {
	if s.nodes == nil {
		return secret
	}
	return s.nodes.Self() + "." + secret
}

// sessionURL is the absolute path of a session.
func (s *Server) sessionURL(r *request, role api.Role, place, secret string) string {
	path := r.url(role, place) + "/"
	if s.nodes != nil {
		path += clusterSegment
	}
	return path + s.inURL(secret)
}

// nodeOf separates the id of another node from a secret of a URL. It is empty for this one.
func (s *Server) nodeOf(text string) (node, secret string) {
	node, secret, ok := strings.Cut(text, ".")
	switch {
	case s.nodes == nil || !ok:
		return "", text
	case node == s.nodes.Self():
		return "", secret
	}
	return node, secret
}

// forward sends a request to the node that has its session, and the answer back. It goes no further from there.
func (s *Server) forward(w http.ResponseWriter, r *request, node string, p part) error {
	if r.forwarded {
		return noSession()
	}
	if methods := strings.Split(p.methods(), ", "); !slices.Contains(methods, r.Method) {
		return wrongMethod(r, p.methods())
	}
	body, err := s.read(w, r, s.maxBody)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	limit := time.AfterFunc(forwardSpan, cancel)
	answer, err := s.nodes.Send(s.onward(ctx, r, r.URL.Query()), node, r.source, body)
	if err != nil {
		return forwardProblem(err)
	}
	defer answer.Body.Close()
	if p == eventStreamPart && r.Method == http.MethodGet && answer.StatusCode == http.StatusOK && limit.Stop() {
		pass(w.Header(), answer.Header)
		relayEvents(w, r, answer.Body)
		return nil
	}
	return s.passOn(w, answer)
}

// onward is a client's request for another node.
func (s *Server) onward(ctx context.Context, r *request, query url.Values) *http.Request {
	if r.token != "" {
		query.Set(queryNames[0], r.token)
	}
	out := &http.Request{Method: r.Method, URL: &url.URL{Path: r.path, RawQuery: query.Encode()}, Header: http.Header{}}
	for _, name := range asForwarded {
		if values := r.Header.Values(name); len(values) > 0 {
			out.Header[name] = values
		}
	}
	out.Header.Set(sourceHeader, r.source.String())
	if r.base != "" {
		out.Header.Set(baseHeader, r.base)
	}
	return out.WithContext(ctx)
}

// pass copies the headers of another node's answer.
func pass(to, from http.Header) {
	for _, name := range asAnswered {
		if values := from[name]; len(values) > 0 {
			to[name] = values
		}
	}
}

// passOn writes another node's answer, which is as long as a request may be.
func (s *Server) passOn(w http.ResponseWriter, answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, s.maxBody+1))
	if err != nil || int64(len(body)) > s.maxBody {
		return forwardProblem(errors.Join(ErrUpstream, err))
	}
	pass(w.Header(), answer.Header)
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body) // a peer that is gone needs no answer
	return nil
}

// relayEvents writes another node's events as they come.
func relayEvents(w http.ResponseWriter, r *request, events io.Reader) {
	defer yieldPlace(r.Context())()
	out := eventWriter{w: w, control: http.NewResponseController(w)}
	_ = out.control.SetReadDeadline(time.Time{}) // that of the request, whose end would end the answer
	w.WriteHeader(http.StatusOK)
	out.flush()
	buf := make([]byte, 4<<10)
	for out.err == nil {
		n, err := events.Read(buf)
		if n > 0 {
			out.write(string(buf[:n]))
			out.flush()
		}
		if err != nil {
			return
		}
	}
}

// forwardProblem is an error of Nodes.Send in HTTP's words.
func forwardProblem(err error) *problem {
	switch {
	case errors.Is(err, ErrNoNode): // it has ended, and its sessions with it
		return noSession()
	case errors.Is(err, ErrManyForwards):
		return &problem{
			status: http.StatusServiceUnavailable, kind: "busy", title: "Server busy", retryAfter: retryBusy,
			detail: "too many requests for sessions of other servers; try again soon",
		}
	}
	return &problem{
		status: http.StatusBadGateway, kind: "node-gone", title: "Session's server not reachable", cause: err,
		detail: "the session is at another server of the cluster, which does not answer; open another session",
	}
}
