package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv/peer"
)

// served asks for the page and returns the fingerprint of the certificate.
func served(t *testing.T, client *http.Client, address string) string {
	t.Helper()
	r, err := client.Get("https://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	_, _ = io.Copy(io.Discard, r.Body)
	return fingerprint(r.TLS.PeerCertificates[0].Raw)
}

// trusting makes a client that takes any certificate; every request has its own connection.
func trusting(t *testing.T) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// place makes a link at path in one step, in place of any file there.
func place(t *testing.T, target, path string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, path+".new"), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// Each way in which tools replace files is seen, and the next connection gets the new certificate.
func TestCertificateIsRenewed(t *testing.T) {
	dir := t.TempDir()
	version := 0
	next := func() string { // a directory with another pair
		version++
		v := filepath.Join(dir, fmt.Sprint("v", version))
		if err := os.Mkdir(v, 0o700); err != nil {
			t.Fatal(err)
		}
		writeCertificate(t, v, time.Now())
		return v
	}
	live := filepath.Join(dir, "live")
	if err := os.Mkdir(live, 0o700); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := writeCertificate(t, live, time.Now())
	in := start(t, "--tls-cert", certFile, "--tls-key", keyFile)
	client := trusting(t)
	for _, way := range []struct {
		name    string
		replace func()
	}{
		{"written over", func() { writeCertificate(t, live, time.Now()) }},
		{"renamed", func() {
			v := next()
			for name, path := range map[string]string{"cert.pem": certFile, "key.pem": keyFile} {
				if err := os.Rename(filepath.Join(v, name), path); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"links as certbot's", func() {
			v := next()
			place(t, filepath.Join(v, "cert.pem"), certFile)
			place(t, filepath.Join(v, "key.pem"), keyFile)
		}},
		{"links as Kubernetes's", func() {
			place(t, next(), filepath.Join(live, "..data"))
			place(t, "..data/cert.pem", certFile)
			place(t, "..data/key.pem", keyFile)
		}},
		{"their directory's link", func() { place(t, next(), filepath.Join(live, "..data")) }},
	} {
		t.Run(way.name, func(t *testing.T) {
			way.replace()
			files := readFiles(certFile, keyFile)
			c, err := tls.X509KeyPair(files.chain, files.key)
			if err != nil {
				t.Fatal(err)
			}
			want := fingerprint(c.Leaf.Raw)
			in.stderr.entry(t, "serving a new certificate", "sha256", want)
			equal(t, "certificate", served(t, client, in.http), want)
		})
	}
	in.stop(t)
}

// A pair that does not serve leaves the old one in force. It is logged once, and not while it may be half
// written, but whenever an operator asks.
func TestBrokenCertificateKeepsTheOld(t *testing.T) {
	now := time.Now()
	certFile, keyFile := writeCertificate(t, t.TempDir(), now)
	otherCert, _ := writeCertificate(t, t.TempDir(), now)
	var text bytes.Buffer
	k, err := newKeeper(&Config{TLSCert: certFile, TLSKey: keyFile}, slog.New(slog.NewTextHandler(&text, nil)), now)
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
		k, err := newKeeper(&Config{TLSCert: certFile, TLSKey: keyFile}, slog.New(slog.NewTextHandler(&text, nil)), now)
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
	k, err := newKeeper(&Config{TLSSelf: true}, slog.New(slog.NewTextHandler(&text, nil)), now)
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
	k, err := newKeeper(&Config{TLSCert: certFile, TLSKey: keyFile}, slog.New(slog.NewTextHandler(&text, nil)), now)
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
		k, err := newKeeper(&Config{TLSSelf: true}, slog.New(slog.DiscardHandler), made)
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

// SIGHUP reads the files again, or has nothing to read, and sessions go on.
func TestHangup(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), time.Now())
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	for scheme, args := range map[string][]string{
		"https": {"--tls-cert", certFile, "--tls-key", keyFile},
		"http":  nil,
	} {
		t.Run(scheme, func(t *testing.T) {
			in := startProcess(t, args...)
			p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			local, _, err := p.Post(ctx, trusting(t), scheme+"://"+in.http+"/whip/x", string(offer))
			if err == nil {
				err = p.Connect(ctx, local)
			}
			if err != nil {
				t.Fatal(err)
			}
			in.signal(syscall.SIGHUP)
			in.stderr.entry(t, "asked to reload the certificate", "cause", syscall.SIGHUP.String())
			if err := p.Ping(ctx); err != nil {
				t.Errorf("the session after SIGHUP: %v", err)
			}
			in.stop(t)
		})
	}
}
