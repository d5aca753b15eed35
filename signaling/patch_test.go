package signaling

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"ringcast/engine/api"
)

// ICE attributes of the captured offer of OBS, and fragments of it and of later ICE sessions.
const (
	obsICE    = "a=ice-ufrag:6QoC\r\na=ice-pwd:a/xjTGpl7+EXDSOTILGgCn\r\n"
	secondICE = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"
	thirdICE  = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n"
	audioPart = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
	videoPart = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\n"
	oneMore   = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag x network-id 1\r\n"
)

var (
	second = api.Credentials{Ufrag: "EsAw", Password: "P2uYro0UCOQ4zxjKXaWCBui1"}
	third  = api.Credentials{Ufrag: "ysXw", Password: "vw5LmwG4y/e6dPP/zAP9Gp5k"}
)

// patch sends a fragment; without a match there is no If-Match.
func (b *bench) patch(location, fragment string, match ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	headers := []string{"Content-Type", fragmentType}
	for _, m := range match {
		headers = append(headers, "If-Match", m)
	}
	return b.do(http.MethodPatch, location, fragment, headers...)
}

// publish opens a publisher's session and returns its URL and entity tag.
func (b *bench) publish(offer string) (location, etag string) {
	b.t.Helper()
	w := b.post("/whip/room", offer)
	if w.Code != http.StatusCreated {
		b.t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Header().Get("Location"), w.Header().Get("ETag")
}

func checkTrickled(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code != http.StatusNoContent || w.Body.Len() != 0 || w.Header().Get("ETag") != "" ||
		w.Header().Get("Content-Type") != "" {
		t.Errorf("status %d, headers %v, want 204 and nothing else: %s", w.Code, w.Header(), w.Body)
	}
	checkCORS(t, w)
}

// checkRestarted returns the new entity tag.
func checkRestarted(t *testing.T, w *httptest.ResponseRecorder, old string) string {
	t.Helper()
	etag := w.Header().Get("ETag")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != fragmentType || etag == old ||
		!regexp.MustCompile(`^"[A-Za-z0-9_-]{12}"$`).MatchString(etag) {
		t.Fatalf("status %d, headers %v, want 200 with a fragment and a tag other than %s: %s", w.Code, w.Header(), old,
			w.Body)
	}
	checkCORS(t, w)
	return etag
}

func TestPreconditions(t *testing.T) {
	b := newBench(t, Config{})
	location, etag := b.publish(fixture(t, obs))
	for _, tt := range []struct {
		name   string
		match  []string
		status int
	}{
		{"none", nil, 428},
		{"empty", []string{""}, 412},
		{"the tag", []string{etag}, 204},
		{"an asterisk", []string{"*"}, 204},
		{"an asterisk in quotes", []string{`"*"`}, 204},
		{"in a list", []string{`"other", ` + etag}, 204},
		{"in a second header", []string{`"other"`, etag}, 204},
		{"another", []string{`"other"`}, 412},
		{"the tag, weak", []string{"W/" + etag}, 412},
		{"the tag without quotes", []string{strings.Trim(etag, `"`)}, 412},
		{"part of the tag", []string{etag[:6] + `"`}, 412},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPatch, location, strings.NewReader(obsICE+audioPart+oneMore))
			r.Header.Set("Content-Type", fragmentType)
			if tt.match != nil {
				r.Header["If-Match"] = tt.match
			}
			w := httptest.NewRecorder()
			b.http.ServeHTTP(w, r)
			if tt.status == http.StatusNoContent {
				checkTrickled(t, w)
			} else {
				checkProblem(t, w, tt.status, "If-Match")
			}
		})
	}
	// A restart has to name a session, too.
	checkProblem(t, b.patch(location, secondICE), http.StatusPreconditionRequired, "*")
	checkProblem(t, b.patch(location, secondICE, `"other"`), http.StatusPreconditionFailed, "ETag")
	if len(b.engine.restarts) != 0 {
		t.Error("restarted in spite of the precondition")
	}
}

// TestRestart follows one session through its ICE sessions.
func TestRestart(t *testing.T) {
	b := newBench(t, Config{})
	location, first := b.publish(fixture(t, obs))
	checkTrickled(t, b.patch(location, obsICE+audioPart+oneMore, first))

	w := b.patch(location, secondICE, "*")
	etag := checkRestarted(t, w, first)
	want := strings.ReplaceAll(`a=ice-lite
a=ice-options:ice2
a=ice-ufrag:LocalUfrag1
a=ice-pwd:LocalPasswordLocalPassword1
m=audio 9 UDP/TLS/RTP/SAVPF 0
a=mid:0
a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host
a=candidate:2 1 udp 2130706175 2001:db8::1 8190 typ host
a=end-of-candidates
`, "\n", "\r\n")
	if w.Body.String() != want {
		t.Errorf("got\n%s\nwant\n%s", w.Body, want)
	}
	if f, err := parseFragment(w.Body.Bytes(), b.server.limits); err != nil || f.candidates != 2 || !f.complete {
		t.Errorf("the fragment reads as %+v, %v", f, err)
	}
	checkTrickled(t, b.patch(location, secondICE+audioPart+oneMore, etag))
	checkTrickled(t, b.patch(location, audioPart+oneMore, "*"))
	checkProblem(t, b.patch(location, secondICE+audioPart+oneMore, first), http.StatusPreconditionFailed, "ETag")
	// Candidates of the first ICE session that come late begin nothing.
	checkTrickled(t, b.patch(location, obsICE+audioPart+oneMore, "*"))

	// The current tag names the session as well as the asterisk does.
	again := checkRestarted(t, b.patch(location, thirdICE+audioPart+oneMore, etag), etag)
	if again == first {
		t.Error("a tag came back")
	}
	// A password alone makes a restart, too.
	checkRestarted(t, b.patch(location, strings.Replace(thirdICE, "vw5L", "other", 1), `"*"`), again)
	fourth := api.Credentials{Ufrag: third.Ufrag, Password: strings.Replace(third.Password, "vw5L", "other", 1)}
	if want := []api.Credentials{second, third, fourth}; !slices.Equal(b.engine.restarts, want) {
		t.Errorf("restarts %+v, want %+v", b.engine.restarts, want)
	}
	if w := b.do(http.MethodDelete, location, "", "If-Match", first); w.Code != http.StatusOK {
		t.Errorf("DELETE: status %d", w.Code)
	}
}

// TestRestartCredentials checks which of several pairs the engine is told.
func TestRestartCredentials(t *testing.T) {
	for _, tt := range []struct {
		name, fragment string
		want           []api.Credentials
	}{
		{"for the session", secondICE + audioPart, []api.Credentials{second}},
		{"for the line", audioPart + secondICE, []api.Credentials{second}},
		{
			"for the line that has the transport", audioPart + secondICE + videoPart + thirdICE,
			[]api.Credentials{second},
		},
		{"in the other order", videoPart + thirdICE + audioPart + secondICE, []api.Credentials{second}},
		{"the line's before the session's", thirdICE + audioPart + secondICE, []api.Credentials{second}},
		{"the session's before another line's", secondICE + videoPart + thirdICE, []api.Credentials{second}},
		{"for another line only", videoPart + secondICE, []api.Credentials{second}},
		{"for a line without a mid", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n" + secondICE, []api.Credentials{second}},
		{"new for another line only", obsICE + audioPart + videoPart + thirdICE, nil},
		{
			"in a whole description", "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" + audioPart + secondICE,
			[]api.Credentials{second},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			location, etag := b.publish(fixture(t, obs))
			w := b.patch(location, tt.fragment, "*")
			if tt.want == nil {
				checkTrickled(t, w)
			} else {
				checkRestarted(t, w, etag)
			}
			if !slices.Equal(b.engine.restarts, tt.want) {
				t.Errorf("restarts %+v, want %+v", b.engine.restarts, tt.want)
			}
		})
	}
	t.Run("every line's are known afterwards", func(t *testing.T) {
		b := newBench(t, Config{})
		location, etag := b.publish(fixture(t, obs))
		checkRestarted(t, b.patch(location, audioPart+secondICE+videoPart+thirdICE, "*"), etag)
		checkTrickled(t, b.patch(location, thirdICE+videoPart+oneMore, "*"))
	})
	t.Run("a subscriber", func(t *testing.T) {
		b := newBench(t, Config{})
		b.publish(fixture(t, chromiumTX))
		w := b.post("/whep/room", fixture(t, firefoxRX))
		checkRestarted(t, b.patch(w.Header().Get("Location"), secondICE, "*"), w.Header().Get("ETag"))
	})
	t.Run("without a mid", func(t *testing.T) {
		b := newBench(t, Config{})
		audio, _, _ := strings.Cut(fixture(t, obs), "m=video")
		location, etag := b.publish(replace(t, audio, "a=mid:0\r\n", ""))
		b.engine.candidates = []netip.AddrPort{}
		w := b.patch(location, secondICE, "*")
		checkRestarted(t, w, etag)
		if strings.Contains(w.Body.String(), "a=mid") ||
			!strings.HasSuffix(w.Body.String(), "SAVPF 0\r\na=end-of-candidates\r\n") {
			t.Errorf("the fragment is %s", w.Body)
		}
	})
}

// TestRestartFails checks that the old ICE session stays.
func TestRestartFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		names  string
	}{
		{"full", api.ErrFull, 503, "stays as it was"},
		{"closing", fmt.Errorf("restart: %w", api.ErrClosing), 503, "shutting down"},
		{"no address", api.ErrNoAddress, 503, "no address now"},
		{"given up", context.DeadlineExceeded, 503, "given up"},
		{"unforeseen", errors.New("private"), 500, "log"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{})
			location, etag := b.publish(fixture(t, obs))
			b.engine.err = tt.err
			w := b.patch(location, secondICE, "*")
			checkProblem(t, w, tt.status, tt.names)
			if (w.Header().Get("Retry-After") != "") != (tt.status == 503) || w.Header().Get("ETag") != "" ||
				strings.Contains(w.Body.String(), "private") {
				t.Errorf("headers %v: %s", w.Header(), w.Body)
			}
			b.engine.err = nil
			checkTrickled(t, b.patch(location, obsICE+audioPart+oneMore, etag))
			checkRestarted(t, b.patch(location, secondICE, etag), etag)
		})
	}
	t.Run("ended meanwhile", func(t *testing.T) {
		b := newBench(t, Config{})
		location, _ := b.publish(fixture(t, obs))
		b.engine.restarting = func(id api.SessionID) { b.engine.end(id, api.ReasonBye) }
		checkProblem(t, b.patch(location, secondICE, "*"), http.StatusNotFound, "ended")
	})
	t.Run("no chance", func(t *testing.T) {
		b := newBench(t, Config{Rand: strings.NewReader(strings.Repeat("x", 40))})
		location, etag := b.publish(fixture(t, obs))
		checkProblem(t, b.patch(location, secondICE, "*"), http.StatusInternalServerError, "")
		checkTrickled(t, b.patch(location, obsICE, etag))
		if len(b.engine.restarts) != 0 {
			t.Error("restarted without a new tag")
		}
	})
}

// TestRestartRace lets many PATCHes meet. One of those that name the same ICE session wins. A trickle for it that
// arrives while it begins is not taken for another restart.
func TestRestartRace(t *testing.T) {
	b := newBench(t, Config{})
	location, etag := b.publish(fixture(t, obs))
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int)
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				w := b.patch(location, fmt.Sprintf("a=ice-ufrag:race%d\r\na=ice-pwd:0123456789012345678901\r\n", i),
					etag)
				mu.Lock()
				statuses[w.Code]++
				mu.Unlock()
				checkNot5xx(t, w)
				checkNot5xx(t, b.patch(location, audioPart+oneMore, "*"))
			}
		})
	}
	wg.Wait()
	if statuses[200] != 1 || statuses[412] != 159 || len(b.engine.restarts) != 1 {
		t.Errorf("statuses %v and %d restarts, want one 200, 159 times 412, one restart", statuses,
			len(b.engine.restarts))
	}

	meet := make(chan struct{})
	b.engine.restarting = func(api.SessionID) { <-meet }
	for range 2 {
		wg.Go(func() { checkNot5xx(t, b.patch(location, secondICE, "*")) })
	}
	close(meet)
	wg.Wait()
	if len(b.engine.restarts) != 2 {
		t.Errorf("%d restarts, want 2: the same credentials twice are one", len(b.engine.restarts))
	}
}

func checkNot5xx(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

// TestRestartsForgotten checks that many restarts cost no memory for ever.
func TestRestartsForgotten(t *testing.T) {
	b := newBench(t, Config{})
	location, etag := b.publish(fixture(t, obs))
	for i := range 100 {
		etag = checkRestarted(t,
			b.patch(location, fmt.Sprintf("a=ice-ufrag:many%d\r\na=ice-pwd:0123456789012345678901\r\n", i), "*"), etag)
	}
	s := b.server.sessions.byID[b.engine.last]
	if len(s.past) != maxPast || cap(s.past) > 2*maxPast || len(s.remote) != 1 {
		t.Errorf("%d past pairs in %d places, %d current ones", len(s.past), cap(s.past), len(s.remote))
	}
	checkTrickled(t, b.patch(location, "a=ice-ufrag:many98\r\na=ice-pwd:0123456789012345678901\r\n", "*"))
}
