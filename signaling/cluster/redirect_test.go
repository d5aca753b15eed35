package cluster_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// An openEngine opens sessions without any media. Methods that the tests do not need are nil.
type openEngine struct {
	signaling.Engine
	mu   sync.Mutex
	last api.SessionID
	peer api.Offer // of the last session
}

func (e *openEngine) open(p api.Offer) (api.Local, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	e.peer = p
	return api.Local{
		ID: e.last, ICE: api.Credentials{Ufrag: "ufrag", Password: "passwordpasswordpassword"},
		Fingerprint: api.Fingerprint{Algorithm: "sha-256", Value: strings.TrimSuffix(strings.Repeat("00:", 32), ":")},
		Candidates:  []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:7000")}, Tracks: p.Tracks, CNAME: "cname",
	}, nil
}

func (e *openEngine) Publish(_ context.Context, _ string, p api.Offer) (api.Local, error) {
	return e.open(p)
}

func (e *openEngine) Subscribe(_ context.Context, _ string, p api.Offer) (api.Local, error) {
	return e.open(p)
}

func (e *openEngine) Stream(name string) (api.Stream, bool) {
	return api.Stream{Name: name, Tracks: []rtp.Track{}}, true
}

func (e *openEngine) Close(api.SessionID) {}

func (e *openEngine) OnEnded(func(api.SessionID, api.Reason)) {}

func (e *openEngine) opened() (api.SessionID, api.Offer) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last, e.peer
}

// A testNode is a node with an HTTPS listener, known as name.example.com.
type testNode struct {
	name     string
	engine   *openEngine
	server   *httptest.Server
	sessions int
	log      bytes.Buffer
	requests []*http.Request
}

const redirectAt = 5

// A countedBalancer takes the number of sessions from its node.
type countedBalancer struct {
	node *testNode
	*cluster.Redirects
}

func (b countedBalancer) Target(o signaling.Offered) (signaling.Target, bool) {
	o.Sessions = b.node.sessions
	return b.Redirects.Target(o)
}

// newPair makes two nodes that know each other, and a signer of clients' tokens.
func newPair(t *testing.T) (full, free *testNode, key ed25519.PrivateKey) {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	keys, err := secret.New("the secret of a cluster of tests", "")
	if err != nil {
		t.Fatal(err)
	}
	full, free = &testNode{name: "full", sessions: redirectAt}, &testNode{name: "free"}
	for _, n := range []*testNode{full, free} {
		other := full
		if n == full {
			other = free
		}
		log := slog.New(slog.NewTextHandler(&n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		gate, err := access.New(access.Config{Keys: file, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		n.engine = &openEngine{}
		s := signaling.New(signaling.Config{
			Log: log, Gate: gate,
			Balancer: countedBalancer{n, cluster.NewRedirects(cluster.RedirectConfig{
				Node: directory.Node{ID: directory.NodeID(n.name)}, Keys: keys,
				Redeemer: secret.NewRedeemer(keys, n.name, nil, nil), Clocks: secret.NewClocks(log, nil),
				How: cluster.Redirect307, At: redirectAt,
				Nodes: func() []directory.Node {
					return []directory.Node{{
						ID: directory.NodeID(other.name), Public: "https://" + other.name + ".example.com",
						Load: directory.Load{Sessions: other.sessions},
					}}
				},
			})},
		}, n.engine)
		n.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.requests = append(n.requests, r.Clone(r.Context()))
			s.Handler().ServeHTTP(w, r)
		}))
		t.Cleanup(n.server.Close)
	}
	return full, free, key
}

// newClient makes a client that finds the nodes by name. With showing it sends its Authorization along on a redirect.
func newClient(showing bool, nodes ...*testNode) *http.Client {
	transport := nodes[0].server.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		for _, n := range nodes {
			if strings.HasPrefix(address, n.name+".") {
				address = n.server.Listener.Addr().String()
			}
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	c := &http.Client{Transport: transport}
	if showing {
		c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
			r.Header.Set("Authorization", via[0].Header.Get("Authorization"))
			return nil
		}
	}
	return c
}

// bearer makes a client's token.
func bearer(t *testing.T, key ed25519.PrivateKey, claims jwt.MapClaims) string {
	t.Helper()
	claims["exp"] = time.Now().Add(time.Hour).Unix()
	text, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// send makes a request with a captured offer, and returns its answer without the body.
func send(t *testing.T, c *http.Client, method, url, token string) *http.Response {
	t.Helper()
	name := "chromium-offer-recvonly.sdp"
	if strings.Contains(url, "/whip/") {
		name = "obslike-libdatachannel-offer-whip.sdp"
	}
	offer, err := os.ReadFile(filepath.Join("..", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(method, url, bytes.NewReader(offer))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/sdp")
	r.Header.Set("Origin", "https://page.example.org")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return answer
}

// A client of a node without room gets its session at another, with the limits of its own token. It may drop its token
// on the way, as browsers, curl and Go do, or show it there too, as OBS does.
func TestRedirects(t *testing.T) {
	for _, row := range []struct {
		name, path string
		showing    bool
		claims     jwt.MapClaims
	}{
		{"a viewer that drops its token", "/whep/cam", false, jwt.MapClaims{"watch": "cam", "viewers": 3}},
		{"a viewer that shows it", "/whep/cam", true, jwt.MapClaims{"watch": "cam", "viewers": 3}},
		{"a publisher that drops its token", "/whip/cam", false, jwt.MapClaims{"publish": "cam", "viewers": 3}},
		{"a publisher that shows it", "/whip/cam?backup=1", true, jwt.MapClaims{"publish": "cam", "viewers": 3}},
	} {
		full, free, key := newPair(t)
		client, token := newClient(row.showing, full, free), bearer(t, key, row.claims)
		answer := send(t, client, http.MethodPost, "https://full.example.com"+row.path, token)
		if answer.StatusCode != http.StatusCreated || answer.Request.URL.Host != "free.example.com" {
			t.Fatalf("%s: got %s of %s, want 201 of the free node", row.name, answer.Status, answer.Request.URL.Host)
		}
		opened, peer := free.engine.opened()
		if id, _ := full.engine.opened(); id != 0 || opened != 1 || peer.Limits.Viewers != 3 {
			t.Errorf("%s: got %d sessions here, %d there, %+v, want one there of at most 3 viewers",
				row.name, id, opened, peer.Limits)
		}
		publishes := strings.HasPrefix(row.path, "/whip")
		if peer.Authorized != publishes || peer.Backup != strings.Contains(row.path, "backup") {
			t.Errorf("%s: got authorized %t, backup %t", row.name, peer.Authorized, peer.Backup)
		}
		if shown := free.requests[0].Header.Get("Authorization") != ""; shown != row.showing {
			t.Errorf("%s: the client shows its token at the free node: %t, want %t", row.name, shown, row.showing)
		}
		location := answer.Header.Get("Location")
		if path, _, _ := strings.Cut(row.path, "?"); !strings.HasPrefix(location, path+"/") ||
			strings.ContainsAny(location, "?=") {
			t.Errorf("%s: got Location %s, want a session's URL without a token", row.name, location)
		}
		pass := answer.Request.URL.Query().Get("rt")
		if logs := full.log.String() + free.log.String(); pass == "" || strings.Contains(logs, pass[:20]) ||
			strings.Contains(logs, "rt=") {
			t.Errorf("%s: the log has the redirect token %q:\n%s", row.name, pass, logs)
		}
		end := "https://free.example.com" + location
		if got := send(t, client, http.MethodDelete, end, "nonsense"); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: DELETE with another token: got %s, want 401", row.name, got.Status)
		}
		if row.showing {
			token = answer.Request.Header.Get("Authorization")[len("Bearer "):]
		} else {
			token = ""
		}
		if got := send(t, client, http.MethodDelete, end, token); got.StatusCode != http.StatusOK {
			t.Errorf("%s: DELETE as the offer came: got %s, want 200", row.name, got.Status)
		}
	}
}

// A redirect is marked for browsers of other origins, and holds none of the client's own secrets.
func TestRedirectAnswer(t *testing.T) {
	full, free, key := newPair(t)
	client := newClient(false, full, free)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	token := bearer(t, key, jwt.MapClaims{"watch": "cam"})
	answer := send(t, client, http.MethodPost, "https://full.example.com/whep/cam?a=b&token="+token, "")
	h, location := answer.Header, answer.Header.Get("Location")
	if answer.StatusCode != http.StatusTemporaryRedirect ||
		!strings.HasPrefix(location, "https://free.example.com/whep/cam?a=b&rt=") || strings.Contains(location, token) {
		t.Fatalf("got %s, Location %s, want 307 to the free node without the client's token", answer.Status, location)
	}
	if h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Cache-Control") != "no-store" ||
		!strings.Contains(h.Get("Access-Control-Expose-Headers"), "Location") {
		t.Errorf("got headers %v, want them open to all origins, and not kept", h)
	}
	// The browser asks the free node first, by the same URL. That is no use of the token.
	if got := send(t, client, http.MethodOptions, location, ""); got.StatusCode != http.StatusOK ||
		got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: got %s, %v, want 200 and open", got.Status, got.Header)
	}
	if got := send(t, client, http.MethodPost, location, ""); got.StatusCode != http.StatusCreated {
		t.Errorf("offer after the preflight: got %s, want 201", got.Status)
	}
	if got := send(t, client, http.MethodPost, location, token); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("second use, with a token of the client: got %s, want 401", got.Status)
	}
}

// The redirect token decides where there is one, and an offer is redirected at most once.
func TestRedirectTokenDecides(t *testing.T) {
	full, free, key := newPair(t)
	client := newClient(false, full, free)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	good := bearer(t, key, jwt.MapClaims{"watch": "*", "publish": "*"})
	redirected := func(path string) string {
		t.Helper()
		full.sessions = redirectAt
		answer := send(t, client, http.MethodPost, "https://full.example.com"+path, good)
		if answer.StatusCode != http.StatusTemporaryRedirect {
			t.Fatalf("got %s, want 307", answer.Status)
		}
		return answer.Header.Get("Location")
	}
	for _, row := range []struct {
		name   string
		change func(url string) string
		token  string
		busy   bool
		want   int
	}{
		{"with a token that is not good", nil, "nonsense", false, 201},
		{"at a node that is full by now", nil, "", true, 201},
		{"for another stream", func(u string) string { return strings.Replace(u, "/cam", "/cat", 1) }, "", false, 401},
		{"for the other role", func(u string) string {
			return strings.Replace(u, "/whep", "/whip", 1)
		}, "", false, 401},
		{"at another node", func(u string) string { return strings.Replace(u, "free.", "full.", 1) }, good, false, 401},
		{"forged, with a token that is good", func(u string) string {
			return u[:len(u)-8] + "AAAAAAAA"
		}, good, false, 401},
		{"truncated", func(u string) string { return u[:len(u)-8] }, "", false, 401},
		{"twice in one URL", func(u string) string { return u + "&" + u[strings.Index(u, "rt="):] }, "", false, 401},
	} {
		url := redirected("/whep/cam")
		if row.change != nil {
			url = row.change(url)
		}
		free.sessions = 0
		if row.busy {
			free.sessions, full.sessions = redirectAt, 0
		}
		if got := send(t, client, http.MethodPost, url, row.token); got.StatusCode != row.want {
			t.Errorf("%s: got %s, want %d", row.name, got.Status, row.want)
		}
		free.sessions = 0
	}
}

// A node answers itself while it has room, and while no other has. It answers itself, too, where the URL does not name
// the stream: a key is not for URLs.
func TestNotRedirected(t *testing.T) {
	full, free, key := newPair(t)
	client := newClient(false, full, free)
	good := bearer(t, key, jwt.MapClaims{"watch": "*", "publish": "*"})
	for _, row := range []struct {
		name       string
		here, away int
		path       string
		token      string
	}{
		{"room here", redirectAt - 1, 0, "/whep/cam", good},
		{"room nowhere", redirectAt, redirectAt, "/whep/cam", good},
		{"a stream's key", redirectAt, 0, "/whip", "cam:" + good},
	} {
		full.sessions, free.sessions = row.here, row.away
		path := strings.TrimSuffix("https://full.example.com"+row.path, "/")
		if row.path == "/whip" {
			path += "?/whip/" // for the offer of a publisher
		}
		got := send(t, client, http.MethodPost, path, row.token)
		if got.StatusCode != http.StatusCreated || got.Request.URL.Host != "full.example.com" {
			t.Errorf("%s: got %s of %s, want 201 of the first node", row.name, got.Status, got.Request.URL.Host)
		}
	}
	// A token that the gate refuses is refused before anything else.
	full.sessions, free.sessions = redirectAt, 0
	if got := send(t, client, http.MethodPost, "https://full.example.com/whep/cam", "nonsense"); got.StatusCode != 401 {
		t.Errorf("a bad token: got %s, want 401", got.Status)
	}
}

// Nodes of the same region come first. A node that drains, or that clients cannot reach, is no target.
func TestTargets(t *testing.T) {
	keys, err := secret.New("the secret of a cluster of tests", "")
	if err != nil {
		t.Fatal(err)
	}
	node := func(id, region string, sessions int) directory.Node {
		return directory.Node{
			ID: directory.NodeID(id), Public: "https://" + id, Region: region, Load: directory.Load{Sessions: sessions},
		}
	}
	drains, hidden := node("drains", "here", 0), node("hidden", "here", 0)
	drains.Draining, hidden.Public = true, ""
	for _, row := range []struct {
		name  string
		nodes []directory.Node
		want  []string
	}{
		{"none", nil, nil},
		{"one of another region", []directory.Node{node("a", "there", 0)}, []string{"a"}},
		{"both regions", []directory.Node{node("a", "there", 0), node("b", "here", 4)}, []string{"b"}},
		{"a full one here", []directory.Node{node("a", "there", 0), node("b", "here", 5)}, []string{"a"}},
		{"no targets", []directory.Node{drains, hidden}, nil},
		{"two", []directory.Node{node("a", "here", 1), node("b", "here", 1)}, []string{"a", "b"}},
	} {
		met := make(map[string]bool)
		r := cluster.NewRedirects(cluster.RedirectConfig{
			Node: directory.Node{ID: "self", Region: "here"}, Keys: keys, Clocks: secret.NewClocks(slog.Default(), nil),
			How: cluster.Redirect307, At: redirectAt, Nodes: func() []directory.Node { return row.nodes },
		})
		for range 200 {
			if to, ok := r.Target(signaling.Offered{Stream: "cam", Sessions: redirectAt}); ok {
				met[strings.TrimPrefix(to.Base, "https://")] = true
			}
		}
		for _, name := range row.want {
			if !met[name] {
				t.Errorf("%s: %s was never chosen", row.name, name)
			}
		}
		if len(met) != len(row.want) {
			t.Errorf("%s: got %v, want %v", row.name, met, row.want)
		}
	}
}
