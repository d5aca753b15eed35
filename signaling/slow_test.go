package signaling

import (
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

// TestSlowlorisTimeouts has the timeouts of production and 5,000 connections that send a byte every
// ten seconds; the clock is synctest's. testenv/attack has them on real sockets.
func TestSlowlorisTimeouts(t *testing.T) {
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
