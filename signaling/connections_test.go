package signaling

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
)

// A crowded server is a limited listener on pipes with an HTTP server that holds requests until told.
type crowdedServer struct {
	t       *testing.T
	bench   *bench
	pipe    *pipeListener
	limited *Limited
	log     bytes.Buffer // Accept's goroutine writes it
	hold    chan struct{}
	held    sync.WaitGroup
}

func newCrowdedServer(t *testing.T, most int) *crowdedServer {
	t.Helper()
	b := newBench(t, Config{TrustedProxies: trustedNetworks})
	pipe := &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{}), failures: make(chan error)}
	s := &crowdedServer{t: t, bench: b, hold: make(chan struct{}), pipe: pipe}
	s.limited = Limit(s.pipe, most, slog.New(slog.NewTextHandler(&s.log, nil)))
	server := NewHTTPServer("pipe", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read-and-hold" {
			if _, err := io.ReadAll(r.Body); err == nil {
				<-s.hold
			}
			return
		}
		if r.URL.Path == "/hold" {
			<-s.hold
			return
		}
		if peer := r.Header.Get("Peer"); peer != "" { // a pipe has no addresses
			r.RemoteAddr = peer
		}
		b.http.ServeHTTP(w, r)
	}))
	served := make(chan error, 1)
	go func() { served <- server.Serve(s.limited) }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return s
}

// request asks on a connection and reads the answer's status.
func (s *crowdedServer) request(c net.Conn, path string, headers ...string) (int, error) {
	head := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n", path)
	for _, h := range headers {
		head += h + "\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return 0, err
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	_, err = io.Copy(io.Discard, r.Body)
	return r.StatusCode, err
}

// ended reports whether the server has closed a connection.
func ended(c net.Conn) bool {
	if err := c.SetReadDeadline(time.Now()); err != nil {
		return true
	}
	_, err := c.Read(make([]byte, 1))
	_ = c.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

// When there are most connections, a new one takes the place of the one that has been quiet for longest. It is never
// one that is being served, and no honest newcomer waits for a slow one.
func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4
		s := newCrowdedServer(t, most)
		first := s.pipe.dial() // says nothing
		synctest.Wait()
		served := s.pipe.dial()
		s.held.Go(func() {
			if status, err := s.request(served, "/hold"); status != 200 || err != nil {
				t.Errorf("the client served when it became crowded: %d, %v", status, err)
			}
		})
		synctest.Wait()
		idle := s.pipe.dial()
		if status, err := s.request(idle, "/"); status != 200 || err != nil {
			t.Fatalf("%d, %v", status, err)
		}
		synctest.Wait()
		slow := s.pipe.dial()
		fmt.Fprint(slow, "GET / HTT")
		synctest.Wait()
		// Full. The newcomers evict in the order in which the others became quiet.
		for i := range 3 {
			c := s.pipe.dial()
			if status, err := s.request(c, "/"); status != 200 || err != nil {
				t.Errorf("newcomer %d: %d, %v", i, status, err)
			}
			synctest.Wait()
			for j, other := range []net.Conn{first, idle, slow} {
				if got := ended(other); got != (j <= i) {
					t.Errorf("after newcomer %d quiet connection %d has ended: %t", i, j, got)
				}
			}
		}
		if n := len(s.limited.places); n != most {
			t.Errorf("%d places are taken of %d", n, most)
		}
		close(s.hold)
		s.held.Wait()
	})
}

// A connection whose request is not there as a whole gives way too: with a header alone, anybody could keep every place
// for 10 s.
func TestConnectionLimitCountsBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 4
		s := newCrowdedServer(t, most)
		served := s.pipe.dial()
		s.held.Go(func() {
			_, _ = io.WriteString(served, "POST /read-and-hold HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
			if r, err := http.ReadResponse(bufio.NewReader(served), nil); err != nil || r.StatusCode != 200 {
				t.Errorf("a whole request, being served: %v; want 200", err)
			}
		})
		synctest.Wait()
		var slow []net.Conn
		for _, path := range []string{"/whip/slow", "/nothing-reads-the-body", "/read-and-hold"} {
			c := s.pipe.dial()
			_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 1000\r\n\r\nv",
				path, sdpType)
			slow = append(slow, c)
			synctest.Wait()
		}
		for i := range slow {
			begun := time.Now()
			c := s.pipe.dial()
			if status, err := s.request(c, "/hold-not"); status != 404 || err != nil {
				t.Errorf("newcomer %d: got %d, %v; want 404", i, status, err)
			}
			if waited := time.Since(begun); waited != 0 {
				t.Errorf("newcomer %d waited for %v; want 0", i, waited)
			}
			synctest.Wait()
			for j, other := range slow {
				if got := hungUp(other); got != (j <= i) {
					t.Errorf("after newcomer %d slow connection %d has ended: got %t, want %t", i, j, got, j <= i)
				}
			}
		}
		close(s.hold)
		s.held.Wait()
	})
}

// hungUp reads the bytes sent to a connection, and reports whether the server has closed it.
func hungUp(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Nanosecond))
	_, err := io.Copy(io.Discard, c)
	_ = c.SetReadDeadline(time.Time{})
	return err == nil || errors.Is(err, io.ErrClosedPipe)
}

// Where all connections are being served, a new one waits until one ends.
func TestConnectionLimitWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		s := newCrowdedServer(t, most)
		for range most {
			c := s.pipe.dial()
			s.held.Go(func() {
				if status, err := s.request(c, "/hold"); status != 200 || err != nil {
					t.Errorf("%d, %v", status, err)
				}
				c.Close()
			})
			synctest.Wait()
		}
		answered := make(chan error, 1)
		c := s.pipe.dial()
		go func() {
			_, err := s.request(c, "/")
			answered <- err
		}()
		synctest.Wait()
		select {
		case err := <-answered:
			t.Fatalf("answered beyond the limit: %v", err)
		default:
		}
		close(s.hold)
		s.held.Wait()
		if err := <-answered; err != nil {
			t.Error(err)
		}
		c.Close()
		synctest.Wait()
		if n, quiet := len(s.limited.places), s.limited.quiet.Len(); n != 0 || quiet != 0 {
			t.Errorf("%d places are taken and %d connections quiet when all have gone", n, quiet)
		}
	})
}

// Accepting fails in several ways; the server goes on and logs it once a minute. Where descriptors are short, the
// connection that has been quiet for longest gives its own.
func TestAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCrowdedServer(t, 4)
		quiet := []net.Conn{s.pipe.dial(), s.pipe.dial()}
		synctest.Wait()
		for i, row := range []struct {
			err   error
			ended int // quiet connections
			lines int
		}{
			{syscall.ENOMEM, 0, 1},
			{syscall.EMFILE, 1, 1},
			{syscall.ENFILE, 2, 1},
			{syscall.EPERM, 2, 1},
		} {
			s.pipe.fail(row.err)
			c := s.pipe.dial()
			if status, err := s.request(c, "/"); status != 200 || err != nil {
				t.Errorf("after %v: %d, %v", row.err, status, err)
			}
			c.Close()
			synctest.Wait()
			for j, c := range quiet {
				if got, want := ended(c), j < row.ended; got != want {
					t.Errorf("after %v quiet connection %d has ended: got %t, want %t", row.err, j, got, want)
				}
			}
			if n := strings.Count(s.log.String(), "\n"); n != row.lines {
				t.Errorf("after failure %d: got %d log lines, want %d:\n%s", i, n, row.lines, &s.log)
			}
		}
		time.Sleep(time.Minute)
		s.pipe.fail(syscall.ENOBUFS)
		synctest.Wait()
		if n := strings.Count(s.log.String(), "times=4"); n != 1 {
			t.Errorf("a minute later: got %d lines of the 4 failures since, want 1:\n%s", n, &s.log)
		}
	})
}

// A listener that is broken ends its server.
func TestListenerIsBroken(t *testing.T) {
	for _, want := range broken {
		l := Limit(&pipeListener{closed: make(chan struct{}), failure: want}, 1, slog.New(slog.DiscardHandler))
		if err := NewHTTPServer("pipe", http.NotFoundHandler()).Serve(l); !errors.Is(err, want) {
			t.Errorf("served until: got %v, want %v", err, want)
		}
	}
}

// Offers are worked on a few at a time, and only so many wait.
func TestOfferQueue(t *testing.T) {
	synctest.Test(t, testOfferQueue)
	synctest.Test(t, testQueueOfTinyOffers)
}

// A request costs memory even without a body, so tiny ones fill the queue too. HTTP/2 brings any number of them.
func testQueueOfTinyOffers(t *testing.T) {
	o := offers{slots: make(chan struct{}, 1)}
	if _, err := o.enter(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	var queue sync.WaitGroup
	var refused atomic.Int64
	const all, most = 10_000, 4096
	for n := range all {
		queue.Go(func() {
			if _, err := o.enter(gone, n%2); errors.Is(err, api.ErrBusy) {
				refused.Add(1)
			}
		})
	}
	synctest.Wait()
	if waiting := o.waiting.Load(); waiting != most || refused.Load() != all-most {
		t.Errorf("%d tiny offers wait and %d were refused, want %d and %d", waiting, refused.Load(), most, all-most)
	}
	hangUp()
	queue.Wait()
	if o.size.Load() != 0 {
		t.Errorf("after them %d bytes wait", o.size.Load())
	}
}

func testOfferQueue(t *testing.T) {
	o := offers{slots: make(chan struct{}, 1)}
	const most = 16 // of the size of each
	busy, err := o.enter(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	gone, hangUp := context.WithCancel(t.Context())
	var queue sync.WaitGroup
	left := make(chan error, most)
	for range most {
		queue.Go(func() {
			_, err := o.enter(gone, maxWaiting/most)
			left <- err
		})
	}
	synctest.Wait()
	if _, err := o.enter(t.Context(), 1); !errors.Is(err, api.ErrBusy) {
		t.Errorf("beyond those that may wait: %v", err)
	}
	// The turn takes 5 s.
	time.Sleep(5 * time.Second)
	o.pace.Store(int64(time.Second))
	chances := map[int]bool{}
	for range 1000 {
		chances[o.retryAfter()] = true
	}
	if len(chances) != most+1 || !chances[retryBusy] || !chances[retryBusy+most] {
		t.Errorf("refused peers come back after %v seconds, want all from %d to %d", chances, retryBusy,
			retryBusy+most)
	}
	hangUp()
	queue.Wait()
	for range most {
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the client that hung up while it waited: %v", err)
		}
	}
	busy.leave()
	if want := time.Second + 4*time.Second/paceShare; o.pace.Load() != int64(want) {
		t.Errorf("the pace is %v, want %v", time.Duration(o.pace.Load()), want)
	}
	if _, err := o.enter(t.Context(), 1); err != nil || o.waiting.Load() != 0 || o.size.Load() != 0 {
		t.Errorf("after the crowd: %v, %d wait with %d bytes", err, o.waiting.Load(), o.size.Load())
	}
}

// A session needs no connection once it was answered. An idle connection is ended after 5 s, and a request on the way
// begins the time again.
func TestIdleConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCrowdedServer(t, 2)
		s.checkIdle(5 * time.Second)
	})
}

// A proxy that reuses a connection at the moment of its end loses the request, and may not repeat a POST. So
// a proxy's connection stays for longer than proxies keep one: Google's do for ten minutes.
func TestIdleProxyConnectionsStay(t *testing.T) {
	for _, tt := range []struct{ name, header string }{
		{"X-Forwarded-For", "X-Forwarded-For: 198.51.100.7"},
		{"Forwarded", "Forwarded: for=198.51.100.7"},
		{"Via", "Via: 1.1 proxy"},
		{"trusted", "Peer: 10.0.0.1:1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newCrowdedServer(t, 2)
				s.checkIdle(11*time.Minute, tt.header)
			})
		})
	}
}

// checkIdle checks how long a connection lives after each request with some headers.
func (s *crowdedServer) checkIdle(span time.Duration, headers ...string) {
	s.t.Helper()
	c := s.pipe.dial()
	for range 3 {
		if status, err := s.request(c, "/", headers...); status != 200 || err != nil {
			s.t.Fatalf("status %d, %v; want 200", status, err)
		}
		time.Sleep(span - 100*time.Millisecond)
		if ended(c) {
			s.t.Fatalf("ended before %v", span)
		}
	}
	time.Sleep(200 * time.Millisecond)
	synctest.Wait()
	if !ended(c) || len(s.limited.places) != 0 {
		s.t.Errorf("idle for more than %v: ended %t, %d places taken; want true, 0", span, ended(c),
			len(s.limited.places))
	}
}

// Only between requests does a proxy's connection get more time: not within a header.
func TestSlowProxyConnectionsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCrowdedServer(t, 2)
		c := s.pipe.dial()
		if status, err := s.request(c, "/", "Via: 1.1 proxy"); status != 200 || err != nil {
			t.Fatalf("status %d, %v; want 200", status, err)
		}
		time.Sleep(time.Minute)
		fmt.Fprint(c, "GET / HTTP/1.1\r\n")
		time.Sleep(4900 * time.Millisecond)
		if ended(c) {
			t.Error("ended before 5 s")
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if !ended(c) {
			t.Error("a request's header took more than 5 s, and the connection lives")
		}
	})
}

// unread is a handler's view of a peer that does not read its answer.
type unread struct {
	*httptest.ResponseRecorder
	writing, release chan struct{}
}

func (u *unread) Write(b []byte) (int, error) {
	close(u.writing)
	<-u.release
	return u.ResponseRecorder.Write(b)
}

// Peers that do not read their answers keep no other offer waiting.
func TestUnreadAnswerBlocksNobody(t *testing.T) {
	b := newBench(t, Config{})
	offer := fixture(t, obs)
	u := &unread{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
	r := httptest.NewRequest(http.MethodPost, "/whip/slow", strings.NewReader(offer))
	r.Header.Set("Content-Type", sdpType)
	var slow sync.WaitGroup
	slow.Go(func() { b.http.ServeHTTP(u, r) })
	<-u.writing
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if held, err := b.server.offers.enter(ctx, 1); err != nil {
		t.Errorf("an offer beside an answer that nobody reads: %v", err)
	} else {
		held.leave()
	}
	b.mustPost("/whip/other", offer)
	close(u.release)
	slow.Wait()
	if u.Code != http.StatusCreated {
		t.Errorf("status %d for a client that reads late", u.Code)
	}
}
