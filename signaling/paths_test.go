package signaling

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// A client with a wrong URL is told the right one.
func TestWrongURLs(t *testing.T) {
	for _, tt := range []struct {
		name, method, path string
		status             int
		expected           string // the end of the sentence
	}{
		{"a slash in the name", "POST", "/whip/live/cam1", 405, "expected a name such as /whip/live-cam1"},
		{"two slashes in the name", "POST", "/whep/a/b/c", 405, "expected a name such as /whep/a-b-c"},
		{"an escaped slash in the name", "POST", "/whip/live%2Fcam1", 405, "expected a name such as /whip/live-cam1"},
		{"a slash at the end", "POST", "/whip/cam1/", 404, "expected /whip/cam1"},
		{"a slash at the end of the name asked for", "HEAD", "/whep/cam1/", 404, "expected /whep/cam1"},
		{
			"two slashes", "POST", "/whip//cam1", 400,
			"expected /whip/cam1 with 1 to 128 characters out of A-Z a-z 0-9 . _ ~ - , but not . or ..",
		},
		{
			"a space in the name", "POST", "/whip/my%20cam", 400,
			"expected /whip/my-cam with 1 to 128 characters out of A-Z a-z 0-9 . _ ~ - , but not . or ..",
		},
		{
			"a name without letters", "POST", "/whip/%F0%9F%8E%A5", 400,
			"expected /whip/{stream} with 1 to 128 characters out of A-Z a-z 0-9 . _ ~ - , but not . or ..",
		},
		{"capitals", "POST", "/WHIP/cam1", 404, "expected /whip/cam1"},
		{"SRS", "POST", "/rtc/v1/whip/?app=live&stream=cam1", 404, "expected /whip/cam1"},
		{"SRS for viewers", "POST", "/rtc/v1/whep/?app=live&stream=cam1", 404, "expected /whep/cam1"},
		{
			"SRS without a name", "POST", "/rtc/v1/whip/", 404,
			"expected /whip/{stream}, or /whip with Authorization: Bearer and the stream key",
		},
		{"ZLMediaKit", "POST", "/index/api/whip?app=live&stream=cam1", 404, "expected /whip/cam1"},
		{"MediaMTX", "POST", "/cam1/whip", 404, "expected /whip/cam1"},
		{"MediaMTX, a session", "DELETE", "/cam1/whep/", 404, "expected /whep/cam1"},
		{"MediaMTX with slashes", "POST", "/live/cam1/whep", 404, "expected /whep/live-cam1"},
		{
			"Broadcast Box", "POST", "/api/whip", 404,
			"expected /whip/{stream}, or /whip with Authorization: Bearer and the stream key",
		},
		{
			"Broadcast Box for viewers", "GET", "/api/whep/", 404,
			"expected /whep/{stream}, or /whep with Authorization: Bearer and the stream key",
		},
		{"OvenMediaEngine", "POST", "/app/cam1?direction=whip", 404, "expected /whip/app-cam1"},
		{
			"Millicast", "POST", "/api/whip/cam1", 404,
			"expected /whip/cam1; if a proxy serves this server below /api, start it with --base /api",
		},
		{
			"a base that nobody told", "POST", "/tv/cast/whip/cam1", 404,
			"expected /whip/cam1; if a proxy serves this server below /tv/cast, start it with --base /tv/cast",
		},
		{"the root", "POST", "/", 405, "Offers go to /whip/{stream} or /whep/{stream}"},
		{
			"anything", "POST", "/publish", 404,
			"expected / for the page, /whip/{stream} to publish or /whep/{stream} to watch",
		},
		{
			"anything at all", "GET", "/a/b", 404,
			"expected / for the page, /whip/{stream} to publish or /whep/{stream} to watch",
		},
		{"a hostile base", "GET", "//evil.example/%22/whip/cam1", 404, "expected /whip/cam1"},
		{
			"a long name", "POST", "/" + strings.Repeat("a", 129) + "/whip", 404,
			"expected /whip/{stream}, or /whip with Authorization: Bearer and the stream key",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			w := b.do(tt.method, tt.path, fixture(t, obs), "Content-Type", sdpType)
			p := checkProblem(t, w, tt.status, tt.expected)
			if !strings.HasSuffix(p.Detail, tt.expected) {
				t.Errorf("detail %q, want it to end with %q", p.Detail, tt.expected)
			}
			if (tt.status == http.StatusMethodNotAllowed) != (w.Header().Get("Allow") != "") {
				t.Errorf("status %d with Allow %q", tt.status, w.Header().Get("Allow"))
			}
		})
	}
}

// The URLs in problems begin with the base that the client sees.
func TestWrongURLsBelowBase(t *testing.T) {
	b := newBench(t, Config{Base: "/cast"})
	for path, expected := range map[string]string{
		"/cast/whip/live/cam1": "/cast/whip/live-cam1",
		"/cast/cam1/whip":      "/cast/whip/cam1",
		"/cam1/whip":           "/cast/whip/cam1",
		"/cast/whip/cam1/":     "/cast/whip/cam1",
		"/cast/nothing": "/cast/ for the page, /cast/whip/{stream} to publish or " +
			"/cast/whep/{stream} to watch",
		"/castle/": "/cast/ for the page, /cast/whip/{stream} to publish or " +
			"/cast/whep/{stream} to watch",
		"/cast/rtc/v1/whep/?stream=cam1": "/cast/whep/cam1",
		"/cast/whip":                     "/cast/whip/{stream}",
		"/cast/whip/" +
			"a%20b": "/cast/whip/a-b with 1 to 128 characters out of A-Z a-z 0-9 . _ ~ - , but not . or ..",
		"/cast/whip/cam1/session/and/more": "/cast/whip/cam1-session-and-more",
	} {
		w := b.post(path, fixture(t, obs))
		p := checkProblem(t, w, w.Code, expected)
		if !strings.HasSuffix(p.Detail, " "+expected) {
			t.Errorf("POST %s: detail %q, want it to end with %q", path, p.Detail, expected)
		}
	}
}

// Below a base, the page's relative links start there, whether the URL ends with a slash or not.
func TestPageBelowBase(t *testing.T) {
	const link = `<base href="/cast/">`
	b := newBench(t, Config{Base: "/cast"})
	tag := ""
	for _, path := range []string{"/cast?watch=cam1", "/cast/", "/cast/index.html", "/"} {
		w := b.do(http.MethodGet, path, "")
		if w.Code != http.StatusOK || strings.Count(w.Body.String(), link) != 1 {
			t.Errorf("GET %s: status %d, %d times %s; want 200 and 1", path, w.Code,
				strings.Count(w.Body.String(), link), link)
		}
		tag = w.Header().Get("ETag")
		if w := b.do(http.MethodGet, path, "", "If-None-Match", tag); w.Code != http.StatusNotModified {
			t.Errorf("GET %s again: status %d, want 304", path, w.Code)
		}
	}
	for _, path := range []string{"/cast/app.js", "/cast/streams", "/app.js"} {
		if w := b.do(http.MethodGet, path, ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "<base") {
			t.Errorf("GET %s: status %d, want 200 without a base", path, w.Code)
		}
	}
	root := newBench(t, Config{}).do(http.MethodGet, "/", "")
	if strings.Contains(root.Body.String(), "<base") || root.Header().Get("ETag") == tag {
		t.Errorf("without a base the page has one, or its tag %s is that of the other", tag)
	}
	checkProblem(t, b.post("/cast", fixture(t, obs)), http.StatusMethodNotAllowed, "/cast/whip/{stream}")
}

// A session's URL is its key: wherever a client sends it by mistake, the log does not have it.
func TestLogHasNoSecrets(t *testing.T) {
	const secret = "AbCdEfGhIjKlMnOpQrStUvWx"
	for _, path := range []string{
		"/whip/cam1/", "/whep/cam1/", "/whip/my%20cam/", "/WHIP/cam1/", "/cast/whip/cam1/", "/cam1/whip/", "/x?stream=",
	} {
		for _, method := range []string{"POST", "PATCH", "DELETE", "GET", "PUT"} {
			var log bytes.Buffer
			handler := slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})
			b := newBench(t, Config{Log: slog.New(handler)})
			b.do(method, path+secret, "")
			if text := log.String(); strings.Contains(text, secret) || !strings.Contains(text, "request refused") {
				t.Errorf("%s %s: want a line without the secret, got\n%s", method, path+secret, text)
			}
		}
	}
}
