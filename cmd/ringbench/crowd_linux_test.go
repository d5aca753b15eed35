package main

import (
	"context"
	"net/netip"
	"testing"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/engine/rtp"
	"ringcast/testenv"
)

// TestSimulcast publishes three layers in each codec. Viewers without a bottleneck get the largest, whole, and a
// keyframe that one of them asks for comes on all layers at once.
func TestSimulcast(t *testing.T) {
	for _, codec := range []rtp.Codec{rtp.VP8, rtp.H264} {
		t.Run(codec.String(), func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{Workers: 1})
			p, w := publish.Default(), watch.Default()
			p.URL, p.Codec, p.Layers = s.URL+"/whip/layers", codec, 3
			w.URL, w.Viewers, w.Sample, w.Settle = s.URL+"/whep/layers", 3, 3, 0
			published, got := crowd(t, s, p, w, func(w *report.Watch) bool { return w.Sample.Frames >= 150 })
			if x := got.Sample; got.Playing != 3 || x.Unopened+x.Damaged+x.Unsent != 0 || x.Restarts != 0 {
				t.Errorf("%d play, sample %+v", got.Playing, x)
			}
			if codec == rtp.VP8 && got.Sample.Stamped != got.Sample.Packets {
				t.Errorf("%d packets of %d have stamps", got.Sample.Stamped, got.Sample.Packets)
			}
			top := got.Groups[0].Rungs
			if len(top) == 0 || top[0].Width != 1280 || top[0].Height != 720 {
				t.Errorf("on rungs %+v, want 1280 × 720 first", top)
			}
			if published.Keyframes%3 != 0 || published.Frames%3 != 0 {
				t.Errorf("%d keyframes and %d frames on 3 layers", published.Keyframes, published.Frames)
			}
		})
	}
}

// crowd publishes p and watches with w until the report on the viewers is enough.
func crowd(
	t *testing.T, s *testenv.Server, p publish.Config, w watch.Config, enough func(*report.Watch) bool,
) (*report.Publish, *report.Watch) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	published := make(chan *report.Publish, 1)
	go func() {
		r, err := publish.Run(ctx, p)
		if err != nil {
			t.Errorf("publish: %v", err)
		}
		published <- r
	}()
	await(t, "the stream is live", func() bool {
		m := s.Metrics(t)
		return m["ringcast_streams"] == 1 && m["ringcast_received_rtp_packets_total"] > 0
	})
	looks := make(chan func() *report.Watch, 1)
	w.Follow = func(look func() *report.Watch) { looks <- look }
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	watched := make(chan *report.Watch, 1)
	go func() {
		r, err := watch.Run(watching, w)
		if err != nil {
			t.Errorf("watch: %v", err)
		}
		watched <- r
	}()
	look := <-looks
	await(t, "enough is seen", func() bool { return enough(look()) })
	stop()
	got := <-watched
	cancel()
	sent := <-published
	if got == nil || sent == nil {
		t.FailNow()
	}
	return sent, got
}

// TestCrowd squeezes some viewers of a stream. They lose what their bottleneck has no room for, and ask for it again;
// the others lose nothing.
func TestCrowd(t *testing.T) {
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 1})
	p, w := publish.Default(), watch.Default()
	p.URL, p.Bitrate = s.URL+"/whip/crowd", 1_000_000
	w.URL, w.Sample, w.Settle = s.URL+"/whep/crowd", 2, 0
	if err := w.Crowd.Set("4,2:700k:queue=100ms,2:delay=80ms:loss=5%"); err != nil {
		t.Fatal(err)
	}
	w.Viewers, w.Sources = w.Crowd.Viewers(), netip.MustParsePrefix("127.1.0.0/16")
	_, got := crowd(t, s, p, w, func(w *report.Watch) bool {
		return w.Playing == 8 && w.Steady.Seconds > 1 && w.Groups[1].Squeezed > 200 && w.Groups[2].Squeezed > 20
	})
	well, narrow, lossy := &got.Groups[0], &got.Groups[1], &got.Groups[2]
	t.Logf("%+v\n%+v\n%+v", well, narrow, lossy)
	if well.Viewers != 4 || well.Sampled != 2 || well.Squeezed != 0 || narrow.Sampled != 2 || lossy.Sampled != 2 {
		t.Errorf("groups of %d, %d sampled, %d squeezed", well.Viewers, well.Sampled, well.Squeezed)
	}
	if got.Sampled != 2 || got.Sent.NACKs == 0 {
		t.Errorf("%d in the sample, %d NACKs", got.Sampled, got.Sent.NACKs)
	}
	if narrow.Missing == 0 || lossy.Missing == 0 || lossy.Delay.P50 < 80 {
		t.Errorf("missing %d and %d; delay %+v", narrow.Missing, lossy.Missing, lossy.Delay)
	}
}
