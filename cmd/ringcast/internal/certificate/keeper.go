package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const (
	// certificateInterval is how often the files are read. Reading survives every way of replacing
	// them: renames, links to another directory, a mounted volume.
	certificateInterval = time.Second
	// renewalSpan is how long before its end a self-signed certificate is replaced. Clients that
	// pinned it must pin the next, so it is late.
	renewalSpan = 30 * 24 * time.Hour
)

// Config is where the certificate comes from: files, the server itself, or neither, which is plain HTTP.
type Config struct {
	// Cert and Key are the PEM files of a certificate chain and its private key.
	Cert, Key string
	// Self makes the server sign its own certificate.
	Self bool
}

// A Keeper holds the certificate that HTTPS is served with and replaces it while the server runs. New
// connections get the new one, the others go on.
type Keeper struct {
	cfg     Config
	hosts   []string // that a self-signed certificate is for
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate] // sign and take write it; nil where plain HTTP is served

	// Of check alone.
	files files
	bad   error            // why the files do not serve, nil if they do
	told  bool             // of bad
	waits bool             // the files are in order, but not at this time
	ended *tls.Certificate // the one whose end was logged
}

// files are the content of the two, or why they cannot be read.
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

// New loads or makes the first certificate, if the configuration has one. A self-signed certificate is for the hosts,
// which are names and addresses.
func New(cfg Config, hosts []string, log *slog.Logger, now time.Time) (*Keeper, error) {
	k := &Keeper{cfg: cfg, hosts: hosts, log: log}
	switch {
	case cfg.Self:
		return k, k.sign(now)
	case cfg.Cert != "":
		k.files = readFiles(cfg.Cert, cfg.Key)
		if err := k.take(now); err != nil {
			return nil, err
		}
		k.warnOfEnd(now)
	}
	return k, nil
}

// ServerTLS returns the configuration for HTTPS, nil where plain HTTP is served.
func (k *Keeper) ServerTLS() *tls.Config {
	if k.current.Load() == nil {
		return nil
	}
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.current.Load(), nil },
		MinVersion:     tls.VersionTLS12,
	}
}

// Watch replaces the certificate until ctx ends: when the files change, at each reload, and before a
// self-signed one ends.
func (k *Keeper) Watch(ctx context.Context, reload <-chan os.Signal) {
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
			k.log.Info("asked to reload the certificate", "reason", s.String(), "changed", k.current.Load() != before)
		}
	}
}

// check is one look at the files, or at the end of a self-signed certificate. The wall clock decides
// about that: it goes on while the machine sleeps, and some machines start without the right time.
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
			k.bad = k.take(now)
			if k.bad == nil {
				leaf := k.current.Load().Leaf
				k.log.Info("serving a new certificate", "file", k.cfg.Cert, "sha256", Fingerprint(leaf.Raw),
					"expires", leaf.NotAfter)
			} else if changed && !asked {
				return // tools write one file after the other: the next look finds whether this is all
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

// timely tells whether a certificate is valid at a time, as far as its dates go.
func timely(c *tls.Certificate, now time.Time) bool {
	return !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter)
}

// take makes the certificate of the files the current one. One that is not valid now replaces none that is.
func (k *Keeper) take(now time.Time) error {
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
