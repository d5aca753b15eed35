package certificate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"ringcast/testenv/pebble"
)

const (
	mediaHost = "media.example.org"
	patience  = 2 * time.Minute
)

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// A node is a server with certificates of a CA.
type node struct {
	*Keeper
	log     *lines
	address string
}

// port opens a port on loopback for the test.
func port(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// startNode serves HTTPS on a listener. Nothing looks after its certificates but the test.
func startNode(t *testing.T, l net.Listener, cfg ACME) *node {
	t.Helper()
	n := &node{log: &lines{}, address: l.Addr().String()}
	cfg.On = true
	if cfg.Hosts == nil {
		cfg.Hosts = []string{mediaHost}
	}
	k, err := New(Config{ACME: cfg}, nil, slog.New(slog.NewTextHandler(n.log, nil)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n.Keeper = k
	server := &http.Server{TLSConfig: k.ServerTLS(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { server.Close() })
	return n
}

// watch looks after the node's certificates until the test ends.
func (n *node) watch(t *testing.T, reload <-chan os.Signal) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go n.Watch(ctx, reload)
}

// shake connects as a client of a name and returns the certificate that it was shown.
func (n *node) shake(name string) (*x509.Certificate, error) {
	c, err := tls.Dial("tcp", n.address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0], nil
}

// until polls because a CA on its own time does the work.
func (n *node) until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v; log:\n%s", what, patience, n.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// served waits for a certificate of a name that is not old.
func (n *node) served(t *testing.T, name string, old *x509.Certificate) (c *x509.Certificate) {
	t.Helper()
	n.until(t, "a certificate for "+name, func() bool {
		next, err := n.shake(name)
		if err != nil || old != nil && next.Equal(old) {
			return false
		}
		c = next
		return true
	})
	if err := c.VerifyHostname(name); err != nil || !strings.Contains(c.Issuer.CommonName, "Pebble") {
		t.Fatalf("certificate of %s: %v", c.Issuer, err)
	}
	return c
}

func (n *node) logged(t *testing.T, parts ...string) {
	t.Helper()
	for line := range strings.Lines(n.log.String()) {
		found := true
		for _, p := range parts {
			found = found && strings.Contains(line, p)
		}
		if found {
			return
		}
	}
	t.Errorf("no line with %q in the log:\n%s", parts, n.log)
}

// The CA comes by a handshake.
func TestFirstCertificateByTLSALPN(t *testing.T) {
	l, number := port(t)
	ca := pebble.Start(t, pebble.Config{TLS: number})
	n := startNode(t, l, ACME{
		Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir(), Hosts: []string{mediaHost, "b.example.org"},
	})
	n.watch(t, nil)
	for _, name := range []string{mediaHost, "b.example.org", strings.ToUpper(mediaHost)} {
		n.served(t, name, nil)
	}
	if _, orders := ca.Requests(); orders != 2 {
		t.Errorf("%d orders for two hosts", orders)
	}
	n.logged(t, "serving a new certificate", "host="+mediaHost, "sha256=", "expires=")
}

// The CA comes by plain HTTP, because nothing is at its TLS port. Its failure there is logged.
func TestFirstCertificateByHTTP(t *testing.T) {
	l, _ := port(t)
	plain, number := port(t)
	closed, nobody := port(t)
	closed.Close()
	ca := pebble.Start(t, pebble.Config{HTTP: number, TLS: nobody})
	n := startNode(t, l, ACME{Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir(), HTTP: ":80"})
	challenges := &http.Server{Handler: n.Challenges()}
	go func() { _ = challenges.Serve(plain) }()
	t.Cleanup(func() { challenges.Close() })
	n.watch(t, nil)
	n.served(t, mediaHost, nil)
	n.logged(t, "the CA could not validate a host", "host="+mediaHost, "challenge=tls-alpn-01", "detail=")
}

// Readers at the HTTP port are sent to HTTPS. All else is refused.
func TestChallengeListener(t *testing.T) {
	l, _ := port(t)
	n := startNode(t, l, ACME{Cache: t.TempDir(), HTTP: ":80"})
	for _, row := range []struct {
		method, url, location string
		status                int
	}{
		{"GET", "http://" + mediaHost + "/?stream=a", "https://" + mediaHost + "/?stream=a", 307},
		{"HEAD", "http://MEDIA.example.org.:80/", "https://" + mediaHost + "/", 307},
		{"GET", "http://" + mediaHost + "//evil.example/%2e%2e", "https://" + mediaHost + "//evil.example/%2e%2e", 307},
		{"POST", "http://" + mediaHost + "/whip/a", "", 403},
		{"GET", "http://192.0.2.7/", "", 421},
		{"GET", "http://evil.example/.well-known/acme-challenge/x", "", 421},
		{"GET", "http://" + mediaHost + "/.well-known/acme-challenge/x", "", 404},
		{"GET", "http://" + mediaHost + "/.well-known/acme-challenge/../../../etc/passwd", "", 404},
	} {
		w := httptest.NewRecorder()
		n.Challenges().ServeHTTP(w, httptest.NewRequest(row.method, row.url, nil))
		if w.Code != row.status || w.Header().Get("Location") != row.location {
			t.Errorf("%s %s: got %d %q, want %d %q", row.method, row.url, w.Code, w.Header().Get("Location"),
				row.status, row.location)
		}
	}
}

// A request target that is no path cannot lengthen the host's name to that of another.
func TestOddTargetIsNotRedirected(t *testing.T) {
	l, _ := port(t)
	n := startNode(t, l, ACME{Cache: t.TempDir(), HTTP: ":80"})
	server := httptest.NewServer(n.Challenges())
	defer server.Close()
	for _, target := range []string{"x:.evil.example/", "x:@evil.example/", "http:.evil.example", "*"} {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, mediaHost)
		answer, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Location") != "" {
			t.Errorf("%s: got %d %q, want %d", target, answer.StatusCode, answer.Header.Get("Location"),
				http.StatusBadRequest)
		}
	}
}

// Two nodes share a cache. The second serves without asking for anything. Both renew in the same moment, and no
// handshake fails meanwhile. The CA validates both at the first node, which may answer with its own challenge. Then the
// order of the second fails, and it takes the certificate of the cache half an hour later. The cache is always whole.
func TestSharedCacheAndRenewal(t *testing.T) {
	l, number := port(t)
	l2, _ := port(t)
	ca := pebble.Start(t, pebble.Config{TLS: number, Validity: 9 * time.Second})
	cfg := ACME{Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir()}
	a := startNode(t, l, cfg)
	a.watch(t, nil)
	first := a.served(t, mediaHost, nil)
	a.until(t, "the cache", func() bool { return a.authority.cache.load(mediaHost) != nil })
	_, before := ca.Requests()
	b := startNode(t, l2, cfg)
	if got, err := b.shake(mediaHost); err != nil || !got.Equal(first) {
		t.Errorf("the second node: %v", err)
	}
	if _, after := ca.Requests(); after != before {
		t.Errorf("the second node made %d orders", after-before)
	}
	b.watch(t, nil)
	seen := map[string]bool{}
	a.until(t, "a renewal", func() bool {
		for _, n := range []*node{a, b} {
			c, err := n.shake(mediaHost)
			if err != nil {
				t.Fatalf("during a renewal: %v", err)
			}
			seen[c.SerialNumber.String()] = true
		}
		if a.authority.cache.load(mediaHost) == nil {
			t.Fatal("half a certificate in the cache")
		}
		return len(seen) >= 3
	})
	if all, err := filepath.Glob(filepath.Join(cfg.Cache, "*")); err != nil || len(all) > 4 {
		t.Errorf("left in the cache: %q, %v", all, err)
	}
}

// A restart while the CA is down serves the certificate of the cache, also one that has expired.
func TestAuthorityIsDownWithCache(t *testing.T) {
	l, number := port(t)
	ca := pebble.Start(t, pebble.Config{TLS: number})
	cfg := ACME{Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir()}
	first := startNode(t, l, cfg)
	first.watch(t, nil)
	old := first.served(t, mediaHost, nil)
	first.until(t, "the cache", func() bool { return first.authority.cache.load(mediaHost) != nil })
	ca.Stop()
	l2, _ := port(t)
	n := startNode(t, l2, cfg)
	if got, err := n.shake(mediaHost); err != nil || !got.Equal(old) {
		t.Errorf("before anything looked at the CA: %v", err)
	}
	h := n.authority.hosts[mediaHost]
	n.authority.check(h, time.Now())
	n.authority.check(h, old.NotAfter.Add(-time.Hour))
	n.logged(t, "the renewal of the certificate is late", "level=WARN", "host="+mediaHost)
	n.authority.check(h, old.NotAfter.Add(overdueInterval))
	n.logged(t, "the certificate has expired", "level=ERROR", "host="+mediaHost)
	if got, err := n.shake(mediaHost); err != nil || !got.Equal(old) {
		t.Errorf("after that: %v", err)
	}
}

// A first start while the CA is down: handshakes fail at once, and the CA is left alone for a while. SIGHUP makes the
// server try again.
func TestAuthorityIsDown(t *testing.T) {
	l, number := port(t)
	ca := pebble.Start(t, pebble.Config{TLS: number})
	ca.Stop()
	n := startNode(t, l, ACME{Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir()})
	h, now := n.authority.hosts[mediaHost], time.Now()
	attempts := 0
	for _, row := range []struct {
		after time.Duration
		tried bool
	}{
		{0, true},
		{time.Second, false},
		{firstRetry - 1, false},
		{firstRetry, true},
		{3*firstRetry - 1, false},
		{3 * firstRetry, true},
		{7*firstRetry - 1, false},
		{7 * firstRetry, true},
	} {
		before, _ := ca.Requests()
		n.authority.check(h, now.Add(row.after))
		after, _ := ca.Requests()
		if tried := after > before; tried != row.tried || after-before > 2 {
			t.Errorf("after %v: %d requests, want some: %t", row.after, after-before, row.tried)
		}
		if row.tried {
			attempts++
		}
	}
	if got := strings.Count(n.log.String(), "no certificate was issued"); got != attempts {
		t.Errorf("%d failures logged, want %d", got, attempts)
	}
	n.logged(t, "the CA cannot be reached", "EOF")
	if _, err := n.shake(mediaHost); err == nil || !strings.Contains(err.Error(), "internal error") {
		t.Errorf("a handshake without a certificate: %v", err)
	}
	n.logged(t, "TLS handshake refused", "has not issued a certificate yet", "name="+mediaHost)

	ca.Resume()
	reload := make(chan os.Signal, 1)
	reload <- os.Interrupt
	n.watch(t, reload)
	n.served(t, mediaHost, nil)
}

// Clients without a name, or with another one, are refused, counted and logged once a minute. The CA hears nothing.
func TestOtherNames(t *testing.T) {
	l, number := port(t)
	ca := pebble.Start(t, pebble.Config{TLS: number})
	n := startNode(t, l, ACME{Directory: ca.Directory, Roots: ca.Roots, Cache: t.TempDir()})
	n.watch(t, nil)
	n.served(t, mediaHost, nil)
	before, _ := ca.Requests()
	for name, label := range map[string]string{
		"": "no_name", "127.0.0.1": "no_name", "evil.example.org": "other_name", "localhost": "other_name",
		"..%2fetc": "other_name", strings.Repeat("a", 300) + ".example": "other_name",
	} {
		count := n.authority.refused.read()
		_, err := n.shake(name)
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") { // RFC 6066 section 3
			t.Errorf("%q: got %v, want the alert unrecognized_name", name, err)
		}
		after := n.authority.refused.read()
		for why := range after {
			want := count[why]
			if refusalLabels[why].label == label {
				want++
			}
			if after[why] != want {
				t.Errorf("%q: %d of %s, want %d", name, after[why], refusalLabels[why].label, want)
			}
		}
	}
	if after, _ := ca.Requests(); after != before {
		t.Errorf("%d requests to the CA", after-before)
	}
	for _, words := range []string{"came by IP address", "not one of --host"} {
		if got := strings.Count(n.log.String(), words); got != 1 {
			t.Errorf("%q was logged %d times, want once a minute", words, got)
		}
	}
	if got := testutil.CollectAndCount(n, "ringcast_certificate_expiry_timestamp_seconds"); got != 1 {
		t.Errorf("%d expiries, want 1", got)
	}
	if got := testutil.CollectAndCount(n, "ringcast_tls_refused_total"); got != int(numRefusals) {
		t.Errorf("%d counters of refusals, want %d", got, numRefusals)
	}
}

// Settings that cannot work are refused at the start.
func TestBadAuthorities(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]ACME{
		"acme-cache: ":   {Cache: file},
		"acme-ca: open ": {Cache: dir, Roots: filepath.Join(dir, "missing")},
		"acme-ca: " + file + " has no PEM certificate": {Cache: dir, Roots: file},
	} {
		cfg.On, cfg.Hosts = true, []string{mediaHost}
		if _, err := New(Config{ACME: cfg}, nil, slog.New(slog.DiscardHandler), time.Now()); err == nil ||
			!strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s…", err, want)
		}
	}
}
