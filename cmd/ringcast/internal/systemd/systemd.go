package systemd

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notify sends systemd a state of the service (sd_notify(3)). It does nothing if systemd did not start the process.
func Notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not notified", "state", state, "error", err)
	}
}

// Watchdog feeds systemd's watchdog, if the unit has one, until ctx ends. It pauses while ready returns an error.
func Watchdog(ctx context.Context, log *slog.Logger, ready func() error) {
	span, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog will not be fed", "error", err)
	}
	if span <= 0 {
		return
	}
	go func() {
		ticker := time.NewTicker(span / 3)
		defer ticker.Stop()
		feed(ctx, ticker.C, ready, func() { Notify(log, daemon.SdNotifyWatchdog) }, log)
	}()
}

// feed calls give at each tick at which the engine is ready. An engine that hangs starves the watchdog, even if it
// hangs in ready.
func feed(ctx context.Context, ticks <-chan time.Time, ready func() error, give func(), log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		if err := ready(); err != nil {
			log.Warn("systemd's watchdog is not fed", "error", err)
			continue
		}
		give()
	}
}
