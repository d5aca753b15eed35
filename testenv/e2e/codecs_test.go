package e2e

import (
	"context"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// Each codec that Chromium encodes reaches two viewers with sound and without a loss.
func TestBrowserCodecs(t *testing.T) {
	const frames, sounds = 100, 400
	b := startBrowser(t)
	for _, c := range []struct {
		codec                    string
		width, height, frameRate int
	}{
		{"VP8", 1280, 720, 15},
		{"VP9", 1280, 720, 15},
		{"H264", 1280, 720, 15},
		{"AV1", 640, 360, 15},
	} {
		t.Run(c.codec, func(t *testing.T) {
			// Each codec has a server of its own: packets that earlier sessions still send must not count as drops.
			s := testenv.StartServer(t, testenv.ServerOptions{})
			stream := "codec-" + strings.ToLower(c.codec)
			p := publish(t, b, browser.PublishOptions{
				Server: s.URL, Stream: stream, Codec: c.codec, Audio: true,
				Width: c.width, Height: c.height, FrameRate: c.frameRate, MaxBitrate: 1_500_000, KeepResolution: true,
			})
			defer p.Close()
			viewers := make([]*browser.Viewer, 2)
			for i := range viewers {
				viewers[i] = watch(t, b, browser.WatchOptions{Server: s.URL, Stream: stream})
				defer viewers[i].Close()
				f, err := viewers[i].FirstFrame(deadline(t, patience))
				if err != nil {
					t.Fatalf("viewer %d: %v; %+v", i, err, viewerStats(t, viewers[i]))
				}
				t.Logf("viewer %d: first frame after %v by %s", i, f.After, f.By)
			}

			unread := testenv.UnreadDatagrams()
			for _, v := range viewers {
				played(t, v, frames, sounds)
			}

			sent := publisherStats(t, p)
			if len(sent.Video) != 1 {
				t.Fatalf("%d encodings, want 1: %+v", len(sent.Video), sent.Video)
			}
			e := sent.Video[0]
			t.Logf("published %s by %s: %d frames, %d keyframes, %dx%d, %d packets, %d resent, %d NACKs, %d PLIs, "+
				"limited by %s",
				e.Codec, e.Encoder, e.FramesEncoded, e.KeyFramesEncoded, e.FrameWidth, e.FrameHeight, e.PacketsSent,
				e.Retransmitted, e.NACKs, e.PLIs, e.LimitedBy)
			if want := "video/" + c.codec; !strings.EqualFold(e.Codec, want) {
				t.Errorf("published %s, want %s", e.Codec, want)
			}
			if e.FrameWidth != c.width || e.FrameHeight != c.height {
				t.Errorf("published %dx%d, want %dx%d", e.FrameWidth, e.FrameHeight, c.width, c.height)
			}
			checkCipher(t, "publisher", sent.Connection)
			for i, v := range viewers {
				got := decodes(t, i, v, e.Codec)
				// A browser that gets too little of the processor leaves datagrams unread.
				if lost := got.Video.PacketsLost + got.Audio.PacketsLost; lost > testenv.UnreadDatagrams()-unread {
					t.Errorf("viewer %d lost %d video and %d audio packets",
						i, got.Video.PacketsLost, got.Audio.PacketsLost)
				}
				checkCipher(t, "viewer", got.Connection)
			}
			checkNoDrops(t, s)

			for _, v := range viewers {
				stop(t, "viewer", v)
			}
			stop(t, "publisher", p)
		})
	}
}

func checkCipher(t *testing.T, who string, c browser.Connection) {
	t.Helper()
	if c.DTLSState != "connected" || c.SRTPCipher != "AEAD_AES_128_GCM" {
		t.Errorf("%s: DTLS %s, SRTP %s; want connected, AEAD_AES_128_GCM", who, c.DTLSState, c.SRTPCipher)
	}
}

func stop(t *testing.T, who string, s interface {
	Stop(ctx context.Context) (int, error)
},
) {
	t.Helper()
	status, err := s.Stop(deadline(t, patience))
	if err != nil || status != 200 {
		t.Errorf("DELETE of the %s: %d, %v; want 200", who, status, err)
	}
}

// decodes holds that a viewer decodes video of a codec and hears sound, and returns its statistics.
func decodes(t *testing.T, i int, v *browser.Viewer, codec string) browser.ViewerStats {
	t.Helper()
	got := viewerStats(t, v)
	t.Logf("viewer %d: %d frames, %d keyframes, %dx%d, %d packets, %d lost, %d NACKs, %d PLIs, %d "+
		"freezes, jitter buffer %v; audio %d packets, %d lost, %d of %d samples concealed",
		i, got.Video.FramesDecoded, got.Video.KeyFramesDecoded, got.Video.FrameWidth, got.Video.FrameHeight,
		got.Video.PacketsReceived, got.Video.PacketsLost, got.Video.NACKs, got.Video.PLIs,
		got.Video.Freezes, got.Video.MeanJitterBuffer(),
		got.Audio.PacketsReceived, got.Audio.PacketsLost, got.Audio.ConcealedSamples, got.Audio.TotalSamples)
	if !strings.EqualFold(got.Video.Codec, codec) {
		t.Errorf("viewer %d decodes %s, want %s", i, got.Video.Codec, codec)
	}
	if got.Audio.TotalEnergy == 0 {
		t.Errorf("viewer %d hears silence only", i)
	}
	return got
}
