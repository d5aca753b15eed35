package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/engine/version"
	"ringcast/testenv"
)

// asRingbench makes the test binary behave as ringbench, so that signals and exit statuses are real.
const asRingbench = "TEST_AS_RINGBENCH"

func TestMain(m *testing.M) {
	child()
	if os.Getenv(asRingbench) != "" {
		main()
		return
	}
	os.Exit(testenv.Main(m))
}

// invoke runs the command in this process and returns what it wrote.
func invoke(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	file, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out bytes.Buffer
	status = command(ctx, args, &out, file)
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return status, out.String(), string(text)
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		want   string // part of the output
	}{
		{nil, exitUsage, "Usage: ringbench COMMAND"},
		{[]string{"--help"}, exitDone, "Examples:"},
		{[]string{"--version"}, exitDone, "ringbench " + version.Read().String() + "\n"},
		{[]string{"version"}, exitDone, runtime.Version()},
		{[]string{"wach"}, exitUsage, `unknown command "wach"`},
		{[]string{"publish", "--help"}, exitDone, "ringbench publish --whip http"},
		{[]string{"watch", "--help"}, exitDone, "--viewers N"},
		{[]string{"publish"}, exitUsage, `--whip "": expected the http or https URL`},
		{[]string{"publish", "--whip", "localhost:8080/whip/x"}, exitUsage, "expected the http or https URL"},
		{[]string{"publish", "--whip", "http://h/x", "--streams", "0"}, exitUsage, "--streams 0: expected 1 to"},
		{[]string{"publish", "--whip", "http://h/x", "--bitrate", "2X"}, exitUsage, "expected a number of bit/s"},
		{[]string{"publish", "--whip", "http://h/x", "--bitrate", "1k"}, exitUsage, "--bitrate 1000: expected 10k"},
		{[]string{"publish", "--whip", "http://h/x", "--file", "/none/such"}, exitFailed, "/none/such: no such file"},
		{
			[]string{"publish", "--whip", "http://h/x", "--file", "main.go"},
			exitFailed,
			"neither IVF, nor Ogg, nor an H.264",
		},
		{[]string{"watch", "--whep", "http://h/x", "--viewers", "x"}, exitUsage, "invalid value"},
		{[]string{"watch", "--whep", "http://h/x", "--stream", "1"}, exitUsage, "not defined: -stream"},
		{[]string{"watch", "--whep", "http://h/x", "more"}, exitUsage, `"more" is no flag`},
		{[]string{"watch", "--whep", "http://h/x", "--streams", "5-1"}, exitUsage, "expected stream numbers"},
		{[]string{"watch", "--whep", "http://h/x", "--streams", "0-1"}, exitUsage, "has no {n}"},
		{[]string{"watch", "--whep", "http://h/x", "--codec", "VP7"}, exitUsage, `--codec "VP7": expected VP8`},
		{[]string{"watch", "--whep", "http://h/x", "--ramp", "0"}, exitUsage, "--ramp 0: expected more"},
	} {
		status, stdout, stderr := invoke(t, c.args...)
		if status != c.status || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: status %d, want %d and %q:\n%s%s", c.args, status, c.status, c.want, stdout, stderr)
		}
		if status != exitDone && stdout != "" {
			t.Errorf("%q: an error on standard output: %s", c.args, stdout)
		}
	}
}

// TestServerErrors shows each way in which a server can be unusable: the message is one line.
func TestServerErrors(t *testing.T) {
	problem := func(status int, body string, head ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(head); i += 2 {
				w.Header().Set(head[i], head[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc // nil for nobody there
		publish string           // part of the message
		watch   string
	}{
		{"unreachable", nil, "server unreachable", "connection refused"},
		{"401", problem(401, ""), "give the server's token with --token", "401 Unauthorized"},
		{"404", problem(404, "404 page not found"), "It must name the stream", "404 Not Found: 404 page not found"},
		{
			"409", problem(409, `{"title":"Conflict","detail":"it is taken"}`), "it is taken (somebody publishes",
			"(nobody publishes this stream yet)",
		},
		{
			"422", problem(422, `{"detail":"m=video offers VP8; expected H264"}`),
			"offers VP8; expected H264 (codec or offer refused)", "(codec or offer refused)",
		},
		{"503", problem(503, "", "Retry-After", "7"), "retry after 7 s", "the server is full"},
		{"not SDP", problem(201, "hello"), "unusable answer", "unusable answer"},
		{"codec refused", problem(201, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 UDP/TLS/RTP/SAVPF "+
			"96\r\n"), "codec refused", "codec refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := "http://" + closed.Addr().String() + "/x"
			if c.handler != nil {
				s := httptest.NewServer(c.handler)
				defer s.Close()
				url = s.URL
			}
			for _, args := range [][]string{{"publish", "--whip", url, c.publish}, {"watch", "--whep", url, c.watch}} {
				status, stdout, stderr := invoke(t, args[:3]...)
				t.Logf("%s", stderr)
				if status != exitFailed || stdout != "" || strings.Count(stderr, "\n") != 1 ||
					!strings.Contains(stderr, args[3]) {
					t.Errorf("status %d, want one line with %q: %s%s", status, args[3], stdout, stderr)
				}
			}
		})
	}
}

// TestCertificate: a certificate that nobody vouches for is refused, unless the user accepts any.
func TestCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	for _, args := range [][]string{{"publish", "--whip", s.URL}, {"watch", "--whep", s.URL}} {
		status, _, stderr := invoke(t, args...)
		if status != exitFailed || !strings.Contains(stderr, "certificate") {
			t.Errorf("%q: status %d, %s", args, status, stderr)
		}
		status, _, stderr = invoke(t, append(args, "--insecure")...)
		if status != exitFailed || !strings.Contains(stderr, "404 Not Found") {
			t.Errorf("%q --insecure: status %d, %s", args, status, stderr)
		}
	}
}

// TestNothingToSee answers with an address where nobody is: all viewers fail, and the run fails. A viewer comes back
// when the server asks for that, and only then.
func TestNothingToSee(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	answer := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n" +
		"a=rtpmap:96 VP8/90000\r\n" +
		"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 00\r\na=setup:passive\r\n" +
		fmt.Sprintf("a=candidate:1 1 udp 1 127.0.0.1 %d typ host\r\n", silent.LocalAddr().(*net.UDPAddr).Port)
	var posts atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch n := posts.Add(1); {
		case n == 2:
			w.Header().Set("Retry-After", "0")
			fallthrough
		case n > 3:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	}))
	defer s.Close()
	status, stdout, stderr := invoke(t, "watch", "--quiet", "--whep", s.URL, "--viewers", "3", "--ramp", "10")
	if status != exitFailed || !strings.Contains(stderr, "no viewer saw a keyframe") ||
		!strings.Contains(stdout, "2 × no candidate answered") ||
		!strings.Contains(stdout, "1 × 503 Service Unavailable") || !strings.Contains(stdout, "1 offers") ||
		posts.Load() != 4 {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}

// start starts ringbench as a process of its own. out is its standard output, complete after it has ended.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	cmd, out = exec.Command(os.Args[0], args...), &bytes.Buffer{}
	cmd.Env = append(os.Environ(), asRingbench+"=1")
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended unless the test failed
	return cmd, out
}

// interrupt ends a process as Ctrl-C does.
func interrupt(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %v, want status 0", cmd.Args[1:], err)
	}
}

func awaitMetric(t *testing.T, s *testenv.Server, series string, least float64) {
	t.Helper()
	deadline := time.After(time.Minute)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for s.Metrics(t)[series] < least {
		select {
		case <-poll.C:
		case <-deadline:
			t.Fatalf("%s stays below %g:\n%s", series, least, s.Metrics(t).List())
		}
	}
}

// TestInterrupt stops both sides by SIGINT, as a terminal does: each prints its report and ends well.
func TestInterrupt(t *testing.T) {
	s := testenv.StartServer(t, testenv.ServerOptions{Workers: 1})
	dir := t.TempDir()
	publisher, published := start(t, "publish", "--quiet", "--whip", s.URL+"/whip/x", "--json",
		filepath.Join(dir, "p.json"))
	awaitMetric(t, s, `ringcast_sessions{role="publisher",state="connected"}`, 1)
	viewers, watched := start(t, "watch", "--quiet", "--whep", s.URL+"/whep/x", "--viewers", "5", "--json",
		filepath.Join(dir, "w.json"))
	awaitMetric(t, s, "ringcast_sent_rtp_packets_total", 500)
	interrupt(t, viewers)
	interrupt(t, publisher)

	var w report.Watch
	var p report.Publish
	for name, into := range map[string]any{"w.json": &w, "p.json": &p} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("\n%s\n%s", published, watched)
	if !w.Aborted || w.Joined != 5 || w.All.Packets < 100 || w.Sample.Frames == 0 {
		t.Errorf("watched: %+v", w)
	}
	if !p.Aborted || p.VideoPackets < 100 {
		t.Errorf("published: %+v", p)
	}
	if !strings.Contains(watched.String(), "5 wanted, 5 joined, 5 playing, 0 failed, 0 lost; interrupted") ||
		!strings.Contains(published.String(), "interrupted") {
		t.Errorf("the tables do not say that the run was interrupted:\n%s\n%s", published, watched)
	}
	m := s.Metrics(t)
	if n := m.Sum("ringcast_sessions{"); n != 0 {
		t.Errorf("%g sessions are left", n)
	}
}

func TestBitrateFlag(t *testing.T) {
	for text, want := range map[string]int{
		"2M": 2_000_000, "1.5M": 1_500_000, "500k": 500_000, "64000": 64_000, "": -1,
		"M": -1, "-1k": -1, "2Mb": -1, "1e9M": -1,
	} {
		var b bitrate
		err := b.Set(text)
		if (err != nil) != (want < 0) || err == nil && int(b) != want {
			t.Errorf("%q: %d, %v; want %d", text, b, err, want)
		}
	}
	for n, want := range map[bitrate]string{2_000_000: "2M", 500_000: "500k", 1234: "1234", 0: "0"} {
		if n.String() != want {
			t.Errorf("%d: %s", int(n), n.String())
		}
	}
}
