package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

const (
	// certificateInterval is the time between two readings of the files. Reading notices every way to replace them:
	// renames, links to another directory, a mounted volume.
	certificateInterval = time.Second
	// renewalSpan is how long before its end a self-signed certificate is replaced. It is short, because clients that
	// pinned the certificate must pin the next one.
	renewalSpan = 30 * 24 * time.Hour
)

// Config is where the certificate comes from: files, the server itself, a CA, or none, which is plain HTTP.
type Config struct {
	// Cert and Key are the PEM files of a certificate chain and its private key.
	Cert, Key string
	// Self makes the server sign its own certificate.
	Self bool
	// ACME orders certificates at a CA.
	ACME ACME
}

// A Keeper holds the certificate of HTTPS and replaces it while the server runs. New connections get the new
// certificate, the others go on.
type Keeper struct {
	cfg     Config
	hosts   []string // names and addresses of a self-signed certificate
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate] // sign and load write it; nil with an authority, or plain HTTP

	authority *authority // nil unless certificates come from a CA

	// Only check uses the fields below.
	files files
	bad   error            // why the files cannot be used, nil if they can
	told  bool             // bad is logged
	waits bool             // the certificate of the files is not valid now
	ended *tls.Certificate // the certificate whose end was logged
}

// files holds the content of both files, or the error of reading them.
type files struct {
	chain, key []byte
	err        error
}

func (f *files) equal(o *files) bool {
	return bytes.Equal(f.chain, o.chain) && bytes.Equal(f.key, o.key) && fmt.Sprint(f.err) == fmt.Sprint(o.err)
}

func readFiles(certFile, keyFile string) (f files) {
	var err error
	if f.chain, err = os.ReadFile(certFile); err != nil {
		return files{err: fmt.Errorf("tls-cert: %w", err)}
	}
	if f.key, err = os.ReadFile(keyFile); err != nil {
		return files{err: fmt.Errorf("tls-key: %w", err)}
	}
	return f
}

// New loads or makes the first certificate, if the configuration has one. hosts are the names and addresses of a
// self-signed certificate.
func New(cfg Config, hosts []string, log *slog.Logger, now time.Time) (*Keeper, error) {
	k := &Keeper{cfg: cfg, hosts: hosts, log: log}
	switch {
	case cfg.ACME.On:
		a, err := newAuthority(cfg.ACME, log)
		k.authority = a
		return k, err
	case cfg.Self:
		return k, k.sign(now)
	case cfg.Cert != "":
		k.files = readFiles(cfg.Cert, cfg.Key)
		if err := k.load(now); err != nil {
			return nil, err
		}
		k.warnOfEnd(now)
	}
	return k, nil
}

// ServerTLS returns the configuration for HTTPS, nil where plain HTTP is served.
func (k *Keeper) ServerTLS() *tls.Config {
	if k.authority != nil {
		return k.authority.serverTLS()
	}
	if k.current.Load() == nil {
		return nil
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
		MinVersion:     tls.VersionTLS12,
	}
}

// Challenges returns the handler of plain HTTP that answers the CA (RFC 8555 section 8.3). It is for an authority that
// has Config.ACME.HTTP.
func (k *Keeper) Challenges() http.Handler { return http.HandlerFunc(k.authority.challenges) }

// Watch replaces the certificate when the files change, at each reload, and before a self-signed certificate ends. It
// orders and renews those of a CA. It returns when ctx ends.
func (k *Keeper) Watch(ctx context.Context, reload <-chan os.Signal) {
	if k.authority != nil {
		k.authority.watch(ctx, reload)
		return
	}
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	if k.current.Load() == nil {
		ticker.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			k.check(time.Now(), false)
		case s := <-reload:
			before := k.current.Load()
			if before != nil {
				k.check(time.Now(), true)
			}
			k.log.Info("certificate reload requested", "reason", s.String(), "changed", k.current.Load() != before)
		}
	}
}

// check looks once at the files, or at the end of a self-signed certificate. It uses the wall clock, which goes on
// while the machine sleeps. Some machines start without the right time.
func (k *Keeper) check(now time.Time, asked bool) {
	if k.cfg.Self {
		leaf := k.current.Load().Leaf
		if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter.Add(-renewalSpan)) {
			k.bad = k.sign(now)
			k.told = k.told && k.bad != nil
		}
	} else {
		k.warnOfEnd(now)
		f := readFiles(k.cfg.Cert, k.cfg.Key)
		if changed := !f.equal(&k.files); changed || k.waits {
			k.files, k.told = f, k.told && !changed
			k.bad = k.load(now)
			if k.bad == nil {
				leaf := k.current.Load().Leaf
				k.log.Info("serving a new certificate", "file", k.cfg.Cert, "sha256", Fingerprint(leaf.Raw),
					"expires", leaf.NotAfter)
			} else if changed && !asked {
				return // tools write one file after the other: the next look will see both
			}
		}
	}
	if k.bad != nil && (asked || !k.told) {
		k.told = true
		k.log.Error("the certificate cannot be replaced, the old one stays", "error", k.bad)
	}
}

// warnOfEnd logs once that the current certificate has expired.
func (k *Keeper) warnOfEnd(now time.Time) {
	if c := k.current.Load(); c != k.ended && now.After(c.Leaf.NotAfter) {
		k.ended = c
		k.log.Warn("the certificate has expired", "file", k.cfg.Cert, "expired", c.Leaf.NotAfter)
	}
}

// sign makes a self-signed certificate the current one.
func (k *Keeper) sign(now time.Time) error {
	certificate, err := SelfSigned(k.hosts, now)
	if err != nil {
		return err
	}
	leaf := certificate.Leaf
	k.current.Store(&certificate)
	k.log.Info("made a self-signed certificate", "sha256", Fingerprint(leaf.Raw), "spki_sha256", Pin(leaf),
		"names", leaf.DNSNames, "addresses", leaf.IPAddresses, "expires", leaf.NotAfter)
	return nil
}

// timely reports whether a time is between a certificate's dates.
func timely(c *tls.Certificate, now time.Time) bool {
	return !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter)
}

// load makes the certificate of the files the current one. A certificate that is not valid now does not replace one
// that is.
func (k *Keeper) load(now time.Time) error {
	k.waits = false
	if k.files.err != nil {
		return k.files.err
	}
	certificate, err := tls.X509KeyPair(k.files.chain, k.files.key)
	if err != nil {
		return fmt.Errorf("tls-cert %s with tls-key %s: %w", k.cfg.Cert, k.cfg.Key, err)
	}
	if c := k.current.Load(); c != nil && timely(c, now) && !timely(&certificate, now) {
		k.waits = true
		return fmt.Errorf("tls-cert %s is valid from %v to %v, not now", k.cfg.Cert,
			certificate.Leaf.NotBefore, certificate.Leaf.NotAfter)
	}
	k.current.Store(&certificate)
	return nil
}
