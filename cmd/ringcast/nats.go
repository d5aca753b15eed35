package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"ringcast/signaling/cluster"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/natsdir"
)

// carry makes the transport of the directory: NATS where the settings have it, and static peers elsewhere.
func (m *membership) carry(cfg *cluster.Config, log *slog.Logger) error {
	nats := natsdir.Config{Node: m.Node.ID, Log: log}
	switch {
	case cfg.NATS.Listen != "":
		own, err := url.Parse(cfg.URL)
		if err != nil {
			return fmt.Errorf("cluster: %w", err)
		}
		nats.Routes = &natsdir.Routes{
			Listen: cfg.NATS.Listen, Peers: cfg.NATS.Routes, Host: own.Hostname(), Logins: m.Keys.Logins(),
			TLS: bothEnds(m.ServerTLS, m.ClientTLS), Insecure: cfg.Insecure,
		}
	case len(cfg.NATS.URLs) > 0:
		nats.External = &natsdir.External{
			URLs: cfg.NATS.URLs, Credentials: cfg.NATS.Credentials, Insecure: cfg.Insecure,
		}
		if strings.HasPrefix(cfg.NATS.URLs[0], "tls://") {
			nats.External.TLS = m.ClientTLS
		}
	default:
		m.transport = directory.NewStatic(cfg.Peers, m.Caller)
		return nil
	}
	nats.Metrics = natsdir.NewMetrics()
	transport, err := natsdir.New(nats)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	m.transport, m.nats = transport, nats.Metrics
	return nil
}

// bothEnds is for connections that either side may open. It is nil where the cluster has no TLS.
func bothEnds(server, client *tls.Config) *tls.Config {
	if server == nil {
		return nil
	}
	both := server.Clone()
	both.RootCAs, both.GetClientCertificate = client.RootCAs, client.GetClientCertificate
	return both
}
