package config

import (
	"fmt"
	"net"
	"net/netip"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/engine"
	"ringcast/signaling"
)

// Config holds the settings of all sources, in the configurations of the packages that use them.
type Config struct {
	Engine    engine.Config
	Signaling signaling.Config
	TLS       certificate.Config
	Log       logging.Config
	// HTTP is the address of the page, WHIP and WHEP, Admin that of metrics. Without Admin there are no metrics.
	HTTP, Admin string
	// UDP is the address of the UDP port. Resolve looks its host up.
	UDP string

	file string            // the YAML file that was read, if any
	from map[string]string // the source of each key that was given
}

// Resolve looks the host of UDP up and sets Engine.Listen. No host means every interface.
func (c *Config) Resolve() error {
	a, err := net.ResolveUDPAddr("udp", c.UDP)
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		addr = netip.IPv6Unspecified()
	}
	c.Engine.Listen = netip.AddrPortFrom(addr.Unmap().WithZone(a.Zone), uint16(a.Port))
	return nil
}

// Hosts lists the names and addresses by which clients call this server, as far as they are configured.
func (c *Config) Hosts() (all []string) {
	if host, _, err := net.SplitHostPort(c.HTTP); err == nil {
		all = append(all, host)
	}
	all = append(all, c.Engine.Public.Names...)
	for _, a := range c.Engine.Public.Public {
		all = append(all, a.String())
	}
	return all
}

// validate checks values against each other.
func (c *Config) validate() error {
	switch {
	case c.TLS.Self && (c.TLS.Cert != "" || c.TLS.Key != ""):
		other := "tls-cert"
		if c.TLS.Cert == "" {
			other = "tls-key"
		}
		return fmt.Errorf("%s and %s exclude each other", c.origin("tls"), c.origin(other))
	case c.TLS.Cert != "" && c.TLS.Key == "":
		return fmt.Errorf("%s needs tls-key too", c.origin("tls-cert"))
	case c.TLS.Key != "" && c.TLS.Cert == "":
		return fmt.Errorf("%s needs tls-cert too", c.origin("tls-key"))
	}
	return nil
}

// origin names a setting and its source.
func (c *Config) origin(key string) string { return key + " in " + c.from[key] }
