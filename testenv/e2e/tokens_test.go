package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ringcast/engine/rtp"
	"ringcast/signaling/sign"
	"ringcast/testenv"
	"ringcast/testenv/peer"
)

// A token's end is the end of its publisher and of its viewer, who are told so by close_notify. Others stay.
func TestTokensExpire(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKIXPublicKey(public)
	must(t, err)
	keys := filepath.Join(t.TempDir(), "keys.pem")
	must(t, os.WriteFile(keys, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	const grace = time.Second
	s := testenv.StartServer(t, testenv.ServerOptions{
		Workers: 2, Args: []string{"--jwt-keys", keys, "--jwt-issuer", "test", "--token-grace", grace.String()},
	})
	token := func(end time.Time) string {
		text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"exp": end.Unix(), "iss": "test", "publish": "show", "watch": "show",
		}).SignedString(private)
		must(t, err)
		return text
	}
	peers := newLightPeers(t, s)
	end := time.Now().Add(8 * time.Second).Truncate(time.Second)
	soon, later := token(end), token(end.Add(time.Hour))
	publisher, _ := peers.connect("/whip/show?token="+soon, peers.publish)
	peers.awaitMetric("ringcast_streams", 1)
	leaving, _ := peers.connect("/whep/show?access_token="+soon, peers.watch)
	staying, _ := peers.connect("/whep/show?token="+later, peers.watch)
	peers.awaitMetric(`ringcast_sessions{role="subscriber",state="connected"}`, 2)

	ctx := deadline(t, patience)
	var waiting sync.WaitGroup
	for name, p := range map[string]*peer.Peer{"publisher": publisher, "viewer": leaving} {
		waiting.Go(func() {
			if err := p.AwaitClose(ctx); err != nil {
				t.Errorf("the %s was not told goodbye: %v", name, err)
			}
			late := time.Since(end.Add(grace))
			t.Logf("the %s had its close_notify %v after its end", name, late)
			if late < 0 {
				t.Errorf("the %s was told goodbye %v early, want it at the end", name, -late)
			}
		})
	}
	waiting.Wait()
	peers.awaitMetric(`ringcast_sessions{role="subscriber",state="connected"}`, 1)
	peers.awaitMetric(`ringcast_sessions_expired_total{role="publisher"}`, 1)
	peers.awaitMetric(`ringcast_sessions_expired_total{role="subscriber"}`, 1)
	must(t, staying.Ping(ctx))
	if log := s.Log(); strings.Count(log, "token expired") != 2 || strings.Contains(log, soon[len(soon)-40:]) {
		t.Errorf("the log has %d ends of a token, or shows a token; want 2 and none\n%s",
			strings.Count(log, "token expired"), log)
	}
}

// 2,000 joins at once, each with a token of its own, meet an access service that takes 100 ms. It is asked a bounded
// number of questions at a time. All come in after Retry-After, and a viewer that is there stays.
func TestStormAtAccessService(t *testing.T) {
	const joins, secret = 2000, "swordfish"
	var now, most, calls atomic.Int32
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		calls.Add(1)
		var question struct{ Token, Stream string }
		if r.Header.Get(sign.Header) == "" || json.NewDecoder(r.Body).Decode(&question) != nil {
			t.Errorf("got an unsigned or unreadable question, want a signed one")
		}
		time.Sleep(100 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"allow":%t}`, question.Stream == "show" && question.Token != "")
	}))
	defer service.Close()
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 2, Args: []string{
		"--auth-url", service.URL, "--auth-secret", secret, "--max-pending", "16000",
	}})
	peers := newLightPeers(t, s)
	publisher, _ := peers.connect("/whip/show?token=p", peers.publish)
	peers.awaitMetric("ringcast_streams", 1)
	watching, _ := peers.connect("/whep/show?token=v", peers.watch)

	web := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: joins}}
	defer web.CloseIdleConnections()
	ctx := deadline(t, patience)
	var refused atomic.Int32
	began := time.Now()
	var all sync.WaitGroup
	for i := range joins {
		all.Go(func() {
			for ctx.Err() == nil {
				after, err := join(ctx, web, fmt.Sprintf("%s/whep/show?token=t%d", s.URL, i), peers.watch)
				if err != nil {
					t.Error(err)
					return
				}
				if after == 0 {
					return
				}
				refused.Add(1)
				let(t, after)
			}
		})
	}
	all.Wait()
	must(t, ctx.Err())
	t.Logf("%d joins in %v: %d calls, at most %d at a time, %d answers of 503", joins, time.Since(began), calls.Load(),
		most.Load(), refused.Load())
	if got := most.Load(); got > 64 {
		t.Errorf("got %d questions at a time, want at most 64", got)
	}
	must(t, watching.Ping(ctx))
	must(t, publisher.SendRTP(peer.Packet(1, 500), rtp.HeaderLen, 1))
	must(t, publisher.Ping(ctx))
	if got := s.Metrics(t)[`ringcast_sessions{role="publisher",state="connected"}`]; got != 1 {
		t.Errorf("got %v publishers, want 1", got)
	}
}

// join posts an offer. It returns how long to wait before another try, 0 for a session.
func join(ctx context.Context, web *http.Client, url, offer string) (after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(offer))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/sdp")
	answer, err := web.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	switch {
	case answer.StatusCode == http.StatusCreated:
		return 0, nil
	case answer.StatusCode == http.StatusServiceUnavailable && err == nil:
		return time.Duration(seconds) * time.Second, nil
	}
	return 0, fmt.Errorf("status %d and Retry-After %d, want 201, or 503 and when to come again", answer.StatusCode,
		seconds)
}
