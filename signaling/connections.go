package signaling

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// MaxConnections bounds the HTTP connections of a listener of Limit. Thousands of slow ones leave room, and the bound
// holds their memory (about 20 KB each).
const MaxConnections = 8192

const (
	// idleSpan is the time for which a connection stays open between requests: a session needs none once it was
	// answered.
	idleSpan = 5 * time.Second
	// proxyIdleSpan is the same for a proxy's connection. The proxy must be the first to close it: a request
	// that meets our end is lost, and a POST may not be repeated. nginx and AWS close after 60 s, Traefik
	// after 90, Caddy after 120 and Google after 600. HTTP/2 loses no request, so idleSpan holds there.
	proxyIdleSpan = 11 * time.Minute
)

// Limit bounds the connections of a listener for a server that NewHTTPServer made. When there are most of them, a new
// one takes the place of the one that has been without a whole request for longest. Where there is none, it takes that
// of the one that has read nothing but events for longest. Where all are being served, it waits until one ends.
//
// Failures to accept, such as for the limit of open files, are logged once a minute. The server tries again, as long as
// the listener itself is in order.
func Limit(l net.Listener, most int, log *slog.Logger) *Limited {
	return &Limited{
		Listener: l, log: log, places: make(chan struct{}, most), quiet: list.New(), reading: list.New(),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringcast_http_evicted_connections_total",
			Help: "HTTP connections of the public listener that were closed to make room for others.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ringcast_http_refused_requests_total",
			Help: "HTTP/2 requests of the public listener that were refused because there was no room for another.",
		}),
	}
}

// A Limited is a listener of Limit. It also is a prometheus.Collector of its own counts.
type Limited struct {
	net.Listener
	log              *slog.Logger
	places           chan struct{} // one element for each connection, and for each request beyond its first
	evicted, refused prometheus.Counter

	// Accept's own: the failures since the last one that was logged, and when that was.
	failures int
	logged   time.Time

	mu sync.Mutex
	// quiet are the connections without a whole request, in the order in which they became so. The header of a
	// next request sends a connection to the end.
	quiet *list.List
	// reading are those whose only whole requests read events, in the same order. Somebody watches there, so they give
	// way after all quiet ones.
	reading *list.List
}

// A place is one connection of a limited listener.
type place struct {
	net.Conn
	listener *Limited
	// proxied is set once a request came through a proxy. idle is set between requests, until the HTTP server
	// has set a deadline for the next one.
	proxied, idle atomic.Bool

	// The listener's lock guards these.
	within  *list.List    // quiet, reading, or nil
	element *list.Element // there
	closed  bool
	serving int // whole requests that do not read events; over HTTP/2 there may be several
	readers int // requests that read events
	streams int // requests over HTTP/2, whole or not
}

// enterStream counts a request over HTTP/2. Each but the connection's first takes a place of its own, so a connection
// of a hundred costs as much as a hundred connections. ok is false where there is no place.
func (p *place) enterStream() (leave func(), ok bool) {
	l := p.listener
	first := false
	l.update(p, func() {
		p.streams++
		first = p.streams == 1
	})
	if !first && !l.tryPlace() {
		l.evict(p)
		if !l.tryPlace() {
			l.refused.Inc()
			l.update(p, func() { p.streams-- })
			return nil, false
		}
	}
	return func() {
		l.update(p, func() { p.streams-- })
		if !first {
			<-l.places
		}
	}, true
}

func (l *Limited) tryPlace() bool {
	select {
	case l.places <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *Limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, l.failed(err)
	}
	select {
	case l.places <- struct{}{}:
	default:
		l.evict(nil)
		l.places <- struct{}{}
	}
	p := &place{Conn: c, listener: l}
	l.update(p, func() {})
	return p, nil
}

// broken are the errors of accept(2) that say something about the listener. All others pass: they are about
// one connection, or about a shortage in the process or the machine.
var broken = []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK}

// failed makes the error for http.Server, which tries again, after a pause, if it is a passing one.
func (l *Limited) failed(err error) error {
	if slices.ContainsFunc(broken, func(b error) bool { return errors.Is(err, b) }) {
		return err
	}
	l.failures++
	if now := time.Now(); now.Sub(l.logged) >= time.Minute {
		l.log.Warn("connections cannot be accepted", "address", l.Addr().String(), "times", l.failures, "error", err)
		l.failures, l.logged = 0, now
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		l.evict(nil) // its descriptor is for the one that waits
	}
	return passing{err}
}

// A passing error keeps http.Server going.
type passing struct{ error }

func (passing) Temporary() bool { return true }
func (passing) Timeout() bool   { return false }
func (p passing) Unwrap() error { return p.error }

// evict closes the connection that is the first to give way to p, if there is one.
func (l *Limited) evict(p *place) {
	if first := l.first(p); first != nil {
		l.evicted.Inc()
		_ = first.Close() // the reset reaches its peer
	}
}

// first returns the first connection to give way to p: the one that has been quiet for longest. Without any it is the
// one that has read events for longest. It is nil if all others are being served.
func (l *Limited) first(p *place) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, all := range []*list.List{l.quiet, l.reading} {
		for e := all.Front(); e != nil; e = e.Next() {
			if other := e.Value.(*place); other != p {
				return other
			}
		}
	}
	return nil
}

// update changes a place, and then moves it to the end of the list where it now belongs.
func (l *Limited) update(p *place, change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	var within *list.List
	switch {
	case p.closed || p.serving > 0:
	case p.readers > 0:
		within = l.reading
	default:
		within = l.quiet
	}
	if within == p.within {
		return
	}
	if p.within != nil {
		p.within.Remove(p.element)
	}
	if p.within = within; within != nil {
		p.element = within.PushBack(p)
	}
}

// toEnd makes a quiet connection the last of its list that gives way.
func (l *Limited) toEnd(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.within != nil {
		p.within.MoveToBack(p.element)
	}
}

// Describe implements prometheus.Collector.
func (l *Limited) Describe(out chan<- *prometheus.Desc) {
	l.evicted.Describe(out)
	l.refused.Describe(out)
}

// Collect implements prometheus.Collector.
func (l *Limited) Collect(out chan<- prometheus.Metric) {
	l.evicted.Collect(out)
	l.refused.Collect(out)
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
	first := false
	p.listener.update(p, func() { first, p.closed = !p.closed, true })
	if first {
		<-p.listener.places
	}
	return err
}

// follow is the http.Server's ConnState: it shows a limited listener which connections are quiet.
func follow(c net.Conn, state http.ConnState) {
	p := placeOf(c)
	if p == nil {
		return
	}
	switch state {
	case http.StateActive: // a header is there
		p.listener.toEnd(p)
	case http.StateIdle:
		p.idle.Store(true)
		p.listener.update(p, func() { p.serving = 0 })
		p.listener.toEnd(p)
	}
}

// countWhole calls h. A limited listener learns when the whole request is there: from then on its connection gives way
// to nobody.
func countWhole(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := r.Context().Value(placeKey{}).(*place)
		if p == nil {
			h.ServeHTTP(w, r)
			return
		}
		if r.ProtoMajor > 1 {
			leave, ok := p.enterStream()
			if !ok {
				w.Header().Set("Retry-After", strconv.Itoa(retryFull))
				http.Error(w, "too many requests are open", http.StatusServiceUnavailable)
				return
			}
			defer leave()
		}
		b := &countedBody{ReadCloser: r.Body, place: p}
		if r.Body == http.NoBody || r.ContentLength == 0 { // over HTTP/2 a request without a body is the latter
			b.end()
		} else {
			r.Body = b
		}
		h.ServeHTTP(w, r)
		// Over HTTP/1 the answer may still wait to be sent: the connection's next state shows its end.
		if b.whole && r.ProtoMajor > 1 {
			p.listener.update(p, func() { p.serving = max(p.serving-1, 0) })
		}
	})
}

// A countedBody is a request's body that counts the request as whole at its end. The handler's goroutine has it.
type countedBody struct {
	io.ReadCloser
	place *place
	whole bool
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.end()
	}
	return n, err
}

func (b *countedBody) end() {
	if !b.whole {
		b.whole = true
		b.place.listener.update(b.place, func() { b.place.serving++ })
	}
}

// yieldPlace lets the connection of a request that reads events give way to others, until the returned function is
// called.
func yieldPlace(ctx context.Context) (keep func()) {
	p, _ := ctx.Value(placeKey{}).(*place)
	if p == nil {
		return func() {}
	}
	p.listener.update(p, func() { p.serving, p.readers = p.serving-1, p.readers+1 })
	return func() { p.listener.update(p, func() { p.serving, p.readers = p.serving+1, p.readers-1 }) }
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
