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

// TestOpenSSL makes handshakes with openssl's own client and server over loopback UDP, compares the
// exported keys, and lets each side end the session.
func TestOpenSSL(t *testing.T) {
	testenv.Need(t, testenv.OpenSSL)
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	const gcm, sha = "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"
	for _, c := range []struct {
		name    string
		server  bool // openssl is the server
		rsa     bool
		offered string
		want    srtp.Profile
		args    []string
	}{
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
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
			if err != nil {
				t.Fatal(err)
			}
			certFile, keyFile, fingerprints := opensslPeer(t, c.rsa)
			args := []string{
				"s_client", "-connect", conn.LocalAddr().String(), "-cert", certFile, "-key", keyFile,
				"-use_srtp", c.offered, "-keymatexport", "EXTRACTOR-dtls_srtp", "-dtls1_2",
			}
			if c.server {
				args = slices.Replace(args, 0, 3, "s_server", "-4", "-accept", "0", "-naccept", "1", "-verify", "1")
			}
			keyLen, saltLen := c.want.KeyLen(), c.want.SaltLen()
			args = append(args, "-keymatexportlen", fmt.Sprint(2*(keyLen+saltLen)))
			command := exec.CommandContext(ctx, openssl, append(args, c.args...)...)
			stdin, err := command.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			output, err := command.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			command.Stderr = command.Stdout
			if err := command.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(output)
			find := func(pattern string) string {
				t.Helper()
				expression := regexp.MustCompile(pattern)
				for lines.Scan() {
					t.Log(lines.Text())
					if found := expression.FindStringSubmatch(lines.Text()); found != nil {
						return found[1]
					}
				}
				t.Fatalf("openssl says nothing of %s", pattern)
				return ""
			}

			peers := make(chan netip.AddrPort, 1)
			var remote netip.AddrPort
			if c.server {
				port := find(`ACCEPT .*:(\d+)`)
				remote = netip.MustParseAddrPort("127.0.0.1:" + port)
				peers <- remote
			}
			events := make(chan Event, 10)
			e, err := New(Config{}, func(ev Event) {
				if ev.Kind != Send {
					events <- ev
					return
				}
				to := <-peers
				_, _ = conn.WriteToUDPAddrPort(ev.Datagram, to)
				peers <- to
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Start(Params{ID: 1, Client: c.server, Fingerprints: fingerprints}); err != nil {
				t.Fatal(err)
			}
			received := make(chan struct{})
			go func() {
				defer close(received)
				first := !c.server
				for {
					buffer := make([]byte, 2000)
					n, from, err := conn.ReadFromUDPAddrPort(buffer)
					if err != nil {
						return
					}
					if first {
						peers <- from
						first = false
					}
					e.Receive(1, buffer[:n])
				}
			}()
			defer func() {
				_ = e.Shutdown(ctx)
				_ = conn.Close()
				<-received
				_ = stdin.Close()
				cancel()
				_, _ = io.Copy(io.Discard, output)
				_ = command.Wait()
			}()

			await := func() Event {
				t.Helper()
				select {
				case ev := <-events:
					return ev
				case <-ctx.Done():
					t.Fatal("nothing happens")
				}
				return Event{}
			}
			keyed := await()
			if keyed.Kind != Keyed || keyed.Keys.Profile != c.want {
				t.Fatalf("%v: %v, %+v", keyed.Kind, keyed.Err, keyed.Keys)
			}
			k := keyed.Keys
			ours := slices.Concat(k.RemoteKey, k.LocalKey, k.RemoteSalt, k.LocalSalt)
			if c.server {
				ours = slices.Concat(k.LocalKey, k.RemoteKey, k.LocalSalt, k.RemoteSalt)
			}
			if theirs, _ := hex.DecodeString(find(`Keying material: ([0-9A-F]+)`)); !slices.Equal(ours, theirs) {
				t.Errorf("keys differ:\n%x\n%x", ours, theirs)
			}
			if c.server || c.name == "client" {
				// Our good-bye: openssl says so when it takes the record.
				to := <-peers
				peers <- to
				if _, err := conn.WriteToUDPAddrPort(e.Close(1), to); err != nil {
					t.Fatal(err)
				}
				find(`(CONNECTION CLOSED|closed|DONE|shutting down)`)
				return
			}
			_ = stdin.Close() // theirs
			if ended := await(); ended.Kind != Closed {
				t.Errorf("%v: %v", ended.Kind, ended.Err)
			}
		})
	}
}
