package testenv

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// TestSource makes ffmpeg encode its moving test picture, 320 by 240 at 25 frames a second, to a file. args choose the
// encoder; the file's name chooses the container.
func TestSource(t testing.TB, path string, length time.Duration, args ...string) {
	t.Helper()
	all := []string{
		"-hide_banner", "-loglevel", "error", "-nostdin", "-y",
		"-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-t", fmt.Sprint(length.Seconds()),
		"-pix_fmt", "yuv420p", "-b:v", "500k",
	}
	all = append(append(all, args...), path)
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", all...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
}

// TestTone makes ffmpeg encode a tone of 440 Hz as Opus to an Ogg file.
func TestTone(t testing.TB, path string, length time.Duration) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y",
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", fmt.Sprint(length.Seconds()),
		"-ac", "2", "-c:a", "libopus", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
}
