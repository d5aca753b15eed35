package signaling

import (
	"container/list"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// MaxConnections is how many HTTP connections a listener of Limit may be given at a time: enough that
// thousands of slow ones leave room, and a bound on their memory (about 20 KB each).
const MaxConnections = 8192

// Limit bounds the connections of a listener for a server that NewHTTPServer made. When there are most of
// them, a new one takes the place of the one that has been without a whole request for longest; where all
// are being served, it waits until one ends.
func Limit(l net.Listener, most int) net.Listener {
	return &limited{Listener: l, places: make(chan struct{}, most), quiet: list.New()}
}

type limited struct {
	net.Listener
	places chan struct{} // one element for each connection

	mu sync.Mutex
	// quiet are the connections between requests, or before the end of one's header, in the order in
	// which they became so.
	quiet *list.List
}

// A place is one connection of a limited listener.
type place struct {
	net.Conn
	listener *limited

	// The listener's lock guards these.
	element *list.Element // in quiet, or nil
	closed  bool
}

func (l *limited) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
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
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	p, ok := c.(*place)
	if !ok {
		return
	}
	switch state {
	case http.StateActive:
		p.listener.setQuiet(p, false)
	case http.StateIdle:
		p.listener.setQuiet(p, true)
	}
}
