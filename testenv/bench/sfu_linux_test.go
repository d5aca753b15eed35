package bench

import (
	"bufio"
	"context"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ringcast/testenv/bench/publish"
	"ringcast/testenv/bench/report"
	"ringcast/testenv/bench/watch"
)

// startSFU runs pion's SFU until the test ends and returns its root URL.
func startSFU(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sfu")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "ringcast/testenv/bench/sfu").CombinedOutput(); err != nil {
		t.Fatalf("build sfu: %v\n%s", err, out)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp.Close()
	cmd := exec.Command(binary, "--http", "127.0.0.1:0", "--udp", udp.LocalAddr().String())
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it knows no other end
		_ = cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the SFU does not start: %v", err)
	}
	return strings.TrimSpace(url)
}

// TestAnotherServer publishes to and watches a server that knows nothing of ringcast.
func TestAnotherServer(t *testing.T) {
	for _, c := range []struct {
		name  string
		alter func(p *publish.Config, w *watch.Config)
	}{
		{"defaults", func(*publish.Config, *watch.Config) {}},
		{"audio", func(p *publish.Config, _ *watch.Config) { p.Audio = true }},
		{"plain", func(p *publish.Config, w *watch.Config) {
			p.NoRTX, p.NoTransportCC, w.NoRTX, w.NoTransportCC = true, true, true, true
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := startSFU(t)
			p, w := publish.Default(), watch.Default()
			p.URL, p.Keyframe = url+"/whip/x", 500*time.Millisecond
			w.URL, w.Viewers, w.Sample, w.Settle, w.Duration = url+"/whep/x", 8, 4, 100*time.Millisecond, 2*time.Second
			c.alter(&p, &w)
			if w.NoAudio = !p.Audio; p.Audio {
				p.Bitrate = 500_000
			}

			ctx, end := context.WithCancel(t.Context())
			defer end()
			ready := make(chan struct{})
			p.Ready = func() { close(ready) }
			published := make(chan *report.Publish, 1)
			go func() {
				r, err := publish.Run(ctx, p)
				if err != nil {
					t.Errorf("publish: %v", err)
				}
				published <- r
			}()
			select {
			case <-ready:
			case <-time.After(patience):
				t.Fatal("not connected")
			}
			// Before the first packet there is nothing to watch, and before the second track half of it.
			var got *report.Watch
			await(t, "there is something to watch", func() bool {
				r, err := watch.Run(t.Context(), w)
				if err == nil {
					got = r
				}
				return err == nil
			})
			end()
			sent := <-published
			var table strings.Builder
			if err := got.Table(&table); err != nil {
				t.Fatal(err)
			}
			if sent != nil {
				if err := sent.Table(&table); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("\n%s", table.String())
			if got.Joined != 8 || got.Playing != 8 || got.Failed() != 0 || len(got.Lost) != 0 {
				t.Errorf("joined %d, playing %d, failures %v, lost %v", got.Joined, got.Playing, got.Failures, got.Lost)
			}
			if s := got.Sample; s.Stamped == 0 || s.Damaged+s.Unopened != 0 || s.Delay.Count == 0 || s.Frames == 0 {
				t.Errorf("sample: %+v", s)
			}
			if sent != nil && sent.Feedback.Reports == 0 {
				t.Errorf("feedback: %+v", sent.Feedback)
			}
		})
	}
}
