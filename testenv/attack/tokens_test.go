package attack

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"ringcast/signaling"
)

var discard = slog.New(slog.DiscardHandler)

// Wrong, missing, empty and borrowed tokens open, change and end nothing, wherever they are shown. The
// details of the challenges are signaling's TestTokens; this test has a real engine.
func TestTokenConfusion(t *testing.T) {
	const publish, view = "publish-secret-1", "view-secret-2"
	a := newArena(t, engineConfig())
	h := signaling.New(signaling.Config{Log: discard, PublishToken: publish, ViewToken: view}, a.Engine).Handler()
	a.feed("guarded")
	whip := call(h, http.MethodPost, "/whip/other", offer(t, obsOffer), "Authorization", "Bearer "+publish)
	whep := call(h, http.MethodPost, "/whep/guarded", offer(t, viewOffer), "Authorization", "Bearer "+view)
	if whip.Code != http.StatusCreated || whep.Code != http.StatusCreated {
		t.Fatalf("with the right tokens: %d, %d: %s", whip.Code, whep.Code, whep.Body)
	}
	sessions := func() float64 { return a.scrape().Sum("ringcast_sessions") }
	before := sessions()

	tried := 0
	for _, side := range []struct{ root, own, other, location, sdp string }{
		{"/whip", publish, view, whip.Header().Get("Location"), offer(t, obsOffer)},
		{"/whep", view, publish, whep.Header().Get("Location"), offer(t, viewOffer)},
	} {
		for _, tt := range []struct {
			name, authorization string
			status              int
		}{
			{"no token", "", 401},
			{"an empty one", "Bearer ", 401},
			{"only the scheme", "Bearer", 401},
			{"none", "Bearer none", 401},
			{"null", "Bearer null", 401},
			{"undefined", "Bearer undefined", 401},
			{"a wrong one", "Bearer wrong", 401},
			{"its beginning", "Bearer " + side.own[:len(side.own)-1], 401},
			{"more than it", "Bearer " + side.own + "0", 401},
			{"its upper case", "Bearer " + strings.ToUpper(side.own), 401},
			{"it as Basic", "Basic " + side.own, 401},
			{"it without a scheme", side.own, 401},
			{"it after a comma", "Bearer x," + side.own, 401},
			{"it before a NUL", "Bearer " + side.own + "\x00", 401},
			{"a JWT of algorithm none", "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhIn0.", 401},
			{"a JWT with an empty key", "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.fake", 401},
			{"an empty one after a key", "Bearer guarded:", 401},
			{"nothing but colons", "Bearer :::", 401},
			{"the other role's", "Bearer " + side.other, 403},
			{"the other role's after a key", "Bearer guarded:" + side.other, 403},
		} {
			for _, request := range []struct{ method, path string }{
				{http.MethodPost, side.root + "/guarded"},
				{http.MethodPost, side.root},
				{http.MethodPost, side.root + "/guarded?token=" + url.QueryEscape(side.own)},
				{http.MethodPost, side.root + "/guarded?access_token=" + url.QueryEscape(side.own)},
				{http.MethodGet, side.location},
				{http.MethodPatch, side.location},
				{http.MethodDelete, side.location},
			} {
				want := tt.status
				// On the fixed URL a bearer is a key first, so a bare token is none at all.
				if want == 403 && request.path == side.root && !strings.Contains(tt.authorization, ":") {
					want = 401
				}
				var headers []string
				if tt.authorization != "" {
					headers = []string{"Authorization", tt.authorization}
				}
				challenged(t, call(h, request.method, request.path, side.sdp, headers...), want, tt.name)
				tried++
			}
		}
		w := call(h, http.MethodDelete, side.location, "", "Authorization", "Bearer "+side.other)
		if w.Code != http.StatusForbidden {
			t.Errorf("DELETE %s with the other role's token: %d", side.location, w.Code)
		}
	}
	r := call(h, http.MethodGet, "/streams", "", "Authorization", "Bearer "+publish)
	if r.Code != http.StatusForbidden {
		t.Errorf("the list of streams with the publish token: %d", r.Code)
	}
	if n := sessions(); n != before {
		t.Errorf("%v sessions, before %v", n, before)
	}
	a.emptyIsNone(publish)
	for _, location := range []string{whip.Header().Get("Location"), whep.Header().Get("Location")} {
		own := publish
		if strings.HasPrefix(location, "/whep") {
			own = view
		}
		if w := call(h, http.MethodDelete, location, "", "Authorization", "Bearer "+own); w.Code != http.StatusOK {
			t.Errorf("DELETE %s with its own token: %d", location, w.Code)
		}
	}
	t.Logf("%d requests with wrong tokens, 0 let in, 0 sessions opened or ended", tried)
	a.sane()
}

// challenged fails the test if a response has another status, or no challenge.
func challenged(t *testing.T, w *httptest.ResponseRecorder, want int, with string) {
	t.Helper()
	if challenge := w.Header().Get("WWW-Authenticate"); w.Code != want || challenge == "" {
		t.Errorf("with %s: %d (WWW-Authenticate %q), want %d", with, w.Code, challenge, want)
	}
}

// emptyIsNone opens sessions where only one role has a token: an empty token still is none.
func (a *arena) emptyIsNone(publish signaling.Secret) {
	t := a.t
	t.Helper()
	half := signaling.New(signaling.Config{Log: discard, PublishToken: publish}, a.Engine).Handler()
	for _, authorization := range []string{"", "Bearer ", "Bearer none"} {
		w := call(half, http.MethodPost, "/whip/half", offer(t, obsOffer), "Authorization", authorization)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%q where only publishers have a token: %d", authorization, w.Code)
		}
	}
}
