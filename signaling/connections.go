package signaling

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// MaxConnections is how many HTTP connections a listener of Limit may be given at a time: enough that
// thousands of slow ones leave room, and a bound on their memory (about 20 KB each).
const MaxConnections = 8192

const (
	// idleSpan is how long a connection stays open between requests: a session needs none once it was
	// answered.
	idleSpan = 5 * time.Second
	// proxyIdleSpan is the same for a proxy's connection. The proxy must be the first to close it: a request
	// that meets our end is lost, and a POST may not be repeated. nginx and AWS close after 60 s, Traefik
	// after 90, Caddy after 120 and Google after 600. HTTP/2 loses no request, so idleSpan holds there.
	proxyIdleSpan = 11 * time.Minute
)

// Limit bounds the connections of a listener for a server that NewHTTPServer made. When there are most of
// them, a new one takes the place of the one that has been without a whole request for longest; where all
// are being served, it waits until one ends.
//
// Failures to accept, such as for the limit of open files, are logged once a minute. The server tries again, as
// long as the listener itself is in order.
func Limit(l net.Listener, most int, log *slog.Logger) net.Listener {
	return &limited{Listener: l, log: log, places: make(chan struct{}, most), quiet: list.New()}
}

type limited struct {
	net.Listener
	log    *slog.Logger
	places chan struct{} // one element for each connection

	// Accept's own: the failures since the last one that was logged, and when that was.
	failures int
	logged   time.Time

	mu sync.Mutex
	// quiet are the connections between requests, or before the end of one's header, in the order in
	// which they became so.
	quiet *list.List
}

// A place is one connection of a limited listener.
type place struct {
	net.Conn
	listener *limited
	// proxied is set once a request came through a proxy. idle is set between requests, until the HTTP server
	// has set a deadline for the next one.
	proxied, idle atomic.Bool

	// The listener's lock guards these.
	element *list.Element // in quiet, or nil
	closed  bool
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, l.failed(err)
	}
	select {
	case l.places <- struct{}{}:
	default:
		l.evict()
		l.places <- struct{}{}
	}
	p := &place{Conn: c, listener: l}
	l.setQuiet(p, true)
	return p, nil
}

// broken are the errors of accept(2) that say something about the listener. All others pass: they are about
// one connection, or about a shortage in the process or the machine.
var broken = []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK}

// failed makes the error for http.Server, which tries again, after a pause, if it is a passing one.
func (l *limited) failed(err error) error {
	if slices.ContainsFunc(broken, func(b error) bool { return errors.Is(err, b) }) {
		return err
	}
	l.failures++
	if now := time.Now(); now.Sub(l.logged) >= time.Minute {
		l.log.Warn("connections cannot be accepted", "address", l.Addr().String(), "times", l.failures, "error", err)
		l.failures, l.logged = 0, now
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.evict() // its descriptor is for the one that waits
	}
	return passing{err}
}

// A passing error keeps http.Server going.
type passing struct{ error }

func (passing) Temporary() bool { return true }
func (passing) Timeout() bool   { return false }
func (p passing) Unwrap() error { return p.error }

// evict closes the connection that has been quiet for longest, if there is one.
func (l *limited) evict() {
	l.mu.Lock()
	oldest := l.quiet.Front()
	l.mu.Unlock()
	if oldest != nil {
		_ = oldest.Value.(*place).Close() // the reset tells its peer
	}
}

func (l *limited) setQuiet(p *place, quiet bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case quiet && p.element == nil && !p.closed:
		p.element = l.quiet.PushBack(p)
	case !quiet && p.element != nil:
		l.quiet.Remove(p.element)
		p.element = nil
	}
}

// SetReadDeadline gives a proxy's connection more time for its next request.
func (p *place) SetReadDeadline(t time.Time) error {
	if p.idle.Swap(false) && p.proxied.Load() && !t.IsZero() {
		t = t.Add(proxyIdleSpan - idleSpan)
	}
	return p.Conn.SetReadDeadline(t)
}

// Close frees the place.
func (p *place) Close() error {
	err := p.Conn.Close()
	l := p.listener
	l.setQuiet(p, false)
	l.mu.Lock()
	first := !p.closed
	p.closed = true
	l.mu.Unlock()
	if first {
		<-l.places
	}
	return err
}

// follow is the http.Server's ConnState: it tells a limited listener which connections are quiet.
func follow(c net.Conn, state http.ConnState) {
	p := placeOf(c)
	if p == nil {
		return
	}
	switch state {
	case http.StateActive:
		p.listener.setQuiet(p, false)
	case http.StateIdle:
		p.idle.Store(true)
		p.listener.setQuiet(p, true)
	}
}

// placeOf is nil for a connection of any other listener.
func placeOf(c net.Conn) *place {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	p, _ := c.(*place)
	return p
}

// placeKey is the key of a request's *place in its context.
type placeKey struct{}

// remember is the http.Server's ConnContext.
func remember(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, placeKey{}, placeOf(c))
}

// keepForProxy keeps the connection of a request that came through a proxy for its next request.
func keepForProxy(ctx context.Context) {
	if p, _ := ctx.Value(placeKey{}).(*place); p != nil {
		p.proxied.Store(true)
	}
}
