package hook

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/sign"
)

const secret = "a secret of this test"

// A receiver is the operator's side: an HTTP server on pipes, so that its time is virtual. Its handler decides on each
// call, which are counted from 0.
type receiver struct {
	t       *testing.T
	handler func(n int, w http.ResponseWriter, r *http.Request)

	mu    sync.Mutex
	calls []call
	times []time.Time
}

// pipes is a net.Listener whose connections never leave the process.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

func (x *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if err := sign.Verify(secret, r.Header.Get(sign.Header), time.Now(), body, time.Minute); err != nil {
		x.t.Errorf("the signature: %v", err)
	}
	var c call
	if err := json.Unmarshal(body, &c); err != nil || r.Method != http.MethodPost ||
		r.Header.Get("Content-Type") != "application/json" {
		x.t.Errorf("%s %q: %v", r.Method, body, err)
	}
	x.mu.Lock()
	n := len(x.calls)
	x.calls, x.times = append(x.calls, c), append(x.times, time.Now())
	x.mu.Unlock()
	if x.handler != nil {
		x.handler(n, w, r)
	}
}

// received returns the events of the calls from some on, as words.
func (x *receiver) received() (all []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, c := range x.calls {
		for _, e := range c.Events {
			text := strings.TrimPrefix(e.Type, "stream.") + " " + e.Stream
			if e.Viewers != nil {
				text += " " + strconv.Itoa(int(e.Publisher)) + " " + strconv.Itoa(*e.Viewers)
			}
			all = append(all, strings.TrimSpace(text))
		}
	}
	return all
}

// A stage is a hook that runs beside a receiver, in virtual time. The engine lists streams.
type stage struct {
	*receiver
	hook *Hook
	log  *strings.Builder
	stop func() // ends the hook, and waits

	mu      sync.Mutex
	streams []api.Stream
}

// publish sets the streams that the engine lists.
func (s *stage) publish(all ...api.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams = all
}

func (s *stage) list() []api.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.streams)
}

// run plays a scene.
func run(t *testing.T, handler func(int, http.ResponseWriter, *http.Request), scene func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{receiver: &receiver{t: t, handler: handler}, log: new(strings.Builder)}
		listener := make(pipes)
		server := &http.Server{Handler: s.receiver, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
		served := make(chan struct{})
		go func() { defer close(served); _ = server.Serve(listener) }()
		s.hook = New(Config{"http://user:pass@hooks.example/x?key=s3cret", secret}, "node1", s.list,
			slog.New(slog.NewTextHandler(s.log, nil)))
		s.hook.client.Transport.(*http.Transport).DialContext = listener.dial
		s.hook.client.Transport.(*http.Transport).Proxy = nil
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.hook.Run(ctx) }()
		s.stop = func() { cancel(); <-ended }
		scene(s)
		s.stop()
		close(listener)
		_ = server.Close()
		<-served
		if strings.Contains(s.log.String(), "s3cret") || strings.Contains(s.log.String(), "pass") {
			t.Errorf("the log shows the URL:\n%s", s.log)
		}
	})
}

// pass lets time pass until all is still again.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func stream(name string, publisher api.SessionID, viewers int) api.Stream {
	return api.Stream{Name: name, Publisher: publisher, Subscribers: viewers}
}

// Each change is one event, in order, and viewers are reported each ten seconds if their number changed.
func TestEvents(t *testing.T) {
	run(t, nil, func(s *stage) {
		pass(lookEvery / 2)
		s.publish(stream("b", 2, 0), stream("a", 1, 3))
		pass(lookEvery)
		s.publish(stream("b", 5, 1), stream("a", 1, 4))
		pass(lookEvery)
		s.publish(stream("b", 5, 1), stream("a", 1, 7))
		pass(20 * lookEvery)
		s.publish(stream("a", 1, 7))
		pass(lookEvery)
		s.publish()
		pass(lookEvery)
		s.publish(stream("c", 9, 2))
		pass(lookEvery)
		s.stop()
		want := []string{
			"started a 1 3", "started b 2 0", "publisher_changed b 5 1", "viewers a 1 7", "ended b 5 0", "ended a 1 0",
			"started c 9 2", "node.draining", "ended c 9 0",
		}
		if got := s.received(); !slices.Equal(got, want) {
			s.t.Errorf("got  %q\nwant %q", got, want)
		}
		sequence := uint64(0)
		for _, c := range s.calls {
			for _, e := range c.Events {
				if sequence++; e.Sequence != sequence || e.ID != c.Run+"-"+strconv.Itoa(int(sequence)) || c.Run == "" ||
					c.Node != "node1" || e.Time.IsZero() {
					s.t.Errorf("event %d is %+v of %+v", sequence, e, c)
				}
			}
		}
		if got := s.hook.events[delivered].Load(); got != sequence {
			s.t.Errorf("%d events are counted, want %d", got, sequence)
		}
	})
}

// A receiver that fails gets the same events again, with growing pauses, and later ones after them.
func TestRetries(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter, *http.Request){
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"closes": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			c.Close()
		},
		"hangs": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"answers slowly": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			for range 30 {
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		},
		"endless headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			const failures = 4
			handler := func(n int, w http.ResponseWriter, r *http.Request) {
				if n < failures {
					fail(w, r)
				}
			}
			run(t, handler, func(s *stage) {
				s.publish(stream("a", 1, 0))
				pass(3 * lookEvery)
				s.publish()
				pass(5 * time.Minute)
				needed := failures
				if name == "answers slowly" { // it said yes at once, and only its body is slow
					needed = 0
				} else if gap := s.times[2].Sub(s.times[1]); gap < firstPause || gap > 2*firstPause+callSpan {
					s.t.Errorf("the second pause was %v, want about %v", gap, 2*firstPause)
				}
				if len(s.calls) <= needed {
					s.t.Fatalf("%d calls, want more than %d", len(s.calls), needed)
				}
				took := s.calls[needed]
				if took.Events[0].ID != s.calls[0].Events[0].ID || took.Events[0].Type != streamStarted {
					s.t.Errorf("got %+v at last, want %+v", took.Events, s.calls[0].Events)
				}
				if got := s.received(); got[len(got)-1] != "ended a 1 0" {
					s.t.Errorf("the last is %q, want the end: %q", got[len(got)-1], got)
				}
				if got := s.hook.events[delivered].Load(); got != 2 {
					s.t.Errorf("%d events were delivered, want 2", got)
				}
				if n := strings.Count(s.log.String(), "does not take events"); name != "answers slowly" && n != 1 {
					s.t.Errorf("%d warnings, want 1:\n%s", n, s.log)
				}
			})
		})
	}
}

// A receiver that refuses, or points elsewhere, gets the next events, and nothing goes elsewhere.
func TestRejected(t *testing.T) {
	for _, status := range []int{301, 302, 307, 308, 400, 401, 404, 413} {
		handler := func(n int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://other.example/")
			if n == 0 {
				w.WriteHeader(status)
			}
		}
		run(t, handler, func(s *stage) {
			s.publish(stream("a", 1, 0))
			pass(3 * lookEvery)
			s.publish()
			pass(time.Minute)
			if got, want := s.received(), []string{"started a 1 0", "ended a 1 0"}; !slices.Equal(got, want) {
				s.t.Errorf("status %d: got %q, want %q", status, got, want)
			}
			if s.hook.events[rejected].Load() != 1 || s.hook.events[delivered].Load() != 1 {
				s.t.Errorf("status %d: %d rejected, %d delivered, want 1, 1", status,
					s.hook.events[rejected].Load(), s.hook.events[delivered].Load())
			}
		})
	}
}

// Where the receiver never answers, the queue keeps the newest events, counts the rest, and the looks go on. A batch is
// given up after maxAttempts, and the end does not wait for it.
func TestFullQueue(t *testing.T) {
	handler := func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	run(t, handler, func(s *stage) {
		pass(lookEvery / 2)
		const streams, looks = 500, 12
		for look := range looks {
			var all []api.Stream
			for i := range streams {
				all = append(all, stream("s"+strconv.Itoa(i), api.SessionID(look+1), 0))
			}
			s.publish(all...)
			pass(lookEvery)
		}
		waiting, dropped := s.hook.queue.count()
		const rest = streams*looks - maxQueue // dropped, or in the POST that hangs
		if waiting != maxQueue || dropped < rest-maxBatch || dropped >= rest {
			s.t.Errorf("%d wait, %d were dropped, want %d, and %d to %d", waiting, dropped, maxQueue, rest-maxBatch,
				rest-1)
		}
		batch, _ := s.hook.queue.try()
		if first := batch[0].Sequence; first != rest+1 {
			s.t.Errorf("the oldest that waits is %d, want %d", first, rest+1)
		}
		pass(maxAttempts * (maxPause + callSpan))
		if got := s.hook.events[failed].Load(); got == 0 {
			s.t.Error("no events were given up")
		}
		before := time.Now()
		s.stop()
		if took := time.Since(before); took > flushSpan {
			s.t.Errorf("the end took %v, want %v at most", took, flushSpan)
		}
	})
}

// The pauses double up to a minute, and differ by chance.
func TestPause(t *testing.T) {
	for attempt := range maxAttempts {
		most := min(firstPause<<attempt, maxPause)
		seen := make(map[time.Duration]bool)
		for range 100 {
			d := pause(attempt)
			seen[d] = true
			if d <= most/2 || d > most {
				t.Errorf("attempt %d: %v, want %v to %v", attempt, d, most/2, most)
			}
		}
		if len(seen) < 10 {
			t.Errorf("attempt %d: %d pauses in 100 tries", attempt, len(seen))
		}
	}
}
