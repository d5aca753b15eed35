package config

import (
	"strings"
	"testing"
)

const (
	someSecret  = "0123456789abcdef0123456789abcdef"
	otherSecret = "fedcba9876543210fedcba9876543210"
	// aNode are the lines of a file that every node needs.
	aNode = "cluster-http: 127.0.0.1:0\nnode-url: http://127.0.0.1:1\n"
)

// clusterRows are the rows of clusterSettings for TestSourcesOverrideEachOther.
var clusterRows = map[string]sourceRow{
	"cluster-http": {
		field: func(c *Config) any { return c.Cluster.HTTP }, initial: "", file: "localhost:1", env: "[::1]:2",
		flag: "127.0.0.1:3",
	},
	"node-url": {
		field: func(c *Config) any { return c.Cluster.URL }, initial: "", file: "https://a/", inFile: "https://a",
		env: "https://b:1", flag: "http://[::1]:2",
	},
	"public-url": {
		field: func(c *Config) any { return c.Cluster.Public }, initial: "", file: "https://a/cast/",
		inFile: "https://a/cast", env: "http://b:1", flag: "https://c",
	},
	"region": {
		field: func(c *Config) any { return c.Cluster.Region }, initial: "", file: "a", env: "b", flag: "c-1",
	},
	"cluster-secret": {
		field: func(c *Config) any { return string(c.Cluster.Secret) }, initial: "", file: someSecret, env: otherSecret,
	},
	"cluster-secret-next": {
		field: func(c *Config) any { return string(c.Cluster.NextSecret) }, initial: "", file: someSecret,
		env: otherSecret,
	},
	"cluster-tls-cert": {
		field: func(c *Config) any { return c.Cluster.TLS.Cert }, initial: "", file: "a", env: "b", flag: "c",
	},
	"cluster-tls-key": {
		field: func(c *Config) any { return c.Cluster.TLS.Key }, initial: "", file: "a", env: "b", flag: "c",
	},
	"cluster-tls-ca": {
		field: func(c *Config) any { return c.Cluster.TLS.CA }, initial: "", file: "a", env: "b", flag: "c",
	},
	"cluster-insecure": {
		field: func(c *Config) any { return c.Cluster.Insecure }, initial: "false", file: "true", env: "false",
		flag: "true",
	},
	"peers": {
		field: func(c *Config) any { return c.Cluster.Peers }, initial: "[]", file: "[https://a, \"https://b:1/\"]",
		inFile: "[https://a https://b:1]", env: "https://c, https://d", inEnv: "[https://c https://d]",
		flag: "http://127.0.0.1:4", won: "[http://127.0.0.1:4]",
	},
	"cluster-nats": {
		field: func(c *Config) any { return c.Cluster.NATS.Listen }, initial: "", file: "localhost:1", env: "[::1]:2",
		flag: "127.0.0.1:3",
	},
	"cluster-routes": {
		field: func(c *Config) any { return c.Cluster.NATS.Routes }, initial: "[]", file: "[a:1]", inFile: "[a:1]",
		env: "b:2, c:3", inEnv: "[b:2 c:3]", flag: "[::1]:4", won: "[[::1]:4]",
	},
	"cluster-url": {
		field: func(c *Config) any { return c.Cluster.NATS.URLs }, initial: "[]", file: "tls://a", inFile: "[tls://a]",
		env: "nats://b:1,tls://c", inEnv: "[nats://b:1 tls://c]", flag: "tls://d", won: "[tls://d]",
	},
	"cluster-credentials": {
		field: func(c *Config) any { return c.Cluster.NATS.Credentials }, initial: "", file: "a", env: "b", flag: "c",
	},
	"redirect": {
		field: func(c *Config) any { return c.Cluster.Redirect }, initial: "", file: "307", env: "proxy", flag: "off",
	},
	"redirect-at": {
		field: func(c *Config) any { return c.Cluster.RedirectAt }, initial: "0", file: "1", env: "2", flag: "3",
	},
	"drain": {
		field: func(c *Config) any { return c.Cluster.Drain }, initial: "10s", file: "1s", env: "2s", flag: "3s",
	},
	"relay-fanout": {
		field: func(c *Config) any { return c.Cluster.Fanout }, initial: "16", file: "1", env: "2", flag: "3",
	},
	"pull": {
		field: func(c *Config) any { return c.Cluster.Pulls }, initial: "[]",
		file: "[cam=https://a/whep/x]", inFile: "[{cam https://a/whep/x none}]",
		env: "a=http://b/, c=http://d?e=f", inEnv: "[{a http://b/ none} {c http://d?e=f none}]",
		flag: "e=https://f", won: "[{e https://f none}]",
	},
	"pull-private": {
		field: func(c *Config) any { return c.Cluster.PullPrivate }, initial: "false", file: "true", env: "false",
		flag: "true",
	},
	"push": {
		field: func(c *Config) any { return c.Cluster.Pushes }, initial: "[]",
		file: "[cam=https://a/whip/x, cam=https://b]", inFile: "[{cam https://a/whip/x none} {cam https://b none}]",
		env: "a=http://b/", inEnv: "[{a http://b/ none}]", flag: "e=https://f", won: "[{e https://f none}]",
	},
	"pull-token": {
		field: func(c *Config) any { return string(c.pullTokens["cam"]) }, initial: "", file: "cam=a", inFile: "a",
		env: "cam=b,c", inEnv: "b,c",
	},
	"push-token": {
		field: func(c *Config) any { return string(c.pushTokens["cam"]) }, initial: "", file: "cam=a", inFile: "a",
		env: "cam=b,c", inEnv: "b,c",
	},
}

// clusterNeeds are lines of a file without which a setting is refused.
var clusterNeeds = map[string]string{
	"cluster-http":        "node-url: http://127.0.0.1:1\n",
	"node-url":            "cluster-http: 127.0.0.1:0\n",
	"public-url":          aNode,
	"region":              aNode,
	"cluster-secret":      aNode,
	"cluster-secret-next": aNode + "cluster-secret: another0123456789abcdef0123456789\n",
	"cluster-tls-cert":    aNode + "cluster-tls-key: k\n",
	"cluster-tls-key":     aNode + "cluster-tls-cert: c\n",
	"cluster-tls-ca":      aNode + "cluster-tls-cert: c\ncluster-tls-key: k\n",
	"peers":               aNode,
	"cluster-nats":        aNode,
	"cluster-routes":      aNode + "cluster-nats: 127.0.0.1:2\n",
	"cluster-url":         aNode + "cluster-secret: " + someSecret + "\n",
	"cluster-credentials": aNode + "cluster-url: tls://a\ncluster-secret: " + someSecret + "\n",
	"redirect":            aNode,
	"drain":               aNode,
	"pull-token":          "pull: cam=http://a\n",
	"push-token":          "push: cam=http://a\n",
}

// A cluster that others could join or listen to does not start, nor one whose settings contradict each other.
func TestClusterErrors(t *testing.T) {
	const (
		file = "ringcast.yaml"
		keys = "cluster-tls-cert: c\ncluster-tls-key: k\n"
		hide = "cluster-secret: " + someSecret + "\n"
		out  = "cluster-http: :8443\nnode-url: https://a:8443\n"
	)
	for _, row := range []struct{ name, file, want string }{
		{"a node", aNode, ""},
		{"without its URL", "cluster-http: 127.0.0.1:1\n", "cluster-http in ringcast.yaml:1 needs node-url too"},
		{"a node beyond loopback", out + hide + keys, ""},
		{"without a secret", out + keys, "needs cluster-secret too, or cluster-insecure"},
		{"without TLS", out + hide, "needs cluster-tls-cert too, or cluster-insecure"},
		{"insecure", out + "cluster-insecure: true\n", ""},
		{
			"on one address without a secret", strings.Replace(out, ":8443", "192.0.2.1:8443", 1) + keys,
			"needs cluster-secret",
		},
		{
			"routes beyond loopback", aNode + hide + "cluster-nats: :6222\n",
			"cluster-nats in ringcast.yaml:4 is reached",
		},
		{"routes on loopback", aNode + "cluster-nats: 127.0.0.1:6222\n", ""},
		{"a secret too short", aNode + "cluster-secret: 0123456789abcdef\n", "at least 32 characters expected"},
		{"an empty secret", aNode + "cluster-secret: \"\"\n", "it is empty"},
		{"a secret with a newline", aNode + "cluster-secret: \"" + someSecret + "\\n\"\n", "visible ASCII characters"},
		{"a next secret too short", aNode + hide + "cluster-secret-next: short\n", "at least 32 characters expected"},
		{
			"the same secret next", aNode + hide + "cluster-secret-next: " + someSecret + "\n",
			"is the same as cluster-secret",
		},
		{"a next secret alone", aNode + "cluster-secret-next: " + someSecret + "\n", "needs cluster-secret too"},
		{"a certificate alone", aNode + "cluster-tls-cert: c\n", "needs cluster-tls-key too"},
		{"a key alone", aNode + "cluster-tls-key: k\n", "needs cluster-tls-cert too"},
		{"a CA alone", aNode + "cluster-tls-ca: k\n", "needs cluster-tls-cert too"},
		{"a peer without TLS", aNode + "peers: http://a:1\n", "peers in ringcast.yaml:3 has a URL without TLS"},
		{"a peer on loopback", aNode + "peers: http://localhost:1\n", ""},
		{
			"its URL without TLS", "cluster-http: 127.0.0.1:1\nnode-url: http://a\n",
			"node-url in ringcast.yaml:2 has a URL",
		},
		{"a peer with a path", aNode + "peers: https://a/b\n", "without a path"},
		{"a peer that is no URL", aNode + "peers: node2:8443\n", "https://node2.example.org:8443 expected"},
		{"a URL with a query", aNode + "public-url: https://a?b\n", "a URL such as https://"},
		{"a URL with a user", aNode + "public-url: https://a@b\n", "a URL such as https://"},
		{"two directories", aNode + "peers: https://a\ncluster-nats: 127.0.0.1:2\n", "exclude each other"},
		{"an open NATS server", aNode + "cluster-url: tls://a\n", "others may use that server"},
		{"routes without a server", aNode + "cluster-routes: a:1\n", "needs cluster-nats too"},
		{"credentials without a server", aNode + "cluster-credentials: f\n", "needs cluster-url too"},
		{"peers of no node", "peers: https://a\n", "peers in ringcast.yaml:1 needs cluster-http too"},
		{"a secret of no node", hide, "cluster-secret in ringcast.yaml:1 needs cluster-http too"},
		{"a pull without a node", "pull: cam=https://a/whep/cam\n", ""},
		{
			"a pull from this node", aNode + "pull: cam=http://127.0.0.1:1/whep/cam\n",
			"this cluster's own, by node-url",
		},
		{"a pull from a peer", aNode + "peers: https://A\npull: cam=https://a:443/whep/cam\n", "own, by peers"},
		{
			"a pull from the public URL", aNode + "public-url: https://a/x\npull: cam=https://a/whep/b\n",
			"own, by public-url",
		},
		{"a pull from our listener", "pull: cam=http://localhost:8080/whep/cam\n", "own, by http"},
		{"a push to our listener", "push: cam=http://[::1]:8080/whip/cam\n", "own, by http"},
		{"two pulls of a stream", "pull: [cam=https://a, cam=https://b]\n", `stream "cam" is there twice`},
		{"two pushes to a URL", "push: [cam=https://a, cam=https://a]\n", `stream "cam" is there twice`},
		{"a pull without a stream", "pull: https://a/b\n", "a stream and a URL such as"},
		{"a pull of a stream that is none", "pull: a/b=https://a\n", "a stream and a URL such as"},
		{"a pull from a file", "pull: cam=file:///a\n", "a stream and a URL such as"},
		{"a token of no pull", "pull: cam=https://a\npull-token: cat=x\n", "is for a stream without a pull"},
		{"a token without a stream", "pull: cam=https://a\npull-token: " + someSecret + "==\n", "without a pull"},
		{"a token that is empty", "pull: cam=https://a\npull-token: cam\n", "it is empty"},
		{"a region with a space", aNode + "region: a b\n", "visible ASCII"},
	} {
		write(t, row.file)
		_, err := Load([]string{"--config", file}, nil)
		switch {
		case row.want == "" && err != nil, row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
			t.Errorf("%s: got %v, want %q", row.name, err, row.want)
		case err != nil && strings.Contains(err.Error(), someSecret[:16]):
			t.Errorf("%s: the message has the secret: %v", row.name, err)
		}
	}
}

// Secrets come from the file or a variable. A flag is refused without its value.
func TestSecretsAreNoFlags(t *testing.T) {
	for _, args := range [][]string{
		{"--cluster-secret", someSecret}, {"--cluster-secret=" + someSecret}, {"--pull-token", "cam=" + someSecret},
	} {
		_, err := Load(args, nil)
		if err == nil || strings.Contains(err.Error(), someSecret) ||
			!strings.Contains(err.Error(), "only the file or") {
			t.Errorf("%v: got %v, want it refused", args[0][:8], err)
		}
	}
}

// A stream's variable holds the token of its pull or push. The exact name counts more.
func TestTokensOfRemotes(t *testing.T) {
	write(t, "pull: [my-cam.1=https://a, b=https://b, c=https://c]\n"+
		"pull-token: [b=of-b, c=of-c]\npush: my-cam.1=https://d\n")
	c, err := Load([]string{"--config=ringcast.yaml"}, []string{
		"RINGCAST_PULL_TOKEN_MY_CAM_1=a,b=c", "RINGCAST_PUSH_TOKEN_MY_CAM_1=push",
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"a,b=c", "", ""} {
		if got := string(c.Cluster.Pulls[i].Token); got != want {
			t.Errorf("pull %d: got token %q, want %q", i, got, want)
		}
	}
	if got := string(c.Cluster.Pushes[0].Token); got != "push" {
		t.Errorf("push: got token %q, want push", got)
	}
	if _, err := Load(nil, []string{"RINGCAST_PULL_TOKEN_CAT=x"}); err == nil || !strings.Contains(err.Error(), "CAT") {
		t.Errorf("a token of no pull: got %v, want it named", err)
	}
}
