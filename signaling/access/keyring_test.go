package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ringcast/engine/api"
)

// fakeRing is a keyring whose load takes a second and returns the keys of the names.
func fakeRing(loads *atomic.Int32, names func() ([]string, error)) *keyring {
	return &keyring{
		log: discard, metrics: NewMetrics(), age: maxKeyAge,
		load: func(ctx context.Context) (keys []key, err error) {
			loads.Add(1)
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			all, err := names()
			for _, n := range all {
				keys = append(keys, key{id: n, algorithm: "HS256", public: testSecret})
			}
			return keys, err
		},
	}
}

// A thousand tokens with keys that nobody has cause one load in 30 seconds, and all that wait find a new key.
func TestUnknownKeysLoadOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		names := []string{"a"}
		ring := fakeRing(&loads, func() ([]string, error) { return names, nil })
		find := func(id string) string {
			_, err := ring.find(t.Context(), id)
			return reasonOf(err)
		}
		crowd := func(id string, want string) {
			t.Helper()
			var all sync.WaitGroup
			for i := range 1000 {
				all.Go(func() {
					name := id
					if id == "" {
						name = fmt.Sprint("x", i)
					}
					if got := find(name); got != want {
						t.Errorf("key %s: got %s, want %s", name, got, want)
					}
				})
			}
			all.Wait()
		}
		crowd("a", "<nil>")
		crowd("", "unknown_key")
		if got := loads.Load(); got != 1 {
			t.Fatalf("got %d loads, want 1", got)
		}
		names = []string{"b"} // rotated
		if got := find("b"); got != "unknown_key" {
			t.Errorf("within 30 s of the last load: got %s, want unknown_key", got)
		}
		time.Sleep(loadInterval)
		crowd("b", "<nil>")
		if got := find("a"); got != "unknown_key" {
			t.Errorf("a key that was withdrawn: got %s, want unknown_key", got)
		}
		if got := loads.Load(); got != 2 {
			t.Errorf("got %d loads, want 2", got)
		}
	})
}

// A key that was withdrawn long ago is good for nobody, not even for the first who comes.
func TestWithdrawnKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		names := []string{"a", "b"}
		ring := fakeRing(&loads, func() ([]string, error) { return names, nil })
		if _, err := ring.find(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		names = []string{"b"}
		time.Sleep(24 * time.Hour)
		var all sync.WaitGroup
		for range 100 {
			for id, want := range map[string]string{"a": "unknown_key", "b": "<nil>"} {
				all.Go(func() {
					if _, err := ring.find(t.Context(), id); reasonOf(err) != want {
						t.Errorf("key %s: got %s, want %s", id, reasonOf(err), want)
					}
				})
			}
		}
		all.Wait()
		if got := loads.Load(); got != 2 {
			t.Errorf("got %d loads, want 2", got)
		}
	})
}

// Old keys serve where loading fails. Only the first failure keeps requests waiting.
func TestOldKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		var failure error
		ring := fakeRing(&loads, func() ([]string, error) { return []string{"a"}, failure })
		if _, err := ring.find(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		failure = errors.New("gone")
		for i := range 5 {
			time.Sleep(maxKeyAge)
			began := time.Now()
			want := time.Duration(0)
			if i == 0 {
				want = time.Second // the load, which nobody knows to fail
			}
			if _, err := ring.find(t.Context(), "a"); err != nil || time.Since(began) != want {
				t.Errorf("after %d spans: got %v in %v, want the key in %v", i+1, err, time.Since(began), want)
			}
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		if got := loads.Load(); got != 6 {
			t.Errorf("got %d loads, want 6", got)
		}
		if got := counted(t, ring.metrics, "ringcast_token_key_loads_total", "failed"); got != 5 {
			t.Errorf("got %v failures, want 5", got)
		}
	})
}

// Without any keys a request is asked to come again. One that gives up does not wait for the load.
func TestNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		ring := fakeRing(&loads, func() ([]string, error) { return nil, errors.New("gone") })
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := ring.find(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
		_, err := ring.find(t.Context(), "a")
		refusal := (*Refusal)(nil)
		if !errors.As(err, &refusal) || refusal.Reason != Unavailable || refusal.RetryAfter == 0 {
			t.Errorf("got %v, want that there are no keys, and when to come again", err)
		}
	})
}

// fetchGate is the gate of keys that a handler serves.
func fetchGate(t *testing.T, handler http.HandlerFunc) (*JWT, *atomic.Int32) {
	t.Helper()
	calls := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		handler(w, r)
	}))
	t.Cleanup(server.Close)
	gate, err := New(Config{Keys: server.URL, Log: discard})
	if err != nil {
		t.Fatal(err)
	}
	return gate.(*JWT), calls
}

// A server of keys that floods, lies or sends elsewhere gives no keys, and a good one does.
func TestFetchedKeys(t *testing.T) {
	k := testKeys()
	set := setOf(t, jwkOf(&k.rsa.PublicKey, map[string]any{"kid": "rs"}))
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		t.Error("the redirect was followed")
		_, _ = w.Write([]byte(set))
	}))
	defer elsewhere.Close()
	token := signToken(t, jwt.SigningMethodRS256, k.rsa, map[string]any{"kid": "rs"}, with(nil))
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(s)) }
	}
	for _, row := range []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"good", text(set), "<nil>"},
		{"good among others", text(setOf(t, secretJWK(testSecret, map[string]any{"alg": "HS256"}),
			map[string]any{"kty": "EC"}, map[string]any{"kty": "XX"},
			jwkOf(&k.rsa.PublicKey, map[string]any{"kid": "rs"}))), "<nil>"},
		{"secrets only", text(setOf(t, secretJWK(testSecret, map[string]any{"alg": "HS256"}))), "unavailable"},
		{"flood", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[`))
			for range 4 << 10 {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<10))); err != nil {
					return
				}
			}
			_, _ = w.Write([]byte(strings.TrimPrefix(set, `{"keys":[`)))
		}, "unavailable"},
		{"too many keys", text(`{"keys":[` + strings.Repeat(`{"kty":"oct"},`, maxKeys) + `{}]}`), "unavailable"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "unavailable"},
		{"not found", http.NotFound, "unavailable"},
		{"PEM", text(pemOf(t, &k.rsa.PublicKey)), "unavailable"},
		{"HTML", text("<html>"), "unavailable"},
		{"empty", text(""), "unavailable"},
		{"half", text(set[:len(set)/2]), "unavailable"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unavailable"},
	} {
		gate, calls := fetchGate(t, row.handler)
		for range 3 {
			_, err := gate.Admit(t.Context(), Request{Role: api.Subscriber, Stream: "room-1", Token: token})
			if got := reasonOf(err); got != row.want {
				t.Errorf("%s: got %s, want %s", row.name, got, row.want)
			}
		}
		if got := calls.Load(); got != 1 {
			t.Errorf("%s: got %d fetches, want 1", row.name, got)
		}
	}
}

// A server of keys that never answers costs a load its time, and nobody more.
func TestHangingKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		ring := fakeRing(&loads, nil)
		ring.load = func(ctx context.Context) ([]key, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		began := time.Now()
		if _, err := ring.find(t.Context(), "a"); reasonOf(err) != "unavailable" || time.Since(began) != loadSpan {
			t.Errorf("got %v after %v, want no keys after %v", err, time.Since(began), loadSpan)
		}
	})
}

// A file of keys is read again, at most once in 30 seconds. A bad one changes nothing.
func TestKeyFileChanges(t *testing.T) {
	k := testKeys()
	name := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first := signToken(t, jwt.SigningMethodRS256, k.rsa, nil, with(nil))
	second := signToken(t, jwt.SigningMethodRS256, k.otherRSA, nil, with(nil))
	firstKey, secondKey := pemOf(t, &k.rsa.PublicKey), pemOf(t, &k.otherRSA.PublicKey)
	synctest.Test(t, func(t *testing.T) {
		// Time in the bubble begins before the tokens', and they have no beginning.
		write(firstKey)
		gate, err := New(Config{Keys: name, Log: discard})
		if err != nil {
			t.Fatal(err)
		}
		try := func(token, want string) {
			t.Helper()
			_, err := gate.Admit(t.Context(), Request{Role: api.Publisher, Stream: "studio", Token: token})
			if got := reasonOf(err); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			synctest.Wait()
		}
		try(first, "<nil>")
		write(secondKey)
		try(second, "signature")
		time.Sleep(loadInterval)
		try(second, "<nil>")
		try(first, "signature")
		write("no keys")
		time.Sleep(loadInterval)
		try(second, "<nil>")
		try(second, "<nil>")
	})
}
