package signaling

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster/secret"
)

// The page of a server that knows others may reach them, and no page another.
func TestPagePolicy(t *testing.T) {
	for _, row := range []struct {
		cfg  Config
		want bool
	}{{Config{}, false}, {Config{Balancer: fakeBalancer{}}, true}} {
		got := newBench(t, row.cfg).do(http.MethodGet, "/", "").Header().Get("Content-Security-Policy")
		if strings.Contains(got, "connect-src *;") != row.want || !strings.Contains(got, "default-src 'self';") {
			t.Errorf("balancer %v: got %q, want other origins %t", row.cfg.Balancer, got, row.want)
		}
	}
}

// A fakeBalancer redirects nothing, and honours one token.
type fakeBalancer struct{ grant access.Grant }

func (fakeBalancer) Target(Offered) (Target, bool) { return Target{}, false }

func (fakeBalancer) Room() (free, all int) { return 0, 0 }

func (fakeBalancer) Next() (base string, ok bool) { return "", false }

func (f fakeBalancer) Redeem(token string, _ api.Role, _ string) (access.Grant, error) {
	switch token {
	case "good":
		return f.grant, nil
	case "full":
		return access.Grant{}, secret.Full
	}
	return access.Grant{}, secret.Forged
}

// A session that came by a redirect ends with the client's token. A PATCH with another token of the client renews it.
func TestRedirectedSessionEnds(t *testing.T) {
	signer, gate := newIssuer(t, 0)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{Gate: gate, Balancer: fakeBalancer{access.Grant{Until: time.Now().Add(time.Minute)}}})
		b.t = t
		if w := b.offer("/whip/room?rt=good", obs, ""); w.Code != http.StatusCreated {
			t.Fatalf("publish: status %d, want 201: %s", w.Code, w.Body)
		}
		w := b.offer("/whep/room?rt=good", chromiumRX, "")
		if w.Code != http.StatusCreated {
			t.Fatalf("watch: status %d, want 201: %s", w.Code, w.Body)
		}
		b.patchWith(w.Header().Get("Location"), signer.token(time.Hour, "watch", "room"), http.StatusNoContent)
		time.Sleep(61 * time.Second)
		if got := b.engine.liveSessions(); got != 1 {
			t.Errorf("got %d sessions after the token's end, want the renewed one", got)
		}
		time.Sleep(time.Hour)
		if got := b.engine.liveSessions(); got != 0 {
			t.Errorf("got %d sessions after the end of both tokens, want none", got)
		}
	})
}

// A redirect token is for offers. Without a cluster it is cut off and counts for nothing.
func TestRedirectTokensOfOthers(t *testing.T) {
	signer, gate := newIssuer(t, 0)
	good := signer.token(time.Hour, "publish", "room", "watch", "room")
	alone, node := newBench(t, Config{Gate: gate}), newBench(t, Config{Gate: gate, Balancer: fakeBalancer{}})
	for _, row := range []struct {
		name, method, url, token string
		on                       *bench
		want                     int
	}{
		{"offer without a cluster", http.MethodPost, "/whip/room?rt=good", "", alone, 401},
		{"offer without a cluster, by its own token", http.MethodPost, "/whip/room?rt=x", good, alone, 201},
		{"offer", http.MethodPost, "/whip/room?rt=good", "", node, 201},
		{"forged", http.MethodPost, "/whip/room?rt=x", good, node, 401},
		{"no room to remember it", http.MethodPost, "/whip/room?rt=full", good, node, 503},
		{"GET", http.MethodGet, "/whip/room?rt=good", "", node, 401},
		{"the list of streams", http.MethodGet, "/streams?rt=good", "", node, 401},
		{"a stream's key", http.MethodPost, "/whip?rt=good", "", node, 401},
	} {
		headers := []string{"Content-Type", sdpType}
		if row.token != "" {
			headers = append(headers, "Authorization", "Bearer "+row.token)
		}
		w := row.on.do(row.method, row.url, fixture(t, obs), headers...)
		if w.Code != row.want {
			t.Errorf("%s: status %d, want %d: %s", row.name, w.Code, row.want, w.Body)
		}
		if retry := w.Header().Get("Retry-After"); (retry != "") != (row.want == 503) {
			t.Errorf("%s: got Retry-After %q", row.name, retry)
		}
	}
}
