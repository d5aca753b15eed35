package certificate

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A pair that does not serve leaves the old one in force. It is logged once, and not while it may be half
// written, but whenever an operator asks.
func TestBrokenCertificateKeepsTheOld(t *testing.T) {
	now := time.Now()
	certFile, keyFile := writeCertificate(t, t.TempDir(), now)
	otherCert, _ := writeCertificate(t, t.TempDir(), now)
	var text bytes.Buffer
	k, err := New(Config{Cert: certFile, Key: keyFile}, nil, slog.New(slog.NewTextHandler(&text, nil)), now)
	if err != nil {
		t.Fatal(err)
	}
	good, first := k.files, k.current.Load()
	write := func(path string, content []byte) {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func(what string, asked bool, complaints int) {
		t.Helper()
		text.Reset()
		k.check(now, asked)
		if n := strings.Count(text.String(), "cannot be replaced"); n != complaints || k.current.Load() != first {
			t.Errorf("%s: got %d complaints, want %d; the old certificate stays: %t; log:\n%s",
				what, n, complaints, k.current.Load() == first, &text)
		}
	}
	look("nothing happened", false, 0)
	other, err := os.ReadFile(otherCert)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(){
		"another key's": func() { write(certFile, other) },
		"junk":          func() { write(keyFile, []byte("junk")) },
		"cut off":       func() { write(certFile, good.chain[:len(good.chain)/2]) },
		"empty":         func() { write(certFile, nil) },
		"gone":          func() { _ = os.Remove(keyFile) },
	} {
		spoil()
		look(name+", maybe half written", false, 0)
		look(name+", settled", false, 1)
		look(name+", for long", false, 0)
		look(name+", asked", true, 1)
		write(certFile, good.chain)
		write(keyFile, good.key)
		text.Reset()
		k.check(now, false)
		logged := strings.Contains(text.String(), "serving a new certificate")
		if c := k.current.Load(); c == first || !c.Leaf.Equal(first.Leaf) || !logged {
			t.Errorf("%s: not served after it was mended; log:\n%s", name, &text)
		}
		first = k.current.Load()
	}
	spoilt := func() { write(keyFile, []byte("junk")) }
	spoilt()
	look("asked at once", true, 1)
	look("after that", false, 0)
}

// A pair whose time is over, or has not come, does not replace one that is valid. It does once the time comes, or
// once the old one has ended too.
func TestUntimelyCertificateWaits(t *testing.T) {
	now := time.Now()
	const day = 24 * time.Hour
	for name, row := range map[string]struct {
		made, later time.Duration // from now
		replaces    bool          // later
	}{
		"expired":               {-2 * selfSignedSpan, day, false},
		"expired, and so it is": {-2 * selfSignedSpan, 2 * selfSignedSpan, true},
		"not valid yet":         {2 * day, day, false},
		"valid at last":         {2 * day, 3 * day, true},
	} {
		certFile, keyFile := writeCertificate(t, t.TempDir(), now)
		var text bytes.Buffer
		k, err := New(Config{Cert: certFile, Key: keyFile}, nil, slog.New(slog.NewTextHandler(&text, nil)), now)
		if err != nil {
			t.Fatal(err)
		}
		first := k.current.Load()
		writeCertificate(t, filepath.Dir(certFile), now.Add(row.made))
		for range 5 {
			k.check(now, false)
		}
		equal(t, name+": stays", k.current.Load() == first, true)
		equal(t, name+": complaints", strings.Count(text.String(), "cannot be replaced"), 1)
		text.Reset()
		for range 5 {
			k.check(now.Add(row.later), false)
		}
		equal(t, name+": replaced later", k.current.Load() != first, row.replaces)
		equal(t, name+": told later", strings.Count(text.String(), "serving a new certificate") == 1, row.replaces)
	}
}

// Each time that self-signed certificates begin to fail is logged once.
func TestFailedSigningIsLogged(t *testing.T) {
	now := time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC)
	beyond := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) // no certificate can hold the end's year
	var text bytes.Buffer
	k, err := New(Config{Self: true}, nil, slog.New(slog.NewTextHandler(&text, nil)), now)
	if err != nil {
		t.Fatal(err)
	}
	for times := 1; times <= 2; times++ {
		for range 3 {
			k.check(beyond, false)
		}
		equal(t, "complaints", strings.Count(text.String(), "cannot be replaced"), times)
		now = now.Add(selfSignedSpan)
		k.check(now, false)
	}
}

func TestEndOfCertificateIsReported(t *testing.T) {
	now := time.Now()
	certFile, keyFile := writeCertificate(t, t.TempDir(), now)
	var text bytes.Buffer
	k, err := New(Config{Cert: certFile, Key: keyFile}, nil, slog.New(slog.NewTextHandler(&text, nil)), now)
	if err != nil {
		t.Fatal(err)
	}
	end := k.current.Load().Leaf.NotAfter
	for i, want := range []int{0, 1, 1} {
		k.check(end.Add(time.Duration(i)*time.Second), false)
		equal(t, fmt.Sprintf("warnings %d s after the end", i), strings.Count(text.String(), "has expired"), want)
	}
}

// A self-signed certificate is replaced before it ends, and where the clock was wrong when it was made.
func TestSelfSignedIsRenewed(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, row := range map[string]struct {
		now     time.Time
		renewed bool
	}{
		"a day later":              {made.Add(day), false},
		"31 days before its end":   {made.Add(selfSignedSpan - 31*day), false},
		"29 days before its end":   {made.Add(selfSignedSpan - 29*day), true},
		"after its end":            {made.Add(2 * selfSignedSpan), true},
		"the clock was ahead":      {made.Add(-day), true},
		"the clock began in 1970":  {made.AddDate(56, 0, 0), true},
		"within the clients' skew": {made.Add(-clockSkew / 2), false},
	} {
		k, err := New(Config{Self: true}, nil, slog.New(slog.DiscardHandler), made)
		if err != nil {
			t.Fatal(err)
		}
		first := k.current.Load()
		k.check(row.now, false)
		got := k.current.Load()
		equal(t, name+": renewed", got != first, row.renewed)
		if leaf := got.Leaf; row.now.Before(leaf.NotBefore) || row.now.After(leaf.NotAfter.Add(-renewalSpan)) {
			t.Errorf("%s: at %v the certificate lasts from %v to %v", name, row.now, leaf.NotBefore, leaf.NotAfter)
		}
		k.check(row.now, true)
		equal(t, name+": stays after that", k.current.Load() == got, true)
	}
}

// writeCertificate leaves cert.pem and key.pem in dir.
func writeCertificate(t *testing.T, dir string, now time.Time) (certFile, keyFile string) {
	t.Helper()
	c, err := SelfSigned(nil, now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	err = errors.Join(
		os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600),
		os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}
