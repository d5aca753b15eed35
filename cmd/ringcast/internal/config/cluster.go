package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"ringcast/signaling"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster"
	"ringcast/signaling/cluster/secret"
)

// clusterSettings are those of a server that is a node among others, or pulls from and pushes to other servers.
var clusterSettings = []setting{
	{
		key: "cluster-http", arg: "ADDRESS",
		help: "address for the requests of other nodes; without it the server is alone",
		set:  text(func(c *Config) *string { return &c.Cluster.HTTP }, addressOrNone),
	},
	{
		key: "node-url", arg: "URL",
		help: "URL at which other nodes reach cluster-http, such as https://node1.example.org:8443",
		set:  baseURL(func(c *Config) *string { return &c.Cluster.URL }),
	},
	{
		key: "public-url", arg: "URL",
		help: "URL at which clients reach http, such as https://node1.example.org",
		set:  baseURL(func(c *Config) *string { return &c.Cluster.Public }),
	},
	{
		key: "region", arg: "TEXT",
		help: "where the node is: nodes of one region pull from each other first",
		set:  text(func(c *Config) *string { return &c.Cluster.Region }, label),
	},
	{
		key: "cluster-secret", arg: "SECRET", secret: true, noFlag: true,
		help: "secret that all nodes know, at least 32 characters",
		set:  clusterSecret(func(c *Config) *access.Secret { return &c.Cluster.Secret }),
	},
	{
		key: "cluster-secret-next", arg: "SECRET", secret: true, noFlag: true,
		help: "another secret that is accepted too, while the secret changes",
		set:  clusterSecret(func(c *Config) *access.Secret { return &c.Cluster.NextSecret }),
	},
	{
		key: "cluster-tls-cert", arg: "FILE",
		help: "PEM certificate chain of this node for other nodes",
		set:  text(func(c *Config) *string { return &c.Cluster.TLS.Cert }, anything),
	},
	{
		key: "cluster-tls-key", arg: "FILE",
		help: "its private key",
		set:  text(func(c *Config) *string { return &c.Cluster.TLS.Key }, anything),
	},
	{
		key: "cluster-tls-ca", arg: "FILE",
		help: "PEM certificates of the CAs of all nodes, which must then show a certificate; without it the system's",
		set:  text(func(c *Config) *string { return &c.Cluster.TLS.CA }, anything),
	},
	{
		key: "cluster-insecure", initial: "false",
		help: "let the cluster start beyond loopback without a secret or TLS, and open to everybody",
		set:  toggle(func(c *Config) *bool { return &c.Cluster.Insecure }),
	},
	{
		key: "peers", arg: "URL",
		help:  "node-url of another node, to be asked for streams; for up to ten nodes; repeatable",
		set:   addURLs(func(c *Config) *[]string { return &c.Cluster.Peers }, peerURL),
		clear: func(c *Config) { c.Cluster.Peers = nil },
	},
	{
		key: "cluster-nats", arg: "ADDRESS",
		help: "address for routes of a NATS server inside of this process, by which nodes find streams",
		set:  text(func(c *Config) *string { return &c.Cluster.NATS.Listen }, addressOrNone),
	},
	{
		key: "cluster-routes", arg: "ADDRESS",
		help:  "cluster-nats of another node, such as node1.example.org:6222; repeatable",
		set:   addURLs(func(c *Config) *[]string { return &c.Cluster.NATS.Routes }, routeAddress),
		clear: func(c *Config) { c.Cluster.NATS.Routes = nil },
	},
	{
		key: "cluster-url", arg: "URL", secret: true,
		help:  "NATS server of yours by which nodes find streams, such as tls://nats.example.org:4222; repeatable",
		set:   addURLs(func(c *Config) *[]string { return &c.Cluster.NATS.URLs }, natsURL),
		clear: func(c *Config) { c.Cluster.NATS.URLs = nil },
	},
	{
		key: "cluster-credentials", arg: "FILE",
		help: "credentials for these servers",
		set:  text(func(c *Config) *string { return &c.Cluster.NATS.Credentials }, anything),
	},
	{
		key: "redirect", arg: "HOW",
		help: "how offers go to another node: 307, proxy or off; 307 where public-url is set, else proxy",
		set: text(func(c *Config) *string { return (*string)(&c.Cluster.Redirect) },
			oneOf("307", "proxy", "off", "")),
	},
	{
		key: "redirect-at", arg: "N", initial: "0",
		help: "sessions from which on offers go to a node with fewer, as redirect says; 0 is never",
		set:  number(func(c *Config) *int { return &c.Cluster.RedirectAt }, 0, 1<<30),
	},
	{
		key: "drain", arg: "DURATION", initial: "10s",
		help: "how long the viewers of a node that ends have to go to others; it ends within 5 s more",
		set:  duration(func(c *Config) *time.Duration { return &c.Cluster.Drain }),
	},
	{
		key: "relay-fanout", arg: "N", initial: "16",
		help: "most nodes that pull one stream from this one; more pull from those",
		set:  number(func(c *Config) *int { return &c.Cluster.Fanout }, 1, 1<<16),
	},
	{
		key: "pull", arg: "STREAM=URL", secret: true,
		help:  "publish a stream of another server, from its WHEP URL, while somebody watches; repeatable",
		set:   addRemotes(func(c *Config) *[]cluster.Remote { return &c.Cluster.Pulls }),
		clear: func(c *Config) { c.Cluster.Pulls = nil },
	},
	{
		key: "pull-token", arg: "STREAM=TOKEN", secret: true, noFlag: true,
		help:  "bearer token for a pull; RINGCAST_PULL_TOKEN_STREAM is another form; repeatable",
		set:   addToken(func(c *Config) *tokens { return &c.pullTokens }),
		clear: func(c *Config) { c.pullTokens = nil },
	},
	{
		key: "pull-private", initial: "false",
		help: "let the media of a pull come from private addresses, even if its URL has a public one",
		set:  toggle(func(c *Config) *bool { return &c.Cluster.PullPrivate }),
	},
	{
		key: "push", arg: "STREAM=URL", secret: true,
		help:  "publish a stream at another server too, at its WHIP URL; repeatable",
		set:   addRemotes(func(c *Config) *[]cluster.Remote { return &c.Cluster.Pushes }),
		clear: func(c *Config) { c.Cluster.Pushes = nil },
	},
	{
		key: "push-token", arg: "STREAM=TOKEN", secret: true, noFlag: true,
		help:  "bearer token for a push; RINGCAST_PUSH_TOKEN_STREAM is another form; repeatable",
		set:   addToken(func(c *Config) *tokens { return &c.pushTokens }),
		clear: func(c *Config) { c.pushTokens = nil },
	},
}

// baseURL sets a field to a URL without a final slash.
func baseURL(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, s string) error {
		if *field(c) = ""; s == "" {
			return nil
		}
		u, err := cluster.ParseURL(s)
		if err != nil {
			return err
		}
		*field(c) = u.String()
		return nil
	}
}

// clusterSecret refuses a secret that has too few characters.
func clusterSecret(field func(*Config) *access.Secret) func(*Config, string) error {
	set := token(field)
	return func(c *Config, s string) error {
		if s != "" && len(s) < secret.Least {
			return secret.ErrShort
		}
		return set(c, s)
	}
}

// label accepts a short text for messages and metrics.
func label(s string) error {
	const longest = 64
	for _, b := range []byte(s) {
		if b <= ' ' || b > '~' {
			return errors.New("visible ASCII characters without spaces expected")
		}
	}
	if len(s) > longest {
		return fmt.Errorf("at most %d characters expected", longest)
	}
	return nil
}

// addURLs adds the parts of a list, each in the form that read returns.
func addURLs(field func(*Config) *[]string, read func(string) (string, error)) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return nil
		}
		for part := range strings.SplitSeq(s, ",") {
			one, err := read(strings.TrimSpace(part))
			if err != nil {
				return err
			}
			*field(c) = append(*field(c), one)
		}
		return nil
	}
}

func peerURL(s string) (string, error) {
	u, err := cluster.ParseURL(s)
	if err != nil || u.Path != "" {
		return "", errors.New("a URL such as https://node2.example.org:8443 expected, without a path")
	}
	return u.String(), nil
}

func routeAddress(s string) (string, error) {
	host, _, err := net.SplitHostPort(s)
	if err != nil || host == "" || address(s) != nil {
		return "", errors.New("an address such as node1.example.org:6222 expected")
	}
	return s, nil
}

func natsURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "nats" && u.Scheme != "tls" {
		return "", errors.New("a URL such as tls://nats.example.org:4222 expected")
	}
	return s, nil
}

// addRemotes adds streams of other servers. A stream may have one pull, and any number of pushes.
func addRemotes(field func(*Config) *[]cluster.Remote) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return nil
		}
		for part := range strings.SplitSeq(s, ",") {
			stream, target, _ := strings.Cut(strings.TrimSpace(part), "=")
			u, err := url.Parse(target)
			if !signaling.ValidStream(stream) || err != nil || u.Scheme != "http" && u.Scheme != "https" ||
				u.Hostname() == "" || u.User != nil || u.Fragment != "" {
				return errors.New("a stream and a URL such as cam=https://media.example.org/whep/cam expected")
			}
			*field(c) = append(*field(c), cluster.Remote{Stream: stream, URL: target})
		}
		return nil
	}
}

// tokens are those of pulls or pushes. A stream has its name, or the end of a variable's name that stands for it.
type tokens map[string]access.Secret

// addToken reads the token of one stream. A list in a variable would need a token without commas, so there is none.
func addToken(field func(*Config) *tokens) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return nil
		}
		stream, text, _ := strings.Cut(s, "=")
		if !signaling.ValidStream(stream) {
			return errors.New("a stream and its token such as cam=TOKEN expected")
		}
		var one access.Secret
		err := token(func(*Config) *access.Secret { return &one })(c, text)
		if *field(c) == nil {
			*field(c) = make(tokens)
		}
		(*field(c))[stream] = one
		return err
	}
}

// tokenVariable reads the name of a variable that has the token of one stream, such as RINGCAST_PULL_TOKEN_CAM.
func tokenVariable(name string) (s *setting, stream string, ok bool) {
	for _, key := range []string{"pull-token", "push-token"} {
		s := find(key)
		if stream, ok = strings.CutPrefix(name, s.env()+"_"); ok && stream != "" {
			return s, stream, true
		}
	}
	return nil, "", false
}

// variableEnd is the end of the name of a stream's variable.
func variableEnd(stream string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, stream)
}

// give gives remotes their tokens. It reports false if a token is left.
func (t tokens) give(all []cluster.Remote) bool {
	used := make(map[string]bool)
	for i := range all {
		r := &all[i]
		for _, name := range []string{variableEnd(r.Stream), r.Stream} { // the exact name counts more
			if text, ok := t[name]; ok {
				r.Token, used[name] = text, true
			}
		}
	}
	for name := range t {
		if !used[name] {
			return false
		}
	}
	return true
}

// validateCluster refuses a cluster that strangers could join or listen to, and settings that miss others.
func (c *Config) validateCluster() error {
	n := &c.Cluster
	switch {
	case !n.On():
		for _, key := range []string{
			"node-url", "public-url", "region", "cluster-secret", "cluster-secret-next", "cluster-tls-cert",
			"cluster-tls-key", "cluster-tls-ca", "peers", "cluster-nats", "cluster-routes", "cluster-url",
			"cluster-credentials", "redirect", "drain",
		} {
			if c.from[key] != "" {
				return fmt.Errorf("%s needs cluster-http too", c.origin(key))
			}
		}
		return nil
	case n.URL == "":
		return fmt.Errorf("%s needs node-url too", c.origin("cluster-http"))
	case n.NextSecret != "" && n.Secret == "":
		return fmt.Errorf("%s needs cluster-secret too", c.origin("cluster-secret-next"))
	case n.NextSecret != "" && n.NextSecret == n.Secret:
		return fmt.Errorf("%s is the same as cluster-secret", c.origin("cluster-secret-next"))
	case n.TLS.Cert != "" && n.TLS.Key == "":
		return fmt.Errorf("%s needs cluster-tls-key too", c.origin("cluster-tls-cert"))
	case n.TLS.Key != "" && n.TLS.Cert == "":
		return fmt.Errorf("%s needs cluster-tls-cert too", c.origin("cluster-tls-key"))
	case n.TLS.CA != "" && n.TLS.Cert == "":
		return fmt.Errorf("%s needs cluster-tls-cert too", c.origin("cluster-tls-ca"))
	case len(n.NATS.Routes) > 0 && n.NATS.Listen == "":
		return fmt.Errorf("%s needs cluster-nats too", c.origin("cluster-routes"))
	case n.NATS.Credentials != "" && len(n.NATS.URLs) == 0:
		return fmt.Errorf("%s needs cluster-url too", c.origin("cluster-credentials"))
	}
	if err := c.oneDirectory(); err != nil {
		return err
	}
	return c.validateReach()
}

// oneDirectory refuses several ways to find streams.
func (c *Config) oneDirectory() error {
	first := ""
	for _, key := range []string{"peers", "cluster-nats", "cluster-url"} {
		given := map[string]bool{
			"peers": len(c.Cluster.Peers) > 0, "cluster-nats": c.Cluster.NATS.Listen != "",
			"cluster-url": len(c.Cluster.NATS.URLs) > 0,
		}[key]
		switch {
		case given && first != "":
			return fmt.Errorf("%s and %s exclude each other", c.origin(first), c.origin(key))
		case given:
			first = key
		}
	}
	return nil
}

// validateReach demands a secret and TLS of every listener and URL beyond loopback, unless the operator does without.
func (c *Config) validateReach() error {
	n := &c.Cluster
	if n.Insecure {
		return nil
	}
	for _, at := range []struct{ key, address string }{{"cluster-http", n.HTTP}, {"cluster-nats", n.NATS.Listen}} {
		host, _, _ := net.SplitHostPort(at.address)
		if at.address == "" || cluster.Loopback(host) {
			continue
		}
		for _, need := range []struct {
			key     string
			missing bool
		}{{"cluster-secret", n.Secret == ""}, {"cluster-tls-cert", n.TLS.Cert == ""}} {
			if need.missing {
				return fmt.Errorf("%s is reached by other machines and needs %s too, or cluster-insecure",
					c.origin(at.key), need.key)
			}
		}
	}
	if len(n.NATS.URLs) > 0 && n.Secret == "" {
		return fmt.Errorf("%s needs cluster-secret too, or cluster-insecure: others may use that server",
			c.origin("cluster-url"))
	}
	for _, text := range append([]string{n.URL}, n.Peers...) {
		key := "peers"
		if text == n.URL {
			key = "node-url"
		}
		if u, err := url.Parse(text); err == nil && u.Scheme == "http" && !cluster.Loopback(u.Hostname()) {
			return fmt.Errorf("%s has a URL without TLS: expected https://, or cluster-insecure too", c.origin(key))
		}
	}
	return nil
}

// validateRemotes gives pulls and pushes their tokens. It refuses those that lead to this cluster, since their media
// would go round in a circle.
func (c *Config) validateRemotes() error {
	for _, of := range []struct {
		key    string
		all    []cluster.Remote
		tokens tokens
	}{{"pull", c.Cluster.Pulls, c.pullTokens}, {"push", c.Cluster.Pushes, c.pushTokens}} {
		if !of.tokens.give(of.all) { // the name may be a token that was given without one
			return fmt.Errorf("%s is for a stream without a %s", c.origin(of.key+"-token"), of.key)
		}
		met := make(map[string]bool)
		for _, r := range of.all {
			if own := c.ownURL(r.URL); own != "" {
				return fmt.Errorf("%s: the URL for stream %q is one of this cluster's own, by %s", c.origin(of.key),
					r.Stream, own)
			}
			name := r.Stream // a stream may be pushed to several servers
			if of.key == "push" {
				name += "=" + r.URL
			}
			if met[name] {
				return fmt.Errorf("%s: stream %q is there twice", c.origin(of.key), r.Stream)
			}
			met[name] = true
		}
	}
	return nil
}

// ownURL returns the setting by which a URL leads to a node of this cluster, or nothing.
func (c *Config) ownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	known := map[string][]string{
		"node-url": {c.Cluster.URL}, "public-url": {c.Cluster.Public}, "peers": c.Cluster.Peers,
	}
	for _, key := range []string{"node-url", "public-url", "peers"} {
		for _, own := range known[key] {
			if o, err := url.Parse(own); err == nil && own != "" && hostPort(o) == hostPort(u) {
				return key
			}
		}
	}
	host, port, _ := net.SplitHostPort(c.HTTP)
	_, theirs, _ := net.SplitHostPort(hostPort(u))
	if port == theirs && port != "0" && (strings.EqualFold(host, u.Hostname()) || cluster.Loopback(u.Hostname()) &&
		(host == "" || cluster.Loopback(host) || host == "0.0.0.0" || host == "::")) {
		return "http"
	}
	return ""
}

// hostPort is the host of a web URL in lower case, with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
