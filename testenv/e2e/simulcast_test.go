package e2e

import (
	"fmt"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Chromium lists the smallest of its three layers first. Viewers get the largest that it sends. When it stops the
// largest, they get the next one, without waiting long, and the largest again once it is back.
func TestBrowserSimulcast(t *testing.T) {
	b := startBrowser(t)
	for _, codec := range []string{"VP8", "H264"} {
		t.Run(codec, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{})
			p := publish(t, b, browser.PublishOptions{
				Server: s.URL, Stream: "layers", Codec: codec, Simulcast: true, Audio: true,
				Width: 960, Height: 540, FrameRate: 15, MaxBitrate: 900_000, KeepResolution: true,
			})
			defer p.Close()
			v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "layers"})
			defer v.Close()
			width := func(want int) {
				t.Helper()
				start, got := time.Now(), 0
				for got != want {
					if time.Since(start) > patience {
						t.Fatalf("the viewer decodes pictures %d wide, want %d; published %+v",
							got, want, publisherStats(t, p).Video)
					}
					let(t, 100*time.Millisecond)
					got = viewerStats(t, v).Video.FrameWidth
				}
				t.Logf("pictures %d wide after %v", want, time.Since(start).Round(100*time.Millisecond))
			}
			active := func(layer int, on bool) {
				t.Helper()
				_, err := browser.Eval[bool](deadline(t, patience), p.Tab, fmt.Sprintf(`(async () => {
					const sender = harness.pc.getSenders().find((s) => s.track && s.track.kind === 'video');
					const parameters = sender.getParameters();
					parameters.encodings[%d].active = %t;
					await sender.setParameters(parameters);
					return true;
				})()`, layer, on))
				if err != nil {
					t.Fatal(err)
				}
			}
			unread := testenv.UnreadDatagrams()
			width(960)
			let(t, 2*time.Second)
			before := viewerStats(t, v)
			active(2, false)
			width(480)
			let(t, time.Second)
			down := viewerStats(t, v)
			active(2, true)
			width(960)
			let(t, time.Second)
			got := viewerStats(t, v)
			t.Logf("frozen going down %.2f s, up %.2f s; %d keyframes decoded, %d PLIs, %d packets lost",
				down.Video.FrozenSeconds-before.Video.FrozenSeconds,
				got.Video.FrozenSeconds-down.Video.FrozenSeconds, got.Video.KeyFramesDecoded, got.Video.PLIs,
				got.Video.PacketsLost)
			// A browser that gets too little of the processor leaves datagrams unread.
			if got.Video.PacketsLost > testenv.UnreadDatagrams()-unread {
				t.Errorf("%d packets were lost, want none", got.Video.PacketsLost)
			}
			checkReports(t, s)
		})
	}
}

// checkReports fails if viewers reported on no transport-wide number, or on no sender report.
func checkReports(t *testing.T, s *testenv.Server) {
	t.Helper()
	m := s.Metrics(t)
	for _, name := range []string{
		"ringcast_received_transport_feedbacks_total", "ringcast_subscriber_round_trip_seconds_count",
	} {
		if m[name] == 0 {
			t.Errorf("%s is 0, want more", name)
		}
	}
}
