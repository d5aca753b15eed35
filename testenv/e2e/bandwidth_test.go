package e2e

import (
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Without feedback Chromium would stay at its start bitrate of 300 kbit/s for ever.
func TestBandwidthFeedback(t *testing.T) {
	const goal = 1_200_000
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	p := publish(t, b, browser.PublishOptions{
		Server: s.URL, Stream: "feedback", Codec: "VP8", FrameRate: 20, MaxBitrate: 2_500_000,
	})
	defer p.Close()
	start := time.Now()
	first, best := 0.0, 0.0
	sample := func() float64 {
		now := publisherStats(t, p).AvailableOutgoingBitrate
		if first == 0 {
			first = now
		}
		best = max(best, now)
		return now
	}
	sample()
	v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "feedback"})
	defer v.Close()
	var took time.Duration
	for took = time.Since(start); best < goal && took < patience; took = time.Since(start) {
		let(t, 100*time.Millisecond)
		sample()
	}
	e := publisherStats(t, p).Total()
	t.Logf("available: first %.0f, best %.0f bit/s after %v; %d NACKs, %d PLIs",
		first, best, took.Round(time.Millisecond), e.NACKs, e.PLIs)
	if best < goal {
		t.Errorf("the estimate reached %.0f bit/s within %v, want %d", best, patience, goal)
	}
	if _, err := v.FirstFrame(deadline(t, patience)); err != nil {
		t.Error(err)
	}
}
