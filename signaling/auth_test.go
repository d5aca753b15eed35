package signaling

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
)

const (
	realm        = `Bearer realm="ringcast"`
	invalidToken = realm + `, error="invalid_token"`
	insufficient = realm + `, error="insufficient_scope"`
)

func checkChallenge(t *testing.T, w *httptest.ResponseRecorder, status int, want string) {
	t.Helper()
	checkProblem(t, w, status, "expected")
	if got := w.Header().Get("WWW-Authenticate"); got != want {
		t.Errorf("WWW-Authenticate: %s, want %s", got, want)
	}
}

// The engine reserves room for publishers that showed the token. A publisher that needs none is like any other.
func TestEngineLearnsOfTokens(t *testing.T) {
	const token = "a-token"
	for _, tt := range []struct {
		cfg  Config
		root string
		want bool
	}{
		{Config{PublishToken: token}, "whip", true},
		{Config{PublishToken: token, ViewToken: token}, "whep", false},
		{Config{}, "whip", false},
		{Config{ViewToken: token}, "whip", false},
	} {
		b := newBench(t, tt.cfg)
		bearer := []string{"Content-Type", sdpType, "Authorization", "Bearer " + token}
		w := b.do(http.MethodPost, "/whip/room", fixture(t, obs), bearer...)
		if tt.root == "whep" {
			w = b.do(http.MethodPost, "/whep/room", fixture(t, chromiumRX), bearer...)
		}
		if w.Code != http.StatusCreated {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		if got := b.engine.lastPeer().Authorized; got != tt.want {
			t.Errorf("%s, tokens %t and %t: authorized %t; expected %t",
				tt.root, tt.cfg.PublishToken != "", tt.cfg.ViewToken != "", got, tt.want)
		}
	}
}

// TestTokens tries every bearer on every resource of both roles.
func TestTokens(t *testing.T) {
	const publish, view = "publisher-token", "viewer:token"
	b := newBench(t, Config{PublishToken: publish, ViewToken: view})
	offers := map[string]string{"whip": obs, "whep": chromiumRX}
	for _, root := range []string{"whip", "whep"} {
		own, other := publish, view
		if root == "whep" {
			own, other = view, publish
		}
		w := b.do(http.MethodPost, "/"+root+"/room", fixture(t, offers[root]), "Content-Type", sdpType, "Authorization",
			"Bearer "+own)
		if w.Code != http.StatusCreated {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
		location := w.Header().Get("Location")
		for _, tt := range []struct {
			name, authorization string
			status              int // 0 is let in
			challenge           string
		}{
			{"none", "", 401, realm},
			{"right", "Bearer " + own, 0, ""},
			{"other case and space", "bEARER   " + own + " ", 0, ""},
			{"with a key", "Bearer room:" + own, 0, ""},
			{"of the other role", "Bearer " + other, 403, insufficient},
			{"of the other role with a key", "Bearer room:" + other, 403, insufficient},
			{"wrong", "Bearer wrong", 401, invalidToken},
			{"beginning", "Bearer " + own[:5], 401, invalidToken},
			{"longer", "Bearer " + own + "x", 401, invalidToken},
			{"other letter case", "Bearer " + strings.ToUpper(own), 401, invalidToken},
			{"key only", "Bearer room:", 401, invalidToken},
			{"empty", "Bearer ", 401, realm},
			{"no scheme", own, 401, realm},
			{"basic", "Basic " + own, 401, realm},
			{"unsigned JWT", "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", 401, invalidToken},
		} {
			t.Run(root+" "+tt.name, func(t *testing.T) {
				b.tryToken(t, "/"+root, location, fixture(t, offers[root]), tt.authorization, func(
					w *httptest.ResponseRecorder,
				) {
					if tt.status == 0 {
						if w.Code == 401 || w.Code == 403 {
							t.Errorf("status %d, want the token to be accepted: %s", w.Code, w.Body)
						}
						return
					}
					checkChallenge(t, w, tt.status, tt.challenge)
					if strings.Contains(w.Body.String(), own) || strings.Contains(w.Body.String(), other) {
						t.Errorf("the problem shows a token: %s", w.Body)
					}
				})
			})
		}
		checkChallenge(t, b.do(http.MethodDelete, location, ""), http.StatusUnauthorized, realm)
		// Preflights show nothing and need nothing.
		for _, path := range []string{"/" + root, "/" + root + "/room", location, "/streams"} {
			if w := b.do(http.MethodOptions, path, "", "Origin", "https://example.org"); w.Code != http.StatusOK {
				t.Errorf("OPTIONS %s: status %d", path, w.Code)
			}
		}
		if w := b.do(http.MethodDelete, location, "", "Authorization", "Bearer "+own); w.Code != http.StatusOK {
			t.Errorf("DELETE: status %d", w.Code)
		}
	}

	t.Run("several headers", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodGet, "/whip/room", nil)
		r.Header["Authorization"] = []string{"Bearer wrong", "Bearer " + publish}
		w := httptest.NewRecorder()
		b.http.ServeHTTP(w, r)
		checkChallenge(t, w, http.StatusUnauthorized, realm)
	})
	t.Run("one role only", func(t *testing.T) {
		b := newBench(t, Config{PublishToken: publish})
		checkChallenge(t, b.post("/whip/room", fixture(t, obs)), http.StatusUnauthorized, realm)
		if w := b.do(http.MethodGet, "/whep/room", "", "Authorization", "Bearer anything"); w.Code != http.StatusOK {
			t.Errorf("status %d, want 200", w.Code)
		}
	})
}

// An empty bearer is no token.
func TestEmptyToken(t *testing.T) {
	checkChallenge(t, newBench(t, Config{PublishToken: "x"}).do(http.MethodPost, "/whip", "", "Authorization",
		"Bearer "),
		http.StatusUnauthorized, realm)
}

// tryToken makes all requests that need a role's token, with a header, and hands their answers to check.
func (b *bench) tryToken(
	t *testing.T, root, location, offer, authorization string, check func(*httptest.ResponseRecorder),
) {
	t.Helper()
	for _, request := range []struct{ method, path, mediaType, body string }{
		{"POST", root + "/room", sdpType, offer},
		{"GET", root + "/room", "", ""},
		{"HEAD", root + "/room", "", ""},
		{"GET", root, "", ""},
		{"GET", location, "", ""},
		{"PATCH", location, fragmentType, audioPart + oneMore},
		{"PATCH", root + "/room/unknown", fragmentType, audioPart},
	} {
		headers := []string{"Content-Type", request.mediaType, "If-Match", "*"}
		if authorization != "" {
			headers = append(headers, "Authorization", authorization)
		}
		check(b.do(request.method, request.path, request.body, headers...))
		if t.Failed() {
			t.Fatalf("%s %s", request.method, request.path)
		}
	}
}

// TestFixedURL checks /whip and /whep, where the bearer is the stream key.
func TestFixedURL(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		publish, view          Secret
		authorization, atWatch string
		status                 int // of the POST to /whip
		challenge              string
	}{
		{"key", "", "", "Bearer my-key", "Bearer my-key", 201, ""},
		{"key and token", "pt", "v:t", "Bearer my-key:pt", "Bearer my-key:v:t", 201, ""},
		{"token for publishing only", "pt", "", "Bearer my-key:pt", "Bearer my-key", 201, ""},
		{"nothing", "", "", "", "", 401, realm},
		{"empty key", "", "", "Bearer ", "", 401, realm},
		{"basic", "", "", "Basic bXkta2V5", "", 401, realm},
		{"no name", "", "", "Bearer my key", "", 401, invalidToken},
		{"a path", "", "", "Bearer a/b", "", 401, invalidToken},
		{"dots", "", "", "Bearer ..", "", 401, invalidToken},
		{"too long", "", "", "Bearer " + strings.Repeat("k", 129), "", 401, invalidToken},
		{"a token where none is set", "", "", "Bearer my-key:pt", "", 401, invalidToken},
		{"key without token", "pt", "", "Bearer my-key", "", 401, invalidToken},
		{"key with an empty token", "pt", "", "Bearer my-key:", "", 401, invalidToken},
		{"token without key", "pt", "", "Bearer pt", "", 401, invalidToken},
		{"token with an empty key", "pt", "", "Bearer :pt", "", 401, invalidToken},
		{"wrong token", "pt", "vt", "Bearer my-key:no", "", 401, invalidToken},
		{"the viewers' token", "pt", "vt", "Bearer my-key:vt", "", 403, insufficient},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, Config{PublishToken: tt.publish, ViewToken: tt.view})
			post := func(path, offer, authorization string) *httptest.ResponseRecorder {
				headers := []string{"Content-Type", sdpType}
				if authorization != "" {
					headers = append(headers, "Authorization", authorization)
				}
				return b.do(http.MethodPost, path, fixture(t, offer), headers...)
			}
			for _, path := range []string{"/whip", "/whip/"} {
				w := post(path, obs, tt.authorization)
				if tt.status != http.StatusCreated {
					checkChallenge(t, w, tt.status, tt.challenge)
					if b.engine.last != 0 {
						t.Error("a session was opened")
					}
					continue
				}
				checkFixedSession(t, b, w, "whip", tt.authorization)
				if b.engine.lastOf("my-key") != 0 {
					t.Error("the session lives on")
				}
			}
			if tt.status != http.StatusCreated {
				return
			}
			checkFixedSession(t, b, post("/whip", obs, tt.authorization), "whip", "")
			w := post("/whep", chromiumRX, tt.atWatch)
			if !strings.Contains(w.Body.String(), "msid:my-key video") {
				t.Errorf("not the key's stream: status %d: %s", w.Code, w.Body)
			}
			checkFixedSession(t, b, w, "whep", tt.atWatch)
		})
	}
}

// TestFixedURLStreams checks which streams the fixed URLs lead to.
func TestFixedURLStreams(t *testing.T) {
	t.Run("no publisher", func(t *testing.T) {
		b := newBench(t, Config{})
		w := b.do(http.MethodPost, "/whep", fixture(t, chromiumRX), "Content-Type", sdpType, "Authorization",
			"Bearer my-key")
		checkProblem(t, w, http.StatusConflict, "publish")
	})
	t.Run("a stream that is called as fixed sessions are", func(t *testing.T) {
		b := newBench(t, Config{})
		named, _ := b.mustPost("/whip/-", fixture(t, obs))
		fixed := b.do(http.MethodPost, "/whip", fixture(t, obs), "Content-Type", sdpType, "Authorization",
			"Bearer my-key").Header().Get("Location")
		if named == fixed {
			t.Fatal("two sessions share a URL")
		}
		if w := b.do(http.MethodDelete, named, ""); w.Code != http.StatusOK || b.engine.lastOf("my-key") == 0 ||
			b.engine.lastOf("-") != 0 {
			t.Errorf("DELETE: status %d, live %v", w.Code, b.engine.live)
		}
		if w := b.do(http.MethodDelete, fixed, ""); w.Code != http.StatusOK || b.engine.liveSessions() != 0 {
			t.Errorf("DELETE: status %d, live %v", w.Code, b.engine.live)
		}
	})
	t.Run("other methods", func(t *testing.T) {
		b := newBench(t, Config{})
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			if w := b.do(method, "/whep", ""); w.Code != http.StatusOK || w.Header().Get("Content-Type") != sdpType {
				t.Errorf("%s: status %d, %v; want 200 and %s", method, w.Code, w.Header(), sdpType)
			}
		}
		checkProblem(t, b.do(http.MethodDelete, "/whip", ""), http.StatusMethodNotAllowed, "DELETE")
	})
}

// checkFixedSession checks the 201 of a fixed URL, and ends the session if authorization is given.
func checkFixedSession(t *testing.T, b *bench, w *httptest.ResponseRecorder, root, authorization string) {
	t.Helper()
	location := w.Header().Get("Location")
	if w.Code != http.StatusCreated || !regexp.MustCompile(`^/`+root+`/-/[A-Za-z0-9_-]{24}$`).MatchString(location) {
		t.Fatalf("status %d, Location %q: %s", w.Code, location, w.Body)
	}
	if authorization == "" {
		return
	}
	for name, values := range w.Header() {
		if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "my-key") }) {
			t.Errorf("%s tells the key: %q", name, values)
		}
	}
	headers := []string{
		"Authorization", authorization, "Content-Type", fragmentType, "If-Match", w.Header().Get("ETag"),
	}
	checkTrickled(t, b.do(http.MethodPatch, location, audioPart+oneMore, headers...))
	checkRestarted(t, b.do(http.MethodPatch, location, secondICE, headers...), w.Header().Get("ETag"))
	role := api.Publisher
	if root == whepRoot {
		role = api.Subscriber
	}
	if b.server.doors.of(role) != nil {
		checkChallenge(t, b.do(http.MethodDelete, location, ""), http.StatusUnauthorized, realm)
	}
	if w := b.do(http.MethodDelete, location, "", headers...); w.Code != http.StatusOK {
		t.Errorf("DELETE: status %d: %s", w.Code, w.Body)
	}
}
