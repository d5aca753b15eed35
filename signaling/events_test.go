package signaling

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ringcast/engine/api"
)

// A listener reads an event stream on a goroutine of its own, under a clock that jumps.
type listener struct {
	t      *testing.T
	stop   func()
	writer *eventPipe
}

// eventPipe is the answer to a listener.
type eventPipe struct {
	*httptest.ResponseRecorder
	text    chan string
	context context.Context
}

func (p *eventPipe) Write(b []byte) (int, error) {
	select {
	case p.text <- string(b):
		return len(b), nil
	case <-p.context.Done():
		return 0, p.context.Err()
	}
}

// WriteString keeps the recorder's from being called.
func (p *eventPipe) WriteString(s string) (int, error) { return p.Write([]byte(s)) }

// listen reads an event stream.
func (b *bench) listen(t *testing.T, url string) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &eventPipe{httptest.NewRecorder(), make(chan string), ctx}
	t.Cleanup(cancel)
	go func() {
		defer close(p.text)
		b.http.ServeHTTP(p, httptest.NewRequest(http.MethodGet, url, nil).WithContext(ctx))
	}()
	return &listener{t: t, stop: cancel, writer: p}
}

// next returns the events that come within a time, and whether the stream goes on.
func (l *listener) next(span time.Duration) (events []string, open bool) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	for {
		select {
		case text, ok := <-l.writer.text:
			if !ok {
				return events, false
			}
			events = append(events, text)
		case <-timer.C:
			return events, true
		}
	}
}

// expect demands the events of the next look and maybe the one after, written as name and data. It ends between two.
func (l *listener) expect(what string, open bool, want ...string) {
	l.t.Helper()
	got, goesOn := l.next(2*eventInterval - eventInterval/4)
	var text []string
	for _, w := range want {
		name, data, _ := strings.Cut(w, " ")
		text = append(text, "event: "+name+"\ndata: "+data+"\n\n")
	}
	if strings.Join(got, "") != strings.Join(text, "") || goesOn != open {
		l.t.Errorf("%s: got %q, open %t, want %q, open %t", what, got, goesOn, text, open)
	}
}

const (
	fLayer = `{"rid":"f","spatialLayerId":0,"temporalLayerId":0,"bitrate":1800000,"width":1280,"height":720,`
	hLayer = `{"rid":"h","spatialLayerId":0,"temporalLayerId":0,"bitrate":500000,"width":640,"height":360,`
	qLayer = `{"rid":"q","spatialLayerId":0,"temporalLayerId":0,"bitrate":0,`
)

// audience returns the numbers of readers and of event streams.
func (b *bench) audience() (readers, streams int) {
	a := &b.server.audience
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readers, len(a.bySecret)
}

// expectAudience demands so many readers and event streams.
func (b *bench) expectAudience(readers, streams int) {
	b.t.Helper()
	if gotReaders, got := b.audience(); gotReaders != readers || got != streams {
		b.t.Errorf("%d readers and %d event streams are left, want %d and %d", gotReaders, got, readers, streams)
	}
}

// Events report the state at the beginning, and changes. Data is one line.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{})
		session := b.watchSimulcast(t)
		id := b.engine.last
		l := b.listen(t, b.openEvents(session, ""))
		l.expect("beginning", true, "active {}", `viewercount {"viewercount":0}`,
			`layers {"1":[`+fLayer+`"sent":false},`+hLayer+`"sent":false},`+qLayer+`"sent":false}]}`)
		l.expect("no change", true)
		b.engine.change(func(e *fakeEngine) { e.rungs[id], e.causes[id] = 1, "capacity" })
		l.expect("a switch", true, `layers {"1":[`+fLayer+`"sent":false},`+
			hLayer+`"sent":true,"reason":"capacity"},`+qLayer+`"sent":false}]}`)
		b.engine.change(func(e *fakeEngine) { e.rungs[id], e.causes[id] = api.NoRung, "loss" })
		l.expect("sound only", true, `layers {"1":[`+fLayer+`"sent":false},`+hLayer+`"sent":false},`+
			qLayer+`"sent":false,"reason":"loss"}]}`)
		st := b.engine.streams["live"]
		b.engine.change(func(e *fakeEngine) { delete(e.streams, "live") })
		l.expect("no publisher", true, "inactive {}")
		st.Since, st.Ladder, st.Subscribers = st.Since.Add(time.Hour), st.Ladder[:1], 3
		b.engine.change(func(e *fakeEngine) { e.streams["live"] = st })
		l.expect("another publisher with one layer", true,
			"active {}", `viewercount {"viewercount":3}`, `layers {"1":[]}`)
		st.Since = st.Since.Add(time.Hour)
		b.engine.change(func(e *fakeEngine) { e.streams["live"] = st })
		l.expect("a publisher in place of another", true, "active {}")
		if w := b.do(http.MethodGet, session, ""); w.Code != http.StatusNoContent {
			t.Errorf("the session meanwhile: status %d, want 204", w.Code)
		}
	})
}

// A reader gets only the types that it asked for, and comments in silence.
func TestEventsChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{})
		session := b.watchSimulcast(t)
		delete(b.engine.streams, "live") // no inactive at the beginning
		l := b.listen(t, b.openEvents(session, `["inactive","viewercount"]`))
		l.expect("beginning", true)
		st := api.Stream{Name: "live", Since: time.Now(), Subscribers: 1}
		b.engine.change(func(e *fakeEngine) { e.streams["live"] = st })
		l.expect("a publisher", true, `viewercount {"viewercount":1}`)
		got, open := l.next(40 * eventInterval)
		if comments := strings.Join(got, ""); comments != ":\n\n:\n\n" || !open {
			t.Errorf("in 40 s of silence: got %q, want two comments", got)
		}
		l.stop()
		if _, open := l.next(time.Minute); open {
			t.Error("the answer goes on without its reader")
		}
		b.expectAudience(0, 1)
	})
}

// An event stream ends with a DELETE, with its session, and for a reader whose place another takes.
func TestEventsEnd(t *testing.T) {
	for _, tt := range []struct {
		name  string
		end   func(b *bench, session, stream string)
		again bool // the player had better open another session
	}{
		{"DELETE", func(b *bench, _, stream string) {
			if w := b.do(http.MethodDelete, stream, ""); w.Code != http.StatusOK {
				b.t.Errorf("DELETE: status %d, want 200", w.Code)
			}
		}, false},
		{"session's DELETE", func(b *bench, session, _ string) { b.do(http.MethodDelete, session, "") }, false},
		{"bye", func(b *bench, _, _ string) { b.engine.end(b.engine.last, api.ReasonBye) }, false},
		{"shutdown", func(b *bench, _, _ string) { b.engine.end(b.engine.last, api.ReasonShutdown) }, true},
		{"other codec", func(b *bench, _, _ string) { b.engine.end(b.engine.last, api.ReasonCodec) }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, Config{})
				session := b.watchSimulcast(t)
				stream := b.openEvents(session, `["active","reconnect"]`)
				first := b.listen(t, stream)
				first.expect("beginning", true, "active {}")
				second := b.listen(t, stream)
				second.expect("another reader", true, "active {}")
				first.expect("its place taken", false)
				tt.end(b, session, stream)
				var events []string
				if tt.again {
					events = append(events, "reconnect {}")
				}
				second.expect("end", false, events...)
				checkProblem(t, b.do(http.MethodGet, stream, ""), http.StatusNotFound, "event stream")
				checkProblem(t, b.do(http.MethodDelete, stream, ""), http.StatusNotFound, "event stream")
				b.expectAudience(0, 0)
			})
		})
	}
}

// A session has few event streams, and all together are read by a bounded number of requests.
func TestEventFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{})
		session := b.watchSimulcast(t)
		var streams []string
		for range maxEventStreams {
			streams = append(streams, b.openEvents(session, ""))
		}
		post := func() *httptest.ResponseRecorder { return b.do(http.MethodPost, session+"/events", "") }
		checkProblem(t, post(), http.StatusTooManyRequests, "DELETE")
		b.do(http.MethodDelete, streams[0], "")
		if w := post(); w.Code != http.StatusCreated {
			t.Errorf("after a DELETE: status %d, want 201", w.Code)
		}
		for range maxReaders - 1 { // of other sessions
			if _, ok := b.server.audience.enter(t.Context(), &eventStream{}); !ok {
				t.Fatalf("a reader was refused, want %d to be let in", maxReaders)
			}
		}
		l := b.listen(t, streams[1])
		if got, open := l.next(eventInterval / 2); len(got) != 3 || !open {
			t.Errorf("the last reader: got %q, open %t, want three events", got, open)
		}
		w := b.do(http.MethodGet, streams[2], "")
		checkProblem(t, w, http.StatusServiceUnavailable, "too many")
		if w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		again := b.listen(t, streams[1]) // takes the place of the reader before
		if got, open := again.next(eventInterval / 2); len(got) != 3 || !open {
			t.Errorf("the last reader again: got %q, open %t, want three events", got, open)
		}
	})
}

// get requests a path on a new connection, and returns what comes after the head of the answer.
func (s *crowdedServer) get(path string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c := s.pipe.dial()
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	answer, err := http.ReadResponse(r, nil)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("got %v, %v, want an answer of status 200", answer, err)
	}
	return c, bufio.NewReader(answer.Body)
}

// An event stream outlives the times that other requests have. Its connection gives way where others want its place and
// none is quiet.
func TestEventConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCrowdedServer(t, 2)
		stream := s.bench.openEvents(s.bench.watchSimulcast(t), `["viewercount"]`)
		c, body := s.get(stream)
		for n := range 40 { // 80 seconds
			data := fmt.Sprintf("data: {\"viewercount\":%d}\n", n)
			for _, want := range []string{"event: viewercount\n", data, "\n"} {
				line, err := body.ReadString('\n')
				for line == ":\n" && err == nil {
					_, _ = body.ReadString('\n')
					line, err = body.ReadString('\n')
				}
				if line != want || err != nil {
					t.Fatalf("event %d: got %q, %v, want %q", n, line, err, want)
				}
			}
			time.Sleep(2 * eventInterval)
			s.bench.engine.change(func(e *fakeEngine) {
				st := e.streams["live"]
				st.Subscribers++
				e.streams["live"] = st
			})
		}
		done := make(chan error, 1)
		go func() { _, err := io.Copy(io.Discard, body); done <- err }()
		for range 3 { // the second and the third take the place of the one before, although the event stream is older
			if status, err := s.request(s.pipe.dial(), "/"); status != http.StatusOK || err != nil {
				t.Errorf("status %d, %v, want 200", status, err)
			}
			synctest.Wait()
		}
		s.bench.expectAudience(1, 1)
		served := s.pipe.dial()
		s.held.Go(func() { _, _ = s.request(served, "/hold") })
		synctest.Wait()
		s.bench.expectAudience(1, 1)
		if status, err := s.request(s.pipe.dial(), "/"); status != http.StatusOK || err != nil {
			t.Errorf("beside an event stream and a request: status %d, %v, want 200", status, err)
		}
		close(s.hold)
		s.held.Wait()
		if got := testutil.ToFloat64(s.limited.evicted); got != 4 {
			t.Errorf("counted %g connections that gave way, want 4", got)
		}
		if err := <-done; err == nil {
			t.Error("the event stream ended well, want a connection that was closed")
		}
		synctest.Wait()
		s.bench.expectAudience(0, 1)
		if !ended(c) {
			t.Error("the connection is open, want it closed")
		}
	})
}

// A reader that takes nothing is dropped once it is sent something: a comment, if nothing happens.
func TestSlowEventReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newCrowdedServer(t, 2)
		c, _ := s.get(s.bench.openEvents(s.bench.watchSimulcast(t), ""))
		for _, row := range []struct {
			until   time.Duration
			readers int
		}{{(heartbeatTicks-1)*eventInterval + writeSpan - eventInterval/2, 1}, {3 * eventInterval, 0}} {
			time.Sleep(row.until)
			synctest.Wait()
			readers, _ := s.bench.audience()
			if readers != row.readers || ended(c) != (row.readers == 0) {
				t.Errorf("%v later: %d readers, want %d; ended: %t", row.until, readers, row.readers, ended(c))
			}
		}
	})
}
