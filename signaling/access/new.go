package access

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxKeyFile bounds the keys that are read, in bytes.
const maxKeyFile = 256 << 10

// Config configures the gate of both roles. The zero value is none.
type Config struct {
	// Keys is the file or the URL of the keys for JWTs. Issuer and Audience are required in each token where set.
	Keys, Issuer, Audience string
	// Grace is how long a session goes on after the end of its token.
	Grace time.Duration
	// Hook is the URL of the web service that decides. Secret signs the requests to it, and Node names this server
	// there.
	Hook   string
	Secret Secret
	Node   string

	// Log is slog.Default where nil.
	Log *slog.Logger
	// Metrics count the gate's work. They are made where nil.
	Metrics *Metrics
}

// New makes the gate of a configuration; it is nil where that has none. It fails where a file of keys is not good. Keys
// at a URL are fetched when they are needed.
func New(cfg Config) (Gate, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	warnOfPlain(cfg.Log, cfg.Keys, "jwt-keys")
	warnOfPlain(cfg.Log, cfg.Hook, "auth-url")
	switch {
	case cfg.Hook != "":
		return newHook(&cfg), nil
	case cfg.Keys == "":
		return nil, nil
	}
	keys, err := newKeyring(&cfg)
	if err != nil {
		return nil, fmt.Errorf("jwt-keys: %w", err)
	}
	return newJWT(&cfg, keys), nil
}

// isURL distinguishes the URL of keys from the name of a file.
func isURL(text string) bool {
	return strings.HasPrefix(text, "https://") || strings.HasPrefix(text, "http://")
}

// CheckURL accepts the URL of a service: one with a host, and without a user.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || !isURL(text) || u.Host == "" || u.User != nil || u.Fragment != "" {
		return errors.New("a URL such as https://auth.example.org/path expected")
	}
	return nil
}

// warnOfPlain warns where a service on another machine is used without TLS: a machine on the way can let others in. The
// URL may have a password in its query, so the log has the host only.
func warnOfPlain(log *slog.Logger, text, setting string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); host == "localhost" || err == nil && addr.Unmap().IsLoopback() {
		return
	}
	log.Warn("a service is used without TLS, so machines on the way can let others in; expected https://",
		"setting", setting, "host", u.Host)
}

func newKeyring(cfg *Config) (*keyring, error) {
	k := &keyring{log: cfg.Log, metrics: cfg.Metrics}
	if isURL(cfg.Keys) {
		f := fetcher{cfg.Keys, newClient()}
		k.load, k.age = f.load, maxKeyAge
		k.mu.Lock()
		defer k.mu.Unlock()
		k.refresh(time.Now())
		return k, nil
	}
	k.load, k.age = func(context.Context) ([]key, error) { return readKeys(cfg.Keys) }, loadInterval
	keys, err := readKeys(cfg.Keys)
	if err == nil {
		k.tried = time.Now()
		k.finish(keys, nil)
	}
	return k, err
}

// readKeys reads a file.
func readKeys(name string) ([]key, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := readAll(f, maxKeyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	keys, err := parseKeys(text, fromFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return keys, nil
}

// A fetcher gets keys from a URL.
type fetcher struct {
	url    string
	client *http.Client
}

func (f fetcher) load(ctx context.Context) ([]key, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := f.client.Do(request)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d, expected 200", answer.StatusCode)
	}
	text, err := readAll(answer.Body, maxKeyFile)
	if err != nil {
		return nil, err
	}
	return parseKeys(text, fromURL)
}

// withoutURL is the cause of a client's error. A URL may have a password in its query, which the log must not show.
func withoutURL(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// readAll reads at most a number of bytes, and fails if there are more.
func readAll(r io.Reader, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(text)) > most {
		err = fmt.Errorf("too long, expected at most %d bytes", most)
	}
	return text, err
}

// newClient is a client for one service. It follows no redirects, which could lead it anywhere, and expands nothing.
func newClient() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    maxQuestions,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    loadSpan,
			MaxResponseHeaderBytes: 16 << 10,
			ForceAttemptHTTP2:      true,
		},
	}
}

// isJSON reports whether an answer has that media type.
func isJSON(h http.Header) bool {
	essence, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && essence == "application/json"
}
