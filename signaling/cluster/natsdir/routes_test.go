//go:build !nocluster

package natsdir

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"ringcast/signaling/cluster/secret"
)

// lines is a log handler that hands on each record as text.
type lines chan string

func (l lines) Enabled(context.Context, slog.Level) bool { return true }
func (l lines) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l lines) WithGroup(string) slog.Handler            { return l }

func (l lines) Handle(_ context.Context, r slog.Record) error {
	text := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	select {
	case l <- text:
	default: // nobody waits for more
	}
	return nil
}

// wait returns the first line that has all words.
func (l lines) wait(t *testing.T, words ...string) string {
	t.Helper()
	var got []string
	deadline := time.After(limit)
	for {
		select {
		case line := <-l:
			got = append(got, line)
			found := true
			for _, word := range words {
				found = found && strings.Contains(line, word)
			}
			if found {
				return line
			}
		case <-deadline:
			t.Fatalf("got the log\n%s\nwant a line with %q", strings.Join(got, "\n"), words)
		}
	}
}

func withLog(log lines) func(*Config) {
	return func(c *Config) { c.Log = slog.New(log) }
}

// A route without the login of a secret is refused, and named in the log, whose address is not a node.
func TestRoutesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		login secret.Login
	}{
		{"wrong user", secret.Login{User: "stranger", Password: ours.Password}},
		{"wrong password", secret.Login{User: ours.User, Password: ours.Password + "x"}},
		{"shorter password", secret.Login{User: ours.User, Password: ours.Password[1:]}},
		{"no password", secret.Login{User: ours.User}},
		{"nothing", secret.Login{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := make(lines, 1000)
			node, h := embeddedNode(t, 0, withLog(log))
			stranger := &Config{Node: id(1), Routes: &Routes{
				Listen: "127.0.0.1:0", Peers: []string{node.Address()}, Logins: []secret.Login{test.login},
			}}
			options := stranger.server(nil)
			options.CustomRouterAuthentication = nil
			s, err := server.NewServer(options)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { s.Shutdown(); s.WaitForShutdown() }()
			s.Start()
			line := log.wait(t, "WARN", "a route of NATS was refused", "wrong user or password")
			if strings.Contains(line, ours.Password) {
				t.Errorf("got the line %q, want no password in it", line)
			}
			if got := node.server.server.NumRoutes(); got != 0 {
				t.Errorf("got %d routes, want none", got)
			}
			if got := h.count("up " + string(id(1))); got != 0 {
				t.Errorf("got %d times up, want none", got)
			}
		})
	}
}

// A stranger that only connects, or that speaks before its login, is sent away.
func TestStrangersAtTheRoutes(t *testing.T) {
	node, _ := embeddedNode(t, 0, nil)
	t.Cleanup(func() { // all strangers are gone
		if got := node.server.server.NumRoutes(); got != 0 {
			t.Errorf("got %d routes, want none", got)
		}
	})
	for name, text := range map[string]string{
		"silent":      "",
		"garbage":     "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"no login":    "INFO {\"server_id\":\"x\",\"cluster\":\"ringcast\"}\r\nRS+ $G rc1.beat\r\n",
		"publication": "RMSG $G rc1.beat 4\r\nbeat\r\n",
		"client":      `CONNECT {"lang":"go","user":"` + ours.User + `","pass":"` + ours.Password + "\"}\r\n",
		"long line":   "CONNECT {\"user\":\"" + strings.Repeat("x", 1<<20) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", node.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(limit))
			_, _ = conn.Write([]byte(text)) // the node may close meanwhile
			_, err = io.Copy(io.Discard, conn)
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Errorf("got a connection that is open after %v, want it closed", limit)
			}
		})
	}
}

// While the secret changes, nodes with the old and the new one find each other.
func TestSecretChanges(t *testing.T) {
	next := secret.Login{User: "next", Password: "of-the-next-secret"}
	logins := func(all ...secret.Login) func(*Config) { return func(c *Config) { c.Routes.Logins = all } }
	first, h := embeddedNode(t, 0, logins(ours, next))
	_, second := embeddedNode(t, 1, logins(next, ours), first.Address())
	h.wait("up node1")
	second.wait("up node0")
}

// The local listener lets nobody in without the random password.
func TestLocalStranger(t *testing.T) {
	node, _ := embeddedNode(t, 0, nil)
	address := node.server.server.Addr().String()
	if host, _, _ := net.SplitHostPort(address); host != "127.0.0.1" {
		t.Errorf("got a listener at %s, want one on 127.0.0.1", address)
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	_, _ = conn.Write([]byte("CONNECT {\"verbose\":false}\r\nSUB rc1.> 1\r\nPING\r\n"))
	text, _ := io.ReadAll(conn)
	if !strings.Contains(string(text), "Authorization Violation") || strings.Contains(string(text), "PONG") {
		t.Errorf("got %q, want an authorization violation", text)
	}
}

// The 33rd node is refused, with the reason.
func TestTooManyNodes(t *testing.T) {
	log := make(lines, 10)
	auth := &routeAuth{logins: []secret.Login{ours}, log: slog.New(log), metrics: NewMetrics()}
	for _, test := range []struct {
		routes int
		want   bool
	}{{0, true}, {maxNodes - 2, true}, {maxNodes - 1, false}} {
		auth.routes = func() int { return test.routes }
		if got := auth.Check(visitor{}); got != test.want {
			t.Errorf("with %d routes: got %t, want %t", test.routes, got, test.want)
		}
	}
	log.wait(t, "at most 32 nodes", "--cluster-url")
}

// visitor is a route with our login.
type visitor struct{ server.ClientAuthentication }

func (visitor) GetOpts() *server.ClientOpts {
	return &server.ClientOpts{Username: ours.User, Password: ours.Password}
}
func (visitor) RemoteAddress() net.Addr { return &net.TCPAddr{} }

// authority makes certificates for 127.0.0.1.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, key, cert}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// config is that of a node with a certificate of this authority, which trusts others of trusted.
func (a *authority) config(trusted *authority) *tls.Config {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: a.key}},
		RootCAs:      trusted.pool(), ClientCAs: trusted.pool(), ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13,
	}
}

// Routes over TLS connect nodes of one authority, also those that learn of each other from a third.
func TestRoutesOverTLS(t *testing.T) {
	ca := newAuthority(t)
	secure := func(c *Config) { c.Routes.TLS = ca.config(ca) }
	first, h := embeddedNode(t, 0, secure)
	_, second := embeddedNode(t, 1, secure, first.Address())
	_, third := embeddedNode(t, 2, secure, first.Address())
	h.wait("up node1", "up node2")
	second.wait("up node0", "up node2")
	third.wait("up node0", "up node1")
}

// A node of another authority is refused, though it has the password. A node does not send its password to a listener
// that another authority vouches for.
func TestForeignCertificates(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	for _, test := range []struct {
		name  string
		first *tls.Config
		other *tls.Config
	}{
		{"the dialling side", ca.config(ca), foreign.config(ca)},
		{"the listening side", foreign.config(ca), ca.config(ca)},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := make(lines, 1000)
			both := func(c *Config) { c.Routes.TLS = test.first; c.Log = slog.New(log) }
			first, h := embeddedNode(t, 0, both)
			embeddedNode(t, 1, func(c *Config) { c.Routes.TLS = test.other; c.Log = slog.New(log) }, first.Address())
			log.wait(t, "TLS route handshake error")
			if got := first.server.server.NumRoutes() + h.count("up node1"); got != 0 {
				t.Errorf("got %d routes, want none", got)
			}
		})
	}
}

// A plain listener learns nothing of a node whose routes have TLS.
func TestPasswordStaysSecret(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ca := newAuthority(t)
	embeddedNode(t, 0, func(c *Config) { c.Routes.TLS = ca.config(ca) }, l.Addr().String())
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(limit))
	_, _ = conn.Write([]byte("INFO {\"server_id\":\"x\",\"cluster\":\"ringcast\",\"auth_required\":true}\r\n"))
	text, _ := io.ReadAll(conn)
	if strings.Contains(string(text), ours.Password) || strings.Contains(string(text), ours.User) {
		t.Errorf("got %q, want nothing of the login", text)
	}
}

// Settings that would let strangers in, or that can not work, are refused.
func TestConfig(t *testing.T) {
	ca := newAuthority(t)
	routes := func(change func(*Routes)) Config {
		r := &Routes{Listen: "127.0.0.1:0", Logins: []secret.Login{ours}}
		change(r)
		return Config{Node: "node", Routes: r}
	}
	external := func(e External) Config { return Config{Node: "node", External: &e} }
	unverified := ca.config(ca)
	unverified.InsecureSkipVerify = true
	for _, test := range []struct {
		name   string
		config Config
		want   string // "" where it is in order
	}{
		{"loopback", routes(func(*Routes) {}), ""},
		{"IPv6 loopback", routes(func(r *Routes) { r.Listen = "[::1]:0"; r.Peers = []string{"localhost:1"} }), ""},
		{"no form", Config{Node: "node"}, "exactly one"},
		{"no id", Config{Routes: &Routes{}}, "malformed"},
		{"no login", routes(func(r *Routes) { r.Logins = nil }), "secret"},
		{"empty user", routes(func(r *Routes) { r.Logins[0].User = "" }), "empty"},
		{"empty next", routes(func(r *Routes) { r.Logins = append(r.Logins, secret.Login{}) }), "empty"},
		{"wide in clear", routes(func(r *Routes) { r.Listen = "0.0.0.0:6222" }), "clear"},
		{"all in clear", routes(func(r *Routes) { r.Listen = ":6222" }), "clear"},
		{"peer in clear", routes(func(r *Routes) { r.Peers = []string{"198.18.0.1:6222"} }), "clear"},
		{"name in clear", routes(func(r *Routes) { r.Advertise = "node.example.org:6222" }), "clear"},
		{"insecure", routes(func(r *Routes) { r.Peers, r.Insecure = []string{"198.18.0.1:6222"}, true }), ""},
		{"TLS", routes(func(r *Routes) { r.Peers, r.TLS = []string{"198.18.0.1:6222"}, ca.config(ca) }), ""},
		{"no certificate", routes(func(r *Routes) { r.TLS = &tls.Config{} }), "certificate"},
		{"unverified", routes(func(r *Routes) { r.TLS = unverified }), "verify"},
		{"no port", routes(func(r *Routes) { r.Peers = []string{"127.0.0.1"} }), "port"},
		{"port 0", routes(func(r *Routes) { r.Peers = []string{"127.0.0.1:0"} }), "port"},
		{"port of letters", routes(func(r *Routes) { r.Listen = "127.0.0.1:nats" }), "number"},
		{"33 peers", routes(func(r *Routes) { r.Peers = make([]string, 33) }), "--cluster-url"},
		{"external", external(External{URLs: []string{"nats://127.0.0.1:4222"}}), ""},
		{"external TLS", external(External{URLs: []string{"tls://nats.example.org"}}), ""},
		{"external in clear", external(External{URLs: []string{"nats://u:secret@nats.example.org"}}), "TLS"},
		{"external scheme", external(External{URLs: []string{"http://127.0.0.1"}}), "scheme"},
		{"external nowhere", external(External{URLs: []string{"nats://"}}), "host"},
		{"external none", external(External{}), "URL"},
		{"external malformed", external(External{URLs: []string{"nats://u:secret@127.0.0.1:x"}}), "malformed"},
		{"no file", external(External{[]string{"nats://127.0.0.1"}, "/does/not/exist", nil, false}), "credentials"},
	} {
		err := test.config.validate()
		if got := err == nil; got != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got the error %v, want %q", test.name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "u:secret") {
			t.Errorf("%s: got the error %v, want no password in it", test.name, err)
		}
	}
}

// A listener's address that is taken is an error of New.
func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = New(Config{Node: "node", Routes: &Routes{Listen: l.Addr().String(), Logins: []secret.Login{ours}}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v, want that the address is in use", err)
	}
}
