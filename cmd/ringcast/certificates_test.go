package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ringcast/cmd/ringcast/internal/certificate"
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
	return certificate.Fingerprint(r.TLS.PeerCertificates[0].Raw)
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
			c, err := tls.LoadX509KeyPair(certFile, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			want := certificate.Fingerprint(c.Leaf.Raw)
			in.stderr.entry(t, "serving a new certificate", "sha256", want)
			equal(t, "certificate", served(t, client, in.http), want)
		})
	}
	in.stop(t)
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
			in.stderr.entry(t, "certificate reload requested", "reason", syscall.SIGHUP.String())
			if err := p.Ping(ctx); err != nil {
				t.Errorf("the session after SIGHUP: %v", err)
			}
			in.stop(t)
		})
	}
}
