package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringcast/cmd/ringbench/internal/publish"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/testenv"
)

// startSFU runs pion's SFU with further flags until the test ends and returns its root URL.
func startSFU(t *testing.T, flags ...string) string {
	t.Helper()
	binary, err := testenv.Build("ringcast/cmd/ringbench/internal/sfu")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp.Close()
	cmd := exec.Command(binary,
		append([]string{"--http", "127.0.0.1:0", "--udp", udp.LocalAddr().String()}, flags...)...)
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
	root, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the SFU does not start: %v", err)
	}
	return strings.TrimSpace(root)
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
			root := startSFU(t)
			p, w := publish.Default(), watch.Default()
			p.URL, p.Keyframe = root+"/whip/x", 500*time.Millisecond
			w.URL, w.Viewers, w.Sample, w.Settle, w.Duration = root+"/whep/x", 8, 4, 100*time.Millisecond, 2*time.Second
			c.alter(&p, &w)
			if w.NoAudio = !p.Audio; p.Audio {
				p.Bitrate = 500_000
			}

			sent, got := together(t, p, w)
			if got.Joined != 8 || got.Playing != 8 || got.Failed() != 0 || len(got.Lost) != 0 {
				t.Errorf("joined %d, playing %d, failures %v, lost %v", got.Joined, got.Playing, got.Failures, got.Lost)
			}
			if s := got.Sample; s.Stamped == 0 || s.Damaged+s.Unopened != 0 || s.Delay.Count == 0 || s.Frames == 0 {
				t.Errorf("sample: %+v", s)
			}
			if sent.Feedback.Reports == 0 {
				t.Errorf("feedback: %+v", sent.Feedback)
			}
		})
	}
}

// together publishes for as long as somebody watches, and returns both reports.
func together(t *testing.T, p publish.Config, w watch.Config) (sent *report.Publish, got *report.Watch) {
	t.Helper()
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
	case sent := <-published:
		t.Fatalf("published %+v", sent)
	case <-time.After(patience):
		t.Fatal("not connected")
	}
	// Before the first packet there may be nothing to watch.
	await(t, "there is something to watch", func() bool {
		r, err := watch.Run(t.Context(), w)
		if err == nil {
			got = r
		}
		return err == nil
	})
	end()
	if sent = <-published; sent == nil {
		t.FailNow()
	}
	var table strings.Builder
	for _, r := range []interface{ Table(io.Writer) error }{got, sent} {
		if err := r.Table(&table); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("\n%s", table.String())
	return sent, got
}

// TestServerHabits puts other servers' habits between us and a server: 200 in place of 201, an absolute Location, a
// token and a redirect. The answer has candidates that lead nowhere before the real one, and the other role in DTLS.
func TestServerHabits(t *testing.T) {
	const token = "secret"
	sfu, err := url.Parse(startSFU(t, "--active"))
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var deleted atomic.Int32
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(sfu) },
		ModifyResponse: func(r *http.Response) error {
			if r.Request.Method == http.MethodDelete && r.StatusCode == http.StatusOK {
				deleted.Add(1)
			}
			if r.StatusCode != http.StatusCreated {
				return nil
			}
			r.StatusCode = http.StatusOK
			r.Header.Set("Location", "http://"+r.Request.Header.Get("X-Host")+r.Header.Get("Location"))
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return err
			}
			nowhere := "a=candidate:8 1 udp 2130706431 127.0.0.1 9 typ host\r\n" + // refused
				fmt.Sprintf("a=candidate:9 1 udp 2130706430 127.0.0.1 %d typ host\r\n",
					silent.LocalAddr().(*net.UDPAddr).Port) +
				"a=candidate:7 1 tcp 2130706429 127.0.0.1 9 typ host tcptype passive\r\n" +
				"a=candidate:6 1 udp 2130706428 b0a6cd2e.local 9 typ host\r\na=candidate:"
			text := strings.Replace(string(body), "a=candidate:", nowhere, 1)
			if text == string(body) || !strings.Contains(text, "a=setup:active") {
				return fmt.Errorf("not the answer that was wanted:\n%s", text)
			}
			r.Body = io.NopCloser(strings.NewReader(text))
			r.ContentLength = int64(len(text))
			r.Header.Set("Content-Length", strconv.Itoa(len(text)))
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if path, ok := strings.CutPrefix(r.URL.Path, "/moved"); ok {
			http.Redirect(w, r, path, http.StatusTemporaryRedirect)
			return
		}
		r.Header.Set("X-Host", r.Host)
		proxy.ServeHTTP(w, r)
	}))
	defer server.Close()

	p, w := publish.Default(), watch.Default()
	p.URL, p.Token, p.Keyframe = server.URL+"/moved/whip/x", token, 500*time.Millisecond
	w.URL, w.Token, w.Viewers, w.Sample, w.Settle, w.Duration = server.URL+"/moved/whep/x", token, 5, 3, 0, time.Second
	sent, got := together(t, p, w)
	if got.Joined != 5 || got.Playing != 5 || got.Failed() != 0 || got.Sample.Stamped == 0 || got.Sample.Unopened != 0 {
		t.Errorf("watched %+v", got)
	}
	if sent.VideoPackets == 0 {
		t.Errorf("published %+v", sent)
	}
	if n := deleted.Load(); n != 6 {
		t.Errorf("%d sessions were deleted, want 6", n)
	}
}

// TestIPv6 uses ::1 for everything.
func TestIPv6(t *testing.T) {
	testenv.Need(t, testenv.IPv6Loopback)
	s := testenv.StartServer(t, testenv.ServerOptions{IP: "::1"})
	p, w := publish.Default(), watch.Default()
	p.URL, w.URL, w.Viewers, w.Settle, w.Duration = s.URL+"/whip/x", s.URL+"/whep/x", 3, 0, time.Second
	if _, got := together(t, p, w); got.Playing != 3 || got.Sample.Stamped == 0 {
		t.Errorf("watched %+v", got)
	}
}
