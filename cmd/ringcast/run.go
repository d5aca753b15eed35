package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/cmd/ringcast/internal/config"
	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/cmd/ringcast/internal/systemd"
	"ringcast/cmd/ringcast/internal/web"
	"ringcast/engine"
	"ringcast/engine/host"
	"ringcast/signaling"
	"ringcast/signaling/access"
	"ringcast/signaling/cluster"
	"ringcast/signaling/hook"
)

// shutdownSpan is how long a graceful stop may take. Help promises 3 seconds, so it leaves some time to end the
// process.
const shutdownSpan = 2800 * time.Millisecond

// dropPrivileges lasts, and affects the whole process, which tests share: they replace it.
var dropPrivileges = host.DropPrivileges

// run serves until ctx ends, then says goodbye to every peer. Everything that can fail is tried before anything is
// served.
func run(ctx context.Context, cfg config.Config, lines *logging.Queue, reload <-chan os.Signal) (err error) {
	log := cfg.Log.New(lines)
	slog.SetDefault(log) // libraries that log by themselves must not wait for the log's reader either
	cfg.Signaling.Log, cfg.Signaling.Metrics = log, access.NewMetrics()
	if cfg.Signaling.Gate, err = newGate(&cfg); err != nil {
		return err
	}
	certificates, err := certificate.New(cfg.TLS, cfg.Hosts(), log, time.Now())
	if err != nil {
		return err
	}
	joined, err := join(&cfg, log)
	if err != nil {
		return err
	}
	ports, err := listen(&cfg)
	if err != nil {
		return err
	}
	defer ports.close()                        // for errors; the servers close them otherwise
	ctx, drain := context.WithCancelCause(ctx) // which the admin API ends, too
	defer drain(nil)
	manageMemory(ctx)
	e, err := startEngine(ctx, &cfg, log)
	if e == nil {
		return err
	}
	servers := web.NewServers(log)
	if err := giveUpPrivileges(e); err != nil {
		return errors.Join(err, shutdown(e, servers))
	}
	node := newNode(&cfg, joined, e)
	public := web.LimitPublic(ports["http"], joined.connections(), log)
	joined.enter(&cfg, node, e, log)
	clients := signaling.New(cfg.Signaling, node)
	startPublic(servers, ports, public, clients.Handler(), certificates, log)
	nodes, leave := joined.serve(ctx, &cfg, servers, ports, node, clients)
	defer leave()
	living, end := context.WithCancel(context.WithoutCancel(ctx)) // it ends after the drain
	defer end()
	counts, stopHook := startHook(living, &cfg, e)
	defer stopHook()
	counts = append(append(counts, cfg.Signaling.Metrics, certificates, public, node), nodes...)
	defer startAdmin(&cfg, servers, ports["admin"], e, clients, lines, counts, joined.manage(node, drain))()
	systemd.Notify(log, daemon.SdNotifyReady)
	// The end does not wait for these two: a file system or an engine that hangs must not delay it.
	go certificates.Watch(living, reload)
	systemd.Watchdog(living, log, e.Ready)
	select {
	case <-ctx.Done():
		log.Info("shutting down", "reason", context.Cause(ctx).Error())
		joined.drain(clients, cfg.Cluster.Drain)
	case err = <-servers.Failed():
	}
	systemd.Notify(log, daemon.SdNotifyStopping)
	end()
	node.Stop() // so that it dials no more
	return errors.Join(err, shutdown(e, servers))
}

// startPublic serves clients on a listener, and the challenges for certificates.
func startPublic(
	servers *web.Servers, on ports, public net.Listener, clients http.Handler, certificates *certificate.Keeper,
	log *slog.Logger,
) {
	servers.Start("http", public, clients, certificates.ServerTLS())
	if l := on["acme-http"]; l != nil {
		servers.Start("acme-http", web.LimitChallenges(l, log), certificates.Challenges(), nil)
	}
}

// giveUpPrivileges keeps those that the engine still needs.
func giveUpPrivileges(e *engine.Engine) error {
	needs := host.ForSockets
	if slices.ContainsFunc(e.Rungs(), host.Rung.XDP) {
		needs = host.ForAFXDP
	}
	if err := dropPrivileges(needs); err != nil {
		return fmt.Errorf("give up privileges: %w", err)
	}
	return nil
}

// startAdmin serves operators on a listener, which may be nil. with adds to its settings. forget removes the file of a
// token that was drawn.
func startAdmin(
	cfg *config.Config, servers *web.Servers, l net.Listener, e *engine.Engine, clients *signaling.Server,
	lines *logging.Queue, counts []prometheus.Collector, with func(*signaling.AdminConfig),
) (forget func()) {
	if l == nil {
		return func() {}
	}
	manage, forget := management(cfg)
	with(&manage)
	manage.Ready = func() error {
		if clients.Draining() {
			return errDraining
		}
		return e.Ready()
	}
	operators := web.AdminHandler(manage, e, l.Addr(), lines.Dropped, counts...)
	servers.Start("admin", web.LimitAdmin(l, manage.Log), operators, nil)
	return forget
}

var errDraining = errors.New("the server is draining")

// newNode makes the part of the server that knows other servers.
func newNode(cfg *config.Config, joined *membership, e *engine.Engine) *cluster.Node {
	node := cluster.NewNode(cluster.NodeConfig{Config: cfg.Cluster, Log: cfg.Signaling.Log, ID: joined.id()}, e)
	cfg.Signaling.Find, cfg.Signaling.Admit = node.Find, node.Admit
	return node
}

// newGate makes the gate of signed tokens or of the access service, nil without either. This machine's name is the
// node's.
func newGate(cfg *config.Config) (access.Gate, error) {
	cfg.Access.Log, cfg.Access.Metrics = cfg.Signaling.Log, cfg.Signaling.Metrics
	cfg.Access.Node, _ = os.Hostname() // a machine without a name has none there either
	return access.New(cfg.Access)
}

// ports are the TCP ports by the keys of their settings. A setting without an address has none.
type ports map[string]net.Listener

// listen opens the TCP ports, or takes those that systemd has opened.
func listen(cfg *config.Config) (ports, error) {
	keys, addresses := []string{"http", "admin"}, []string{cfg.HTTP, cfg.Admin}
	if cfg.Cluster.On() {
		keys, addresses = append(keys, "cluster-http"), append(addresses, cfg.Cluster.HTTP)
	}
	if cfg.TLS.ACME.On && cfg.TLS.ACME.HTTP != "" {
		keys, addresses = append(keys, "acme-http"), append(addresses, cfg.TLS.ACME.HTTP)
	}
	opened, err := systemd.Sockets(keys...)
	if err != nil {
		return nil, err
	}
	p := ports(opened)
	for i, key := range keys {
		if p[key] != nil || addresses[i] == "" {
			continue
		}
		l, err := web.Listen(key, addresses[i])
		if err != nil {
			p.close()
			return nil, err
		}
		p[key] = l
	}
	return p, nil
}

func (p ports) close() {
	for _, l := range p {
		_ = l.Close()
	}
}

// startHook starts to report events, if the settings have a receiver, and returns what counts them. They end with ctx;
// stop waits until as many as possible are sent.
func startHook(ctx context.Context, cfg *config.Config, e *engine.Engine) (counts []prometheus.Collector, stop func()) {
	if cfg.Hook.URL == "" {
		return nil, func() {}
	}
	log := cfg.Signaling.Log
	node, err := os.Hostname()
	if err != nil {
		log.Warn("events have no name of the node", "error", err)
	}
	h := hook.New(cfg.Hook, node, e.Streams, log)
	running, end := context.WithCancel(ctx)
	var sending sync.WaitGroup
	sending.Go(func() { h.Run(running) })
	return []prometheus.Collector{h}, func() { end(); sending.Wait() }
}

// management returns what the admin listener needs of the settings. forget removes the file of a token that was drawn.
func management(cfg *config.Config) (manage signaling.AdminConfig, forget func()) {
	manage = signaling.AdminConfig{
		AdminAccess: cfg.Management, Log: cfg.Signaling.Log, TrustedProxies: cfg.Signaling.TrustedProxies,
	}
	if manage.Token != "" {
		return manage, func() {}
	}
	manage.Token, forget = web.DrawToken(manage.Log)
	return manage, forget
}

// startEngine returns neither an engine nor an error where ctx ended during the start: the end may have cancelled the
// look-up of a name.
func startEngine(ctx context.Context, cfg *config.Config, log *slog.Logger) (*engine.Engine, error) {
	if err := cfg.Resolve(); err != nil {
		return nil, err
	}
	if cfg.Engine.Host.IO != host.OnlySockets {
		host.RaiseMemlock()
	}
	cfg.Engine.Log, cfg.Engine.Public = log, cfg.Engine.Public.Until(ctx)
	cfg.Engine.Dials = cfg.Cluster.Dials()
	e, err := engine.Start(cfg.Engine)
	if err != nil && ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, refusal(err)
	}
	return e, nil
}

// refusal names the setting that the engine could not start with.
func refusal(err error) error {
	if errors.Is(err, host.ErrRefused) {
		return fmt.Errorf("io: %w", err)
	}
	return fmt.Errorf("udp: open the UDP port: %w", err)
}

// shutdown ends the engine first: HTTP goes on answering, and refuses new sessions with 503.
func shutdown(e *engine.Engine, servers *web.Servers) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownSpan-web.RequestSpan)
	defer cancel()
	err := e.Shutdown(ctx)
	return errors.Join(err, servers.Shutdown())
}
