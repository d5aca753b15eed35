package certificate

import (
	"bytes"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSelfSigned(t *testing.T) {
	now := time.Now()
	sign := func(hosts ...string) *x509.Certificate {
		c, err := SelfSigned(hosts, now)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	a := sign("media.example.org", "2001:db8::1")
	if err := errors.Join(a.VerifyHostname("media.example.org"), a.VerifyHostname("[2001:db8::1]")); err != nil {
		t.Error(err)
	}
	if d := a.NotAfter.Sub(a.NotBefore); d > 365*24*time.Hour || !a.NotBefore.Before(now) ||
		a.NotAfter.Before(now.AddDate(0, 11, 0)) {
		t.Errorf("valid from %v to %v", a.NotBefore, a.NotAfter)
	}
	b := sign("0.0.0.0", "")
	if a.PublicKeyAlgorithm != x509.ECDSA || bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo) ||
		a.SerialNumber.Cmp(b.SerialNumber) == 0 {
		t.Error("two certificates share key or number")
	}
	if slices.ContainsFunc(b.IPAddresses, net.IP.IsUnspecified) {
		t.Error("0.0.0.0 is nobody's address")
	}
	c := sign("bücher.example")
	if slices.ContainsFunc(c.DNSNames, func(n string) bool {
		return strings.HasPrefix(n, "b") && strings.HasSuffix(n,
			".example")
	}) {
		t.Error("a name that no certificate can hold")
	}
}
