package signaling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
)

type problemBody struct {
	Type, Title, Detail string
	Status              int
	Offered, Available  []string
}

// checkProblem checks that a response is a problem of this status that names something.
func checkProblem(t testing.TB, w *httptest.ResponseRecorder, status int, names string) problemBody {
	t.Helper()
	var p problemBody
	if w.Code != status {
		t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	if p.Status != status || p.Title == "" || !strings.HasPrefix(p.Type, problemTypes) ||
		!strings.Contains(p.Detail, names) {
		t.Errorf("problem %+v, want it to name %q", p, names)
	}
	if status < 500 && status != http.StatusRequestTimeout && !strings.Contains(p.Detail, "expected") {
		t.Errorf("detail %q does not say what was expected", p.Detail)
	}
	if len(w.Body.Bytes()) > 2048 {
		t.Errorf("the problem has %d bytes", w.Body.Len())
	}
	checkCORS(t, w)
	return p
}

func checkCORS(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":   "*",
		"Access-Control-Allow-Methods":  "OPTIONS, GET, HEAD, POST, PATCH, DELETE",
		"Access-Control-Expose-Headers": "Location, ETag, Link, Retry-After, Access-Control-Allow-Methods",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestOpen(t *testing.T) {
	b := newBench(t, Config{})
	for _, tt := range []struct{ root, offer string }{{"whip", obs}, {"whep", chromiumRX}} {
		w := b.do(http.MethodPost, "/"+tt.root+"/Room-1._~", fixture(t, tt.offer), "Content-Type",
			"Application/SDP; charset=utf-8")
		if w.Code != http.StatusCreated {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		h := w.Header()
		if got := h.Get("Content-Type"); got != "application/sdp" {
			t.Errorf("Content-Type %q", got)
		}
		if got := h.Get("Location"); !regexp.MustCompile(
			`^/` + tt.root + `/Room-1\._~/[A-Za-z0-9_-]{24}$`,
		).MatchString(got) {
			t.Errorf("Location %q", got)
		}
		if got := h.Get("ETag"); !regexp.MustCompile(`^"[A-Za-z0-9_-]{12}"$`).MatchString(got) {
			t.Errorf("ETag %q", got)
		}
		checkCORS(t, w)
		if again := b.post("/"+tt.root+"/Room-1._~",
			fixture(t, tt.offer)); again.Header().Get("Location") == h.Get("Location") ||
			again.Header().Get("ETag") == h.Get("ETag") {
			t.Error("two sessions share a secret or tag")
		}
	}
}

func TestStatuses(t *testing.T) {
	long := strings.Repeat("x", 128)
	const sdp, frag = "application/sdp", "application/trickle-ice-sdpfrag"
	tests := []struct {
		name, method, path, mediaType string
		body                          string // a fixture, if it is one
		err                           error
		status                        int
		names                         string
		header, value                 string
	}{
		{"publish", "POST", "/whip/" + long, sdp, obs, nil, 201, "", "Content-Type", sdp},
		{"name too long", "POST", "/whip/x" + long, sdp, obs, nil, 400, "128", "", ""},
		{"name with a space", "POST", "/whip/a%20b", sdp, obs, nil, 400, "a b", "", ""},
		{"name with a dot only", "POST", "/whip/.", sdp, obs, nil, 400, "", "", ""},
		{"name of two dots", "POST", "/whip/..", sdp, obs, nil, 400, "", "", ""},
		{"no name", "POST", "/whip/", sdp, obs, nil, 401, "/whip/{stream}", "", ""},
		{"no name of a session", "POST", "/whip//b", sdp, obs, nil, 400, "name", "", ""},
		{"no slash", "POST", "/whep", sdp, obs, nil, 401, "/whep/{stream}", "", ""},
		{"no media type", "POST", "/whip/a", "", obs, nil, 415, sdp, "Accept-Post", sdp},
		{
			"other media type", "POST", "/whip/a", "application/json", obs, nil, 415, "application/json", "Accept-Post",
			sdp,
		},
		{"malformed", "POST", "/whip/a", sdp, "v=1", nil, 400, "", "", ""},
		{"malformed, nobody publishes", "POST", "/whep/a", sdp, "v=1", nil, 400, "", "", ""},
		{"large", "POST", "/whip/a", sdp, strings.Repeat("v", 64<<10+1), nil, 413, "65536", "", ""},
		{"no codec", "POST", "/whip/a", sdp, "no codec", nil, 422, "PCMU", "", ""},
		{"nobody publishes", "POST", "/whep/a", sdp, chromiumRX, nil, 409, "publish", "Retry-After", "1"},
		{
			"nobody publishes any more", "POST", "/whep/live", sdp, chromiumRX, api.ErrNoPublisher, 409, "publish",
			"Retry-After", "1",
		},
		{
			"taken", "POST", "/whip/a", sdp, obs, fmt.Errorf("publish: %w", api.ErrStreamTaken), 409, "live publisher",
			"Retry-After", "1",
		},
		{
			"backup taken", "POST", "/whip/a?backup=1", sdp, obs, api.ErrBackupTaken, 409, "backup publisher",
			"Retry-After", "1",
		},
		{"backup", "POST", "/whip/" + long + "?x=2&backup=1", sdp, obs, nil, 201, "", "Content-Type", sdp},
		{"backup of another value", "POST", "/whip/a?backup=true", sdp, obs, nil, 400, `backup is "true"`, "", ""},
		{"backup without a value", "POST", "/whip/a?backup", sdp, obs, nil, 400, "expected 1", "", ""},
		{"backup twice", "POST", "/whip/a?backup=1&backup=1", sdp, obs, nil, 400, "1, 1", "", ""},
		{"full", "POST", "/whip/a", sdp, obs, api.ErrFull, 503, "no more sessions", "Retry-After", "10"},
		{
			"stream full", "POST", "/whep/live", sdp, chromiumRX, api.ErrStreamFull, 503, "viewers", "Retry-After",
			"10",
		},
		{"source full", "POST", "/whip/a", sdp, obs, api.ErrSourceFull, 429, "your address", "Retry-After", "10"},
		{"busy", "POST", "/whip/a", sdp, obs, api.ErrBusy, 503, "about to connect", "Allow", ""},
		{"no address", "POST", "/whip/a", sdp, obs, api.ErrNoAddress, 503, "no address", "Retry-After", "2"},
		{
			"full for viewers", "POST", "/whep/live", sdp, chromiumRX, api.ErrFull, 503, "no more sessions",
			"Retry-After", "10",
		},
		{"closing", "POST", "/whip/a", sdp, obs, api.ErrClosing, 503, "shutting down", "Retry-After", "2"},
		{"given up", "POST", "/whip/a", sdp, obs, context.Canceled, 503, "given up", "Retry-After", "1"},
		{"unforeseen", "POST", "/whip/a", sdp, obs, errors.New("private"), 500, "log", "", ""},
		{"PUT", "PUT", "/whip/a", sdp, obs, nil, 405, "PUT", "Allow", "OPTIONS, GET, HEAD, POST"},
		{"DELETE an endpoint", "DELETE", "/whep/a", "", "", nil, 405, "DELETE", "Allow", "OPTIONS, GET, HEAD, POST"},
		{
			"POST to a session", "POST", "/whip/a/b", sdp, obs, nil, 405, "POST", "Allow",
			"OPTIONS, GET, HEAD, PATCH, DELETE",
		},
		{"GET an endpoint", "GET", "/whip/a", "", "", nil, 204, "", "", ""},
		{"GET a WHEP endpoint", "GET", "/whep/a", "", "", nil, 200, "", "Content-Type", sdp},
		{"HEAD a WHEP endpoint", "HEAD", "/whep/a", "", "", nil, 200, "", "Content-Type", sdp},
		{"PATCH nothing", "PATCH", "/whip/a/b", frag, "", nil, 404, "session", "", ""},
		{"DELETE nothing", "DELETE", "/whip/a/b", "", "", nil, 404, "session", "", ""},
		{"GET nothing", "GET", "/whep/a/b", "", "", nil, 404, "session", "", ""},
		{"GET too deep", "GET", "/whep/a/b/c", "", "", nil, 404, "session", "", ""},
		{"POST to the page", "POST", "/", "", "", nil, 405, "POST", "Allow", "OPTIONS, GET, HEAD"},
		{"GET a path that is not", "GET", "/nothing", "", "", nil, 404, "path", "", ""},
		{"GET a directory", "GET", "/page", "", "", nil, 404, "path", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			b.mustPost("/whip/live", fixture(t, obs))
			b.engine.err = tt.err
			body := tt.body
			switch body {
			case obs, chromiumRX:
				body = fixture(t, body)
			case "no codec":
				body = replace(t, fixture(t, obs), "opus/48000/2", "PCMU/8000")
			}
			w := b.do(tt.method, tt.path, body, "Content-Type", tt.mediaType)
			if tt.status >= 400 {
				checkProblem(t, w, tt.status, tt.names)
			} else if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if w.Code == 204 && w.Body.Len() != 0 {
				t.Errorf("204 with a body: %s", w.Body)
			}
			checkCORS(t, w)
			if tt.header != "" && w.Header().Get(tt.header) != tt.value {
				t.Errorf("%s: %q, want %q", tt.header, w.Header().Get(tt.header), tt.value)
			}
			if strings.Contains(w.Body.String(), "private") {
				t.Error("an internal error was told to a stranger")
			}
		})
	}
}

func TestOptions(t *testing.T) {
	b := newBench(t, Config{})
	location, _ := b.mustPost("/whip/room", fixture(t, obs))
	for _, tt := range []struct{ path, allow, post, patch string }{
		{"/whip/room", endpointMethods, sdpType, ""},
		{"/whep/room", endpointMethods, sdpType, ""},
		{"/whep/nothing%20here", endpointMethods, sdpType, ""},
		{location, sessionMethods, sdpType, fragmentType},
		{"/whep/room/unknown", sessionMethods, sdpType, fragmentType},
		{"/", pageMethods, "", ""},
		{"/nothing", pageMethods, "", ""},
	} {
		w := b.do(http.MethodOptions, tt.path, "", "Origin", "https://example.org", "Access-Control-Request-Method",
			"POST")
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("OPTIONS %s: status %d, %d bytes", tt.path, w.Code, w.Body.Len())
		}
		checkCORS(t, w)
		for name, want := range map[string]string{
			"Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
			"Allow":                        tt.allow, "Accept-Post": tt.post, "Accept-Patch": tt.patch,
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("OPTIONS %s: %s %q, want %q", tt.path, name, got, want)
			}
		}
	}
}

// A preflight is allowed the headers that it asks for, as long as they are few and well-formed.
func TestAllowedHeaders(t *testing.T) {
	const known = "Authorization, Content-Type, If-Match"
	for _, tt := range []struct {
		name  string
		asked []string
		want  string
	}{
		{"nothing", nil, known},
		{"as browsers ask", []string{"authorization,content-type"}, known},
		{
			"a player's own",
			[]string{"content-type,x-requested-with,traceparent"},
			known + ", x-requested-with, traceparent",
		},
		{"two lines", []string{"x-a", "x-b"}, known + ", x-a, x-b"},
		{"twice", []string{"x-a,X-A , x-a"}, known + ", x-a"},
		{"empty elements", []string{" , x-a,, "}, known + ", x-a"},
		{"no header name", []string{"x-a,x b"}, known},
		{"a line break", []string{"x-a\r\nSet-Cookie: a=b"}, known},
		{"not ASCII", []string{"x-é"}, known},
		{"a long name", []string{strings.Repeat("x", 65)}, known},
		{"many names", []string{"x-0" + strings.Repeat(",x-1", 32)}, known},
		{"a long list", []string{strings.Repeat(strings.Repeat("x", 60)+",", 17)}, known},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{ViewToken: "vt"})
			for _, path := range []string{"/whep/room", "/whip/room/session", "/streams"} {
				r := httptest.NewRequest(http.MethodOptions, path, nil)
				r.Header["Access-Control-Request-Headers"] = tt.asked
				w := httptest.NewRecorder()
				b.http.ServeHTTP(w, r)
				if got := w.Header().Get("Access-Control-Allow-Headers"); w.Code != http.StatusOK || got != tt.want {
					t.Errorf("OPTIONS %s: status %d, %q allowed; want 200 and %q", path, w.Code, got, tt.want)
				}
			}
		})
	}
}

func TestDelete(t *testing.T) {
	b := newBench(t, Config{})
	for _, tt := range []struct{ root, other, offer string }{{"whip", "whep", obs}, {"whep", "whip", chromiumRX}} {
		if tt.root == "whep" {
			b.mustPost("/whip/room", fixture(t, obs))
		}
		before := b.engine.liveSessions()
		location, _ := b.mustPost("/"+tt.root+"/room", fixture(t, tt.offer))
		if w := b.do(http.MethodGet, location, ""); w.Code != http.StatusNoContent {
			t.Errorf("GET a live session: status %d", w.Code)
		}
		for _, wrong := range []string{
			strings.Replace(location, tt.root, tt.other, 1), strings.Replace(location, "room", "zoom", 1),
			location + "/", location + "x",
		} {
			checkProblem(t, b.do(http.MethodDelete, wrong, ""), http.StatusNotFound, "session")
		}
		w := b.do(http.MethodDelete, location, "", "If-Match", `"other"`)
		if w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("DELETE: status %d, %d bytes", w.Code, w.Body.Len())
		}
		checkCORS(t, w)
		if b.engine.liveSessions() != before {
			t.Error("the engine still has the session")
		}
		checkProblem(t, b.do(http.MethodDelete, location, ""), http.StatusNotFound, "session")
		checkProblem(t, b.do(http.MethodPatch, location, "", "Content-Type", fragmentType), http.StatusNotFound,
			"session")
	}
}

func TestEnded(t *testing.T) {
	b := newBench(t, Config{})
	location, _ := b.mustPost("/whip/room", fixture(t, obs))
	b.engine.end(b.engine.last, api.ReasonConsentExpired)
	checkProblem(t, b.do(http.MethodGet, location, ""), http.StatusNotFound, "ended")

	// The end may be reported before the opening has returned.
	b.engine.opened = func(id api.SessionID) { b.engine.end(id, api.ReasonShutdown) }
	w := b.post("/whip/early", fixture(t, obs))
	checkProblem(t, w, http.StatusServiceUnavailable, "shutdown")
	if w.Header().Get("Retry-After") == "" || w.Header().Get("Location") != "" {
		t.Errorf("headers %v", w.Header())
	}
	s := &b.server.sessions
	if len(s.bySecret) != 0 || len(s.byID) != 0 || len(s.early) != 0 || s.opening != 0 {
		t.Errorf("the table keeps something: %+v", s)
	}
}

func TestAbandoned(t *testing.T) {
	b := newBench(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	b.engine.opened = func(api.SessionID) { cancel() }
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/whip/room", strings.NewReader(fixture(t, obs)))
	r.Header.Set("Content-Type", sdpType)
	w := httptest.NewRecorder()
	b.http.ServeHTTP(w, r)
	checkProblem(t, w, http.StatusServiceUnavailable, "given up")
	if b.engine.liveSessions() != 0 || len(b.server.sessions.byID) != 0 {
		t.Error("a session that nobody can end was kept")
	}
}

func TestTrickle(t *testing.T) {
	b := newBench(t, Config{})
	location, _ := b.mustPost("/whip/room", fixture(t, obs))
	const ufrag, password = "a=ice-ufrag:6QoC\r\n", "a=ice-pwd:a/xjTGpl7+EXDSOTILGgCn\r\n"
	const line = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
	const candidate = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag 6QoC " +
		"network-id 1\r\n"
	for _, tt := range []struct {
		name, body string
		status     int
		names      string
	}{
		{"candidate", ufrag + password + line + candidate, 204, ""},
		{"bare newlines", strings.ReplaceAll(ufrag+password+line+candidate, "\r", ""), 204, ""},
		{"no last newline", strings.TrimSpace(ufrag + password + line + candidate), 204, ""},
		{"credentials in the part", line + ufrag + password + candidate + "a=end-of-candidates\r\n", 204, ""},
		{"no credentials", line + candidate, 204, ""},
		{"no password", ufrag + line + candidate, 204, ""},
		{"mDNS", line + strings.Replace(candidate, "192.0.2.1", "4f8c.local", 1), 204, ""},
		{"TCP", line + "a=candidate:1 1 tcp 1518214911 192.0.2.2 9 typ host tcptype active\r\n", 204, ""},
		{"empty candidate", line + "a=candidate:\r\n", 204, ""},
		{"a whole description", fixture(t, obs), 204, ""},
		{"another ufrag without a password", "a=ice-ufrag:EsAw\r\n" + line + candidate, 400, "ice-pwd"},
		{"empty", "", 400, "empty"},
		{"prose", "candidate please", 400, "line 1"},
		{"short candidate", line + "a=candidate:1 1 udp\r\n", 400, "candidate"},
		{"candidate without a port", line + "a=candidate:1 1 udp 1 192.0.2.1 x typ host\r\n", 400, "candidate"},
		{"component 0", line + "a=candidate:1 0 udp 1 192.0.2.1 1 typ host\r\n", 400, "candidate"},
		{"priority", line + "a=candidate:1 1 udp 4294967296 192.0.2.1 1 typ host\r\n", 400, "candidate"},
		{"media line", "m=audio\r\n", 400, "m="},
		{"password alone", password + line, 400, "ice-ufrag"},
		{"short ufrag", "a=ice-ufrag:abc\r\n", 400, "ice-ufrag"},
		{"short password", ufrag + "a=ice-pwd:abc\r\n", 400, "ice-pwd"},
		{"many candidates", line + strings.Repeat(candidate, 257), 400, "256 candidates"},
		{"many lines", strings.Repeat(line, 17), 400, "16 media lines"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := b.do(http.MethodPatch, location, tt.body, "Content-Type", "application/trickle-ice-sdpfrag; charset=x",
				"If-Match", "*")
			if tt.status >= 400 {
				checkProblem(t, w, tt.status, tt.names)
				return
			}
			if w.Code != tt.status || w.Body.Len() != 0 || w.Header().Get("ETag") != "" {
				t.Errorf("status %d, %d bytes, ETag %q: %s", w.Code, w.Body.Len(), w.Header().Get("ETag"), w.Body)
			}
			checkCORS(t, w)
		})
	}
	w := b.do(http.MethodPatch, location, "x", "Content-Type", "application/sdp")
	checkProblem(t, w, http.StatusUnsupportedMediaType, fragmentType)
	if got := w.Header().Get("Accept-Patch"); got != fragmentType {
		t.Errorf("Accept-Patch %q", got)
	}
	w = b.do(http.MethodPatch, location, strings.Repeat("x", 64<<10+1), "Content-Type", fragmentType, "If-Match", "*")
	checkProblem(t, w, http.StatusRequestEntityTooLarge, "65536")
	if w := b.do(http.MethodGet, location, ""); w.Code != http.StatusNoContent {
		t.Errorf("a refused PATCH ended the session: status %d", w.Code)
	}

	t.Run("another line's ufrag", func(t *testing.T) {
		audio, video, _ := strings.Cut(fixture(t, obs), "m=video")
		location, _ := b.mustPost("/whip/two", audio+"m=video"+replace(t, video, "6QoC", "Othr"))
		body := "a=ice-ufrag:Othr\r\n" + password + line + candidate
		if w := b.do(http.MethodPatch, location, body, "Content-Type", fragmentType, "If-Match",
			"*"); w.Code != http.StatusNoContent {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	})
}

// TestRandFails checks that no session is opened with a secret that is none.
func TestRandFails(t *testing.T) {
	b := newBench(t, Config{Rand: strings.NewReader("short")})
	checkProblem(t, b.post("/whip/room", fixture(t, obs)), http.StatusInternalServerError, "")
	if b.engine.last != 0 {
		t.Error("a session was opened without a secret")
	}
}

func TestTrackMissing(t *testing.T) {
	b := newBench(t, Config{})
	o, err := parseOffer([]byte(fixture(t, obs)), b.server.limits, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.answer(api.Publisher, "room", api.Local{}, 0); err == nil {
		t.Error("an answer without tracks")
	}
}

// TestConcurrent opens and ends sessions from all sides; the race detector watches.
func TestConcurrent(t *testing.T) {
	b := newBench(t, Config{})
	offer := fixture(t, obs)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				location, _ := b.mustPost(fmt.Sprintf("/whip/room%d", i), offer)
				if i%2 == 0 {
					b.do(http.MethodDelete, location, "")
				} else {
					b.engine.end(b.engine.lastOf(fmt.Sprintf("room%d", i)), api.ReasonBye)
				}
				if w := b.do(http.MethodGet, location, ""); w.Code != http.StatusNotFound {
					t.Errorf("status %d", w.Code)
				}
			}
		})
	}
	wg.Wait()
	if s := &b.server.sessions; len(s.bySecret)+len(s.byID)+len(s.early) != 0 {
		t.Errorf("the table keeps something: %+v", s)
	}
}

// lastOf is the latest live session of a stream.
func (e *fakeEngine) lastOf(stream string) (last api.SessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, s := range e.live {
		if s == stream {
			last = max(last, id)
		}
	}
	return last
}

func TestPage(t *testing.T) {
	b := newBench(t, Config{})
	for path, contentType := range map[string]string{
		"/": "text/html; charset=utf-8", "/index.html": "text/html; charset=utf-8",
	} {
		w := b.do(http.MethodGet, path, "")
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != contentType || w.Body.Len() == 0 {
			t.Errorf("GET %s: status %d, %q, %d bytes", path, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
		if got := w.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("Cache-Control %q", got)
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'self'") {
			t.Errorf("Content-Security-Policy %q", got)
		}
		if w := b.do(http.MethodGet, path, "", "If-None-Match",
			w.Header().Get("ETag")); w.Code != http.StatusNotModified {
			t.Errorf("GET %s again: status %d", path, w.Code)
		}
		if w := b.do(http.MethodHead, path, ""); w.Code != http.StatusOK || w.Body.Len() != 0 {
			t.Errorf("HEAD %s: status %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
	for url, f := range loadPage(new(Config)).files {
		if strings.HasSuffix(url, ".js") && f.contentType != "text/javascript; charset=utf-8" {
			t.Errorf("%s is %s", url, f.contentType)
		}
	}
}

func TestAdmin(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "ringcast_test_total"}, func() float64 { return 7 }),
	)
	var notReady error
	h := NewAdmin(AdminConfig{
		Gatherer: registry, Ready: func() error { return notReady },
		AdminAccess: AdminAccess{Token: adminToken, Hosts: []string{"example.com"}},
	})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+string(adminToken))
		h.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	for _, tt := range []struct {
		path   string
		err    error
		status int
		has    string
	}{
		{"/metrics", nil, 200, "ringcast_test_total 7"},
		{"/livez", errors.New("draining"), 200, "ok"},
		{"/readyz", nil, 200, "ok"},
		{"/readyz", errors.New("draining"), 503, "draining"},
		{"/debug/pprof/", nil, 200, "goroutine"},
		{"/debug/pprof/goroutine?debug=1", nil, 200, "goroutine profile"},
		{"/debug/pprof/cmdline", nil, 200, ""},
		{"/whip/room", nil, 404, ""},
	} {
		notReady = tt.err
		if status, body := get(tt.path); status != tt.status || !strings.Contains(body, tt.has) {
			t.Errorf("GET %s: status %d, want %d: %.80s", tt.path, status, tt.status, body)
		}
	}
	if status, _ := func() (int, string) {
		w := httptest.NewRecorder()
		NewAdmin(AdminConfig{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		return w.Code, ""
	}(); status != 200 {
		t.Errorf("readyz without a reason not to be: %d", status)
	}
}

// TestNetwork makes the whole way over TCP once, and shows that nothing lingers.
func TestNetwork(t *testing.T) {
	b := newBench(t, Config{})
	s := NewHTTPServer("127.0.0.1:0", b.http)
	if s.IdleTimeout == 0 || s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 {
		t.Error("a timeout is missing")
	}
	var open sync.WaitGroup // a server lingers half a second on a connection whose body it did not read
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Done()
		}
	}
	l, err := net.Listen("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{}}
	base := "http://" + l.Addr().String()
	r, err := client.Post(base+"/whip/room", sdpType, strings.NewReader(fixture(t, obs)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || r.StatusCode != http.StatusCreated || !strings.HasPrefix(string(body), "v=0\r\n") {
		t.Fatalf("status %d, %v: %s", r.StatusCode, err, body)
	}
	// An endless body ends at the limit.
	r, err = client.Post(base+"/whip/room", sdpType, io.LimitReader(endless{}, 10<<20))
	if err == nil {
		if r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status %d", r.StatusCode)
		}
		r.Body.Close()
	}
	client.CloseIdleConnections()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	open.Wait()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}
