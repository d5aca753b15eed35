package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringcast/engine/host"
	"ringcast/engine/udp"
	"ringcast/signaling"
)

// Config is what all sources of settings came to; see the table below for what the fields mean.
type Config struct {
	HTTP, UDP, Admin string
	Workers          int
	PublicIPs        []netip.Addr
	PublicNames      []string
	LogLevel         slog.Level
	LogJSON          bool

	IO           host.IO
	Interfaces   []string
	CopyOnly     bool
	Generic      bool
	GuardOff     bool
	STUNRate     int
	Checksum4Off bool
	DSCP         uint8
	Batching     udp.Batching
	BusyPoll     bool
	CPUs         []int

	PublishToken, ViewToken Secret
	Takeover                bool
	Grace                   time.Duration
	MaxSessions, MaxPending int
	HistoryMemory           int64 // bytes; 0 is a quarter of the machine's

	TLSCert, TLSKey string
	TLSSelf         bool

	Base           string
	TrustedProxies []netip.Prefix

	file string            // the YAML file that was read, if any
	from map[string]string // the keys that a source gave, and which
}

// A Secret shows itself to nobody who does not convert it.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return "none"
	}
	return "hidden"
}

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A setting is one thing that can be set, under the same key in every source.
type setting struct {
	key string
	// arg stands for the value in --help; a setting without is a switch.
	arg     string
	initial string
	help    string
	// set parses one value. Where a setting is repeatable, clear comes before the first of a source.
	set   func(*Config, string) error
	clear func(*Config)
	// secret values are in no message.
	secret bool
	// outside keeps a setting out of the YAML file.
	outside bool
}

const envPrefix = "RINGCAST_"

// env is the name of the setting's environment variable.
func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, "-", "_"))
}

var settings = []setting{
	{
		key: "config", arg: "FILE", outside: true,
		help: "YAML file to read settings from",
		set:  func(c *Config, s string) error { c.file = s; return nil },
	},
	{
		key: "http", arg: "ADDRESS", initial: ":8080",
		help: "where the page, WHIP and WHEP are served",
		set:  text(func(c *Config) *string { return &c.HTTP }, address),
	},
	{
		key: "udp", arg: "ADDRESS", initial: ":7000",
		help: "the media port",
		set:  text(func(c *Config) *string { return &c.UDP }, address),
	},
	{
		key: "admin", arg: "ADDRESS", initial: "127.0.0.1:9090",
		help: "where metrics, health and profiles are served, to anybody who asks; empty for nowhere",
		set: text(func(c *Config) *string { return &c.Admin }, func(s string) error {
			if s == "" {
				return nil
			}
			return address(s)
		}),
	},
	{
		key: "public-ip", arg: "IP|NAME",
		help:  "address that peers reach the media port at, or a name that is looked up now and then, instead of the interfaces' own; repeatable",
		set:   addPublicIPs,
		clear: func(c *Config) { c.PublicIPs, c.PublicNames = nil, nil },
	},
	{
		key: "io", arg: "auto|udp|xdp", initial: "auto",
		help: "how packets enter and leave: udp by sockets, xdp by AF_XDP or not at all, auto by what works",
		set: func(c *Config, s string) error {
			c.IO = host.IO(s)
			return oneOf("auto", "udp", "xdp")(s)
		},
	},
	{
		key: "interface", arg: "DEV",
		help:  "network interface for AF_XDP, else those that have public-ip; repeatable",
		set:   addInterfaces,
		clear: func(c *Config) { c.Interfaces = nil },
	},
	{
		key: "zerocopy", arg: "auto|off", initial: "auto",
		help: "AF_XDP: let the NIC read and write packet memory itself, where its driver can",
		set:  choice(func(c *Config) *bool { return &c.CopyOnly }, "off", "auto"),
	},
	{
		key: "generic", initial: "false",
		help: "AF_XDP: run even where the driver has no XDP of its own, for trying it out",
		set:  toggle(func(c *Config) *bool { return &c.Generic }),
	},
	{
		key: "guard", arg: "on|off", initial: "on",
		help: "AF_XDP: drop what unknown senders send before it costs anything; off for measuring",
		set:  choice(func(c *Config) *bool { return &c.GuardOff }, "off", "on"),
	},
	{
		key: "stun-rate", arg: "N", initial: "4000",
		help: "AF_XDP: genuine connection attempts a second that the guard passes of one address",
		set:  number(func(c *Config) *int { return &c.STUNRate }, 1, 1_000_000),
	},
	{
		key: "checksum4", arg: "on|off", initial: "on",
		help: "AF_XDP: compute the UDP checksum over IPv4 too; off saves some time, and a few networks drop what comes without",
		set:  choice(func(c *Config) *bool { return &c.Checksum4Off }, "off", "on"),
	},
	{
		key: "dscp", arg: "none|af41|ef|N", initial: "none",
		help: "mark of all media packets for networks that give some precedence: a codepoint from 0 to 63, or its name",
		set:  setDSCP,
	},
	{
		key: "batching", arg: "HOW", initial: "segments",
		help: "sockets: what one system call sends: segments (messages that the kernel cuts), messages, or off (one datagram); the last two to compare with",
		set:  func(c *Config, s string) error { return c.Batching.UnmarshalText([]byte(s)) },
	},
	{
		key: "workers", arg: "N", initial: "0",
		help: "media threads; 0 is one for each of cpus, else of all cores, or with AF_XDP of the receive queues",
		set:  number(func(c *Config) *int { return &c.Workers }, 0, maxWorkers),
	},
	{
		key: "cpus", arg: "LIST",
		help:  "cores that the media threads are pinned to, in order, such as 0,2-3; repeatable",
		set:   addCPUs,
		clear: func(c *Config) { c.CPUs = nil },
	},
	{
		key: "busy-poll", initial: "false",
		help: "never let a media thread sleep: less delay, and each takes a whole core",
		set:  toggle(func(c *Config) *bool { return &c.BusyPoll }),
	},
	{
		key: "max-sessions", arg: "N", initial: "20000",
		help: "publishers and viewers at a time; more are refused",
		set:  number(func(c *Config) *int { return &c.MaxSessions }, 1, 1<<30),
	},
	{
		key: "max-pending", arg: "N", initial: "4000",
		help: "those among them that are still to connect; more are told to wait",
		set:  number(func(c *Config) *int { return &c.MaxPending }, 1, 1<<30),
	},
	{
		key: "history-memory", arg: "SIZE", initial: "0",
		help: "most memory for packets of the last second, such as 512M or 2G, at least 16M; 0 is a quarter of the machine's",
		set:  setHistoryMemory,
	},
	{
		key: "publish-token", arg: "TOKEN", secret: true,
		help: "what publishers must show; whoever lists processes sees it in a flag",
		set:  token(func(c *Config) *Secret { return &c.PublishToken }),
	},
	{
		key: "view-token", arg: "TOKEN", secret: true,
		help: "what viewers must show",
		set:  token(func(c *Config) *Secret { return &c.ViewToken }),
	},
	{
		key: "takeover", initial: "false",
		help: "let a new publisher replace the live one of a stream, once its media arrives",
		set:  toggle(func(c *Config) *bool { return &c.Takeover }),
	},
	{
		key: "grace", arg: "DURATION", initial: "30s",
		help: "how long viewers wait for a publisher that was lost",
		set:  setGrace,
	},
	{
		key: "tls-cert", arg: "FILE",
		help: "PEM certificate chain, read again when it changes; HTTP becomes HTTPS",
		set:  text(func(c *Config) *string { return &c.TLSCert }, anything),
	},
	{
		key: "tls-key", arg: "FILE",
		help: "PEM private key of tls-cert",
		set:  text(func(c *Config) *string { return &c.TLSKey }, anything),
	},
	{
		key: "tls", arg: "self",
		help: "HTTPS with a certificate that the server makes, whose fingerprint is logged",
		set: func(c *Config, s string) error {
			c.TLSSelf = s == "self"
			return oneOf("self", "")(s)
		},
	},
	{
		key: "base", arg: "PATH",
		help: "path in front of all others, such as /cast, if a proxy serves them below it",
		set: func(c *Config, s string) (err error) {
			c.Base, err = signaling.ParseBase(s)
			return err
		},
	},
	{
		key: "trusted-proxies", arg: "CIDR",
		help:  "networks of the proxies in front, whose X-Forwarded-For and X-Forwarded-Prefix are believed; repeatable",
		set:   addTrustedProxies,
		clear: func(c *Config) { c.TrustedProxies = nil },
	},
	{
		key: "log-level", arg: "LEVEL", initial: "info",
		help: "least level that is logged: debug, info, warn or error",
		set: func(c *Config, s string) error {
			if c.LogLevel.UnmarshalText([]byte(s)) != nil {
				return errors.New("debug, info, warn or error expected")
			}
			return nil
		},
	},
	{
		key: "log-format", arg: "text|json", initial: "text",
		help: "form of the log on stderr",
		set: func(c *Config, s string) error {
			c.LogJSON = s == "json"
			return oneOf("text", "json")(s)
		},
	},
}

// maxWorkers is far above any machine's cores. Lanes between workers grow with its square.
const maxWorkers = 256

func text(field func(*Config) *string, check func(string) error) func(*Config, string) error {
	return func(c *Config, s string) error {
		*field(c) = s
		return check(s)
	}
}

func anything(string) error { return nil }

func oneOf(values ...string) func(string) error {
	return func(s string) error {
		for _, v := range values {
			if s == v {
				return nil
			}
		}
		if values[len(values)-1] == "" {
			return fmt.Errorf("%s expected, or nothing", values[0])
		}
		last := len(values) - 1
		return fmt.Errorf("%s or %s expected", strings.Join(values[:last], ", "), values[last])
	}
}

func toggle(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, s string) (err error) {
		if *field(c), err = strconv.ParseBool(s); err != nil {
			return errors.New("true or false expected")
		}
		return nil
	}
}

// choice is true for one word and false for the other.
func choice(field func(*Config) *bool, yes, no string) func(*Config, string) error {
	return func(c *Config, s string) error {
		*field(c) = s == yes
		return oneOf(yes, no)(s)
	}
}

func addInterfaces(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		name := strings.TrimSpace(part)
		if err := interfaceName(name); err != nil {
			return err
		}
		if !slices.Contains(c.Interfaces, name) {
			c.Interfaces = append(c.Interfaces, name)
		}
	}
	return nil
}

// interfaceName checks what Linux takes for one (dev_valid_name in net/core/dev.c); which there are is
// seen when it is used.
func interfaceName(s string) error {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\r\n\v\f") {
		return errors.New("the name of a network interface, such as eth0, expected")
	}
	return nil
}

// address checks the form only: names are looked up when they are listened on.
func address(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return errors.New("an address such as :8080, 192.0.2.1:8080 or [2001:db8::1]:8080 expected")
	}
	return nil
}

func number(field func(*Config) *int, least, most int) func(*Config, string) error {
	return func(c *Config, s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return fmt.Errorf("a whole number from %d to %d expected", least, most)
		}
		*field(c) = n
		return nil
	}
}

func setGrace(c *Config, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return errors.New("a duration such as 30s or 2m expected, not below 0")
	}
	c.Grace = d
	return nil
}

// setDSCP takes a codepoint, by its number or by its name (RFC 2597, RFC 3246).
func setDSCP(c *Config, s string) error {
	names := map[string]uint8{"none": 0, "af41": 34, "ef": 46}
	if value, ok := names[strings.ToLower(s)]; ok {
		c.DSCP = value
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 63 {
		return errors.New("none, af41, ef or a whole number from 0 to 63 expected")
	}
	c.DSCP = uint8(n)
	return nil
}

// leastHistory is enough for a few streams, so that a slip in the unit is noticed.
const leastHistory = 16 << 20

func setHistoryMemory(c *Config, s string) error {
	n, ok := parseSize(s)
	if !ok || n != 0 && n < leastHistory {
		return errors.New("a size such as 512M or 2G expected, at least 16M, or 0")
	}
	c.HistoryMemory = n
	return nil
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,18})(?:([KMGTkmgt])(?:i?B)?|B)?$`)

// parseSize reads a whole number of bytes, or of K, M, G or T of them, powers of 1024. B or iB may follow the
// unit.
func parseSize(s string) (int64, bool) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	n, _ := strconv.ParseInt(m[1], 10, 64) // 18 digits fit
	shift := 10 * (strings.Index("KMGT", strings.ToUpper(m[2])) + 1)
	if m[2] == "" {
		shift = 0
	}
	return n << shift, n <= math.MaxInt64>>shift
}

func addPublicIPs(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		a, err := netip.ParseAddr(part)
		switch {
		case err != nil && publicName(part):
			c.PublicNames = append(c.PublicNames, part)
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			return errors.New("an IP address such as 192.0.2.1 or 2001:db8::1, or a name such as media.example.org, expected")
		default:
			c.PublicIPs = append(c.PublicIPs, a.Unmap())
		}
	}
	return nil
}

// publicName tells names from mistyped addresses: no top-level domain is a number.
func publicName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	last := s[strings.LastIndexByte(s, '.')+1:]
	return len(s) <= 253 && hostname.MatchString(s) && strings.Trim(last, "0123456789") != ""
}

func addTrustedProxies(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		n, err := signaling.ParseNetwork(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		c.TrustedProxies = append(c.TrustedProxies, n)
	}
	return nil
}

// maxCPU is above every number that Linux gives a core (NR_CPUS).
const maxCPU = 8191

func addCPUs(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(from, 10, 16)
		last := first
		if isRange && err == nil {
			last, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || last < first || last > maxCPU {
			return errors.New("numbers of cores such as 0,2-3 expected")
		}
		for cpu := int(first); cpu <= int(last); cpu++ {
			if slices.Contains(c.CPUs, cpu) {
				return fmt.Errorf("core %d is named twice", cpu)
			}
			c.CPUs = append(c.CPUs, cpu)
		}
	}
	return nil
}

// token refuses what no Authorization header can carry, such as the newline at the end of a mounted
// secret, and an empty one: a variable that was forgotten must not open the server to all.
func token(field func(*Config) *Secret) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return errors.New("it is empty; leave the setting out to ask for none")
		}
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' {
				return errors.New("visible ASCII characters without spaces expected")
			}
		}
		*field(c) = Secret(s)
		return nil
	}
}

// validate checks what one value alone cannot tell.
func (c *Config) validate() error {
	switch {
	case c.TLSSelf && (c.TLSCert != "" || c.TLSKey != ""):
		other := "tls-cert"
		if c.TLSCert == "" {
			other = "tls-key"
		}
		return fmt.Errorf("%s and %s exclude each other", c.origin("tls"), c.origin(other))
	case c.TLSCert != "" && c.TLSKey == "":
		return fmt.Errorf("%s needs tls-key too", c.origin("tls-cert"))
	case c.TLSKey != "" && c.TLSCert == "":
		return fmt.Errorf("%s needs tls-cert too", c.origin("tls-key"))
	}
	return nil
}

// origin names a setting that was given and its source.
func (c *Config) origin(key string) string { return key + " in " + c.from[key] }
