package certificate

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
	"golang.org/x/net/idna"

	"ringcast/engine/version"
)

const (
	// firstRetry and lastRetry bound the time between two orders for a host that has no certificate. Let's Encrypt
	// allows five failed validations an hour, and a failed order tries two challenges.
	firstRetry = 4 * time.Minute
	lastRetry  = 2 * time.Hour
	// overdueInterval is the time between two warnings of a renewal that is late.
	overdueInterval = 24 * time.Hour
	// maxTries is how often one request to the CA is sent, and maxPause the longest pause between.
	maxTries = 3
	maxPause = 30 * time.Second
)

// ACME is how certificates are ordered at a CA (RFC 8555). Using it accepts the CA's terms of service.
type ACME struct {
	// On is set where the certificates come from a CA.
	On bool
	// Hosts are the only names that certificates are ordered for. NormalHost has made them.
	Hosts []string
	// Email is the address to which the CA may send warnings, or empty.
	Email string
	// Directory is the URL of the CA's directory. Let's Encrypt's is the default.
	Directory string
	// Roots is a PEM file with the roots of the directory's own certificate. The system's are the default.
	Roots string
	// Cache is the directory that keeps account and certificates. Several servers may share it.
	Cache string
	// HTTP is the address of the listener for HTTP-01 challenges. It may be empty: TLS-ALPN-01 needs none.
	HTTP string
}

// NormalHost returns the form of a host's name in certificates. It refuses names that no public CA certifies.
func NormalHost(name string) (string, error) {
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(name, "."))
	last := ascii[strings.LastIndexByte(ascii, '.')+1:]
	if err != nil || len(ascii) > 253 || !strings.Contains(ascii, ".") || strings.Trim(last, "0123456789") == "" ||
		!ValidName(ascii) {
		return "", errors.New("a full name such as media.example.org expected, neither an address nor a wildcard")
	}
	return ascii, nil
}

// DefaultCache returns the directory for account and certificates where none was chosen. It is below the service's
// state directory of systemd, else below the user's configuration directory. It is empty without either.
func DefaultCache() string {
	if state, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); state != "" {
		return filepath.Join(state, "acme")
	}
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "ringcast", "acme")
	}
	return ""
}

// An authority gets the certificates of its hosts from a CA. autocert orders and renews them. The goroutines of watch
// poll it. Handshakes only read the certificates that these have found: a CA that hangs holds up no client.
type authority struct {
	log     *slog.Logger
	cache   cache
	cfg     ACME
	way     witness          // to the CA
	hosts   map[string]*host // by name; fixed
	refused refusals

	// ordering is held by the one host that may order its first certificate. So the first of all makes the account.
	ordering sync.Mutex
}

// A host is one name with its certificate.
type host struct {
	name    string
	current atomic.Pointer[tls.Certificate] // keep writes it; nil until there is one
	manager atomic.Pointer[manager]         // keep replaces one that failed
	again   chan struct{}                   // an operator asks for a look at once

	// Only keep uses the fields below.
	failures int
	retry    time.Time // no order before
	warned   time.Time // when its end, or a late renewal, was logged
}

// A manager is autocert's, for one host. One that could not get the first certificate is thrown away, because it would
// try again at times of its own.
type manager struct {
	autocert.Manager
	challenges http.Handler // HTTP-01, and redirects for all else
}

// newAuthority makes an authority whose hosts have the certificates of the cache. It sends nothing to the CA.
func newAuthority(cfg ACME, log *slog.Logger) (*authority, error) {
	base := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.Roots != "" {
		pem, err := os.ReadFile(cfg.Roots)
		if err != nil {
			return nil, fmt.Errorf("acme-ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("acme-ca: %s has no PEM certificate", cfg.Roots)
		}
		base.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	cfg.Directory = cmp.Or(cfg.Directory, autocert.DefaultACMEDirectory)
	a := &authority{
		log: log, cache: cache{autocert.DirCache(cfg.Cache), log}, cfg: cfg, way: witness{base, log},
		hosts: make(map[string]*host), refused: refusals{log: log},
	}
	if err := a.cache.probe(); err != nil {
		return nil, fmt.Errorf("acme-cache: %w", err)
	}
	for _, name := range cfg.Hosts {
		h := &host{name: name, again: make(chan struct{}, 1)}
		h.current.Store(a.cache.load(name))
		h.manager.Store(a.newManager())
		a.hosts[name] = h
	}
	log.Info("certificates come from a CA", "directory", cfg.Directory, "hosts", cfg.Hosts, "cache", cfg.Cache)
	return a, nil
}

func (a *authority) newManager() *manager {
	m := &manager{Manager: autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: a.cache, HostPolicy: a.permit, Email: a.cfg.Email,
		Client: &acme.Client{
			DirectoryURL: a.cfg.Directory,
			UserAgent:    "ringcast/" + version.Read().Version,
			HTTPClient:   &http.Client{Transport: a.way, Timeout: time.Minute},
			RetryBackoff: pause,
		},
	}}
	if a.cfg.HTTP != "" {
		m.challenges = m.HTTPHandler(http.HandlerFunc(toHTTPS))
	}
	return m
}

// pause is how long the client of the CA waits before it sends a request again (acme.Client.RetryBackoff). It gives up
// early: keep tries again later.
func pause(n int, _ *http.Request, r *http.Response) time.Duration {
	d := time.Second << n
	if after, err := time.ParseDuration(r.Header.Get("Retry-After") + "s"); err == nil {
		d = max(d, after)
	}
	if n >= maxTries || d > maxPause {
		return 0
	}
	return d
}

// permit is the manager's HostPolicy. HTTP-01 has the port in the name.
func (a *authority) permit(_ context.Context, name string) error {
	if a.hosts[bare(name)] == nil {
		return errors.New("the name is not one of --host")
	}
	return nil
}

// bare returns a host's name without its port and final dot, in small letters.
func bare(name string) string {
	if h, _, err := net.SplitHostPort(name); err == nil {
		name = h
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

// serverTLS returns the configuration for HTTPS.
func (a *authority) serverTLS() *tls.Config {
	return &tls.Config{
		GetCertificate: a.choose,
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1", acme.ALPNProto},
	}
}

// choose finds the certificate of a handshake. For any other name it returns neither a certificate nor an error:
// crypto/tls then sends the alert unrecognized_name (RFC 6066 section 3).
func (a *authority) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := bare(hello.ServerName)
	h := a.hosts[name]
	switch {
	case name == "":
		a.refused.count(noName, hello)
		return nil, nil
	case h == nil:
		a.refused.count(otherName, hello)
		return nil, nil
	case slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}):
		return h.manager.Load().GetCertificate(hello)
	}
	if c := h.current.Load(); c != nil {
		return c, nil
	}
	a.refused.count(noCertificate, hello)
	return nil, errors.New("no certificate yet")
}

// challenges answers HTTP-01 for the hosts, and sends their readers to HTTPS.
func (a *authority) challenges(w http.ResponseWriter, r *http.Request) {
	h := a.hosts[bare(r.Host)]
	if h == nil {
		http.Error(w, "unknown host", http.StatusMisdirectedRequest)
		return
	}
	h.manager.Load().challenges.ServeHTTP(w, r)
}

// toHTTPS redirects readers. A publisher has sent its token in the clear, so its POST is refused.
func toHTTPS(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "HTTPS expected", http.StatusForbidden)
		return
	}
	// A request target may be no path (RFC 9112 section 3.2). It would change the name.
	if !strings.HasPrefix(r.URL.RequestURI(), "/") {
		http.Error(w, "a path expected", http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, "https://"+bare(r.Host)+r.URL.RequestURI(), http.StatusTemporaryRedirect)
}

// watch keeps the certificates until ctx ends.
func (a *authority) watch(ctx context.Context, reload <-chan os.Signal) {
	for _, h := range a.hosts {
		go a.keep(ctx, h)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-reload:
			a.log.Info("certificate reload requested", "reason", s.String())
			for _, h := range a.hosts {
				select {
				case h.again <- struct{}{}:
				default:
				}
			}
		}
	}
}

// keep looks after one host until ctx ends.
func (a *authority) keep(ctx context.Context, h *host) {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	for {
		a.check(h, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-h.again:
			h.retry = time.Time{}
		}
	}
}

// check takes a host's certificate from its manager, which orders one if there is none. The manager renews it by
// itself, and tries again each half hour. The old certificate is served meanwhile.
func (a *authority) check(h *host, now time.Time) {
	if now.Before(h.retry) {
		return
	}
	if c, err := a.obtain(h); err != nil {
		span := min(firstRetry<<min(h.failures, 10), lastRetry)
		if d, limited := acme.RateLimit(err); limited {
			span = max(span, d)
		}
		h.failures++
		h.retry = now.Add(span)
		h.manager.Store(a.newManager())
		a.log.Error("no certificate was issued", "host", h.name, "error", err, "next_try", span)
	} else if old := h.current.Swap(c); old == nil || !old.Leaf.Equal(c.Leaf) {
		h.failures = 0
		a.log.Info("serving a new certificate", "host", h.name, "sha256", Fingerprint(c.Leaf.Raw),
			"expires", c.Leaf.NotAfter)
	}
	if now.Sub(h.warned) >= overdueInterval && h.warnOfEnd(a.log, now) {
		h.warned = now
	}
}

// obtain asks a host's manager as a client would that takes ECDSA. An order lasts at most 5 minutes.
func (a *authority) obtain(h *host) (*tls.Certificate, error) {
	a.ordering.Lock()
	defer a.ordering.Unlock()
	return h.manager.Load().GetCertificate(&tls.ClientHelloInfo{
		ServerName: h.name, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
	})
}

// warnOfEnd logs that a certificate has expired, or is past the time for its renewal. That time is a third of its life
// before the end, at most 30 days. The manager may take an hour more.
func (h *host) warnOfEnd(log *slog.Logger, now time.Time) bool {
	c := h.current.Load()
	if c == nil {
		return false
	}
	end := c.Leaf.NotAfter
	span := min(end.Sub(c.Leaf.NotBefore)/3, 30*24*time.Hour)
	switch {
	case now.After(end):
		log.Error("the certificate has expired", "host", h.name, "expired", end)
	case now.After(end.Add(-span + min(span/2, 2*time.Hour))):
		log.Warn("the renewal of the certificate is late", "host", h.name, "expires", end)
	default:
		return false
	}
	return true
}
