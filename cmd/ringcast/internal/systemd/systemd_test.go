package systemd

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// A watchdog is fed while the engine is ready, and not a tick longer.
func TestFeed(t *testing.T) {
	stuck := errors.New("worker 0 has been stuck for 5.0 s")
	answers := []error{nil, nil, stuck, stuck, nil}
	ctx, cancel := context.WithCancel(t.Context())
	ticks := make(chan time.Time, len(answers))
	for range answers {
		ticks <- time.Time{}
	}
	var log strings.Builder
	asked, fed := 0, 0
	ready := func() error {
		asked++
		if asked == len(answers) {
			cancel()
		}
		return answers[asked-1]
	}
	feed(ctx, ticks, ready, func() { fed++ }, slog.New(slog.NewTextHandler(&log, nil)))
	if fed != 3 || strings.Count(log.String(), stuck.Error()) != 2 {
		t.Errorf("fed %d times; log:\n%s", fed, &log)
	}
}
