package e2e

import (
	"math"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Viewers that join late see a picture, and do not turn the stream into keyframes. How soon they see it is in the
// log; testenv/sim holds the server's part of it, in virtual time.
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

	for i := range joiners {
		v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "late"})
		defer v.Close()
		f, err := v.FirstFrame(deadline(t, patience))
		if err != nil {
			t.Fatalf("joiner %d: %v", i, err)
		}
		timing, err := v.Timing(deadline(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("joiner %d: answer after %v, connected after %v, first frame after %v by %s",
			i, timing.Answered, timing.Connected, f.After, f.By)
		let(t, 700*time.Millisecond)
	}

	e := publisherStats(t, p).Total()
	elapsed := time.Since(start)
	t.Logf("in %v: %d PLIs, %d FIRs, %d keyframes of %d frames",
		elapsed.Round(time.Millisecond), e.PLIs, e.FIRs, e.KeyFramesEncoded, e.FramesEncoded)
	if most := int(math.Ceil(elapsed.Seconds())); e.PLIs+e.FIRs > most {
		t.Errorf("the publisher was asked for %d keyframes in %v, want one a second at most", e.PLIs+e.FIRs, elapsed)
	}
}
