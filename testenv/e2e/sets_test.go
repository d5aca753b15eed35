package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// TestLateViewerOfSetsSentOnce publishes H.264 whose parameter sets come at its beginning alone. Chromium starts when
// they have long been sent.
func TestLateViewerOfSetsSentOnce(t *testing.T) {
	testenv.Need(t, testenv.FFmpeg)
	b := startBrowser(t)
	s := testenv.StartServer(t, testenv.ServerOptions{})
	file := filepath.Join(t.TempDir(), "video.h264")
	testenv.TestSource(t, file, time.Minute, "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-g",
		"50")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	once, dropped := setsOnce(data)
	if dropped == 0 {
		t.Fatal("the encoder sent its parameter sets once by itself")
	}
	if err := os.WriteFile(file, once, 0o600); err != nil {
		t.Fatal(err)
	}
	publishFiles(t, s.URL+"/whip/once", file)

	first := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "once"})
	defer first.Close()
	if _, err := first.FirstFrame(deadline(t, 15*time.Second)); err != nil {
		t.Fatalf("the first viewer: %v; %+v", err, viewerStats(t, first))
	}
	let(t, 3*time.Second) // another keyframe
	late := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "once"})
	defer late.Close()
	f, err := late.FirstFrame(deadline(t, 15*time.Second))
	if err != nil {
		t.Fatalf("the late viewer: %v; %+v", err, viewerStats(t, late))
	}
	t.Logf("%d parameter sets dropped; the late viewer's first frame after %v", dropped, f.After)
	let(t, 3*time.Second)
	for i, v := range []*browser.Viewer{first, late} {
		got := viewerStats(t, v).Video
		if got.FramesDecoded < 50 || got.KeyFramesDecoded < 2 || got.PacketsLost != 0 {
			t.Errorf("viewer %d: %d frames, %d keyframes, %d packets lost; expected 50, 2 and 0",
				i, got.FramesDecoded, got.KeyFramesDecoded, got.PacketsLost)
		}
	}
}

// setsOnce drops the parameter sets of an H.264 byte stream but for the first of each kind, and counts them.
func setsOnce(data []byte) (kept []byte, dropped int) {
	const sps, pps = 7, 8
	start := []byte{0, 0, 0, 1}
	seen := make(map[byte]bool)
	data = bytes.ReplaceAll(data, start, start[1:])
	for _, unit := range bytes.Split(data, start[1:])[1:] {
		kind := unit[0] & 0x1F
		if kind == sps || kind == pps {
			if seen[kind] {
				dropped++
				continue
			}
			seen[kind] = true
		}
		kept = append(append(kept, start...), unit...)
	}
	return kept, dropped
}
