package cluster

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"ringcast/signaling/access"
	"ringcast/signaling/cluster/secret"
)

// Config holds the settings of a node. Without HTTP there is no cluster, and only Pulls and Pushes count.
type Config struct {
	// HTTP is the address of the cluster's listener.
	HTTP string
	// URL is the base URL at which other nodes reach that listener, and Public that at which clients reach the public
	// one. URLs end without a slash. Public may be empty.
	URL, Public string
	// Region is compared with that of other nodes.
	Region string
	// Secret is known to all nodes, and NextSecret while it changes.
	Secret, NextSecret access.Secret
	TLS                TLS
	// Insecure lets the cluster start beyond loopback without a secret or TLS.
	Insecure bool
	// Peers are the base URLs of the other nodes' cluster listeners, for the static directory.
	Peers []string
	NATS  NATS
	// Redirect is the way to bring offers to other nodes. Where it is empty, it is 307 for a node that has Public, and
	// proxy for others.
	Redirect Redirection
	// RedirectAt is the number of sessions from which on offers go to other nodes; 0 is never.
	RedirectAt int
	// Drain is the time that viewers have to go elsewhere before the node ends.
	Drain time.Duration
	// Fanout is the most nodes that pull a stream from this one, 16 where 0.
	Fanout int
	// Pulls are streams of other servers that are published here. Pushes are streams that are published there.
	Pulls, Pushes []Remote
	// PullPrivate lets the media of a pull come from private addresses, even where its URL has a public one.
	PullPrivate bool
}

// TLS has the PEM files of the cluster: of this node's certificate chain and its key, and of the CAs of all nodes.
// With CA the listener demands certificates of its clients. Without it the system's CAs count.
type TLS struct{ Cert, Key, CA string }

// NATS describes how nodes find streams by NATS: by a server inside of each node, or by the operator's servers.
type NATS struct {
	// Listen is the address of the routes of the server inside. Routes are the addresses of other nodes' servers.
	Listen string
	Routes []string
	// URLs are those of the operator's servers. Credentials is the file for them, or empty.
	URLs        []string
	Credentials string
}

// A Remote is a stream at another server.
type Remote struct {
	Stream, URL string
	// Token is the bearer there, or empty.
	Token access.Secret
}

// On reports whether the process is a node of a cluster.
func (c *Config) On() bool { return c.HTTP != "" }

// Redirection is Redirect, or its default.
func (c *Config) Redirection() Redirection {
	if c.Redirect == "" && c.Public == "" {
		return RedirectProxy
	}
	return cmp.Or(c.Redirect, Redirect307)
}

// Dials reports whether the process opens sessions toward other servers.
func (c *Config) Dials() bool { return c.On() || len(c.Pulls)+len(c.Pushes) > 0 }

// Secure reports whether strangers are kept out and machines on the way learn nothing.
func (c *Config) Secure() bool { return c.Secret != "" && c.TLS.Cert != "" }

// openSecret makes the keys of a cluster without a secret. Everybody knows it.
const openSecret = access.Secret("a cluster without a secret is open to everybody")

// Keys makes the keys of the secret. Without a secret, everybody who reaches the listener can make the same.
func (c *Config) Keys() (*secret.Keys, error) {
	if c.Secret == "" {
		return secret.New(openSecret, "")
	}
	return secret.New(c.Secret, c.NextSecret)
}

// Roots are the CAs of other nodes' certificates, nil for the system's.
func (t *TLS) Roots() (*x509.CertPool, error) {
	if t.CA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("cluster-tls-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cluster-tls-ca: %s: certificates in PEM expected", t.CA)
	}
	return pool, nil
}

// Client is the configuration for connections to other nodes. own returns this node's certificate, and is nil where it
// has none.
func (t *TLS) Client(own func() (*tls.Certificate, error)) (*tls.Config, error) {
	roots, err := t.Roots()
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if own != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() }
	}
	return cfg, nil
}

// Server is the configuration of the cluster's listener, nil where it has no TLS. own returns this node's certificate.
func (t *TLS) Server(own func() (*tls.Certificate, error)) (*tls.Config, error) {
	roots, err := t.Roots()
	if err != nil || own == nil {
		return nil, err
	}
	cfg := &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		MinVersion:     tls.VersionTLS13,
	}
	if roots != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, roots
	}
	return cfg, nil
}

// ParseURL reads the base URL of a listener, and returns it without a final slash.
func ParseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.ContainsAny(text, "?#") {
		return nil, errors.New("a URL such as https://node1.example.org:8443 expected")
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}

// Loopback reports whether a host is this machine alone. It looks up nothing.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}
