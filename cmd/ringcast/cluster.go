package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/cmd/ringcast/internal/config"
	"ringcast/cmd/ringcast/internal/web"
	"ringcast/engine"
	"ringcast/signaling"
	"ringcast/signaling/cluster"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/natsdir"
)

// A membership is this process's part in a cluster. A nil one is none.
type membership struct {
	*cluster.Member
	certificates *certificate.Keeper
	origins      *cluster.Origins
	transport    directory.Transport
	nats         *natsdir.Metrics // nil without NATS
	service      *directory.Service
	redirects    *cluster.Redirects
	forwards     *cluster.Forwards
	kicks        *cluster.Kicks
}

// join prepares a membership, where the settings have one.
func join(cfg *config.Config, log *slog.Logger) (*membership, error) {
	if !cfg.Cluster.On() {
		return nil, nil
	}
	m := &membership{}
	var own func() (*tls.Certificate, error)
	if c := cfg.Cluster.TLS; c.Cert != "" {
		keeper, err := certificate.New(certificate.Config{Cert: c.Cert, Key: c.Key}, nil, log, time.Now())
		if err != nil {
			return nil, fmt.Errorf("cluster: %w", err)
		}
		m.certificates = keeper
		own = func() (*tls.Certificate, error) { return keeper.ServerTLS().GetCertificate(nil) }
	}
	member, err := cluster.NewMember(&cfg.Cluster, own, log)
	if err != nil {
		return nil, err
	}
	m.Member = member
	return m, m.carry(&cfg.Cluster, log)
}

// connections is how many the cluster's listener may have.
func (m *membership) connections() int {
	if m == nil {
		return 0
	}
	return web.ClusterConnections()
}

// id is the node's, empty for none.
func (m *membership) id() directory.NodeID {
	if m == nil {
		return ""
	}
	return m.Node.ID
}

// enter finds the other nodes, once the engine runs. It adds them to the settings.
func (m *membership) enter(cfg *config.Config, node *cluster.Node, e *engine.Engine, log *slog.Logger) {
	if m == nil {
		return
	}
	m.origins = cluster.NewOrigins(m.Node, node)
	m.service = directory.NewService(directory.Config{
		Book: directory.BookConfig{Takeover: cfg.Engine.Sessions.Takeover, Poll: true}, Local: m.origins, Seal: m.Seal,
		Log: log,
	}, m.transport)
	m.redirects = cluster.NewRedirects(cluster.RedirectConfig{
		Node: m.Node, Keys: m.Keys, Redeemer: m.Redeemer, Clocks: m.Clocks,
		How: cfg.Cluster.Redirection(), At: cfg.Cluster.RedirectAt, Nodes: m.service.Nodes,
	})
	m.forwards = cluster.NewForwards(m.Node.ID, m.Caller, m.service.Nodes)
	m.kicks = cluster.NewKicks(cluster.KicksConfig{
		Self: m.Node.ID, Nodes: m.service.Nodes, Caller: m.Caller, Engine: e, Log: log,
	})
	cfg.Signaling.Balancer, cfg.Signaling.Nodes = m.redirects, m.forwards
	node.Join(m.service, m.Caller)
}

// status returns a function that describes the cluster, pulls and pushes for operators.
func (m *membership) status(node *cluster.Node) func() any {
	return func() any {
		s := node.Status()
		if m != nil {
			s.Join(m.origins.Self(), m.service.State())
		}
		return s
	}
}

// manage returns a function that adds the cluster to the admin API. drain ends the process in the way of SIGTERM.
func (m *membership) manage(node *cluster.Node, drain context.CancelCauseFunc) func(*signaling.AdminConfig) {
	return func(cfg *signaling.AdminConfig) {
		cfg.Cluster = m.status(node)
		if m != nil {
			cfg.Elsewhere = m.service.Viewers
			cfg.Nodes, cfg.Drain = m.kicks, func() { drain(errDrain) }
		}
	}
}

// errDrain is the reason of an end that the admin API asked for.
var errDrain = errors.New("POST /api/drain")

// drain brings the viewers to other nodes, before the server ends.
func (m *membership) drain(clients *signaling.Server, span time.Duration) {
	if m == nil {
		return
	}
	m.origins.Drain()
	clients.Drain(span)
}

// serve answers other nodes until stop, on their own listener. clients are served by the server of the public one. It
// returns the collectors of metrics.
func (m *membership) serve(
	ctx context.Context, cfg *config.Config, servers *web.Servers, on ports, node *cluster.Node,
	clients *signaling.Server,
) (counts []prometheus.Collector, stop func()) {
	if m == nil {
		return nil, func() {}
	}
	log, relays := cfg.Signaling.Log, cfg.Signaling
	relays.Relays, relays.Balancer, relays.Nodes = true, nil, nil
	h := m.Handler(signaling.New(relays, node).Handler(), clients.ForwardedHandler(),
		directory.StaticHandler(m.service), m.kicks, node.ServePaths)
	servers.Start("cluster-http", web.LimitCluster(on["cluster-http"], log), h, m.ServerTLS)
	running, end := context.WithCancel(context.WithoutCancel(ctx)) // also while it drains
	var looking sync.WaitGroup
	looking.Go(func() { m.origins.Run(running, m.service) })
	if m.certificates != nil {
		go m.certificates.Watch(running, nil)
	}
	counts = []prometheus.Collector{m, m.redirects, m.forwards, m.service}
	if m.nats != nil {
		counts = append(counts, m.nats)
	}
	return counts, sync.OnceFunc(func() {
		end()
		looking.Wait()
		if err := m.service.Close(); err != nil {
			log.Warn("the directory did not close", "error", err)
		}
	})
}
