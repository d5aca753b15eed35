package signaling

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Each slow connection begins in one of these ways and then sends a byte now and then.
var slowBeginnings = []string{
	"", // not even a request line
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nX-Slow: ",
	"POST /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 60000\r\n\r\nv=0\r\n",
	"PUT /whip/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", // nobody reads that body
}

// TestSlowloris holds a crowd of slow connections open against a server with short timeouts: each is
// ended by one, and honest peers do not notice.
func TestSlowloris(t *testing.T) {
	const crowd = 1200
	const headerTimeout, readTimeout = time.Second, 1500 * time.Millisecond
	b := newBench(t, Config{})
	s := NewHTTPServer("127.0.0.1:0", b.http)
	s.ReadHeaderTimeout, s.ReadTimeout = headerTimeout, readTimeout
	l, err := net.Listen("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	offer := fixture(t, obs)
	honest := func() time.Duration {
		start := time.Now()
		r, err := client.Post("http://"+l.Addr().String()+"/whip/room", sdpType, strings.NewReader(offer))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != http.StatusCreated {
			t.Fatalf("status %d, %v: %s", r.StatusCode, err, answer)
		}
		return time.Since(start)
	}
	var before, during []time.Duration
	for range 100 {
		before = append(before, honest())
	}

	connections := make([]net.Conn, crowd)
	lives := make([]time.Duration, crowd)
	var told408 atomic.Int32
	var slow sync.WaitGroup
	for i := range connections {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		connections[i] = c
		start := time.Now()
		slow.Go(func() {
			if _, err := io.WriteString(c, slowBeginnings[i%len(slowBeginnings)]); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
			c.SetReadDeadline(start.Add(time.Minute)) // or the test could hang
			answer, err := io.ReadAll(c)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("connection %d was never ended", i)
			}
			if strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				told408.Add(1)
			}
			lives[i] = time.Since(start)
		})
	}
	over := make(chan struct{})
	var drip sync.WaitGroup
	drip.Go(func() {
		for {
			for _, c := range connections {
				_, _ = c.Write([]byte("x")) // the server ends them one after the other
			}
			select {
			case <-over:
				return
			case <-time.After(readTimeout / 10):
			}
		}
	})
	ended := make(chan struct{})
	go func() {
		slow.Wait()
		close(ended)
	}()
	for waiting := true; waiting; {
		select {
		case <-ended:
			waiting = false
		default:
			during = append(during, honest())
		}
	}
	close(over)
	drip.Wait()
	for _, c := range connections {
		c.Close()
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}

	// Half a second of it is net/http's, which lingers on what it did not read.
	if longest := slices.Max(lives); longest > readTimeout+500*time.Millisecond+time.Second*slowdown {
		t.Errorf("a slow connection lived for %v", longest)
	}
	// A busy machine may find a slow body's header late already, which nobody is told.
	if got := told408.Load(); got < crowd/4*9/10 || got > crowd/4 {
		t.Errorf("%d slow bodies were told 408, want %d", got, crowd/4)
	}
	quantile := func(d []time.Duration, q float64) time.Duration {
		slices.Sort(d)
		return d[int(q*float64(len(d)-1))]
	}
	t.Logf("honest POST: median %v, p99 %v before; median %v, p99 %v during (%d of them)", quantile(before, 0.5), quantile(before, 0.99),
		quantile(during, 0.5), quantile(during, 0.99), len(during))
	if median, usual := quantile(during, 0.5), quantile(before, 0.5); median > 2*usual+2*time.Millisecond*slowdown {
		t.Errorf("an honest POST takes %v beside slow connections, and %v without", median, usual)
	}
}

// TestSlowlorisTimeouts has the timeouts of production and 5,000 connections that send a byte every
// ten seconds; the clock is synctest's.
func TestSlowlorisTimeouts(t *testing.T) {
	b := newBench(t, Config{}) // outside the bubble: it belongs to no clock
	synctest.Test(t, func(t *testing.T) {
		crowd := 5000 / slowdown
		s := NewHTTPServer("pipe", b.http)
		l := &pipeListener{connections: make(chan net.Conn), closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- s.Serve(l) }()
		start := time.Now()
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
				if _, err := io.ReadAll(c); err != nil {
					t.Errorf("connection %d: %v", i, err)
				}
				if life := time.Since(start); life > s.ReadTimeout {
					t.Errorf("connection %d lived for %v", i, life)
				}
			})
		}
		slow.Wait()
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
}

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.connections <- server
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept: %w", net.ErrClosed)
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
