package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/client"
	"ringcast/testenv"
)

// 5,000 connections to a server in its own process begin in each of the ways that keep a server waiting. Then each
// sends a byte every ten seconds. The server ends every one by its timeouts, and answers honest offers beside them;
// their times are in the log. signaling's TestSlowlorisTimeouts holds in virtual time that honest offers wait for no
// slow one, and the exact timeouts.
func TestSlowloris(t *testing.T) {
	const crowd, honest = 5000 / testenv.Slowdown, 300
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 1, LogLevel: "error"})
	defer http.DefaultClient.CloseIdleConnections() // testenv's
	whip := client.New(client.Config{Role: api.Publisher, Transport: &http.Transport{DisableKeepAlives: true}})
	sdp := offer(t, obsOffer)
	turn := 0
	posts := func(enough func(n int) bool) (took []time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		for !enough(len(took)) {
			turn++
			begun := time.Now()
			session, err := whip.Post(ctx, fmt.Sprint(s.URL, "/whip/s", turn%100), sdp)
			if err != nil {
				t.Fatalf("an honest offer: %v", err)
			}
			took = append(took, time.Since(begun))
			// Otherwise the sessions would fill their source's share of those that may be pending.
			if err := session.Delete(ctx); err != nil {
				t.Fatal(err)
			}
		}
		return took
	}
	some := func(n int) bool { return n == honest }
	posts(func(n int) bool { return n == 20 }) // warm
	before := posts(some)
	memory := s.Metrics(t)["process_resident_memory_bytes"]

	slow := newSlowCrowd(t, strings.TrimPrefix(s.URL, "http://"), crowd)
	// All of them are there while the first offers are made, and fewer later.
	least := slow.open.Load()
	during := posts(func(n int) bool {
		if n < honest {
			least = min(least, slow.open.Load())
		}
		return n >= honest && slow.open.Load() == 0
	})
	held := s.Metrics(t)["process_resident_memory_bytes"]
	slow.wait()
	after := posts(some)

	b50, b99, _ := quantiles(before)
	d50, d99, most := quantiles(during)
	a50, a99, _ := quantiles(after)
	_, p50s, longest := quantiles(slow.lives)
	t.Logf("%d slow connections, all ended by the server, after %v (p99) and %v at most; %.0f bytes of the process "+
		"for each; at least %d open beside the first %d offers",
		crowd, p50s.Round(time.Millisecond), longest.Round(time.Millisecond), max(0, held-memory)/crowd, least, honest)
	t.Logf("an honest offer: %v (median), %v (p99) before; %v, %v beside them (%d offers, %v at most); %v, %v after",
		b50, b99, d50, d99, len(during), most, a50, a99)
	if n := s.Metrics(t)["ringcast_faults_total"]; n != 0 {
		t.Errorf("%v panics", n)
	}
}

// beginnings are those of requests that keep a server waiting.
var beginnings = []string{
	"", // not even a request line
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nX-Slow: ",
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 60000\r\n\r\nv=0\r\n",
	"PUT /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", // nobody reads that body
}

// A slowCrowd is connections that begin a request and then send a byte every ten seconds.
type slowCrowd struct {
	connections []net.Conn
	lives       []time.Duration // until the server ended each
	open        atomic.Int64
	reading     sync.WaitGroup
	dripping    sync.WaitGroup
	quit        chan struct{}
}

func newSlowCrowd(t *testing.T, server string, n int) *slowCrowd {
	t.Helper()
	s := &slowCrowd{connections: make([]net.Conn, n), lives: make([]time.Duration, n), quit: make(chan struct{})}
	for i := range s.connections {
		c, err := net.Dial("tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		s.connections[i] = c
	}
	start := time.Now()
	for i, c := range s.connections {
		s.open.Add(1)
		s.reading.Go(func() {
			defer s.open.Add(-1)
			if _, err := io.WriteString(c, beginnings[i%len(beginnings)]); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
			if err := c.SetReadDeadline(start.Add(3 * patience)); err != nil {
				t.Error(err)
			}
			_, err := io.Copy(io.Discard, c)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("connection %d was never ended", i)
			}
			s.lives[i] = time.Since(start)
		})
	}
	s.dripping.Go(s.drip)
	return s
}

// drip sends a byte on each connection every ten seconds.
func (s *slowCrowd) drip() {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, c := range s.connections {
				_, _ = c.Write([]byte("x")) // to those that are left
			}
		case <-s.quit:
			return
		}
	}
}

// wait waits until the server has ended all connections.
func (s *slowCrowd) wait() {
	s.reading.Wait()
	close(s.quit)
	s.dripping.Wait()
}
