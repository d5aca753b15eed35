// Package e2e puts real clients, Chromium and pion, against a real ringcast process on loopback.
//
//	go test ./testenv/e2e                                  everything, four minutes on two cores
//	go test ./testenv/e2e -run 'TestPion|TestRepublish'    what needs no browser
//	RINGCAST_BIN=./ringcast go test ./testenv/e2e          a binary that was built elsewhere
//	RINGCAST_ARGS='--workers 1' go test ./testenv/e2e      further flags for the server
//
// The machine encodes and decodes in software, so tests run one after the other.
package e2e

import (
	"context"
	"os"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// patience bounds every wait for something that must come, on a machine that others use too. No test takes how
// long something took for a measure of it.
const patience = time.Minute

// startBrowser runs Chromium until the test ends, and skips the test where there is none.
func startBrowser(t *testing.T) *browser.Browser {
	t.Helper()
	testenv.Need(t, testenv.Chromium)
	if err := browser.Available(); err != nil {
		t.Fatal(err)
	}
	b, err := browser.Start(t.Context(), browser.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close the browser: %v", err)
		}
	})
	return b
}

// deadline gives one step of a test its time; the context ends with the test.
func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// let lets media flow for a while.
func let(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func publish(t *testing.T, b *browser.Browser, o browser.PublishOptions) *browser.Publisher {
	t.Helper()
	p, err := b.Publish(deadline(t, patience), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func watch(t *testing.T, b *browser.Browser, o browser.WatchOptions) *browser.Viewer {
	t.Helper()
	o.Retry = true
	v, err := b.Watch(deadline(t, patience), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func publisherStats(t *testing.T, p *browser.Publisher) browser.PublisherStats {
	t.Helper()
	s, err := p.Stats(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func viewerStats(t *testing.T, v *browser.Viewer) browser.ViewerStats {
	t.Helper()
	s, err := v.Stats(deadline(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// played waits until a viewer has decoded some frames and received some packets of sound.
func played(t *testing.T, v *browser.Viewer, frames, sounds int) browser.ViewerStats {
	t.Helper()
	for giveUp := time.Now().Add(patience); ; let(t, 200*time.Millisecond) {
		s := viewerStats(t, v)
		if s.Video.FramesDecoded >= frames && s.Audio.PacketsReceived >= sounds {
			return s
		}
		if time.Now().After(giveUp) {
			t.Fatalf("%d frames and %d audio packets within %v, want %d and %d",
				s.Video.FramesDecoded, s.Audio.PacketsReceived, patience, frames, sounds)
		}
	}
}

// drops are the names that the server's drop counters start with.
var drops = []string{"ringcast_packets_dropped", "ringcast_dropped_"}

// checkNoDrops demands that the server has dropped nothing since it started.
func checkNoDrops(t *testing.T, s *testenv.Server) {
	t.Helper()
	m := s.Metrics(t)
	sum, found := 0.0, false
	for _, name := range drops {
		sum += m.Sum(name)
		found = found || m.Has(name)
	}
	if !found {
		t.Errorf("the server exports no drop counters (none of %q)", drops)
	}
	if sum != 0 {
		t.Errorf("the server dropped %g packets:\n%s", sum, m.List(drops...))
	}
}
