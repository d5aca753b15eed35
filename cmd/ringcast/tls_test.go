package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringcast/cmd/ringcast/internal/certificate"
)

// A client that knows nothing but the fingerprint from the log accepts the server, and no other.
func TestSelfSignedIsServed(t *testing.T) {
	in := start(t, "--tls", "self", "--public-ip", "192.0.2.7")
	entry := in.stderr.entry(t, "made a self-signed certificate")
	var leaf *x509.Certificate
	fetch := func(scheme, trusted string) error {
		transport := &http.Transport{DisableKeepAlives: true, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, // the test verifies the fingerprint
			VerifyConnection: func(s tls.ConnectionState) error {
				leaf = s.PeerCertificates[0]
				if certificate.Fingerprint(leaf.Raw) != trusted {
					return errors.New("another certificate")
				}
				return nil
			},
		}}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport, Timeout: patience}
		r, err := client.Get(scheme + "://" + in.http + "/")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	}
	trusted, _ := entry["sha256"].(string)
	if err := fetch("https", trusted); err != nil {
		t.Error(err)
	}
	if certificate.Pin(leaf) != entry["spki_sha256"] {
		t.Error("the logged pin is another key's")
	}
	if err := fetch("https", strings.Repeat("00:", 31)+"00"); err == nil {
		t.Error("any fingerprint does")
	}
	if err := fetch("http", trusted); err == nil {
		t.Error("plain HTTP is served on the same port")
	}
	if status, _ := get(t, "http://"+in.admin+"/readyz"); status != http.StatusOK {
		t.Errorf("admin: %d", status)
	}
	in.stop(t)

	// It also passes as a root, for every name of this host.
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	names := []string{"localhost", "127.0.0.1", "[::1]", "192.0.2.7"}
	if host, err := os.Hostname(); err == nil && certificate.ValidName(host) {
		names = append(names, host)
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		names = append(names, "["+a.(*net.IPNet).IP.String()+"]")
	}
	for _, name := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// writeCertificate leaves cert.pem and key.pem in dir.
func writeCertificate(t *testing.T, dir string, now time.Time) (certFile, keyFile string) {
	t.Helper()
	c, err := certificate.SelfSigned(nil, now)
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

func TestCertificateFiles(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), time.Now())
	in := start(t, "--tls-cert", certFile, "--tls-key", keyFile)
	content, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(content)
	c, err := tls.Dial("tcp", in.http, &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := tls.Dial("tcp", in.http, &tls.Config{
		RootCAs: roots, MaxVersion: tls.VersionTLS11,
		MinVersion: tls.VersionTLS10,
	}); err == nil {
		t.Error("TLS 1.1 is served")
	}
	in.stop(t)
}

func TestExpiredCertificateIsReported(t *testing.T) {
	certFile, keyFile := writeCertificate(t, t.TempDir(), time.Now().AddDate(-2, 0, 0))
	in := start(t, "--tls-cert", certFile, "--tls-key", keyFile)
	in.stderr.entry(t, "the certificate has expired", "level", "WARN", "file", certFile)
	in.stop(t)
}

func TestBadCertificates(t *testing.T) {
	dir := t.TempDir()
	certFile, _ := writeCertificate(t, dir, time.Now())
	_, otherKey := writeCertificate(t, t.TempDir(), time.Now())
	junk := filepath.Join(dir, "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.pem")
	for _, row := range []struct{ cert, key, want string }{
		{missing, otherKey, fmt.Sprintf("tls-cert: open %s: %v", missing, syscall.ENOENT)},
		{certFile, missing, fmt.Sprintf("tls-key: open %s: %v", missing, syscall.ENOENT)},
		{junk, otherKey, fmt.Sprintf("tls-cert %s with tls-key %s: tls: failed to find any PEM data in certificate "+
			"input", junk, otherKey)},
		{certFile, junk, fmt.Sprintf("tls-cert %s with tls-key %s: tls: failed to find any PEM data in key input",
			certFile, junk)},
		{certFile, otherKey, fmt.Sprintf("tls-cert %s with tls-key %s: tls: private key does not match public key",
			certFile, otherKey)},
	} {
		refused(t, row.want, "--tls-cert", row.cert, "--tls-key", row.key)
	}
}
