package directory

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Paths of the cluster's listener that StaticHandler serves.
const (
	PathWhere = "/directory/where"
	PathNews  = "/directory/news"
)

const (
	// coldPatience is the time that an answer may take while a connection is cold. It bounds each request too.
	coldPatience = 2 * time.Second
	// farewellSpan is the time to send the last news at the end.
	farewellSpan = 500 * time.Millisecond
	// returnSpan is the mean time between two attempts to reach a peer that is down.
	returnSpan = 500 * time.Millisecond
	// maxNews bounds the body of one request with news in bytes, and maxAnswer that of an answer.
	maxNews, maxAnswer = 192 << 10, 64 << 10
	// maxPending is the number of messages that wait for one peer.
	maxPending = 4096
)

// Caller sends a request to another node and returns its answer. secret.Caller is one.
type Caller interface {
	Do(r *http.Request, body []byte) (*http.Response, error)
}

// Static is the Transport between nodes that know each other's base URLs from settings, for up to ten nodes. It asks
// all in parallel, over connections that beats keep open.
type Static struct {
	caller   Caller
	receiver Receiver
	peers    []*peer
	begun    time.Time
	ctx      context.Context // ends all requests
	cancel   context.CancelFunc
	requests sync.WaitGroup
	senders  sync.WaitGroup
}

var _ Transport = (*Static)(nil)

// peer is another node. Its own goroutine sends its news.
type peer struct {
	base string

	mu      sync.Mutex // guards the fields below
	state   PeerState
	pending [][]byte
	beat    []byte
	closed  bool
	// lost is set once news were dropped: the peer has to hear all again.
	lost bool
	// wake has a token when something changed.
	wake chan struct{}
}

// NewStatic makes a transport to peers with base URLs such as https://node2:8443. Start starts it.
func NewStatic(peers []string, caller Caller) *Static {
	s := &Static{caller: caller}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, base := range peers {
		s.peers = append(s.peers, &peer{base: strings.TrimSuffix(base, "/"), wake: make(chan struct{}, 1)})
	}
	return s
}

// Start implements Transport.
func (s *Static) Start(r Receiver) {
	s.receiver, s.begun = r, time.Now()
	for _, p := range s.peers {
		s.senders.Go(func() { s.send(p) })
	}
}

// Patience implements Transport.
func (s *Static) Patience() time.Duration {
	for _, p := range s.peers {
		if p.is(PeerUntried) {
			return coldPatience
		}
	}
	return Patience
}

// Reach implements Transport. Nodes that start together have coldPatience until all are there.
func (s *Static) Reach() Reach {
	r := Reach{Named: len(s.peers)}
	answers := 0
	for _, p := range s.peers {
		p.mu.Lock()
		r.Peers = append(r.Peers, Peer{p.base, p.state})
		p.mu.Unlock()
		if r.Peers[len(r.Peers)-1].State == PeerUp {
			answers++
		}
	}
	r.Settled = answers == r.Named || time.Since(s.begun) > coldPatience
	return r
}

// Ask implements Transport. Nobody asks a peer that is down: its silence makes the question partial.
func (s *Static) Ask(number uint64, _ string, question []byte) {
	s.requests.Go(func() {
		answered := make(chan bool, len(s.peers))
		for _, p := range s.peers {
			s.requests.Go(func() { answered <- s.ask(p, number, question) })
		}
		heard := Complete
		for range s.peers {
			if !<-answered {
				heard = Partial
			}
		}
		s.receiver.Asked(number, heard)
	})
}

func (s *Static) ask(p *peer, number uint64, question []byte) bool {
	if p.is(PeerDown) {
		return false
	}
	answer, err := s.post(p.base+PathWhere, question)
	if err != nil {
		return false
	}
	return s.receiver.Answer(number, answer)
}

var errStatus = errors.New("the peer refused")

// post sends a request and returns its answer's body.
func (s *Static) post(url string, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(s.ctx, coldPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	response, err := s.caller.Do(r, body)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode/100 != 2:
		return nil, fmt.Errorf("%w: %s", errStatus, response.Status)
	case len(text) > maxAnswer:
		return nil, errLong
	}
	return text, nil
}

// Tell implements Transport: each peer gets all news.
func (s *Static) Tell(_ string, text []byte) {
	for _, p := range s.peers {
		p.push(text)
	}
}

// Beat implements Transport.
func (s *Static) Beat(text []byte) {
	for _, p := range s.peers {
		p.mu.Lock()
		p.beat = text
		p.mu.Unlock()
		p.push(text)
	}
}

// Serve implements Transport: every peer asks us anyway.
func (s *Static) Serve(string) {}

// Unserve implements Transport.
func (s *Static) Unserve(string) {}

// Listen implements Transport: every peer sends us its news anyway.
func (s *Static) Listen(string) {}

// Unlisten implements Transport.
func (s *Static) Unlisten(string) {}

// Close implements Transport. It sends the last news first.
func (s *Static) Close() error {
	for _, p := range s.peers {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.poke()
	}
	end := time.AfterFunc(farewellSpan, s.cancel)
	s.senders.Wait()
	end.Stop()
	s.cancel()
	s.requests.Wait()
	return nil
}

func (p *peer) is(state PeerState) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == state
}

func (p *peer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// push adds a message. While the peer is down, nothing is kept: its return brings all news again.
func (p *peer) push(text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.state == PeerDown:
	case len(p.pending) >= maxPending:
		p.lost = true
	default:
		p.pending = append(p.pending, text)
	}
	p.poke()
}

// take returns the body of the next request, or nil where nothing waits.
func (p *peer) take() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	var body []byte
	n := 0
	for ; n < len(p.pending) && len(body)+len(p.pending[n]) < maxNews; n++ {
		body = appendNews(body, p.pending[n])
	}
	if p.pending = p.pending[n:]; len(p.pending) == 0 {
		p.pending = nil
	}
	return body
}

// send sends the news of one peer until the transport closes.
func (s *Static) send(p *peer) {
	for {
		body := p.take()
		switch {
		case body != nil:
			_, err := s.post(p.base+PathNews, body)
			s.sent(p, err)
		case p.over():
			return
		case p.is(PeerDown):
			s.pause(returnSpan/2 + rand.N(returnSpan))
			s.tryAgain(p)
		default:
			<-p.wake
		}
	}
}

func (p *peer) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (s *Static) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.ctx.Done():
	}
}

// tryAgain sends a beat to a peer that is down, and does not wait for its end. An attempt from before a path is whole
// again may hang for longer than the next one takes.
func (s *Static) tryAgain(p *peer) {
	p.mu.Lock()
	body := appendNews(nil, p.beat)
	p.mu.Unlock()
	s.requests.Go(func() {
		if _, err := s.post(p.base+PathNews, body); err == nil {
			s.sent(p, nil)
		}
	})
}

// sent takes the result of sending news.
func (s *Static) sent(p *peer, err error) {
	p.mu.Lock()
	before := p.state
	p.state = PeerUp
	if err != nil {
		p.state, p.pending = PeerDown, nil
	}
	again := err == nil && (before != PeerUp || p.lost)
	p.lost = p.lost && err != nil
	p.mu.Unlock()
	p.poke()
	switch {
	case again:
		s.receiver.Up("")
	case err != nil && before != PeerDown && s.silent():
		s.receiver.Silent()
	}
}

// silent reports whether no peer can be reached.
func (s *Static) silent() bool {
	for _, p := range s.peers {
		if !p.is(PeerDown) {
			return false
		}
	}
	return true
}

// StaticHandler serves PathWhere and PathNews for a Receiver. A guard stands in front of it.
func StaticHandler(r Receiver) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+PathWhere, func(w http.ResponseWriter, request *http.Request) {
		question, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxAnswer))
		if err != nil {
			http.Error(w, "unreadable body", http.StatusBadRequest)
			return
		}
		answer := r.Question(question)
		if answer == nil {
			http.Error(w, "not understood", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.Copy(w, bytes.NewReader(answer)) // an asker that is gone needs no answer
	})
	mux.HandleFunc("POST "+PathNews, func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, maxNews+maxAnswer))
		if err != nil {
			http.Error(w, "unreadable body", http.StatusBadRequest)
			return
		}
		for len(body) > 0 {
			var text []byte
			if text, body, err = cutNews(body); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			r.Heard(text)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}

// appendNews appends a message to the body of a request: its length as a varint, and its bytes.
func appendNews(body, text []byte) []byte {
	return append(binary.AppendUvarint(body, uint64(len(text))), text...)
}

var errNews = errors.New("malformed news")

// cutNews takes the first message off a body.
func cutNews(body []byte) (text, rest []byte, err error) {
	length, n := binary.Uvarint(body)
	if n <= 0 || length > uint64(len(body)-n) {
		return nil, nil, errNews
	}
	return body[n:][:length], body[n:][length:], nil
}

// StaticClient makes an HTTP client from a transport with the TLS settings of the cluster. It keeps connections to
// peers open, follows no redirect, and closes a connection whose other end does not answer for two seconds.
func StaticClient(t *http.Transport) *http.Client {
	t = t.Clone()
	t.Proxy = nil
	t.ForceAttemptHTTP2 = true
	t.MaxIdleConnsPerHost = 32
	t.HTTP2 = &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second}
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
