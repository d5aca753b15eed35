package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Sockets takes the listening sockets that systemd opened for the service (sd_listen_fds(3)), by the names that its
// units give them (FileDescriptorName). There may be one of each of the given names, and no others. The process has
// them once: a second call finds none.
func Sockets(names ...string) (map[string]net.Listener, error) {
	sockets := make(map[string]net.Listener)
	var err error
	for _, f := range activation.Files(true) {
		err = errors.Join(err, take(sockets, f, names))
	}
	if err != nil {
		for _, l := range sockets {
			_ = l.Close()
		}
		return nil, err
	}
	return sockets, nil
}

// take adds a socket to those that were taken. It closes the file, of which the listener has a copy.
func take(sockets map[string]net.Listener, f *os.File, names []string) error {
	defer f.Close()
	name := f.Name()
	if !slices.Contains(names, name) {
		return fmt.Errorf("systemd passed a socket named %q; FileDescriptorName expected to be one of %s", name,
			strings.Join(names, ", "))
	}
	if sockets[name] != nil {
		return fmt.Errorf("systemd passed two sockets named %s; one expected: [::] takes IPv4 too", name)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("the socket %s of systemd does not listen: %w", name, err)
	}
	sockets[name] = l
	return nil
}

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
