package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	selfSignedSpan = 365 * 24 * time.Hour
	// clockSkew is how far a client's clock may be behind.
	clockSkew = time.Hour
)

// selfSigned makes a certificate for every name and address that this host may be called by.
func selfSigned(cfg *Config, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls self: make a key: %w", err)
	}
	names, addresses := identities(cfg)
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "ringcast"},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(-clockSkew + selfSignedSpan),
		DNSNames:              names,
		IPAddresses:           addresses,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls self: make a certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls self: read the certificate back: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// hostname keeps names out that no certificate can hold.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// identities are the names and addresses of this host. What cannot be found out is left out: a
// certificate without it still serves localhost.
func identities(cfg *Config) (names []string, addresses []net.IP) {
	addName := func(name string) {
		if hostname.MatchString(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	addAddress := func(ip net.IP) {
		if ip != nil && !ip.IsUnspecified() && !slices.ContainsFunc(addresses, ip.Equal) {
			addresses = append(addresses, ip)
		}
	}
	addName("localhost")
	addAddress(net.IPv4(127, 0, 0, 1))
	addAddress(net.IPv6loopback)
	if host, err := os.Hostname(); err == nil {
		addName(host)
	}
	if host, _, err := net.SplitHostPort(cfg.HTTP); err == nil {
		if ip := net.ParseIP(host); ip != nil {
			addAddress(ip)
		} else {
			addName(host)
		}
	}
	for _, name := range cfg.PublicNames {
		addName(strings.TrimSuffix(name, "."))
	}
	for _, ip := range cfg.PublicIPs {
		addAddress(ip.AsSlice())
	}
	if all, err := net.InterfaceAddrs(); err == nil {
		for _, a := range all {
			if a, ok := a.(*net.IPNet); ok {
				addAddress(a.IP)
			}
		}
	}
	return names, addresses
}

// fingerprint is a certificate's hash as browsers, openssl and SDP show it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// pin is the hash of a certificate's public key as curl --pinnedpubkey takes it after "sha256//".
func pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
