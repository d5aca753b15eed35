package natsdir

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strconv"

	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// maxNodes bounds a mesh of embedded servers.
const maxNodes = 32

var errTooManyNodes = fmt.Errorf("a mesh of embedded NATS servers is for at most %d nodes, as each has a connection "+
	"to every other: run 3 to 5 NATS servers and name them with --cluster-url", maxNodes)

// ErrLeftOut is New's error in a program that was built with the tag nocluster.
var ErrLeftOut = errors.New("this program was built without NATS")

// Config sets up a transport. Either Routes or External is set.
type Config struct {
	// Node is this process. It is the name of its embedded server and of its client.
	Node     directory.NodeID
	Routes   *Routes
	External *External
	// Log may be nil.
	Log *slog.Logger
	// Metrics may be nil.
	Metrics *Metrics
}

// Routes set up an embedded server.
type Routes struct {
	// Listen is the address for routes, host:port. Port 0 is any free one.
	Listen string
	// Advertise is the address by which other nodes reach Listen, host:port, where it is another.
	Advertise string
	// Peers are the addresses for routes of other nodes, host:port. This node's own may be among them. A node finds
	// those that are not named through those that are.
	Peers []string
	// Host is the host of this node's URL. A peer of that host with the port of Listen is this node. It may be empty.
	Host string
	// Logins are those that a route may show. The first is our own.
	Logins []secret.Login
	// TLS is for both ends of a route: the one that listens shows its certificate, the one that dials checks it. It may
	// demand certificates of those that dial, too. It is nil for routes in clear.
	TLS *tls.Config
	// Insecure allows routes in clear beyond loopback.
	Insecure bool
}

// External names servers of the operator's.
type External struct {
	// URLs are nats:// or tls:// URLs of servers of one NATS cluster.
	URLs []string
	// Credentials is the path of a .creds file. It may be empty.
	Credentials string
	// TLS may be nil: then tls:// URLs use the system's roots.
	TLS *tls.Config
	// Insecure allows connections in clear beyond loopback.
	Insecure bool
}

// validate reports the first fault, for the operator.
func (c *Config) validate() error {
	switch {
	case !c.Node.Valid():
		return fmt.Errorf("the node id %q is malformed", c.Node)
	case (c.Routes == nil) == (c.External == nil):
		return errors.New("a NATS directory is embedded or external: exactly one of both")
	case c.Routes != nil:
		return c.Routes.validate()
	}
	return c.External.validate()
}

func (r *Routes) validate() error {
	if len(r.Logins) == 0 {
		return errors.New("routes need a user and a password: set a cluster secret")
	}
	for _, login := range r.Logins {
		if login.User == "" || login.Password == "" {
			return errors.New("routes need a user and a password, and one of both is empty")
		}
	}
	if len(r.Peers) > maxNodes {
		return fmt.Errorf("%d peers: %w", len(r.Peers), errTooManyNodes)
	}
	addresses := append([]string{r.Listen}, r.Peers...)
	if r.Advertise != "" {
		addresses = append(addresses, r.Advertise)
	}
	for i, address := range addresses {
		host, port, err := splitAddress(address)
		if err != nil {
			return fmt.Errorf("the route address %q: %w", address, err)
		}
		if i > 0 && (host == "" || port == 0) {
			return fmt.Errorf("the route address %q needs a host and a port", address)
		}
		if r.TLS == nil && !r.Insecure && !loopback(host) {
			return fmt.Errorf("the route address %q is not loopback: without TLS the password would travel in clear",
				address)
		}
	}
	return r.validateTLS()
}

// validateTLS wants the dialling side to check the other. It has no password to check.
func (r *Routes) validateTLS() error {
	switch t := r.TLS; {
	case t == nil:
		return nil
	case len(t.Certificates) == 0 && t.GetCertificate == nil:
		return errors.New("TLS for routes needs a certificate")
	case t.InsecureSkipVerify:
		return errors.New("TLS for routes must verify the other node's certificate")
	}
	return nil
}

func (e *External) validate() error {
	if len(e.URLs) == 0 {
		return errors.New("an external NATS directory needs the URL of a server")
	}
	for _, text := range e.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return errors.New("a NATS URL is malformed") // it may have a password
		}
		switch {
		case u.Scheme != "nats" && u.Scheme != "tls":
			return fmt.Errorf("the NATS URL %s: its scheme must be nats or tls", u.Redacted())
		case u.Hostname() == "":
			return fmt.Errorf("the NATS URL %s has no host", u.Redacted())
		case u.Scheme == "nats" && e.TLS == nil && !e.Insecure && !loopback(u.Hostname()):
			return fmt.Errorf("the NATS URL %s is not loopback: it needs TLS", u.Redacted())
		}
	}
	if e.Credentials != "" {
		if _, err := os.Stat(e.Credentials); err != nil {
			return fmt.Errorf("the NATS credentials: %w", err)
		}
	}
	return nil
}

// loopback reports whether a host is this machine for sure.
func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// splitAddress splits host:port, where the port is a number.
func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(text); err != nil || port < 0 || port > 65535 {
		return "", 0, fmt.Errorf("the port %q is no number from 0 to 65535", text)
	}
	return host, port, nil
}
