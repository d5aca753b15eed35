package dtls

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/srtp"
	"ringcast/testenv"
)

// opensslPeer writes a key and a certificate for openssl and returns their files and fingerprint.
func opensslPeer(t *testing.T, useRSA bool) (certFile, keyFile string, fingerprints []api.Fingerprint) {
	t.Helper()
	var key, public any
	if useRSA {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, k.Public()
	} else {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, public = k, k.Public()
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, []api.Fingerprint{{Algorithm: "sha-256", Value: fingerprintOf(der)}}
}

// An opensslCase is a handshake with openssl's own client or server.
type opensslCase struct {
	name    string
	server  bool // openssl is the server
	rsa     bool
	offered string
	want    srtp.Profile
	args    []string
}

// TestOpenSSL makes handshakes with openssl over loopback UDP, compares the exported keys, and lets each side end the
// session.
func TestOpenSSL(t *testing.T) {
	testenv.Need(t, testenv.OpenSSL)
	const gcm, sha = "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"
	for _, c := range []opensslCase{
		{name: "client", offered: sha + ":" + gcm, want: srtp.AEADAES128GCM},
		{name: "client with SHA-1 only", offered: sha, want: srtp.AES128CMSHA180},
		{name: "client with RSA", rsa: true, offered: gcm, want: srtp.AEADAES128GCM},
		{
			name: "client with P-256 and a small MTU", offered: gcm, want: srtp.AEADAES128GCM,
			args: []string{"-groups", "P-256", "-mtu", "256"},
		},
		{name: "server", server: true, offered: sha, want: srtp.AES128CMSHA180},
		{name: "server with RSA", server: true, rsa: true, offered: gcm, want: srtp.AEADAES128GCM},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t)
		})
	}
}

func (c *opensslCase) run(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile, fingerprints := opensslPeer(t, c.rsa)
	peer := startOpenSSL(ctx, t, c.arguments(conn.LocalAddr().String(), certFile, keyFile))
	e := newSocketEndpoint(t, conn)
	if c.server {
		e.peers <- netip.MustParseAddrPort("127.0.0.1:" + peer.find(t, `ACCEPT .*:(\d+)`))
	}
	if err := e.Start(Params{ID: 1, Client: c.server, Fingerprints: fingerprints}); err != nil {
		t.Fatal(err)
	}
	go e.receive(c.server)
	defer func() {
		_ = e.Shutdown(ctx)
		_ = conn.Close()
		<-e.received
		cancel()
		peer.stop()
	}()

	keyed := e.await(ctx, t)
	if keyed.Kind != Keyed || keyed.Keys.Profile != c.want {
		t.Fatalf("got %v: %v, %+v, want keys of profile %v", keyed.Kind, keyed.Err, keyed.Keys, c.want)
	}
	k := keyed.Keys
	ours := slices.Concat(k.RemoteKey, k.LocalKey, k.RemoteSalt, k.LocalSalt)
	if c.server {
		ours = slices.Concat(k.LocalKey, k.RemoteKey, k.LocalSalt, k.RemoteSalt)
	}
	if theirs, _ := hex.DecodeString(peer.find(t, `Keying material: ([0-9A-F]+)`)); !slices.Equal(ours, theirs) {
		t.Errorf("keys differ:\n%x\n%x", ours, theirs)
	}
	if c.server || c.name == "client" {
		// openssl prints it when it takes the record of our good-bye.
		to := <-e.peers
		e.peers <- to
		if _, err := conn.WriteToUDPAddrPort(e.Close(1), to); err != nil {
			t.Fatal(err)
		}
		peer.find(t, `(CONNECTION CLOSED|closed|DONE|shutting down)`)
		return
	}
	_ = peer.stdin.Close() // makes openssl say good-bye
	if ended := e.await(ctx, t); ended.Kind != Closed {
		t.Errorf("got %v: %v, want %v", ended.Kind, ended.Err, Closed)
	}
}

// arguments are openssl's.
func (c *opensslCase) arguments(local, certFile, keyFile string) []string {
	args := []string{
		"s_client", "-connect", local, "-cert", certFile, "-key", keyFile,
		"-use_srtp", c.offered, "-keymatexport", "EXTRACTOR-dtls_srtp", "-dtls1_2",
	}
	if c.server {
		args = slices.Replace(args, 0, 3, "s_server", "-4", "-accept", "0", "-naccept", "1", "-verify", "1")
	}
	args = append(args, "-keymatexportlen", fmt.Sprint(2*(c.want.KeyLen()+c.want.SaltLen())))
	return append(args, c.args...)
}

// An opensslProcess is a running openssl, of which a test reads the lines.
type opensslProcess struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	output  io.Reader
	lines   *bufio.Scanner
}

func startOpenSSL(ctx context.Context, t *testing.T, args []string) *opensslProcess {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	p := &opensslProcess{command: exec.CommandContext(ctx, openssl, args...)}
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if p.output, err = p.command.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	p.command.Stderr = p.command.Stdout
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(p.output)
	return p
}

// find reads lines until one matches, and returns the pattern's first group.
func (p *opensslProcess) find(t *testing.T, pattern string) string {
	t.Helper()
	expression := regexp.MustCompile(pattern)
	for p.lines.Scan() {
		t.Log(p.lines.Text())
		if found := expression.FindStringSubmatch(p.lines.Text()); found != nil {
			return found[1]
		}
	}
	t.Fatalf("openssl printed no line that matches %s", pattern)
	return ""
}

// stop ends a process whose context is cancelled.
func (p *opensslProcess) stop() {
	_ = p.stdin.Close()
	_, _ = io.Copy(io.Discard, p.output)
	_ = p.command.Wait()
}

// A socketEndpoint is an Endpoint with one peer over UDP.
type socketEndpoint struct {
	*Endpoint
	conn     *net.UDPConn
	peers    chan netip.AddrPort // holds the peer's address once it is known
	events   chan Event
	received chan struct{} // closed when receive ends
}

func newSocketEndpoint(t *testing.T, conn *net.UDPConn) *socketEndpoint {
	t.Helper()
	s := &socketEndpoint{
		conn: conn, peers: make(chan netip.AddrPort, 1), events: make(chan Event, 10), received: make(chan struct{}),
	}
	e, err := New(DefaultConfig(), func(ev Event) {
		if ev.Kind != Send {
			s.events <- ev
			return
		}
		to := <-s.peers
		_, _ = conn.WriteToUDPAddrPort(ev.Datagram, to)
		s.peers <- to
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Endpoint = e
	return s
}

// receive hands in datagrams until the socket is closed. The first one shows where the peer is, unless it is known.
func (s *socketEndpoint) receive(known bool) {
	defer close(s.received)
	for {
		buffer := make([]byte, 2000)
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		if !known {
			s.peers <- from
			known = true
		}
		s.Receive(1, buffer[:n])
	}
}

func (s *socketEndpoint) await(ctx context.Context, t *testing.T) Event {
	t.Helper()
	select {
	case ev := <-s.events:
		return ev
	case <-ctx.Done():
		t.Fatal("got no event, want one")
	}
	return Event{}
}
