package secret

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ringcast/engine/api"
)

// A request passes with a token that is for it alone, and once.
func TestGuard(t *testing.T) {
	k, now := keysOf(t, ours, ""), start
	const body = "v=0\r\n"
	for _, row := range []struct {
		name   string
		change func(*NodeToken)
		// request changes the request, after its token was made.
		request func(*http.Request)
		want    Fault
		status  int
	}{
		{"good", nil, nil, 0, 200},
		{"30 s ago", func(t *NodeToken) { t.Time = now.Add(-Span) }, nil, 0, 200},
		{"older", func(t *NodeToken) { t.Time = now.Add(-Span - time.Microsecond) }, nil, Late, 401},
		{"in 30 s", func(t *NodeToken) { t.Time = now.Add(Span) }, nil, 0, 200},
		{"later", func(t *NodeToken) { t.Time = now.Add(Span + time.Microsecond) }, nil, Late, 401},
		{"for another node", func(t *NodeToken) { t.Audience = "third" }, nil, Audience, 401},
		{"for no node", func(t *NodeToken) { t.Audience = "" }, nil, Audience, 401},
		{"another method", nil, func(r *http.Request) { r.Method = http.MethodDelete }, Other, 401},
		{"another stream", nil, func(r *http.Request) { r.URL.Path = "/whep/cat" }, Other, 401},
		{"another body", nil, func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("v=1\r\n"))
		}, Other, 401},
		{"no body", nil, func(r *http.Request) { r.Body = http.NoBody }, Other, 401},
		{"no token", nil, func(r *http.Request) { r.Header.Del(Header) }, Missing, 401},
		{"two tokens", nil, func(r *http.Request) { r.Header.Add(Header, "x") }, Malformed, 401},
		{"a token in the query only", nil, func(r *http.Request) {
			r.URL.RawQuery = Header + "=" + r.Header.Get(Header)
			r.Header.Del(Header)
		}, Missing, 401},
		{"of another secret", nil, func(r *http.Request) {
			r.Header.Set(Header, keysOf(t, other, "").NodeToken(someNode))
		}, Forged, 401},
	} {
		m := NewMetrics()
		g := NewGuard(k, "origin", func() time.Time { return now }, m)
		token := someNode
		token.Nonce = Nonce{}
		if row.change != nil {
			row.change(&token)
		}
		r := httptest.NewRequest(http.MethodPost, "/whep/cam", strings.NewReader(body))
		r.Header.Set(Header, k.NodeToken(token))
		if row.request != nil {
			row.request(r)
		}
		w := httptest.NewRecorder()
		reached := false
		g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reached = true
			got, err := io.ReadAll(r.Body)
			if caller, ok := TokenOf(r.Context()); !ok || caller.Issuer != "edge" || err != nil || string(got) != body {
				t.Errorf("%s: the handler has %q of %q, %v, want %q of edge", row.name, got, caller.Issuer, err, body)
			}
		})).ServeHTTP(w, r)
		if w.Code != row.status || reached != (row.status == 200) {
			t.Errorf("%s: got %d, handled: %t, want %d", row.name, w.Code, reached, row.status)
		}
		result := "accepted"
		if row.status != 200 {
			result = row.want.Name()
			if w.Header().Get(IDHeader) != "origin" || w.Header().Get("Date") == "" {
				t.Errorf("%s: the refusal has %v, want id and date", row.name, w.Header())
			}
		}
		if n := testutil.ToFloat64(m.tokens.WithLabelValues("node", result)); n != 1 {
			t.Errorf("%s: counted %v as %s, want 1", row.name, n, result)
		}
	}
}

// The second use of a token is refused until nobody would accept it by its time. Without room all are refused.
func TestReplays(t *testing.T) {
	var m memory
	if err := m.enter(nonce(1), start); err != nil {
		t.Fatal(err)
	}
	if err := m.enter(nonce(1), start.Add(usedSpan)); !errors.Is(err, Replayed) {
		t.Errorf("second use: got %v, want %v", err, Replayed)
	}
	if err := m.enter(nonce(1), start.Add(usedSpan+1)); err != nil {
		t.Errorf("after its time: got %v, want it forgotten", err)
	}
	m = memory{}
	for i := range maxUsed {
		n := Nonce{byte(i), byte(i >> 8), byte(i >> 16), 1}
		if err := m.enter(n, start.Add(time.Duration(i))); err != nil {
			t.Fatalf("token %d: %v", i, err)
		}
	}
	if err := m.enter(nonce(9), start.Add(time.Second)); !errors.Is(err, Full) {
		t.Errorf("token %d: got %v, want %v", maxUsed+1, err, Full)
	}
	if err := m.enter(Nonce{3: 1}, start.Add(time.Second)); !errors.Is(err, Replayed) {
		t.Errorf("replay while full: got %v, want %v", err, Replayed)
	}
	for i := range maxUsed { // each in the place of the oldest
		n := Nonce{byte(i), byte(i >> 8), byte(i >> 16), 2}
		if err := m.enter(n, start.Add(usedSpan+time.Duration(i)+1)); err != nil {
			t.Fatalf("token %d of the second round: %v", i, err)
		}
	}
	if len(m.used) != maxUsed || len(m.order) > 2*maxUsed+1 {
		t.Errorf("got %d tokens in %d places, want %d in at most twice as many", len(m.used), len(m.order), maxUsed)
	}
	if err := m.enter(nonce(9), start.Add(time.Hour)); err != nil || len(m.used) != 1 || len(m.order) != 1 {
		t.Errorf("after a storm: got %v with %d tokens, want one", err, len(m.used))
	}
}

// A guard without room answers 503, and forgets no token for another.
func TestFullGuard(t *testing.T) {
	k, m := keysOf(t, ours, ""), NewMetrics()
	g := NewGuard(k, "origin", func() time.Time { return start }, m)
	h := g.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	token := someNode
	token.Body = sha256.Sum256(nil)
	send := func(token NodeToken) int {
		r := httptest.NewRequest(http.MethodPost, "/whep/cam", nil)
		r.Header.Set(Header, k.NodeToken(token))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	if got := send(token); got != 200 {
		t.Fatalf("first use: got %d, want 200", got)
	}
	for i := 1; i < maxUsed; i++ {
		if err := g.memory.enter(Nonce{byte(i), byte(i >> 8), byte(i >> 16), 3}, start); err != nil {
			t.Fatal(err)
		}
	}
	if got := send(token); got != 401 {
		t.Errorf("second use while full: got %d, want 401", got)
	}
	token.Nonce = nonce(7)
	if got := send(token); got != 503 {
		t.Errorf("while full: got %d, want 503", got)
	}
	if n := testutil.ToFloat64(m.tokens.WithLabelValues("node", "full")); n != 1 {
		t.Errorf("counted %v as full, want 1", n)
	}
}

// A node whose id or clock is unknown learns both from the refusal, and is accepted at once. Later requests need one
// try.
func TestCaller(t *testing.T) {
	k := keysOf(t, ours, "")
	for _, wrong := range []time.Duration{0, -time.Hour, 25 * time.Hour} {
		now := start
		tries := 0
		id := "origin"
		var guard http.Handler
		restart := func() {
			g := NewGuard(k, id, func() time.Time { return now }, nil)
			guard = g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
		}
		restart()
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tries++
			guard.ServeHTTP(w, r)
		}))
		defer server.Close()
		var log bytes.Buffer
		clocks := NewClocks(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now.Add(wrong) })
		c := NewCaller(k, "edge", server.Client(), clocks)
		call := func(want int) {
			t.Helper()
			tries = 0
			client := http.Client{Transport: c}
			answer, err := client.Post(server.URL+"/whep/cam", "application/sdp", strings.NewReader("v=0\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if answer.StatusCode != 200 || string(body) != "v=0\r\n" || err != nil || tries != want {
				t.Errorf("clock off by %v: got %d, %q, %v after %d tries, want 200 after %d",
					wrong, answer.StatusCode, body, err, tries, want)
			}
		}
		call(2)
		call(1)
		now = now.Add(time.Hour)
		call(1)
		id = "origin again"
		restart()
		call(2)
		call(1)
		if named := bytes.Contains(log.Bytes(), []byte("node=origin")); named != (wrong.Abs() > Span) {
			t.Errorf("clock off by %v: the node is named: %t; log:\n%s", wrong, named, &log)
		}
	}
}

// A request to a node whose id is in the context is sent once. A wrong id costs a second try.
func TestCallerTo(t *testing.T) {
	for id, want := range map[string]int{"origin": 1, "another": 2} {
		k, tries := keysOf(t, ours, ""), 0
		guard := NewGuard(k, "origin", nil, nil).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tries++
			guard.ServeHTTP(w, r)
		}))
		defer server.Close()
		c := NewCaller(k, "edge", server.Client(), NewClocks(slog.New(slog.DiscardHandler), nil))
		r, err := http.NewRequestWithContext(To(t.Context(), id), http.MethodPost, server.URL+"/whep/cam", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r, []byte("v=0"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 200 || tries != want {
			t.Errorf("to %s: got %d after %d tries, want 200 after %d", id, answer.StatusCode, tries, want)
		}
	}
}

// A peer that refuses everything is asked twice, and no more; one that gives no id once.
func TestCallerGivesUp(t *testing.T) {
	for _, row := range []struct {
		name, id, date string
		tries          int
	}{
		{"always another id", "id", "", 2},
		{"always another time", "id", "Mon, 01 Jan 2001 00:00:00 GMT", 2},
		{"no id", "", "", 1},
		{"no date", "id", "yesterday", 1},
	} {
		tries := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tries++
			if row.id != "" {
				w.Header().Set(IDHeader, row.id+strings.Repeat("x", tries))
			}
			if row.date != "" {
				w.Header().Set("Date", row.date)
			}
			w.WriteHeader(http.StatusUnauthorized)
		}))
		defer server.Close()
		clocks := NewClocks(slog.New(slog.DiscardHandler), nil)
		c := NewCaller(keysOf(t, ours, ""), "edge", server.Client(), clocks)
		r, err := http.NewRequest(http.MethodGet, server.URL+"/where/cam", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Do(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != 401 || tries != row.tries {
			t.Errorf("%s: got %d after %d tries, want 401 after %d", row.name, answer.StatusCode, tries, row.tries)
		}
	}
}

// A redirect token is good once, for its audience, role and stream, for 30 seconds.
func TestRedeem(t *testing.T) {
	k, now := keysOf(t, ours, ""), start
	m := NewMetrics()
	r := NewRedeemer(k, "free", func() time.Time { return now }, m)
	for _, row := range []struct {
		name   string
		change func(*Redirect)
		after  time.Duration
		want   error
	}{
		{"for another node", func(t *Redirect) { t.Audience = "third" }, 0, Audience},
		{"for the other role", func(t *Redirect) { t.Role = api.Publisher }, 0, Other},
		{"for another stream", func(t *Redirect) { t.Stream = "cat" }, 0, Other},
		{"expired", nil, Span, Late},
		{"of a clock 30 s ahead", func(t *Redirect) { t.Expiry = start.Add(2 * Span) }, 0, nil},
		{"of a clock further ahead", func(t *Redirect) { t.Expiry = start.Add(2*Span + 1000) }, 0, Late},
		{"good until the last moment", nil, Span - 1000, nil},
	} {
		token := someRedirect
		token.Nonce = Nonce{}
		if row.change != nil {
			row.change(&token)
		}
		now = start.Add(row.after)
		if _, err := r.Redeem(k.Redirect(token), api.Subscriber, "cam"); !errors.Is(err, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, err, row.want)
		}
	}
	now = start
	text := k.Redirect(someRedirect)
	if got, err := r.Redeem(text, api.Subscriber, "cam"); err != nil || !sameRedirect(got, someRedirect) {
		t.Errorf("good: got %+v, %v, want %+v", got, err, someRedirect)
	}
	if _, err := r.Redeem(text, api.Subscriber, "cam"); !errors.Is(err, Replayed) {
		t.Errorf("second use: got %v, want %v", err, Replayed)
	}
	if n := testutil.ToFloat64(m.tokens.WithLabelValues("redirect", "replayed")); n != 1 {
		t.Errorf("counted %v as replayed, want 1", n)
	}
}

// A drip is a body whose first byte comes after a while, in which something happens.
type drip struct {
	io.Reader
	meanwhile func()
}

func (d *drip) Read(b []byte) (int, error) {
	d.meanwhile()
	d.meanwhile = func() {}
	return d.Reader.Read(b)
}

// A token that was in time for the head of a request is too late where the body comes after its time. By then the guard
// has forgotten its first use.
func TestSlowReplay(t *testing.T) {
	k, now := keysOf(t, ours, ""), start
	g := NewGuard(k, "origin", func() time.Time { return now }, nil)
	h := g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	send := func(token string, meanwhile func()) int {
		r := httptest.NewRequest(http.MethodPost, "/whep/cam", &drip{strings.NewReader("v=0\r\n"), meanwhile})
		r.Header.Set(Header, token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	made := func(at time.Time) string {
		token := someNode
		token.Nonce, token.Time = Nonce{}, at
		return k.NodeToken(token)
	}
	early := made(now.Add(Span))
	if got := send(early, func() {}); got != http.StatusOK {
		t.Fatalf("first use: got %d, want 200", got)
	}
	now = now.Add(usedSpan)
	got := send(early, func() {
		now = now.Add(time.Second)
		if got := send(made(now), func() {}); got != http.StatusOK {
			t.Fatalf("another token: got %d, want 200", got)
		}
	})
	if got != http.StatusUnauthorized {
		t.Errorf("second use with a slow body: got %d, want 401", got)
	}
}
