package signaling

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
	"ringcast/signaling/access"
)

// An issuer signs tokens.
type issuer struct {
	t   testing.TB
	key ed25519.PrivateKey
	// pem is the public key as the server reads it.
	pem []byte
}

// newIssuer makes an issuer, and the gate that knows its key.
func newIssuer(t testing.TB, grace time.Duration) (*issuer, access.Gate) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "keys.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := os.WriteFile(name, block, 0o600); err != nil {
		t.Fatal(err)
	}
	gate, err := access.New(access.Config{Keys: name, Grace: grace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, private, block}, gate
}

// token is one that ends after a time, with further claims as name and value in turn.
func (i *issuer) token(life time.Duration, claims ...any) string {
	i.t.Helper()
	return i.forge(jwt.SigningMethodEdDSA, i.key, life, claims...)
}

// forge is token with another algorithm and key.
func (i *issuer) forge(method jwt.SigningMethod, key any, life time.Duration, claims ...any) string {
	i.t.Helper()
	all := jwt.MapClaims{"exp": time.Now().Add(life).Unix()}
	for n := 0; n < len(claims); n += 2 {
		all[claims[n].(string)] = claims[n+1]
	}
	text, err := jwt.NewWithClaims(method, all).SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// counted is the value of a counter of the server with some label.
func (b *bench) counted(name, label string) (sum float64) {
	b.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(b.server.metrics)
	all, err := registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if family.GetName() == name && l.GetValue() == label {
					sum += m.GetCounter().GetValue()
				}
			}
		}
	}
	return sum
}

// offer posts a fixture with a bearer.
func (b *bench) offer(url, name, token string) *httptest.ResponseRecorder {
	b.t.Helper()
	headers := []string{"Content-Type", sdpType}
	if token != "" {
		headers = append(headers, "Authorization", "Bearer "+token)
	}
	return b.do(http.MethodPost, url, fixture(b.t.(*testing.T), name), headers...)
}

// Signed tokens open what they allow, and nothing else. Each refusal has its status, challenge and counter.
func TestSignedTokens(t *testing.T) {
	signer, gate := newIssuer(t, time.Minute)
	b := newBench(t, Config{Gate: gate})
	both := signer.token(time.Hour, "publish", "room", "watch", []string{"room", "hall-*"})
	if w := b.offer("/whip/room", obs, both); w.Code != http.StatusCreated || !b.engine.lastPeer().Authorized {
		t.Fatalf("publish: status %d, want 201 and an authorized peer: %s", w.Code, w.Body)
	}
	limited := signer.token(time.Hour, "watch", "room", "viewers", 3)
	if w := b.offer("/whep/room", chromiumRX, limited); w.Code != http.StatusCreated {
		t.Fatalf("watch: status %d, want 201: %s", w.Code, w.Body)
	} else if got := b.engine.lastPeer().Limits.Viewers; got != 3 {
		t.Errorf("got the limit of %d viewers, want the token's of 3", got)
	}
	forge := func(method jwt.SigningMethod, key any) string {
		return signer.forge(method, key, time.Hour, "watch", "*")
	}
	none := forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)
	_, otherKey, _ := ed25519.GenerateKey(rand.Reader)
	later := signer.token(time.Hour, "watch", "*", "nbf", time.Now().Add(time.Minute).Unix())
	for _, row := range []struct {
		name, url, offer, token string
		status                  int
		challenge, counter      string
	}{
		{"none", "/whep/room", chromiumRX, none, 401, invalidToken, "algorithm"},
		{
			"public key as secret", "/whep/room", chromiumRX, forge(jwt.SigningMethodHS256, signer.pem), 401,
			invalidToken, "algorithm",
		},
		{
			"wrong algorithm", "/whep/room", chromiumRX, forge(jwt.SigningMethodHS512, []byte("x")), 401,
			invalidToken, "algorithm",
		},
		{
			"wrong key", "/whep/room", chromiumRX, forge(jwt.SigningMethodEdDSA, otherKey), 401,
			invalidToken, "signature",
		},
		{"not yet valid", "/whep/room", chromiumRX, later, 401, invalidToken, "not_yet"},
		{"no token", "/whep/room", chromiumRX, "", 401, realm, "no_token"},
		{"no JWT", "/whep/room", chromiumRX, "swordfish", 401, invalidToken, "malformed"},
		{"expired", "/whep/room", chromiumRX, signer.token(-time.Hour, "watch", "*"), 401, invalidToken, "expired"},
		{"another role", "/whip/room", obs, limited, 403, insufficient, "other_role"},
		{"another stream", "/whip/hall", obs, both, 403, insufficient, "other_stream"},
		{"key without token", "/whip", obs, "room", 401, invalidToken, "no_token"},
		{"key of another stream", "/whip", obs, "hall:" + both, 403, insufficient, "other_stream"},
	} {
		before := b.counted("ringcast_admissions_total", row.counter)
		checkChallenge(t, b.offer(row.url, row.offer, row.token), row.status, row.challenge)
		if got := b.counted("ringcast_admissions_total", row.counter) - before; got != 1 {
			t.Errorf("%s: counted %v times as %s, want once", row.name, got, row.counter)
		}
	}
	for _, url := range []string{"/whip", "/whip/room"} {
		if w := b.offer(url, obs, "room:"+both); w.Code != http.StatusCreated {
			t.Errorf("key and token at %s: status %d, want 201: %s", url, w.Code, w.Body)
		}
	}
	// The list has the streams of the token.
	b.engine.change(func(e *fakeEngine) {
		for _, name := range []string{"hall-1", "secret"} {
			e.streams[name] = api.Stream{Name: name}
		}
	})
	w := b.do(http.MethodGet, "/streams", "", "Authorization", "Bearer "+both)
	for name, want := range map[string]bool{"room": true, "hall-1": true, "secret": false} {
		if got := strings.Contains(w.Body.String(), `"`+name+`"`); got != want {
			t.Errorf("the list has %s: %t, want %t: %s", name, got, want, w.Body)
		}
	}
	checkChallenge(t, b.do(http.MethodGet, "/streams", ""), http.StatusUnauthorized, realm)
}

// An answer that is kept lets nobody in to another stream or role, nor without its token.
func TestKeptAnswers(t *testing.T) {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Role, Stream, Token string }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"allow":%t,"ttl":3600}`, q.Token == q.Role+"-of-"+q.Stream)
	}))
	defer service.Close()
	metrics := access.NewMetrics()
	gate, err := access.New(access.Config{
		Hook: service.URL, Secret: "swordfish", Log: slog.New(slog.DiscardHandler), Metrics: metrics,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Config{Gate: gate, Metrics: metrics})
	const publisher, viewer = "publisher-of-room", "subscriber-of-room"
	for _, row := range []struct {
		url, offer, token string
		status            int
		challenge, result string
	}{
		{"/whip/room", obs, publisher, 201, "", "admitted"},
		{"/whep/room", chromiumRX, viewer, 201, "", "admitted"},
		{"/whep/room", chromiumRX, viewer, 201, "", "admitted"},
		{"/whep/hall", chromiumRX, viewer, 403, insufficient, "denied"},
		{"/whip/room", obs, viewer, 403, insufficient, "denied"},
		{"/whep/room", chromiumRX, publisher, 403, insufficient, "denied"},
		{"/whep/Room", chromiumRX, viewer, 403, insufficient, "denied"},
		{"/whep/room", chromiumRX, viewer + "x", 403, insufficient, "denied"},
		{"/whep/room", chromiumRX, "", 401, realm, "no_token"},
		{"/whep/room?token=" + viewer, chromiumRX, "", 201, "", "admitted"},
	} {
		before := b.counted("ringcast_admissions_total", row.result)
		w := b.offer(row.url, row.offer, row.token)
		if row.challenge != "" {
			checkChallenge(t, w, row.status, row.challenge)
		} else if w.Code != row.status {
			t.Errorf("%s by %s: status %d, want %d: %s", row.url, row.token, w.Code, row.status, w.Body)
		}
		if got := b.counted("ringcast_admissions_total", row.result) - before; got != 1 {
			t.Errorf("%s by %s: counted %v times as %s, want once", row.url, row.token, got, row.result)
		}
	}
	if got := b.counted("ringcast_access_hook_answers_total", "cached"); got != 2 {
		t.Errorf("%v answers were given again, want those to the second viewer and to the last", got)
	}
}

// A shared token beside signed ones is the only one of its role.
func TestSharedBesideSigned(t *testing.T) {
	signer, gate := newIssuer(t, 0)
	b := newBench(t, Config{Gate: gate, PublishToken: "shared"})
	token := signer.token(time.Hour, "publish", "*", "watch", "*")
	if w := b.offer("/whip/room", obs, token); w.Code != http.StatusUnauthorized {
		t.Errorf("a signed token where the shared one is asked for: status %d, want 401", w.Code)
	}
	if w := b.offer("/whip/room", obs, "shared"); w.Code != http.StatusCreated {
		t.Errorf("the shared token: status %d, want 201", w.Code)
	}
	if w := b.offer("/whep/room", chromiumRX, token); w.Code != http.StatusCreated {
		t.Errorf("a signed token: status %d, want 201", w.Code)
	}
	// A URL carries no shared token.
	if w := b.offer("/whip/room?token=shared", obs, ""); w.Code != http.StatusUnauthorized {
		t.Errorf("the shared token in a URL: status %d, want 401", w.Code)
	}
}

// A token in the query works, and is in no log line, answer or header.
func TestTokensInQueries(t *testing.T) {
	var log strings.Builder
	signer, gate := newIssuer(t, 0)
	b := newBench(t, Config{Gate: gate, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		Level: slog.LevelDebug,
	}))})
	token := signer.token(time.Hour, "publish", "room", "watch", "room")
	for _, row := range []struct {
		method, url string
		status      int
	}{
		{"POST", "/whip/room?token=" + token, 201},
		{"POST", "/whep/room?access_token=" + token, 201},
		{"POST", "/whep/room?x=1&%74oken=" + token + "&y", 201},
		{"POST", "/whip?token=room:" + token, 201},
		{"POST", "/whep/hall?token=" + token, 403},
		{"POST", "/whep/room?token=" + token + "&token=" + token, 401},
		{"POST", "/whep/room?token=%zz" + token, 401},
		{"POST", "/whep/room?jwt=x&token=" + token[:len(token)-4], 401},
		{"POST", "/nothing?token=" + token + "&direction=whip", 404},
		{"GET", "/streams?token=" + token, 200},
		{"GET", "/?token=" + token, 200},
		{"PUT", "/whep/room?token=" + token, 405},
	} {
		offer := chromiumRX
		if strings.HasPrefix(row.url, "/whip") {
			offer = obs
		}
		r := httptest.NewRequest(row.method, row.url, strings.NewReader(fixture(t, offer)))
		r.Header.Set("Content-Type", sdpType)
		w := httptest.NewRecorder()
		b.http.ServeHTTP(w, r)
		if w.Code != row.status {
			t.Errorf("%s %s: status %d, want %d: %s", row.method, row.url, w.Code, row.status, w.Body)
		}
		part := token[len(token)-40 : len(token)-4]
		all := fmt.Sprint(w.Header(), w.Body, r.RequestURI, r.URL, &log)
		if strings.Contains(all, part) {
			t.Errorf("%s %s: the token is still somewhere: %s", row.method, row.url, all)
		}
		if want := strings.Contains(row.url, "x=1"); want && r.URL.RawQuery != "x=1&y" {
			t.Errorf("got the query %q, want x=1&y", r.URL.RawQuery)
		}
	}
}

// recordEnds notes when sessions end, from now on, and why.
func (b *bench) recordEnds() (map[api.SessionID]time.Duration, map[api.SessionID]api.Reason) {
	ends, reasons := make(map[api.SessionID]time.Duration), make(map[api.SessionID]api.Reason)
	began, onEnd := time.Now(), b.engine.onEnd
	b.engine.onEnd = func(id api.SessionID, why api.Reason) {
		ends[id], reasons[id] = time.Since(began), why
		onEnd(id, why)
	}
	return ends, reasons
}

// mustJoin opens a session with a token and returns its URL.
func (b *bench) mustJoin(url, name, token string) string {
	b.t.Helper()
	w := b.offer(url, name, token)
	if w.Code != http.StatusCreated {
		b.t.Fatalf("%s: status %d, want 201: %s", url, w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// patchWith trickles a candidate with a token.
func (b *bench) patchWith(url, token string, want int) {
	b.t.Helper()
	w := b.do(http.MethodPatch, url, audioPart+oneMore, "Content-Type", fragmentType, "If-Match", "*",
		"Authorization", "Bearer "+token)
	if w.Code != want {
		b.t.Errorf("PATCH: status %d, want %d: %s", w.Code, want, w.Body)
	}
}

// A session ends with its token and the grace, a renewed one with the new token. The last one to go is in the counter.
func TestSessionsEndWithTokens(t *testing.T) {
	signer, gate := newIssuer(t, 10*time.Second)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Gate: gate})
		b.t = t
		ends, reasons := b.recordEnds()
		open, patch := b.mustJoin, b.patchWith
		token := func(life time.Duration) string { return signer.token(life, "publish", "room", "watch", "room") }
		open("/whip/room", obs, token(time.Hour))                     // 1
		open("/whep/room", chromiumRX, token(time.Minute))            // 2
		renewed := open("/whep/room", chromiumRX, token(time.Minute)) // 3
		deleted := open("/whep/room", chromiumRX, token(time.Minute)) // 4
		first := token(30 * time.Second)                              // in grace from 30 s to 40 s
		late := open("/whep/room", chromiumRX, first)                 // 5
		kept := open("/whep/room", chromiumRX, token(time.Minute))    // 6
		events := b.do(http.MethodPost, kept+"/events", "", "Authorization", "Bearer "+token(time.Minute))
		if events.Code != http.StatusCreated {
			t.Fatalf("events: status %d, want 201: %s", events.Code, events.Body)
		}
		if w := b.do(http.MethodDelete, deleted, "", "Authorization", "Bearer "+token(time.Minute)); w.Code != 200 {
			t.Errorf("DELETE: status %d, want 200", w.Code)
		}
		patch(renewed, token(2*time.Minute), http.StatusNoContent)
		patch(renewed, signer.token(time.Hour, "watch", "hall"), http.StatusForbidden)
		patch(renewed, signer.token(time.Hour, "publish", "room"), http.StatusForbidden)
		time.Sleep(35 * time.Second)
		// The token of the session is good as long as the session lives, but for nothing else.
		patch(late, first, http.StatusNoContent)
		if w := b.do(http.MethodDelete, late, "", "Authorization", "Bearer "+first); w.Code != http.StatusOK {
			t.Errorf("DELETE with a token that has expired: status %d, want 200: %s", w.Code, w.Body)
		}
		time.Sleep(10 * time.Second)
		if w := b.offer("/whep/room", chromiumRX, first); w.Code != http.StatusUnauthorized {
			t.Errorf("a new session by a token that has expired: status %d, want 401", w.Code)
		}
		time.Sleep(2 * time.Hour)
		if w := b.do(http.MethodGet, events.Header().Get("Location"), ""); w.Code != http.StatusNotFound {
			t.Errorf("events of a session that has ended: status %d, want 404", w.Code)
		}
		for id, want := range map[api.SessionID]time.Duration{
			1: time.Hour + 10*time.Second, 2: 70 * time.Second, 3: 130 * time.Second, 4: 0, 5: 35 * time.Second,
			6: 70 * time.Second,
		} {
			reason := api.ReasonExpired
			if id == 4 || id == 5 {
				reason = api.ReasonClosed
			}
			if got, ok := ends[id]; !ok || got != want || reasons[id] != reason {
				t.Errorf("session %d ended after %v because %q, want %v and %q", id, got, reasons[id], want, reason)
			}
		}
		for role, want := range map[string]float64{"publisher": 1, "subscriber": 3} {
			if got := b.counted("ringcast_sessions_expired_total", role); got != want {
				t.Errorf("counted %v ends of a %s, want %v", got, role, want)
			}
		}
		if got := len(b.server.sessions.deadlines); got != 0 {
			t.Errorf("got %d deadlines at the end, want none", got)
		}
	})
}

// A thousand sessions end in the order of their tokens, also those that end at once.
func TestManyDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var table sessions
		ended := make(map[*session]time.Duration)
		var mu sync.Mutex // each call has a goroutine of its own
		table.onDue = func() {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range table.due(time.Now()) {
				ended[s] = time.Since(began)
			}
		}
		want := make(map[*session]time.Duration)
		for i := range 1000 {
			life := time.Duration((i*7919)%500) * time.Second
			s := &session{id: api.SessionID(i + 1), secret: fmt.Sprint(i), until: began.Add(life)}
			table.add(s)
			want[s] = life
			switch i % 5 {
			case 0: // ends by itself
				table.ended(s.id, api.ReasonBye)
				delete(want, s)
			case 1: // is renewed
				table.renew(s, &admission{Grant: access.Grant{Until: began.Add(life + time.Hour)}})
				want[s] += time.Hour
			case 2: // lives for ever from now on
				table.renew(s, &admission{})
				delete(want, s)
			}
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if len(ended) != len(want) {
			t.Errorf("got %d ends, want %d", len(ended), len(want))
		}
		for s, at := range want {
			if ended[s] != at {
				t.Errorf("session %d ended after %v, want %v", s.id, ended[s], at)
			}
		}
		if len(table.deadlines) != 0 {
			t.Errorf("got %d deadlines left, want none", len(table.deadlines))
		}
	})
}

// A slowGate answers after a time, unless the token is quick.
type slowGate struct{ access.Gate }

func (slowGate) Name() string      { return "hook" }
func (slowGate) QueryTokens() bool { return true }

func (slowGate) Admit(ctx context.Context, r access.Request) (access.Grant, error) {
	if r.Token == "quick" {
		return access.Grant{}, nil
	}
	select {
	case <-time.After(2 * time.Second):
		return access.Grant{}, &access.Refusal{Reason: access.Unavailable, Detail: "expected later", RetryAfter: 3}
	case <-ctx.Done():
		return access.Grant{}, ctx.Err()
	}
}

// Joins that wait for a decision keep nobody else waiting, and end no session.
func TestUndecidedJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Gate: slowGate{}})
		if w := b.offer("/whip/room", obs, "quick"); w.Code != http.StatusCreated {
			t.Fatalf("publish: status %d, want 201: %s", w.Code, w.Body)
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 2000 {
			all.Go(func() {
				w := b.offer("/whep/room", chromiumRX, "slow")
				checkProblem(t, w, http.StatusServiceUnavailable, "expected")
				if got := w.Header().Get("Retry-After"); got != "3" {
					t.Errorf("Retry-After: %s, want 3", got)
				}
			})
		}
		synctest.Wait()
		w := b.offer("/whep/room", chromiumRX, "quick")
		if w.Code != http.StatusCreated || time.Since(began) != 0 {
			t.Errorf("a join beside them: status %d after %v, want 201 at once", w.Code, time.Since(began))
		}
		all.Wait()
		if got := b.engine.liveSessions(); got != 2 {
			t.Errorf("got %d sessions, want 2", got)
		}
		if got := b.counted("ringcast_admissions_total", "unavailable"); got != 2000 {
			t.Errorf("counted %v, want 2000", got)
		}
	})
}
