package access

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"ringcast/engine/api"
	"ringcast/signaling/sign"
)

const hookSecret = "swordfish"

// A service stands for the operator's, without a network. Each call takes a time.
type service struct {
	span   time.Duration
	answer func(inquiry) string

	calls, most, now atomic.Int32
}

// RoundTrip implements http.RoundTripper.
func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.calls.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	var i inquiry
	if err := json.NewDecoder(r.Body).Decode(&i); err != nil {
		return nil, err
	}
	select {
	case <-time.After(s.span):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(s.answer(i))),
	}, nil
}

// hookOf is a gate that asks a service.
func hookOf(s *service) *Hook {
	h := newHook(&Config{Hook: "http://service/", Secret: hookSecret, Log: discard, Metrics: NewMetrics()})
	h.client = &http.Client{Transport: s}
	return h
}

func watching(token, stream, source string) Request {
	return Request{
		Action: Open, Role: api.Subscriber, Stream: stream, Token: token, Source: netip.MustParseAddr(source),
	}
}

// try admits a request and compares the result.
func (h *Hook) try(t *testing.T, r Request, want string) {
	t.Helper()
	_, err := h.Admit(t.Context(), r)
	if got := reasonOf(err); got != want {
		t.Errorf("%s of %s from %s with %q: got %s, want %s", r.Action, r.Stream, r.Source, r.Token, got, want)
	}
}

func (s *service) asked(t *testing.T, want int32) {
	t.Helper()
	if got := s.calls.Swap(0); got != want {
		t.Errorf("got %d calls, want %d", got, want)
	}
}

// An answer is given again for its time, to the same question only.
func TestHookCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(i inquiry) string {
			return fmt.Sprintf(`{"allow":%t,"ttl":10}`, i.Token == "good")
		}}
		h := hookOf(s)
		good := watching("good", "room", "192.0.2.1")
		h.try(t, good, "<nil>")
		h.try(t, good, "<nil>")
		h.try(t, watching("good", "room", "192.0.2.2"), "<nil>")
		s.asked(t, 1)
		// No cached answer serves another stream, role, action or token.
		others := []Request{good, good, good, good}
		others[0].Stream, others[1].Role, others[2].Action, others[3].Token = "hall", api.Publisher, Renew, "bad"
		for _, r := range others[:3] {
			h.try(t, r, "<nil>")
		}
		h.try(t, others[3], "denied")
		s.asked(t, 4)
		time.Sleep(999 * time.Millisecond)
		h.try(t, others[3], "denied")
		s.asked(t, 0)
		time.Sleep(time.Millisecond)
		h.try(t, others[3], "denied")
		s.asked(t, 1)
		time.Sleep(9 * time.Second)
		h.try(t, good, "<nil>")
		s.asked(t, 1)
		anonymous := good
		anonymous.Token = ""
		h.try(t, anonymous, "no_token")
	})
}

// Answers without a time to live are not kept, those with an end not beyond it.
func TestHookEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := `{"allow":true}`
		s := &service{answer: func(inquiry) string { return answer }}
		h := hookOf(s)
		r := watching("good", "room", "192.0.2.1")
		h.try(t, r, "<nil>")
		h.try(t, r, "<nil>")
		s.asked(t, 2)
		end := time.Now().Add(5 * time.Second)
		answer = fmt.Sprintf(`{"allow":true,"ttl":60,"until":%d,"limits":{"viewers":3}}`, end.Unix())
		grant, err := h.Admit(t.Context(), r)
		if err != nil || !grant.Until.Equal(end) || grant.Limits.Viewers != 3 {
			t.Errorf("got %+v and %v, want the end %v and 3 viewers", grant, err, end)
		}
		h.try(t, r, "<nil>")
		s.asked(t, 1)
		time.Sleep(5 * time.Second)
		h.try(t, r, "expired")
		s.asked(t, 1)
		answer = `{"allow":true,"ttl":1e300}`
		h.try(t, r, "<nil>")
		time.Sleep(maxTTL)
		h.try(t, r, "<nil>")
		s.asked(t, 2)
	})
}

// An answer for one source serves no other, not even one that waits for the same call.
func TestHookBySource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{span: 100 * time.Millisecond, answer: func(i inquiry) string {
			return fmt.Sprintf(`{"allow":%t,"ttl":10,"bySource":true}`, i.Source == "192.0.2.1")
		}}
		h := hookOf(s)
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() { h.try(t, watching("good", "room", "192.0.2.1"), "<nil>") })
			all.Go(func() { h.try(t, watching("good", "room", "192.0.2.2"), "denied") })
		}
		all.Wait()
		s.asked(t, 2)
		h.try(t, watching("good", "room", "192.0.2.1"), "<nil>")
		h.try(t, watching("good", "room", "192.0.2.2"), "denied")
		s.asked(t, 0)
		h.try(t, watching("good", "room", "192.0.2.3"), "denied")
		s.asked(t, 1)
	})
}

// An answer for an unknown source alone serves no client whose source is known, and the other way round.
func TestHookByUnknownSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{span: 100 * time.Millisecond, answer: func(i inquiry) string {
			return fmt.Sprintf(`{"allow":%t,"ttl":10,"bySource":true}`, i.Source == "")
		}}
		h := hookOf(s)
		unknown, known := watching("good", "room", "::"), watching("good", "room", "192.0.2.1") // a proxy hides the one
		for range 2 {
			h.try(t, unknown, "<nil>")
			h.try(t, known, "denied")
			time.Sleep(10 * time.Second)
			h.try(t, known, "denied")
			h.try(t, unknown, "<nil>")
			time.Sleep(10 * time.Second)
			unknown.Source = netip.Addr{}
		}
		s.asked(t, 8)
	})
}

// An answer keeps nothing of its request's memory: the stream's name is a part of a long line.
func TestHookCacheClonesNames(t *testing.T) {
	s := &service{answer: func(inquiry) string { return `{"allow":true,"ttl":60}` }}
	h := hookOf(s)
	line := "/whep/room?pad=" + strings.Repeat("x", 16<<10)
	h.try(t, watching("good", line[6:10], "192.0.2.1"), "<nil>")
	for q := range h.cache.byQuestion {
		if q.stream != "room" || unsafe.StringData(q.stream) == unsafe.StringData(line[6:]) {
			t.Errorf("the answer for %q keeps the whole line, want a copy of the name", q.stream)
		}
	}
}

// An answer whose time is over is not given, also where another is on top of the heap. That happens where the clock was
// set: some ends are by that, others by the monotonic one.
func TestHookCacheAfterClockSet(t *testing.T) {
	now := time.Now()
	over := &cached{question: question{stream: "room"}, ends: now, place: 1}
	top := &cached{question: question{stream: "hall"}, ends: now.Add(time.Minute)}
	c := cache{
		byQuestion: map[question]*cached{over.question: over, top.question: top},
		heap:       []*cached{top, over},
	}
	if _, ok := c.find(over.question, now); ok {
		t.Error("got an answer whose time is over, want none")
	}
	if _, ok := c.find(top.question, now); !ok {
		t.Error("got no answer whose time is left, want it")
	}
}

// 2,000 joins at once cause at most 64 calls at a time. Those with the same question share one.
func TestHookCrowd(t *testing.T) {
	for _, row := range []struct {
		name   string
		tokens int
		span   time.Duration
		// The least number that is admitted, and the calls for all.
		admitted, calls int
	}{
		{"one token", 1, 100 * time.Millisecond, 2000, 1},
		{"a token each", 2000, 100 * time.Millisecond, 1280, 1344},
		{"a token each, at a slow service", 2000, 1900 * time.Millisecond, 64, 192},
		{"a token each, at a service that hangs", 2000, time.Hour, 0, 128},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{span: row.span, answer: func(inquiry) string { return `{"allow":true}` }}
				h := hookOf(s)
				began := time.Now()
				var admitted, refused atomic.Int32
				var all sync.WaitGroup
				for i := range 2000 {
					all.Go(func() {
						_, err := h.Admit(t.Context(), watching(fmt.Sprint(i%row.tokens), "room", "192.0.2.1"))
						if err == nil {
							admitted.Add(1)
							return
						}
						refused.Add(1)
						if r, ok := err.(*Refusal); !ok || r.Reason.Kind() != TryAgain || r.RetryAfter < 1 {
							t.Errorf("got %v, want a refusal that says when to come again", err)
						}
					})
				}
				all.Wait()
				took := time.Since(began)
				t.Logf("%d admitted, %d refused in %v by %d calls", admitted.Load(), refused.Load(), took,
					s.calls.Load())
				if got := s.most.Load(); got > maxQuestions {
					t.Errorf("got %d calls at a time, want at most %d", got, maxQuestions)
				}
				if got := int(admitted.Load()); got < row.admitted {
					t.Errorf("got %d admitted, want at least %d", got, row.admitted)
				}
				if got := int(s.calls.Load()); got > row.calls {
					t.Errorf("got %d calls, want at most %d", got, row.calls)
				}
				if took > turnSpan+answerSpan {
					t.Errorf("the last had its answer after %v, want at most %v", took, turnSpan+answerSpan)
				}
				if h.mu.Lock(); len(h.flights) != 0 {
					t.Errorf("got %d questions left, want none", len(h.flights))
				}
				h.mu.Unlock()
			})
		})
	}
}

// A request that is given up leaves at once, and those that share its question get the answer.
func TestHookAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{span: time.Second, answer: func(inquiry) string { return `{"allow":true}` }}
		h := hookOf(s)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := h.Admit(ctx, watching("a", "room", "192.0.2.1")); err != context.DeadlineExceeded {
				t.Errorf("got %v, want the context's error", err)
			}
		})
		synctest.Wait()
		h.try(t, watching("a", "room", "192.0.2.1"), "<nil>")
		all.Wait()
		s.asked(t, 1)
	})
}

// A flood of denials displaces no answer that lives longer, and memory has a bound.
func TestHookCacheIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{answer: func(i inquiry) string {
			return fmt.Sprintf(`{"allow":%t,"ttl":60}`, i.Token == "good")
		}}
		h := hookOf(s)
		h.try(t, watching("good", "room", "192.0.2.1"), "<nil>")
		for i := range maxCached + 100 {
			h.try(t, watching(fmt.Sprint(i), "room", "192.0.2.1"), "denied")
		}
		if a, b := len(h.cache.heap), len(h.cache.byQuestion); a != maxCached || b != maxCached {
			t.Errorf("got %d and %d answers, want %d", a, b, maxCached)
		}
		s.calls.Store(0)
		h.try(t, watching("good", "room", "192.0.2.1"), "<nil>")
		s.asked(t, 0)
		time.Sleep(time.Minute)
		h.try(t, watching("good", "room", "192.0.2.1"), "<nil>")
		if got := len(h.cache.heap); got != 1 {
			t.Errorf("got %d answers after their time, want 1", got)
		}
	})
}

// A service that lies, floods or sends elsewhere admits nobody, and its answers are not kept.
func TestHookLies(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the redirect was followed")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"allow":true}`))
	}))
	defer elsewhere.Close()
	reply := func(mediaType, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write([]byte(text))
		}
	}
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"allows", reply("application/json", `{"allow":true}`), "<nil>"},
		{"allows, written otherwise", reply("Application/JSON; charset=utf-8", ` {"allow":true,"a":[1]} `), "<nil>"},
		{"denies", reply("application/json", `{"allow":false}`), "denied"},
		{"another type", reply("text/plain", `{"allow":true}`), "unavailable"},
		{"no type", reply("", `{"allow":true}`), "unavailable"},
		{"empty", reply("application/json", ""), "unavailable"},
		{"null", reply("application/json", "null"), "unavailable"},
		{"a list", reply("application/json", `[{"allow":true}]`), "unavailable"},
		{"no member", reply("application/json", `{}`), "unavailable"},
		{"allow in capitals", reply("application/json", `{"Allow":true}`), "unavailable"},
		{"allow as text", reply("application/json", `{"allow":"true"}`), "unavailable"},
		{"allow null", reply("application/json", `{"allow":null}`), "unavailable"},
		{"two objects", reply("application/json", `{"allow":true}{"allow":false}`), "unavailable"},
		{"half", reply("application/json", `{"allow":true`), "unavailable"},
		{"a bad end", reply("application/json", `{"allow":true,"until":"soon"}`), "unavailable"},
		{"an end in milliseconds", reply("application/json", `{"allow":true,"until":1796000000000}`), "unavailable"},
		{"a bad limit", reply("application/json", `{"allow":true,"limits":{"viewers":-1}}`), "unavailable"},
		{"a bad time to live", reply("application/json", `{"allow":true,"ttl":-1}`), "unavailable"},
		{"huge", reply("application/json", `{"allow":true}`+strings.Repeat(" ", maxAnswer)), "unavailable"},
		{"status 201", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write([]byte(`{"allow":true}`))
		}, "unavailable"},
		{"status 500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "unavailable"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "unavailable"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(row.handler)
			defer server.Close()
			gate, err := New(Config{Hook: server.URL + "/?key=swordfish", Secret: hookSecret, Log: discard})
			if err != nil {
				t.Fatal(err)
			}
			h := gate.(*Hook)
			defer h.client.CloseIdleConnections()
			h.try(t, watching("a-token", "room", "192.0.2.1"), row.want)
			if kept := len(h.cache.heap); row.want == "unavailable" && kept != 0 {
				t.Errorf("got %d answers kept, want none", kept)
			}
		})
	}
}

// A service on another machine that is used without TLS is worth a warning, which shows nothing of the query.
func TestPlainServices(t *testing.T) {
	for _, row := range []struct {
		url  string
		want bool
	}{
		{"http://auth.example.org/?key=swordfish", true},
		{"http://192.0.2.1:8080/", true},
		{"http://[2001:db8::1]/", true},
		{"http://localhost.example.org/", true},
		{"https://auth.example.org/", false},
		{"http://localhost:8080/", false},
		{"http://127.9.9.9/", false},
		{"http://[::1]:80/", false},
		{"http://[::ffff:127.0.0.1]/", false},
		{"/etc/keys.json", false},
	} {
		var text strings.Builder
		warnOfPlain(slog.New(slog.NewTextHandler(&text, nil)), row.url, "auth-url")
		if got := strings.Contains(text.String(), "without TLS"); got != row.want {
			t.Errorf("%s: warned %t, want %t", row.url, got, row.want)
		}
		if strings.Contains(text.String(), "swordfish") {
			t.Errorf("%s: the warning shows the query: %s", row.url, &text)
		}
	}
	var text strings.Builder
	gate, err := New(Config{
		Hook: "http://auth.example.org/", Secret: hookSecret, Log: slog.New(slog.NewTextHandler(&text, nil)),
	})
	if err != nil || gate == nil || !strings.Contains(text.String(), "setting=auth-url host=auth.example.org") {
		t.Errorf("got %v and the log %q, want a warning at the start", err, &text)
	}
}

// The service gets a signed question that is complete.
func TestHookQuestion(t *testing.T) {
	bodies := make(chan []byte, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = sign.Verify(hookSecret, r.Header.Get(sign.Header), time.Now(), body, time.Minute)
		}
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s of %s: %v; want a signed POST of JSON", r.Method, r.Header.Get("Content-Type"), err)
		}
		bodies <- body
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"allow":true}`))
	}))
	defer server.Close()
	gate, err := New(Config{Hook: server.URL, Secret: hookSecret, Node: "here", Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	h := gate.(*Hook)
	defer h.client.CloseIdleConnections()
	h.try(t, watching("a-token", "room", "192.0.2.1"), "<nil>")
	h.try(t, Request{Action: Read, Role: api.Publisher}, "<nil>")
	ids := make(map[string]bool)
	for _, want := range []map[string]string{
		{
			"action": "open", "stream": "room", "role": "subscriber", "source": "192.0.2.1", "token": "a-token",
			"node": "here",
		},
		{"action": "read", "stream": "", "role": "publisher", "source": "", "token": "", "node": "here"},
	} {
		var got map[string]string
		if err := json.Unmarshal(<-bodies, &got); err != nil {
			t.Fatal(err)
		}
		ids[got["id"]] = true
		delete(got, "id")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if len(ids) != 2 || ids[""] {
		t.Errorf("got the ids %v, want two", ids)
	}
}
