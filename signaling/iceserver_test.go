package signaling

import (
	"net/http"
	"strings"
	"testing"

	"ringcast/signaling/iceserver"
)

// Answers name the STUN and TURN servers to clients that were let in, and to nobody else.
func TestICEServersAreLinked(t *testing.T) {
	b := newBench(t, Config{ViewToken: "view", ICEServers: iceserver.Config{
		URLs: []string{"stun:s", "turn:t"}, Secret: "secret",
	}})
	count := func(h http.Header) (n int) {
		for _, link := range h.Values("Link") {
			if strings.Contains(link, `rel="ice-server"`) {
				n++
			}
		}
		return n
	}
	const offer = "chromium-offer-sendonly"
	w := b.post("/whip/a", fixture(t, offer))
	if w.Code != http.StatusCreated || count(w.Header()) != 2 {
		t.Errorf("201 of WHIP: %d %q", w.Code, w.Header())
	}
	restart := b.patch(w.Header().Get("Location"), secondICE+audioPart, "*")
	if restart.Code != http.StatusOK || count(restart.Header()) != 2 {
		t.Errorf("200 of an ICE restart: %d %q", restart.Code, restart.Header())
	}
	if got := w.Header().Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Link") {
		t.Errorf("scripts may read %s", got)
	}
	for _, row := range []struct {
		name, method, path string
		headers            []string
		status, want       int
	}{
		{"open role", "OPTIONS", "/whip/a", nil, 200, 2},
		{"without its token", "OPTIONS", "/whep/a", nil, 200, 0},
		{"with a wrong token", "OPTIONS", "/whep/a", []string{"Authorization", "Bearer x"}, 200, 0},
		{"with its token", "OPTIONS", "/whep/a", []string{"Authorization", "Bearer view"}, 200, 2},
		{"preflight", "OPTIONS", "/whip/a", []string{"Access-Control-Request-Method", "POST"}, 200, 0},
		{"no stream", "OPTIONS", "/whip", nil, 200, 0},
		{"a refused offer", "POST", "/whip/b", nil, 415, 0},
		{"the page", "GET", "/", nil, 200, 0},
	} {
		w := b.do(row.method, row.path, "", row.headers...)
		if got := count(w.Header()); w.Code != row.status || got != row.want {
			t.Errorf("%s: got %d and %d servers, want %d and %d", row.name, w.Code, got, row.status, row.want)
		}
	}
}

func TestFrameAncestors(t *testing.T) {
	for want, given := range map[string][]string{
		"'self'": nil, "'none'": {"none"}, "'self' https://*.example.org:8443 http://[::1]": {
			"'self'", "https://*.example.org:8443", "http://[::1]",
		}, "*": {"*"},
	} {
		var cfg Config
		for _, text := range given {
			a, err := ParseAncestor(text)
			if err != nil {
				t.Fatal(err)
			}
			cfg.FrameAncestors = append(cfg.FrameAncestors, a)
		}
		policy := newBench(t, cfg).do(http.MethodGet, "/", "").Header().Get("Content-Security-Policy")
		if !strings.HasSuffix(policy, "; frame-ancestors "+want) {
			t.Errorf("%q: got %s", given, policy)
		}
	}
	for _, bad := range []string{
		"", "example.org", "https://", "https://a/b", "https://a; script-src *", "https://*", "ftp://a", "data:",
		"https://a b",
	} {
		if got, err := ParseAncestor(bad); err == nil {
			t.Errorf("%q: got %s", bad, got)
		}
	}
}
