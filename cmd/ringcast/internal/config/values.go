package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/engine"
	"ringcast/signaling"
	"ringcast/signaling/iceserver"
)

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
		last := len(values) - 1
		if values[last] == "" {
			return fmt.Errorf("%s expected, or nothing", strings.Join(values[:last], " or "))
		}
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

// choice sets a field for one of two words and clears it for the other.
func choice(field func(*Config) *bool, on, off string) func(*Config, string) error {
	return func(c *Config, s string) error {
		*field(c) = s == on
		return oneOf(off, on)(s)
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
		if !slices.Contains(c.Engine.Host.Interfaces, name) {
			c.Engine.Host.Interfaces = append(c.Engine.Host.Interfaces, name)
		}
	}
	return nil
}

// interfaceName checks that Linux accepts the name (dev_valid_name in net/core/dev.c). The interface is looked up when
// it is used.
func interfaceName(s string) error {
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\r\n\v\f") {
		return errors.New("the name of a network interface, such as eth0, expected")
	}
	return nil
}

// address checks the form only: names are looked up when the port is opened.
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

func addressOrNone(s string) error {
	if s == "" {
		return nil
	}
	return address(s)
}

func setTLS(c *Config, s string) error {
	c.TLS.Self, c.TLS.ACME.On = s == "self", s == "acme"
	return oneOf("self", "acme", "")(s)
}

func addHosts(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		name, err := certificate.NormalHost(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		if !slices.Contains(c.TLS.ACME.Hosts, name) {
			c.TLS.ACME.Hosts = append(c.TLS.ACME.Hosts, name)
		}
	}
	return nil
}

func email(s string) error {
	if a, err := mail.ParseAddress(s); err != nil || a.Address != s {
		return errors.New("an address such as ops@example.org expected")
	}
	return nil
}

// directory checks the URL of a CA. RFC 8555 section 6.1 demands HTTPS. The log shows it, so it has no password.
func directory(s string) error {
	if u, err := url.Parse(s); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("a URL such as https://acme.example.org/directory expected")
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

func duration(field func(*Config) *time.Duration) func(*Config, string) error {
	return func(c *Config, s string) error {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return errors.New("a duration such as 30s or 2m expected, not below 0")
		}
		*field(c) = d
		return nil
	}
}

func addICEServers(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		server := strings.TrimSpace(part)
		if err := iceserver.Valid(server); err != nil {
			return err
		}
		c.Signaling.ICEServers.URLs = append(c.Signaling.ICEServers.URLs, server)
	}
	return nil
}

func setLifetime(c *Config, s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < time.Minute {
		return errors.New("a duration such as 30m or 12h expected, at least 1m")
	}
	c.Signaling.ICEServers.Lifetime = d
	return nil
}

func addAncestors(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		a, err := signaling.ParseAncestor(strings.TrimSpace(part))
		if err != nil {
			return err
		}
		c.Signaling.FrameAncestors = append(c.Signaling.FrameAncestors, a)
	}
	if len(c.Signaling.FrameAncestors) > 1 && slices.Contains(c.Signaling.FrameAncestors, "'none'") {
		return errors.New("none excludes all others")
	}
	return nil
}

// setDSCP accepts a codepoint by its number or its name (RFC 2597, RFC 3246).
func setDSCP(c *Config, s string) error {
	names := map[string]uint8{"none": 0, "af41": 34, "ef": 46}
	if value, ok := names[strings.ToLower(s)]; ok {
		c.Engine.DSCP = value
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil || n > 63 {
		return errors.New("none, af41, ef or a whole number from 0 to 63 expected")
	}
	c.Engine.DSCP = uint8(n)
	return nil
}

// A wrong unit of a rate is noticed by these.
const (
	leastRate = 10_000
	mostRate  = 1_000_000_000
)

// leastHistory is enough for a few streams. A wrong unit is noticed by it.
const leastHistory = 16 << 20

func setHistoryMemory(c *Config, s string) error {
	n, ok := parseSize(s)
	if !ok || n != 0 && n < leastHistory {
		return errors.New("a size such as 512M or 2G expected, at least 16M, or 0")
	}
	if n == 0 {
		n = engine.DefaultConfig().HistoryMemory
	}
	c.Engine.HistoryMemory = n
	return nil
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,18})(?:([KMGTkmgt])(?:i?B)?|B)?$`)

// parseSize parses a whole number of bytes, or of K, M, G or T, which are powers of 1024. B or iB may follow the unit.
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

var ratePattern = regexp.MustCompile(`^([0-9]{1,6}(?:\.[0-9]{1,6})?)([kKmM]?)$`)

func setStartRate(c *Config, s string) (err error) {
	c.Engine.StartRate, err = parseRate(s)
	return err
}

func setMaxBitrate(c *Config, s string) (err error) {
	limit := &c.Engine.Sessions.Limits.Bitrate
	if *limit = 0; s == "0" {
		return nil
	}
	*limit, err = parseRate(s)
	return err
}

// parseRate accepts bits a second, or thousands or millions of them.
func parseRate(s string) (int, error) {
	m := ratePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("a rate in bits a second, such as 800k or 2.5M, expected")
	}
	rate, _ := strconv.ParseFloat(m[1], 64) // the pattern is a number
	switch m[2] {
	case "k", "K":
		rate *= 1e3
	case "m", "M":
		rate *= 1e6
	}
	if rate < leastRate || rate > mostRate {
		return 0, errors.New("a rate from 10k to 1000M expected")
	}
	return int(rate), nil
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
			c.Engine.Public.Names = append(c.Engine.Public.Names, part)
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			return errors.New("an IP address such as 192.0.2.1 or 2001:db8::1, or a name such as " +
				"media.example.org, expected")
		default:
			c.Engine.Public.Public = append(c.Engine.Public.Public, a.Unmap())
		}
	}
	return nil
}

// publicName distinguishes names from mistyped addresses: no top-level domain is a number.
func publicName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	last := s[strings.LastIndexByte(s, '.')+1:]
	return len(s) <= 253 && certificate.ValidName(s) && strings.Trim(last, "0123456789") != ""
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
		c.Signaling.TrustedProxies = append(c.Signaling.TrustedProxies, n)
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
			if slices.Contains(c.Engine.Host.CPUs, cpu) {
				return fmt.Errorf("core %d is named twice", cpu)
			}
			c.Engine.Host.CPUs = append(c.Engine.Host.CPUs, cpu)
		}
	}
	return nil
}

// token refuses characters that no Authorization header can carry, such as the newline at the end of a mounted secret.
// It also refuses an empty token: a forgotten variable must not open the server to everybody.
func token(field func(*Config) *signaling.Secret) func(*Config, string) error {
	return func(c *Config, s string) error {
		if s == "" {
			return errors.New("it is empty; leave the setting out to ask for none")
		}
		for i := range len(s) {
			if s[i] <= ' ' || s[i] > '~' {
				return errors.New("visible ASCII characters without spaces expected")
			}
		}
		*field(c) = signaling.Secret(s)
		return nil
	}
}

// leastToken is the least length of a token that gives power over the server.
const leastToken = 16

func longToken(field func(*Config) *signaling.Secret) func(*Config, string) error {
	set := token(field)
	return func(c *Config, s string) error {
		if s != "" && len(s) < leastToken {
			return fmt.Errorf("at least %d characters expected", leastToken)
		}
		return set(c, s)
	}
}

func addAdminHosts(c *Config, s string) error {
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		if _, err := netip.ParseAddr(part); err != nil && !certificate.ValidName(part) {
			return errors.New("a name such as admin.example.org, or an IP address, without a port, expected")
		}
		c.Management.Hosts = append(c.Management.Hosts, part)
	}
	return nil
}

// webURL checks the URL of a webhook; an empty one is none.
func webURL(s string) error {
	u, err := url.Parse(s)
	if s != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "") {
		return errors.New("a URL such as https://hooks.example.org/ringcast expected")
	}
	return nil
}
