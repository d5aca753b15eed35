package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Config is what all sources of settings came to; see the table below for what the fields mean.
type Config struct {
	HTTP, UDP, Admin string
	IO               string
	Workers          int
	PublicIPs        []netip.Addr
	LogLevel         slog.Level
	LogJSON          bool

	PublishToken, ViewToken Secret
	Takeover                bool
	Grace                   time.Duration
	MaxSessions             int

	TLSCert, TLSKey string
	TLSSelf         bool

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
		key: "public-ip", arg: "IP",
		help:  "address that peers reach the media port at, instead of the interfaces' own; repeatable",
		set:   addPublicIPs,
		clear: func(c *Config) { c.PublicIPs = nil },
	},
	{
		key: "io", arg: "auto|udp", initial: "auto",
		help: "how packets enter and leave",
		set:  text(func(c *Config) *string { return &c.IO }, oneOf("auto", "udp")),
	},
	{
		key: "workers", arg: "N", initial: "0",
		help: "media threads; 0 is one for each core",
		set:  number(func(c *Config) *int { return &c.Workers }, 0, maxWorkers),
	},
	{
		key: "max-sessions", arg: "N", initial: "20000",
		help: "publishers and viewers at a time; more are refused",
		set:  number(func(c *Config) *int { return &c.MaxSessions }, 1, 1<<30),
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
		help: "let a new publisher replace the live one of a stream",
		set: func(c *Config, s string) (err error) {
			if c.Takeover, err = strconv.ParseBool(s); err != nil {
				return errors.New("true or false expected")
			}
			return nil
		},
	},
	{
		key: "grace", arg: "DURATION", initial: "30s",
		help: "how long viewers wait for a publisher that was lost",
		set:  setGrace,
	},
	{
		key: "tls-cert", arg: "FILE",
		help: "PEM certificate chain; HTTP becomes HTTPS",
		set:  text(func(c *Config) *string { return &c.TLSCert }, anything),
	},
	{
		key: "tls-key", arg: "FILE",
		help: "PEM private key of tls-cert",
		set:  text(func(c *Config) *string { return &c.TLSKey }, anything),
	},
	{
		key: "tls", arg: "self",
		help: "HTTPS with a certificate made at start, whose fingerprint is logged",
		set: func(c *Config, s string) error {
			c.TLSSelf = s == "self"
			return oneOf("self", "")(s)
		},
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
		return fmt.Errorf("%s expected", strings.Join(values, " or "))
	}
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

func addPublicIPs(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		a, err := netip.ParseAddr(strings.TrimSpace(part))
		if err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast() {
			return errors.New("an IP address such as 192.0.2.1 or 2001:db8::1 expected")
		}
		c.PublicIPs = append(c.PublicIPs, a.Unmap())
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
