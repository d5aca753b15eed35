package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"ringcast/cmd/ringcast/internal/certificate"
	"ringcast/cmd/ringcast/internal/config"
	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/cmd/ringcast/internal/systemd"
	"ringcast/cmd/ringcast/internal/web"
	"ringcast/engine"
	"ringcast/engine/host"
	"ringcast/signaling"
)

// shutdownSpan is how long a graceful stop may take. Help promises 3 seconds, so it leaves some time to end the
// process.
const shutdownSpan = 2800 * time.Millisecond

// dropPrivileges lasts, and affects the whole process, which tests share: they replace it.
var dropPrivileges = host.DropPrivileges

// run serves until ctx ends, then says goodbye to every peer. Everything that can fail is tried before anything is
// served.
func run(ctx context.Context, cfg config.Config, lines *logging.Queue, reload <-chan os.Signal) error {
	log := cfg.Log.New(lines)
	slog.SetDefault(log) // libraries that log by themselves must not wait for the log's reader either
	certificates, err := certificate.New(cfg.TLS, cfg.Hosts(), log, time.Now())
	if err != nil {
		return err
	}
	public, admin, err := listen(&cfg)
	if err != nil {
		return err
	}
	defer public.Close() // for errors; the server closes it otherwise
	if admin != nil {
		defer admin.Close()
	}
	e, err := startEngine(ctx, &cfg, log)
	if e == nil {
		return err
	}
	servers := web.NewServers(log)
	needs := host.ForSockets
	if slices.ContainsFunc(e.Rungs(), host.Rung.XDP) {
		needs = host.ForAFXDP
	}
	if err := dropPrivileges(needs); err != nil {
		return errors.Join(fmt.Errorf("give up privileges: %w", err), shutdown(e, servers))
	}
	cfg.Signaling.Log = log
	servers.Start("http", web.LimitPublic(public, log), signaling.New(cfg.Signaling, e).Handler(),
		certificates.ServerTLS())
	if admin != nil {
		servers.Start("admin", web.LimitAdmin(admin, log), web.AdminHandler(e, lines.Dropped, log), nil)
	}
	systemd.Notify(log, daemon.SdNotifyReady)
	serving, ended := context.WithCancel(ctx)
	defer ended()
	// The end does not wait for these two: a file system or an engine that hangs must not delay it.
	go certificates.Watch(serving, reload)
	systemd.Watchdog(serving, log, e.Ready)
	select {
	case <-ctx.Done():
		log.Info("shutting down", "reason", context.Cause(ctx).Error())
	case err = <-servers.Failed():
	}
	ended()
	systemd.Notify(log, daemon.SdNotifyStopping)
	return errors.Join(err, shutdown(e, servers))
}

// listen opens the TCP ports. admin is nil where the settings have none.
func listen(cfg *config.Config) (public, admin net.Listener, err error) {
	if public, err = web.Listen("http", cfg.HTTP); err != nil || cfg.Admin == "" {
		return public, nil, err
	}
	if admin, err = web.Listen("admin", cfg.Admin); err != nil {
		return nil, nil, errors.Join(err, public.Close())
	}
	return public, admin, nil
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
