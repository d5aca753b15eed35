package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/engine"
	"ringcast/signaling"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster"
	"ringcast/signaling/hook"
	"ringcast/signaling/iceserver"
)

// Config holds the settings of all sources, in the configurations of the packages that use them.
type Config struct {
	Engine    engine.Config
	Signaling signaling.Config
	Access    access.Config
	TLS       certificate.Config
	Cluster   cluster.Config
	Log       logging.Config
	// HTTP is the address of the page, WHIP and WHEP, Admin that of metrics. Without Admin there are no metrics.
	HTTP, Admin string
	// Management holds the admin listener's tokens and names.
	Management signaling.AdminAccess
	// Hook is the receiver of events. Without a URL there is none.
	Hook hook.Config
	// UDP is the address of the UDP port. Resolve looks its host up.
	UDP string

	pullTokens, pushTokens tokens // before the pulls and pushes have them

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
	all = append(all, c.TLS.ACME.Hosts...)
	all = append(all, c.Engine.Public.Names...)
	for _, a := range c.Engine.Public.Public {
		all = append(all, a.String())
	}
	return all
}

// complete fills in values that depend on others.
func (c *Config) complete() {
	if !c.TLS.ACME.On {
		return
	}
	if c.from["http"] == "" {
		c.HTTP = ":443" // the CA comes to it
	}
	if c.TLS.ACME.Cache == "" {
		c.TLS.ACME.Cache = certificate.DefaultCache()
	}
}

// validate checks values against each other.
func (c *Config) validate() error {
	generated, acme := c.TLS.Self || c.TLS.ACME.On, c.TLS.ACME
	switch {
	case c.Hook.Secret != "" && c.Hook.URL == "":
		return fmt.Errorf("%s needs hook-url too", c.origin("hook-secret"))
	case generated && (c.TLS.Cert != "" || c.TLS.Key != ""):
		other := "tls-cert"
		if c.TLS.Cert == "" {
			other = "tls-key"
		}
		return fmt.Errorf("%s and %s exclude each other", c.origin("tls"), c.origin(other))
	case c.TLS.Cert != "" && c.TLS.Key == "":
		return fmt.Errorf("%s needs tls-key too", c.origin("tls-cert"))
	case c.TLS.Key != "" && c.TLS.Cert == "":
		return fmt.Errorf("%s needs tls-cert too", c.origin("tls-key"))
	case c.Signaling.ICEServers.Secret == "" && slices.ContainsFunc(c.Signaling.ICEServers.URLs, iceserver.IsTURN):
		return fmt.Errorf("%s has a TURN server and needs turn-secret too", c.origin("ice-server"))
	case acme.On && len(acme.Hosts) == 0:
		return fmt.Errorf("%s needs host too", c.origin("tls"))
	case acme.On && acme.Cache == "":
		return fmt.Errorf("%s needs acme-cache too: there is no state directory", c.origin("tls"))
	}
	return cmp.Or(c.validateAccess(), c.validateCluster(), c.validateRemotes())
}

// validateAccess refuses gates that exclude each other, and settings of gates that are not there.
func (c *Config) validateAccess() error {
	a, shared := &c.Access, c.Signaling.PublishToken != "" && c.Signaling.ViewToken != ""
	gate := "auth-url"
	if a.Keys != "" {
		gate = "jwt-keys"
	}
	switch {
	case a.Keys != "" && a.Hook != "":
		return fmt.Errorf("%s and %s exclude each other", c.origin("jwt-keys"), c.origin("auth-url"))
	case (a.Keys != "" || a.Hook != "") && shared:
		return fmt.Errorf("%s guards nobody, since %s and %s guard both roles", c.origin(gate),
			c.origin("publish-token"), c.origin("view-token"))
	case a.Keys == "" && a.Issuer != "":
		return fmt.Errorf("%s needs jwt-keys too", c.origin("jwt-issuer"))
	case a.Keys == "" && a.Audience != "":
		return fmt.Errorf("%s needs jwt-keys too", c.origin("jwt-audience"))
	case a.Hook == "" && a.Secret != "":
		return fmt.Errorf("%s needs auth-url too", c.origin("auth-secret"))
	case a.Hook != "" && a.Secret == "":
		return fmt.Errorf("%s needs auth-secret too", c.origin("auth-url"))
	}
	return nil
}

// guarded reports whether publishers must show something.
func (c *Config) guarded() bool {
	return c.Signaling.PublishToken != "" || c.Access.Keys != "" || c.Access.Hook != ""
}

// origin names a setting and its source.
func (c *Config) origin(key string) string { return key + " in " + c.from[key] }
