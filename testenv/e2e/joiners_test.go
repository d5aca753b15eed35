package e2e

import (
	"math"
	"slices"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Who joins late sees a picture within a second, without turning the stream into keyframes.
func TestLateJoiners(t *testing.T) {
	const joiners = 3
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	p := publish(t, b, browser.PublishOptions{
		Server: s.URL, Stream: "late", Codec: "VP8", FrameRate: 20, MaxBitrate: 1_500_000, Audio: true,
	})
	defer p.Close()
	start := time.Now()
	let(t, 3*time.Second)

	var delays []time.Duration
	for i := range joiners {
		v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "late"})
		defer v.Close()
		f, err := v.FirstFrame(deadline(t, 15*time.Second))
		if err != nil {
			t.Fatalf("joiner %d: %v", i, err)
		}
		timing, err := v.Timing(deadline(t, 5*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("joiner %d: answer after %v, connected after %v, first frame after %v by %s", i, timing.Answered, timing.Connected, f.After, f.By)
		delays = append(delays, f.After)
		let(t, 700*time.Millisecond)
	}

	e := publisherStats(t, p).Total()
	elapsed := time.Since(start)
	t.Logf("in %v: %d PLIs, %d FIRs, %d keyframes of %d frames", elapsed.Round(time.Millisecond), e.PLIs, e.FIRs, e.KeyFramesEncoded, e.FramesEncoded)
	slices.Sort(delays)
	if median := delays[joiners/2]; median > time.Second {
		t.Errorf("POST to first frame took %v (median of %v), want 1 s at most", median, delays)
	}
	if most := int(math.Ceil(elapsed.Seconds())); e.PLIs+e.FIRs > most {
		t.Errorf("the publisher was asked for %d keyframes in %v, want one a second at most", e.PLIs+e.FIRs, elapsed)
	}
}
