package dtls

import (
	"crypto/rand"
	"crypto/x509"
	"testing"
	"time"
)

// The certificate needs no renewal and no clock: a machine may start in its epoch, and run for decades.
func TestCertificateDoesNotEnd(t *testing.T) {
	c, err := newCertificate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	never := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280 section 4.1.2.5
	if !leaf.NotBefore.Equal(validFrom) || !leaf.NotAfter.Equal(never) {
		t.Errorf("valid from %v to %v, want %v to %v", leaf.NotBefore, leaf.NotAfter, validFrom, never)
	}
}
