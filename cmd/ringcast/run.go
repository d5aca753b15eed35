package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ringcast/engine"
	"ringcast/engine/host"
	"ringcast/engine/version"
	"ringcast/signaling"
)

const (
	// shutdownSpan is how long a graceful stop may take, with something kept back for what follows.
	shutdownSpan = 2800 * time.Millisecond
	// requestSpan is how much of it HTTP requests in flight may take.
	requestSpan = 500 * time.Millisecond
)

// run serves until ctx ends, then says goodbye to every peer. Whatever can be refused is tried before
// anything is served.
func run(ctx context.Context, cfg Config, lines *logQueue, reload <-chan os.Signal) error {
	log := newLog(&cfg, lines)
	slog.SetDefault(log) // libraries that print by themselves must not wait for the log's reader either
	certificates, err := newKeeper(&cfg, log, time.Now())
	if err != nil {
		return err
	}
	public, err := listen("http", cfg.HTTP)
	if err != nil {
		return err
	}
	defer public.Close() // again, if all went well
	var admin net.Listener
	if cfg.Admin != "" {
		if admin, err = listen("admin", cfg.Admin); err != nil {
			return err
		}
		defer admin.Close()
	}
	media, err := mediaAddress(cfg.UDP)
	if err != nil {
		return err
	}
	if cfg.IO != host.OnlySockets {
		host.RaiseMemlock()
	}
	settings := engineConfig(&cfg, media, log)
	settings.Lookup = lookupUntil(ctx)
	e, err := engine.Start(settings)
	switch {
	case err != nil && ctx.Err() != nil: // a name that was not looked up may be why
		return nil
	case err != nil:
		return refusal(err)
	}
	var s servers
	if err := dropPrivileges(slices.ContainsFunc(e.Rungs(), host.Rung.XDP)); err != nil {
		return errors.Join(fmt.Errorf("give up privileges: %w", err), shutdown(e, &s))
	}

	s.failed = make(chan error, 2)
	most := publicConnections(descriptorLimit(), openDescriptors(), log)
	s.start("http", signaling.Limit(public, most, log), publicHandler(&cfg, e, log), certificates.serverTLS(), log)
	if admin != nil {
		s.start("admin", signaling.Limit(admin, adminConnections, log), adminHandler(e, lines, log), nil, log)
	}
	tell(log, daemon.SdNotifyReady)
	serving, ended := context.WithCancel(ctx)
	defer ended()
	// Nobody waits for these two: a file system or an engine that hangs must not hold up the end.
	go certificates.watch(serving, reload)
	watchdog(serving, log, e.Ready)
	select {
	case <-ctx.Done():
		log.Info("shutting down", "cause", context.Cause(ctx))
	case err = <-s.failed:
	}
	ended()
	tell(log, daemon.SdNotifyStopping)
	return errors.Join(err, shutdown(e, &s))
}

// lookupUntil looks names up as long as ctx is not over, so that a start that is called off waits for none.
func lookupUntil(ctx context.Context) func(context.Context, string) ([]netip.Addr, error) {
	return func(one context.Context, name string) ([]netip.Addr, error) {
		one, cancel := context.WithCancel(one)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		return net.DefaultResolver.LookupNetIP(one, "ip", name)
	}
}

// refusal names the setting that the engine could not start with.
func refusal(err error) error {
	if errors.Is(err, host.ErrRefused) {
		return fmt.Errorf("io: %w", err)
	}
	return fmt.Errorf("udp: open the media port: %w", err)
}

// dropPrivileges is for good and for the whole process, which tests share.
var dropPrivileges = host.DropPrivileges

// shutdown ends the engine first: it refuses new sessions with 503 while HTTP still answers.
func shutdown(e *engine.Engine, s *servers) error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownSpan-requestSpan)
	defer cancel()
	err := e.Shutdown(ctx)
	return errors.Join(err, s.shutdown())
}

func engineConfig(cfg *Config, media netip.AddrPort, log *slog.Logger) engine.Config {
	return engine.Config{
		Log: log, Listen: media, Workers: cfg.Workers, PublicIPs: cfg.PublicIPs, PublicNames: cfg.PublicNames,
		MaxSessions: cfg.MaxSessions, MaxPending: cfg.MaxPending, HistoryMemory: cfg.HistoryMemory,
		Reserve:  cfg.PublishToken != "",
		Grace:    max(cfg.Grace, 1), // to the engine 0 is the default, to us no grace at all
		Takeover: cfg.Takeover,

		IO: cfg.IO, Interfaces: cfg.Interfaces, CopyOnly: cfg.CopyOnly, Generic: cfg.Generic,
		GuardOff: cfg.GuardOff, STUNRate: cfg.STUNRate, Checksum4Off: cfg.Checksum4Off,
		DSCP:     cfg.DSCP,
		Batching: cfg.Batching, BusyPoll: cfg.BusyPoll, CPUs: cfg.CPUs,
	}
}

func publicHandler(cfg *Config, e *engine.Engine, log *slog.Logger) http.Handler {
	return signaling.New(signaling.Config{
		Log: log, PublishToken: string(cfg.PublishToken), ViewToken: string(cfg.ViewToken),
		Base: cfg.Base, TrustedProxies: cfg.TrustedProxies,
	}, e).Handler()
}

func adminHandler(e *engine.Engine, lines *logQueue, log *slog.Logger) http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(buildInfo(version.Read()), e, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ringcast_log_lines_dropped_total",
		Help: "Log lines that were not written because the log's reader stalled or was gone.",
	}, func() float64 { return float64(lines.dropped.Load()) }))
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return signaling.AdminHandler(signaling.AdminConfig{Log: log, Gatherer: metrics, Ready: e.Ready, Streams: e.Streams})
}

// buildInfo is a metric that is always 1. Its labels identify the build, so graphs can show when it changed.
func buildInfo(v version.Info) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ringcast_build_info",
		Help: "The build of this server, in labels: version, commit, whether files differed from it, Go's version.",
		ConstLabels: prometheus.Labels{
			"version": v.Version, "revision": v.Revision, "modified": strconv.FormatBool(v.Modified), "goversion": v.Go,
		},
	}, func() float64 { return 1 })
}

func listen(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return l, nil
}

// mediaAddress looks the media port's host up; no host means every interface.
func mediaAddress(s string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp", s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("udp: %w", err)
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		addr = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(a.Zone), uint16(a.Port)), nil
}

// servers are the HTTP servers that run, the public one first.
type servers struct {
	running []*http.Server
	failed  chan error // what ended one of them too early
}

func (s *servers) start(key string, l net.Listener, h http.Handler, secure *tls.Config, log *slog.Logger) {
	server := signaling.NewHTTPServer(l.Addr().String(), h)
	server.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	server.TLSConfig = secure
	s.running = append(s.running, server)
	log.Info("listening", "what", key, "address", l.Addr().String(), "tls", secure != nil)
	go func() {
		serve := server.Serve
		if secure != nil {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("%s: %w", key, err)
		}
	}()
}

// shutdown lets requests in flight end, for a moment: browsers also hold connections open on which no
// request ever comes. The admin server comes last and tells meanwhile that it is over.
func (s *servers) shutdown() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestSpan)
	defer cancel()
	for _, server := range s.running {
		if server.Shutdown(ctx) != nil {
			err = errors.Join(err, server.Close())
		}
	}
	return err
}
