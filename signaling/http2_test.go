package signaling

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Requests of one HTTP/2 connection take places as connections do. Those without one are refused, and all places come
// free at the end.
func TestStreamsTakePlaces(t *testing.T) {
	const places = 5
	hold, entered := make(chan struct{}), make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewHTTPServer("", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-hold
	}))
	l := Limit(server.Listener, places, slog.New(slog.DiscardHandler))
	server.Listener = l
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	statuses := make(chan int, 20)
	get := func() {
		r, err := server.Client().Get(server.URL)
		if err != nil {
			t.Error(err)
			statuses <- 0
			return
		}
		r.Body.Close()
		if r.ProtoMajor != 2 {
			t.Errorf("got %s, want HTTP/2", r.Proto)
		}
		statuses <- r.StatusCode
	}
	go get()
	<-entered // the connection is there for all others
	for range places - 1 {
		go get()
		<-entered
	}
	for range 3 {
		get()
		if got := <-statuses; got != http.StatusServiceUnavailable {
			t.Errorf("beyond the places: got %d, want 503", got)
		}
	}
	if got := testutil.ToFloat64(l.refused); got != 3 {
		t.Errorf("counted %g refused requests, want 3", got)
	}
	if got := len(l.places); got != places {
		t.Errorf("got %d places taken, want %d", got, places)
	}
	close(hold)
	for range places {
		if got := <-statuses; got != http.StatusOK {
			t.Errorf("got %d, want 200", got)
		}
	}
	server.CloseClientConnections()
	server.Close()
	if got := len(l.places); got != 0 {
		t.Errorf("got %d places taken at the end, want none", got)
	}
}

// A secureServer is a bench that HTTP/2 clients reach by TLS on pipes. All of it has the clock of the test's bubble.
type secureServer struct {
	t      *testing.T
	bench  *bench
	client *http.Client
	// dials counts the client's connections. stall makes the last one take nothing more from the server.
	dials atomic.Int32
	stall func()
}

// borrowed returns a certificate for example.com that is valid under the clock of a bubble, and a client's settings.
func borrowed() (tls.Certificate, *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return s.TLS.Certificates[0], s.Client().Transport.(*http.Transport).TLSClientConfig
}

func newSecureServer(t *testing.T, certificate tls.Certificate, trust *tls.Config) *secureServer {
	t.Helper()
	s := &secureServer{t: t, bench: newBench(t, Config{})}
	pipe := &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
	server := NewHTTPServer("pipe", s.bench.http)
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(Limit(pipe, 4, slog.New(slog.DiscardHandler)), "", "") }()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: trust.Clone(),
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			s.dials.Add(1)
			c := &stallingConn{Conn: pipe.dial(), stalled: make(chan struct{}), closed: make(chan struct{})}
			s.stall = func() { close(c.stalled) }
			return c, nil
		},
	}
	s.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = server.Close()
		<-served
	})
	return s
}

// A stallingConn reads until it is stalled. Then its peer's writes wait.
type stallingConn struct {
	net.Conn
	stalled, closed chan struct{}
}

func (c *stallingConn) Read(b []byte) (int, error) {
	select {
	case <-c.stalled:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Read(b)
	}
}

func (c *stallingConn) Close() error {
	defer close(c.closed)
	return c.Conn.Close()
}

// do asks over HTTP/2 and demands a status. The caller closes the body.
func (s *secureServer) do(status int, method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "https://example.com"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	if answer.ProtoMajor != 2 || answer.StatusCode != status {
		s.t.Fatalf("%s %s: got %s and %d, want HTTP/2 and %d", method, path, answer.Proto, answer.StatusCode, status)
	}
	return answer
}

// ask is do for an answer whose headers matter alone.
func (s *secureServer) ask(status int, method, path, body string, headers ...string) http.Header {
	s.t.Helper()
	answer := s.do(status, method, path, body, headers...)
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return answer.Header
}

// events opens a subscriber's session with an event stream, and reads that.
func (s *secureServer) events() (session string, events *http.Response) {
	s.t.Helper()
	s.bench.engine.streams["live"] = simulcast(s.t)
	session = s.ask(201, "POST", "/whep/live", fixture(s.t, chromiumRX), "Content-Type", sdpType).Get("Location")
	stream := s.ask(201, "POST", session+"/events", `["viewercount"]`, "Content-Type", jsonType).Get("Location")
	return session, s.do(200, "GET", stream, "")
}

// One HTTP/2 connection carries sessions and an event stream. The latter outlives the times that requests have, and
// many pings. Sessions come and go meanwhile.
func TestHTTP2(t *testing.T) {
	certificate, trust := borrowed()
	synctest.Test(t, func(t *testing.T) {
		s := newSecureServer(t, certificate, trust)
		publisher := s.ask(201, "POST", "/whip/one", fixture(t, obs), "Content-Type", sdpType)
		s.ask(200, "PATCH", publisher.Get("Location"), secondICE+audioPart+oneMore, "Content-Type", fragmentType,
			"If-Match", publisher.Get("ETag"))
		session, events := s.events()
		defer events.Body.Close()
		lines := bufio.NewScanner(events.Body)
		for n := range 10 { // minutes, each with two pings
			want := fmt.Sprintf(`data: {"viewercount":%d}`, n)
			for lines.Scan() && lines.Text() != want {
			}
			if lines.Text() != want {
				t.Fatalf("after %d minutes: got %q, %v, want %q", n, lines.Text(), lines.Err(), want)
			}
			other := s.ask(201, "POST", "/whip/other", fixture(t, obs), "Content-Type", sdpType).Get("Location")
			s.ask(200, "DELETE", other, "")
			time.Sleep(time.Minute)
			s.bench.engine.change(func(e *fakeEngine) {
				st := e.streams["live"]
				st.Subscribers++
				e.streams["live"] = st
			})
		}
		s.ask(200, "DELETE", session, "")
		for lines.Scan() {
		}
		if err := lines.Err(); err != nil {
			t.Errorf("the end of the events: %v", err)
		}
		s.ask(200, "DELETE", publisher.Get("Location"), "")
		if got := s.dials.Load(); got != 1 {
			t.Errorf("got %d connections, want 1", got)
		}
	})
}

// A peer that is gone takes nothing and answers no ping. Its event stream ends with its connection within a minute.
func TestHTTP2PeerIsGone(t *testing.T) {
	certificate, trust := borrowed()
	synctest.Test(t, func(t *testing.T) {
		s := newSecureServer(t, certificate, trust)
		_, events := s.events()
		defer events.Body.Close()
		synctest.Wait()
		s.bench.expectAudience(1, 1)
		s.stall()
		time.Sleep(time.Minute)
		synctest.Wait()
		s.bench.expectAudience(0, 1)
	})
}
