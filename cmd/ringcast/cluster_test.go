package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/signaling/cluster/secret"
	"ringcast/testenv"
)

// nodeCertificate makes a CA and a certificate for loopback. It returns the names of their files, with the key's.
func nodeCertificate(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		if err := os.WriteFile(path, block, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, private.Public(), private)
	ca = write("ca.pem", "CERTIFICATE", der, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, root, private.Public(), private)
	cert = write("node.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalECPrivateKey(private)
	return ca, cert, write("node-key.pem", "EC PRIVATE KEY", der, err)
}

// freePorts returns addresses of loopback that nothing uses now, no two of them the same.
func freePorts(t *testing.T, n int) (all []string) {
	t.Helper()
	for range n {
		address, err := testenv.FreePort("tcp", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, address)
	}
	return all
}

// Two nodes find each other by URLs from settings, and by NATS servers inside of them.
func TestCluster(t *testing.T) {
	for name, find := range map[string]func(other, nats, otherNATS string) []string{
		"static": func(other, _, _ string) []string { return []string{"--peers", "https://" + other} },
		"NATS": func(_, nats, otherNATS string) []string {
			return []string{"--cluster-nats", nats, "--cluster-routes", otherNATS}
		},
	} {
		t.Run(name, func(t *testing.T) { testCluster(t, find) })
	}
}

// testCluster checks that a node's listener is for nodes alone, and that a node with many sessions sends publishers to
// the other.
func testCluster(t *testing.T, find func(other, nats, otherNATS string) []string) {
	ca, cert, key := nodeCertificate(t)
	ports := freePorts(t, 8) // each node knows the other's, and none may be taken meanwhile
	nodes, public, admin, nats := ports[:2], ports[2:4], ports[4:6], ports[6:]
	var in [2]*instance
	for i := range in {
		in[i] = startProcessWith(t, []string{"RINGCAST_CLUSTER_SECRET=" + strings.Repeat("s3cret", 8)}, append(
			find(nodes[1-i], nats[i], nats[1-i]), "--http", public[i], "--admin", admin[i],
			"--public-url", "http://"+public[i], "--cluster-http", nodes[i],
			"--node-url", "https://"+nodes[i], "--redirect-at", "1",
			"--cluster-tls-ca", ca, "--cluster-tls-cert", cert, "--cluster-tls-key", key)...)
	}
	checkStrangers(t, nodes[0], cert, key)

	client := trusting(t)
	offer := func(address, path string) *http.Response {
		t.Helper()
		name := "chromium-offer-sendonly.sdp"
		if strings.HasPrefix(path, "/whep") {
			name = "chromium-offer-recvonly.sdp"
		}
		text, err := os.ReadFile("../../signaling/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Post("http://"+address+path, "application/sdp", strings.NewReader(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer
	}
	first := offer(public[0], "/whip/first")
	if first.StatusCode != http.StatusCreated || first.Request.URL.Host != public[0] {
		t.Fatalf("first offer: got %s of %s, want 201 of the first node", first.Status, first.Request.URL.Host)
	}
	// The first node learns from the other's beat that it has room.
	end := time.Now().Add(patience)
	for offer(public[0], "/whep/nobodys").Request.URL.Host != public[1] {
		if time.Now().After(end) {
			t.Fatalf("no offer is redirected; log:\n%s", in[0].stderr)
		}
	}
	second := offer(public[0], "/whip/second0")
	for i := 1; second.Request.URL.Host != public[1] && time.Now().Before(end); i++ { // the next beat was late
		second = offer(public[0], fmt.Sprint("/whip/second", i))
	}
	location, host := second.Header.Get("Location"), second.Request.URL.Host
	if second.StatusCode != http.StatusCreated || host != public[1] || strings.Contains(location, "rt=") {
		t.Errorf("second offer: got %s of %s, Location %s, want 201 of the other node", second.Status, host, location)
	}
	for _, one := range in {
		one.stop(t)
		if log := one.stderr.String(); strings.Contains(log, "rt=") || strings.Contains(log, "s3cret") {
			t.Errorf("the log has a secret:\n%s", log)
		}
	}
}

// checkStrangers expects that a client without a certificate gets no connection, and one without a token no answer.
func checkStrangers(t *testing.T, address, cert, key string) {
	t.Helper()
	if answer, err := trusting(t).Get("https://" + address + "/whep/x"); err == nil {
		answer.Body.Close()
		t.Errorf("without a certificate: got %s, want no connection", answer.Status)
	}
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client := trusting(t)
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{own}
	for _, path := range []string{"/whep/x", "/whip/x", "/directory/where", "/directory/news", "/streams", "/"} {
		answer, err := client.Post("https://"+address+path, "application/sdp", strings.NewReader("v=0"))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusUnauthorized || answer.Header.Get(secret.IDHeader) == "" {
			t.Errorf("%s without a token: got %s, %v, want 401 and the node's id", path, answer.Status, answer.Header)
		}
	}
}
