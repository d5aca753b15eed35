package certificate

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
	// clockSkew is how slow a client's clock may be.
	clockSkew = time.Hour
)

// SelfSigned makes a certificate for the given names and addresses, and those that this machine has.
func SelfSigned(hosts []string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls self: make a key: %w", err)
	}
	names, addresses := identities(hosts)
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

// ValidName reports whether a certificate can hold a name.
func ValidName(s string) bool { return hostname.MatchString(s) }

var hostname = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// identities lists the given names and addresses, and those that this machine has. Names and addresses that cannot be
// found are missing: a certificate without them still serves localhost.
func identities(hosts []string) (names []string, addresses []net.IP) {
	addName := func(name string) {
		if name = strings.TrimSuffix(name, "."); ValidName(name) && !slices.Contains(names, name) {
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
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			addAddress(ip)
		} else {
			addName(host)
		}
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

// Fingerprint returns a certificate's hash as browsers, openssl and SDP show it.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// Pin returns the hash of a certificate's public key as curl --pinnedpubkey takes it after "sha256//".
func Pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}
