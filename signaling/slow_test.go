package signaling

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/testenv"
)

// Each slow connection begins in one of these ways and then sends a byte now and then.
var slowBeginnings = []string{
	"", // not even a request line
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nX-Slow: ",
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 60000\r\n\r\nv=0\r\n",
	"PUT /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", // nobody reads that body
}

// TestSlowlorisTimeouts has the timeouts of production and 5,000 connections that send a byte every ten seconds. An
// honest offer each second must not wait beside them. The clock is synctest's. testenv/attack has them on real sockets.
func TestSlowlorisTimeouts(t *testing.T) {
	offer := fixture(t, obs)
	b := newBench(t, Config{}) // outside the bubble: it belongs to no clock
	synctest.Test(t, func(t *testing.T) {
		crowd := 5000 / testenv.Slowdown
		s := NewHTTPServer("pipe", b.http)
		l := &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		start := time.Now()
		var told408 atomic.Int64
		var slow sync.WaitGroup
		for i := range crowd {
			slow.Go(func() {
				c := l.dial()
				defer c.Close()
				slow.Go(func() { // until the server has closed its end
					_, err := io.WriteString(c, slowBeginnings[i%len(slowBeginnings)])
					for err == nil {
						time.Sleep(10 * time.Second)
						_, err = c.Write([]byte("x"))
					}
				})
				answer, err := io.ReadAll(c)
				if err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
				if strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
					told408.Add(1)
				}
				if life := time.Since(start); life > s.ReadTimeout {
					t.Errorf("connection %d lived for %v", i, life)
				}
			})
		}
		for n := range 2 * int(s.ReadTimeout/time.Second) {
			if n == 0 {
				synctest.Wait() // all slow ones are there
			}
			begun := time.Now()
			if status := offerOnce(t, l.dial(), offer); status != http.StatusCreated {
				t.Errorf("honest offer %d: status %d, want 201", n, status)
			}
			if took := time.Since(begun); took != 0 {
				t.Errorf("honest offer %d waited for %v", n, took)
			}
			time.Sleep(time.Second)
		}
		slow.Wait()
		if got := told408.Load(); got != int64(crowd/len(slowBeginnings)) {
			t.Errorf("%d slow bodies were told 408, want %d", got, crowd/len(slowBeginnings))
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// offerOnce posts an offer on a connection of its own and returns the status.
func offerOnce(t *testing.T, c net.Conn, offer string) int {
	t.Helper()
	defer c.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/whip/honest", strings.NewReader(offer))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/sdp")
	r.Close = true
	go func() { _ = r.Write(c) }() // its error shows as one of the answer
	answer, err := http.ReadResponse(bufio.NewReader(c), r)
	if err != nil {
		t.Fatalf("an honest offer: %v", err)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Errorf("an honest offer: %v", err)
	}
	return answer.StatusCode
}

// pipeListener listens on net.Pipe.
type pipeListener struct {
	connections chan net.Conn
	closed      chan struct{}
	once        sync.Once
	failures    chan error // may be nil
	failure     error      // of every Accept
}

// fail makes one Accept fail.
func (l *pipeListener) fail(err error) { l.failures <- &net.OpError{Op: "accept", Err: err} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.connections <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	if l.failure != nil {
		return nil, l.failure
	}
	select {
	case c := <-l.connections:
		return c, nil
	case err := <-l.failures:
		return nil, err
	case <-l.closed:
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
