// Command ringcast serves WHIP, WHEP and a demo page over HTTP, and media over one UDP port.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"ringcast/engine"
	"ringcast/signaling"
)

// shutdownSpan is how long a graceful stop may take.
const shutdownSpan = 3 * time.Second

// requestSpan is how much of it HTTP requests in flight may take.
const requestSpan = 500 * time.Millisecond

// config is what the flags say.
type config struct {
	http, udp, admin string
	io               string
	workers          int
	publicIPs        []netip.Addr
	level            slog.Level
}

func main() {
	cfg, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		os.Exit(2) // the flag package has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "ringcast:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (cfg config, err error) {
	f := flag.NewFlagSet("ringcast", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		fmt.Fprint(stderr, "ringcast serves one WHIP publisher's stream to many WHEP viewers.\n\nFlags:\n")
		f.PrintDefaults()
	}
	f.StringVar(&cfg.http, "http", ":8080", "`address` of the page, WHIP and WHEP")
	f.StringVar(&cfg.udp, "udp", ":7000", "`address` of the media port")
	f.StringVar(&cfg.admin, "admin", "127.0.0.1:9090", "`address` of metrics, health and profiles; empty for none")
	f.StringVar(&cfg.io, "io", "auto", "how packets enter and leave: auto or udp")
	f.IntVar(&cfg.workers, "workers", 0, "`number` of media threads; 0 is one for each core")
	f.Func("public-ip", "`address` that viewers reach the media port at, instead of the interfaces' own (repeatable)", func(s string) error {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return errors.New("not an IP address")
		}
		cfg.publicIPs = append(cfg.publicIPs, a)
		return nil
	})
	f.TextVar(&cfg.level, "log-level", slog.LevelInfo, "least `level` that is logged: debug, info, warn or error")
	if err := f.Parse(args); err != nil {
		return cfg, err
	}
	err = func() error {
		switch {
		case f.NArg() > 0:
			return fmt.Errorf("unexpected argument %q", f.Arg(0))
		case cfg.io != "auto" && cfg.io != "udp":
			return fmt.Errorf("invalid value %q for flag -io: auto or udp", cfg.io)
		case cfg.workers < 0:
			return fmt.Errorf("invalid value \"%d\" for flag -workers: 0 or more", cfg.workers)
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(stderr, err)
		f.Usage()
	}
	return cfg, err
}

// run serves until ctx ends, then says goodbye to every peer.
func run(ctx context.Context, cfg config, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: cfg.level}))
	media, err := mediaAddress(cfg.udp)
	if err != nil {
		return err
	}
	e, err := engine.Start(engine.Config{Log: log, Listen: media, Workers: cfg.workers, PublicIPs: cfg.publicIPs})
	if err != nil {
		return err
	}
	servers, err := serve(cfg, e, log)
	if err == nil {
		select {
		case <-ctx.Done():
			log.Info("shutting down")
		case err = <-servers.failed:
		}
	}
	ending, cancel := context.WithTimeout(context.Background(), shutdownSpan)
	defer cancel()
	// The engine first: it refuses new sessions with 503 while requests in flight are answered.
	err = errors.Join(err, e.Shutdown(ending))
	return errors.Join(err, servers.shutdown(ending))
}

// mediaAddress reads the --udp address; no host means every interface.
func mediaAddress(s string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp", s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("flag -udp: %w", err)
	}
	addr, ok := netip.AddrFromSlice(a.IP)
	if !ok {
		addr = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(addr.Unmap().WithZone(a.Zone), uint16(a.Port)), nil
}

// listeners are the HTTP servers that run.
type listeners struct {
	servers []*http.Server
	failed  chan error
}

// serve starts the public and the admin listener.
func serve(cfg config, e *engine.Engine, log *slog.Logger) (*listeners, error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(e, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	l := &listeners{failed: make(chan error, 2)}
	if cfg.admin != "" {
		h := signaling.AdminHandler(signaling.AdminConfig{Log: log, Gatherer: metrics, Ready: e.Ready})
		if err := l.start("admin", cfg.admin, h, log); err != nil {
			return l, err
		}
	}
	return l, l.start("http", cfg.http, signaling.New(signaling.Config{Log: log}, e).Handler(), log)
}

func (l *listeners) start(name, address string, h http.Handler, log *slog.Logger) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listener -%s: %w", name, err)
	}
	s := signaling.NewHTTPServer(address, h)
	s.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	l.servers = append(l.servers, s)
	log.Info("listening", "what", name, "address", listener.Addr().String())
	go func() {
		if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			l.failed <- fmt.Errorf("listener -%s: %w", name, err)
		}
	}()
	return nil
}

// shutdown lets requests in flight end, for a moment: browsers also hold connections open on which no
// request ever comes.
func (l *listeners) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestSpan)
	defer cancel()
	var err error
	for _, s := range l.servers {
		if s.Shutdown(ctx) != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}
