package config

import (
	"errors"
	"slices"
	"strings"
	"time"

	"ringcast/engine/host"
	"ringcast/signaling"
	"ringcast/signaling/access"
)

// A setting is one thing that can be set, under the same key in every source.
type setting struct {
	key string
	// arg stands for the value in --help. A setting without it is a switch.
	arg     string
	initial string
	help    string
	// set parses one value. A repeatable setting has clear, which is called before the first value of a source.
	set   func(*Config, string) error
	clear func(*Config)
	// No message shows a secret value. A URL may hold a password.
	secret bool
	// outside keeps a setting out of the YAML file, noFlag out of the flags, which everybody who lists processes sees.
	outside, noFlag bool
}

const envPrefix = "RINGCAST_"

// env is the name of the setting's environment variable.
func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, "-", "_"))
}

var settings = slices.Concat(serverSettings, clusterSettings)

// serverSettings are those of any server.
var serverSettings = []setting{
	{
		key: "config", arg: "FILE", outside: true,
		help: "YAML file to read settings from",
		set:  func(c *Config, s string) error { c.file = s; return nil },
	},
	{
		key: "http", arg: "ADDRESS", initial: ":8080",
		help: "address of the page, WHIP and WHEP; with tls acme :443 where none is given",
		set:  text(func(c *Config) *string { return &c.HTTP }, address),
	},
	{
		key: "udp", arg: "ADDRESS", initial: ":7000",
		help: "address of the UDP port for media",
		set:  text(func(c *Config) *string { return &c.UDP }, address),
	},
	{
		key: "admin", arg: "ADDRESS", initial: "127.0.0.1:9090",
		help: "address of the admin API, metrics, health and profiles; empty for none",
		set:  text(func(c *Config) *string { return &c.Admin }, addressOrNone),
	},
	{
		key: "public-ip", arg: "IP|NAME",
		help: "address at which peers reach the UDP port, or a name that is looked up at intervals, " +
			"in place of the interfaces' addresses; repeatable",
		set:   addPublicIPs,
		clear: func(c *Config) { c.Engine.Public.Public, c.Engine.Public.Names = nil, nil },
	},
	{
		key: "io", arg: "auto|udp|xdp", initial: "auto",
		help: "how packets enter and leave: udp by sockets, xdp by AF_XDP or not at all, auto by AF_XDP where it works",
		set: func(c *Config, s string) error {
			c.Engine.Host.IO = host.IO(s)
			return oneOf("auto", "udp", "xdp")(s)
		},
	},
	{
		key: "interface", arg: "DEV",
		help:  "network interface for AF_XDP; without any, those that have the public-ip; repeatable",
		set:   addInterfaces,
		clear: func(c *Config) { c.Engine.Host.Interfaces = nil },
	},
	{
		key: "zerocopy", arg: "auto|off", initial: "auto",
		help: "AF_XDP: let the NIC read and write packet memory itself, where its driver can",
		set:  choice(func(c *Config) *bool { return &c.Engine.Host.Zerocopy }, "auto", "off"),
	},
	{
		key: "generic", initial: "false",
		help: "AF_XDP: run even where the driver has no XDP of its own, to try AF_XDP",
		set:  toggle(func(c *Config) *bool { return &c.Engine.Host.Generic }),
	},
	{
		key: "guard", arg: "on|off", initial: "on",
		help: "AF_XDP: drop packets of unknown senders in the driver; off for measurements",
		set:  choice(func(c *Config) *bool { return &c.Engine.Guard }, "on", "off"),
	},
	{
		key: "stun-rate", arg: "N", initial: "4000",
		help: "AF_XDP: genuine connection attempts a second that the guard passes from one address",
		set:  number(func(c *Config) *int { return &c.Engine.STUNRate }, 1, 1_000_000),
	},
	{
		key: "checksum4", arg: "on|off", initial: "on",
		help: "AF_XDP: compute the UDP checksum over IPv4, too; off saves some time, but a few networks drop such " +
			"packets",
		set: choice(func(c *Config) *bool { return &c.Engine.Checksum4 }, "on", "off"),
	},
	{
		key: "dscp", arg: "none|af41|ef|N", initial: "none",
		help: "mark of all media packets, for networks that prefer marked ones: a codepoint from 0 to 63, or its name",
		set:  setDSCP,
	},
	{
		key: "batching", arg: "HOW", initial: "segments",
		help: "sockets: one system call sends segments (messages that the kernel cuts), messages, " +
			"or one datagram (off); the last two for comparison",
		set: func(c *Config, s string) error { return c.Engine.Batching.UnmarshalText([]byte(s)) },
	},
	{
		key: "workers", arg: "N", initial: "0",
		help: "media threads; 0 is one for each of cpus, else for each core or, with AF_XDP, each receive queue",
		set:  number(func(c *Config) *int { return &c.Engine.Workers }, 0, maxWorkers),
	},
	{
		key: "cpus", arg: "LIST",
		help:  "cores for the media threads, in order, such as 0,2-3; repeatable",
		set:   addCPUs,
		clear: func(c *Config) { c.Engine.Host.CPUs = nil },
	},
	{
		key: "busy-poll", initial: "false",
		help: "media threads never sleep: less delay, but each takes a whole core",
		set:  toggle(func(c *Config) *bool { return &c.Engine.Host.BusyPoll }),
	},
	{
		key: "max-sessions", arg: "N", initial: "20000",
		help: "most publishers and viewers at a time; more are refused",
		set:  number(func(c *Config) *int { return &c.Engine.Sessions.Max }, 1, 1<<30),
	},
	{
		key: "max-pending", arg: "N", initial: "4000",
		help: "most of them that are still to connect; more are asked to come again",
		set:  number(func(c *Config) *int { return &c.Engine.Sessions.MaxPending }, 1, 1<<30),
	},
	{
		key: "max-viewers", arg: "N", initial: "0",
		help: "most viewers of one stream; 0 is no limit",
		set:  number(func(c *Config) *int { return &c.Engine.Sessions.Limits.Viewers }, 0, 1<<30),
	},
	{
		key: "max-per-source", arg: "N", initial: "0",
		help: "most sessions of one address, or IPv6 /64; 0 is no limit",
		set:  number(func(c *Config) *int { return &c.Engine.Sessions.Limits.SourceSessions }, 0, 1<<30),
	},
	{
		key: "max-bitrate", arg: "RATE", initial: "0",
		help: "most bits a second of a publisher's video, all layers together, such as 800k or 2.5M; 0 is no limit",
		set:  setMaxBitrate,
	},
	{
		key: "over-bitrate", arg: "warn|refuse", initial: "warn",
		help: "a publisher that is above max-bitrate for 10 s leaves a warning in the log, or is ended (refuse)",
		set:  choice(func(c *Config) *bool { return &c.Engine.Sessions.Limits.Refuse }, "refuse", "warn"),
	},
	{
		key: "history-memory", arg: "SIZE", initial: "0",
		help: "most memory for packets of the last second, such as 512M or 2G, at least 16M; 0 is a quarter of the " +
			"machine's",
		set: setHistoryMemory,
	},
	{
		key: "adapt", arg: "on|off", initial: "on",
		help: "send each viewer of several layers the one that its network carries; off sends all the best",
		set:  choice(func(c *Config) *bool { return &c.Engine.Adapt }, "on", "off"),
	},
	{
		key: "start-rate", arg: "RATE", initial: "2500k",
		help: "bits a second, such as 800k or 2.5M, that a new viewer is thought to receive: it starts on the " +
			"highest layer within it",
		set: setStartRate,
	},
	{
		key: "publish-token", arg: "TOKEN", secret: true,
		help: "token that publishers must show; in a flag, everybody who lists processes sees it",
		set:  token(func(c *Config) *signaling.Secret { return &c.Signaling.PublishToken }),
	},
	{
		key: "view-token", arg: "TOKEN", secret: true,
		help: "token that viewers must show",
		set:  token(func(c *Config) *signaling.Secret { return &c.Signaling.ViewToken }),
	},
	{
		key: "admin-token", arg: "TOKEN", secret: true,
		help: "token of operators, at least 16 characters, for writes of the admin API, profiles, and reads from " +
			"other hosts; without it one is drawn into a file that the log names",
		set: longToken(func(c *Config) *signaling.Secret { return &c.Management.Token }),
	},
	{
		key: "metrics-token", arg: "TOKEN", secret: true,
		help: "token that reads metrics and nothing else",
		set:  longToken(func(c *Config) *signaling.Secret { return &c.Management.MetricsToken }),
	},
	{
		key: "admin-host", arg: "NAME",
		help:  "name or address by which clients call the admin listener, beside its own address; repeatable",
		set:   addAdminHosts,
		clear: func(c *Config) { c.Management.Hosts = nil },
	},
	{
		key: "hook-url", arg: "URL", secret: true,
		help: "URL that is sent events of streams by POST",
		set:  text(func(c *Config) *string { return &c.Hook.URL }, webURL),
	},
	{
		key: "hook-secret", arg: "SECRET", secret: true,
		help: "key that signs these requests, at least 16 characters",
		set:  longToken(func(c *Config) *signaling.Secret { return &c.Hook.Secret }),
	},
	{
		key: "ice-server", arg: "URL", secret: true,
		help: "STUN or TURN server that clients are told of, such as stun:stun.example.org or " +
			"turn:turn.example.org?transport=udp; repeatable",
		set:   addICEServers,
		clear: func(c *Config) { c.Signaling.ICEServers.URLs = nil },
	},
	{
		key: "turn-secret", arg: "SECRET", secret: true,
		help: "secret that the TURN servers share (coturn's static-auth-secret), for credentials that end",
		set:  token(func(c *Config) *signaling.Secret { return &c.Signaling.ICEServers.Secret }),
	},
	{
		key: "turn-lifetime", arg: "DURATION", initial: "12h",
		help: "how long TURN credentials are good; a session by TURN lasts no longer",
		set:  setLifetime,
	},
	{
		key: "frame-ancestors", arg: "ORIGIN", initial: "self",
		help: "origin whose pages may embed this server's, such as https://example.org; self for its own only, none, " +
			"or * for any; repeatable",
		set:   addAncestors,
		clear: func(c *Config) { c.Signaling.FrameAncestors = nil },
	},
	{
		key: "jwt-keys", arg: "FILE|URL", secret: true,
		help: "keys of signed tokens (JWT) for publishers and viewers: JSON Web Keys, or PEM in a file",
		set: func(c *Config, s string) error {
			c.Access.Keys = s
			if !strings.Contains(s, "://") {
				return nil
			}
			return access.CheckURL(s)
		},
	},
	{
		key: "jwt-issuer", arg: "TEXT",
		help: "issuer that these tokens must name (iss)",
		set:  text(func(c *Config) *string { return &c.Access.Issuer }, anything),
	},
	{
		key: "jwt-audience", arg: "TEXT",
		help: "audience that these tokens must name (aud)",
		set:  text(func(c *Config) *string { return &c.Access.Audience }, anything),
	},
	{
		key: "auth-url", arg: "URL", secret: true,
		help: "web service that is asked about each session, instead of signed tokens",
		set: text(func(c *Config) *string { return &c.Access.Hook }, func(s string) error {
			if s == "" {
				return nil
			}
			return access.CheckURL(s)
		}),
	},
	{
		key: "auth-secret", arg: "TEXT", secret: true,
		help: "secret that signs the requests to auth-url",
		set:  token(func(c *Config) *signaling.Secret { return &c.Access.Secret }),
	},
	{
		key: "token-grace", arg: "DURATION", initial: "30s",
		help: "how long a session goes on after its signed token, or the answer of auth-url, has expired",
		set:  duration(func(c *Config) *time.Duration { return &c.Access.Grace }),
	},
	{
		key: "takeover", initial: "false",
		help: "let a new publisher replace the live one of a stream, once its media arrives",
		set:  toggle(func(c *Config) *bool { return &c.Engine.Sessions.Takeover }),
	},
	{
		key: "grace", arg: "DURATION", initial: "30s",
		help: "how long viewers wait for a publisher that was lost",
		set:  duration(func(c *Config) *time.Duration { return &c.Engine.Sessions.Grace }),
	},
	{
		key: "tls-cert", arg: "FILE",
		help: "PEM certificate chain, read again when it changes; it makes HTTP HTTPS",
		set:  text(func(c *Config) *string { return &c.TLS.Cert }, anything),
	},
	{
		key: "tls-key", arg: "FILE",
		help: "PEM private key of tls-cert",
		set:  text(func(c *Config) *string { return &c.TLS.Key }, anything),
	},
	{
		key: "tls", arg: "self|acme",
		help: "HTTPS with a certificate that the server makes, whose fingerprint is logged (self), or with those " +
			"that a CA issues for each host (acme), which accepts the CA's terms",
		set: setTLS,
	},
	{
		key: "host", arg: "NAME",
		help:  "name by which clients call this server, for its certificate; repeatable",
		set:   addHosts,
		clear: func(c *Config) { c.TLS.ACME.Hosts = nil },
	},
	{
		key: "acme-email", arg: "ADDRESS",
		help: "acme: address to which the CA may send warnings",
		set:  text(func(c *Config) *string { return &c.TLS.ACME.Email }, email),
	},
	{
		key: "acme-directory", arg: "URL", secret: true,
		help: "acme: directory of the CA; without it Let's Encrypt's",
		set:  text(func(c *Config) *string { return &c.TLS.ACME.Directory }, directory),
	},
	{
		key: "acme-ca", arg: "FILE",
		help: "acme: PEM roots of the directory's own certificate; without it the system's",
		set:  text(func(c *Config) *string { return &c.TLS.ACME.Roots }, anything),
	},
	{
		key: "acme-cache", arg: "DIR",
		help: "acme: directory for account and certificates, which servers may share; without it acme in systemd's " +
			"state directory, or ringcast/acme in the user's configuration directory",
		set: text(func(c *Config) *string { return &c.TLS.ACME.Cache }, anything),
	},
	{
		key: "acme-http", arg: "ADDRESS", initial: ":80",
		help: "acme: address for the CA's HTTP-01 challenges, which sends browsers to HTTPS; empty for none",
		set:  text(func(c *Config) *string { return &c.TLS.ACME.HTTP }, addressOrNone),
	},
	{
		key: "base", arg: "PATH",
		help: "path in front of all others, such as /cast, if a proxy serves them below it",
		set: func(c *Config, s string) (err error) {
			c.Signaling.Base, err = signaling.ParseBase(s)
			return err
		},
	},
	{
		key: "trusted-proxies", arg: "CIDR",
		help:  "networks of the proxies in front, whose X-Forwarded-For and X-Forwarded-Prefix are trusted; repeatable",
		set:   addTrustedProxies,
		clear: func(c *Config) { c.Signaling.TrustedProxies = nil },
	},
	{
		key: "log-level", arg: "LEVEL", initial: "info",
		help: "least level that is logged: debug, info, warn or error",
		set: func(c *Config, s string) error {
			if c.Log.Level.UnmarshalText([]byte(s)) != nil {
				return errors.New("debug, info, warn or error expected")
			}
			return nil
		},
	},
	{
		key: "log-format", arg: "text|json", initial: "text",
		help: "form of the log on stderr",
		set: func(c *Config, s string) error {
			c.Log.JSON = s == "json"
			return oneOf("text", "json")(s)
		},
	},
}
