package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tell sends systemd a state of the service (sd_notify(3)); started by something else, it does nothing.
func tell(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "cause", err)
	}
}

// watchdog feeds systemd's watchdog, if the unit has one, while ready says that all is well. The function
// it returns ends that.
func watchdog(log *slog.Logger, ready func() error) (stop func()) {
	span, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog will not be fed", "cause", err)
	}
	if span <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ticker := time.NewTicker(span / 3)
	var fed sync.WaitGroup
	fed.Go(func() { feed(ctx, ticker.C, ready, func() { tell(log, daemon.SdNotifyWatchdog) }, log) })
	return func() {
		ticker.Stop()
		cancel()
		fed.Wait()
	}
}

// feed gives at each tick at which the engine is ready. An engine that hangs starves the watchdog even
// if it hangs in ready.
func feed(ctx context.Context, ticks <-chan time.Time, ready func() error, give func(), log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks:
		}
		if err := ready(); err != nil {
			log.Warn("systemd's watchdog is not fed", "cause", err)
			continue
		}
		give()
	}
}
