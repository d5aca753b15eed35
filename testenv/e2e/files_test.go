package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/browser"
)

// TestFilesInBrowser has ringbench publish files that ffmpeg has just made of its test picture, round and
// round, and Chromium decode them.
func TestFilesInBrowser(t *testing.T) {
	const seconds, frames = 4, 25 // of the file, and that are decoded after its end
	testenv.Need(t, testenv.FFmpeg)
	b := startBrowser(t)
	for _, c := range []struct {
		codec, file string
		sound       bool
		args        []string
	}{
		{"VP8", "video.ivf", true, []string{"-c:v", "libvpx", "-deadline", "realtime", "-g", "50"}},
		{
			"H264", "video.h264", false,
			[]string{"-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-g", "50"},
		},
		{
			"VP9", "video.ivf", false,
			[]string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "50"},
		},
		{"AV1", "video.ivf", true, []string{"-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-g", "50"}},
	} {
		t.Run(c.codec, func(t *testing.T) {
			s := testenv.StartServer(t, testenv.ServerOptions{})
			dir := t.TempDir()
			files := []string{filepath.Join(dir, c.file)}
			testenv.TestSource(t, files[0], seconds*time.Second, c.args...)
			if c.sound {
				files = append(files, filepath.Join(dir, "sound.ogg"))
				testenv.TestTone(t, files[1], 3*time.Second)
			}
			publishFiles(t, s.URL+"/whip/file", files...)

			unread := testenv.UnreadDatagrams()
			v := watch(t, b, browser.WatchOptions{Server: s.URL, Stream: "file"})
			defer v.Close()
			f, err := v.FirstFrame(deadline(t, patience))
			if err != nil {
				t.Fatalf("%v; %+v", err, viewerStats(t, v))
			}
			// Over the file's end.
			got := played(t, v, viewerStats(t, v).Video.FramesDecoded+seconds*25+frames, 0)
			colours, err := browser.Eval[int](deadline(t, patience), v.Tab, countColours)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(testenv.Artifacts(t), "file-"+strings.ToLower(c.codec)+".png")
			if err := v.Tab.Screenshot(deadline(t, patience), path); err != nil {
				t.Error(err)
			}
			t.Logf("first frame after %v; %s by %s, %dx%d, %d frames, %d keyframes, %d packets, %d lost, %d freezes; "+
				"audio %d packets, energy %g; %d colours, see %s",
				f.After, got.Video.Codec, got.Video.Decoder, got.Video.FrameWidth, got.Video.FrameHeight,
				got.Video.FramesDecoded,
				got.Video.KeyFramesDecoded, got.Video.PacketsReceived, got.Video.PacketsLost, got.Video.Freezes,
				got.Audio.PacketsReceived, got.Audio.TotalEnergy, colours, path)
			if !strings.EqualFold(got.Video.Codec, "video/"+c.codec) || got.Video.FrameWidth != 320 ||
				got.Video.FrameHeight != 240 {
				t.Errorf("%s, %dx%d", got.Video.Codec, got.Video.FrameWidth, got.Video.FrameHeight)
			}
			if got.Video.PacketsLost > testenv.UnreadDatagrams()-unread || got.Video.KeyFramesDecoded < 2 {
				t.Errorf("%d packets lost, %d keyframes", got.Video.PacketsLost, got.Video.KeyFramesDecoded)
			}
			// The test picture is made of bars in eight strong colours.
			if colours < 6 {
				t.Errorf("the picture has %d colours", colours)
			}
			if c.sound && got.Audio.TotalEnergy == 0 {
				t.Error("silence")
			}
		})
	}
}

// publishFiles has ringbench publish files at 25 frames a second, round and round, until the test ends.
func publishFiles(t *testing.T, url string, files ...string) {
	t.Helper()
	ringbench, err := testenv.Build("ringcast/cmd/ringbench")
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"publish", "--quiet", "--whip", url, "--fps", "25"}
	for _, file := range files {
		args = append(args, "--file", file)
	}
	var out bytes.Buffer
	cmd := exec.Command(ringbench, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // it may have ended, which Wait tells
		if err := cmd.Wait(); err != nil {
			t.Errorf("publish: %v", err)
		}
		t.Logf("\n%s", out.String())
	})
}

// countColours is how many of the eight corners of the colour cube fill a hundredth of the picture each.
const countColours = `(() => {
  const video = harness.video, canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const g = canvas.getContext('2d');
  g.drawImage(video, 0, 0);
  const data = g.getImageData(0, 0, canvas.width, canvas.height).data, seen = new Array(8).fill(0);
  for (let i = 0; i < data.length; i += 4) {
    const c = [data[i], data[i + 1], data[i + 2]];
    if (c.every((x) => x < 64 || x > 192)) seen[c.reduce((n, x) => 2 * n + (x > 128 ? 1 : 0), 0)]++;
  }
  return seen.filter((n) => n > data.length / 400).length;
})()`
