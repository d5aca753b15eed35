package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringcast/cmd/ringcast/internal/web"
	"ringcast/engine/host"
	"ringcast/testenv/peer"
)

// refused runs the command in this process and expects that it ends with one line and status 1.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	stdout, stderr := newOutput(), newOutput()
	status := command(withLocal(args), nil, stdout, stderr, signals{})
	if got := stderr.String(); status != exitFailed || got != "ringcast: "+want+"\n" || stdout.String() != "" {
		t.Errorf("status %d, got\n%swant\nringcast: %s", status, got, want)
	}
}

func TestPortsInUse(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free.Close()

	taken, inUse := tcp.Addr().String(), syscall.EADDRINUSE.Error()
	refused(t, fmt.Sprintf("http: listen tcp %s: bind: %s", taken, inUse), "--http", taken)
	// Nothing that was opened before the failure stays open.
	public := free.Addr().String()
	refused(t, fmt.Sprintf("admin: listen tcp %s: bind: %s", taken, inUse), "--http", public, "--admin", taken)
	refused(t, fmt.Sprintf("udp: open the UDP port: bind UDP %s: %s", udp.LocalAddr(), inUse), "--http", public,
		"--udp", udp.LocalAddr().String())
	if again, err := net.Listen("tcp", public); err != nil {
		t.Errorf("http is still open: %v", err)
	} else {
		again.Close()
	}
}

func TestRefusalNamesTheSetting(t *testing.T) {
	cfg := host.DefaultConfig()
	cfg.IO = host.OnlyXDP
	d := host.Choose(cfg, "eth9", host.Report{OS: "linux"})
	for want, err := range map[string]error{
		"io: AF_XDP cannot be used: interface eth9 not found; `ip link` lists those there are": d.Err(),
		"udp: open the UDP port: " + syscall.EADDRINUSE.Error():                                syscall.EADDRINUSE,
	} {
		if got := refusal(err).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// TestSHA1IsForbidden starts a process in which each ICE check would end in a panic. Its media host is unknown, so it
// ends either way.
func TestSHA1IsForbidden(t *testing.T) {
	process := exec.Command(os.Args[0], withLocal([]string{"--udp", "no such host:7000"})...)
	process.Env = append(os.Environ(), asRingcast+"=1", "GODEBUG=fips140=only")
	out, err := process.CombinedOutput()
	if err == nil || process.ProcessState.ExitCode() != exitUsage || string(out) != "ringcast: "+errSHA1.Error()+"\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestUnknownMediaHost(t *testing.T) {
	stderr := newOutput()
	args := withLocal([]string{"--udp", "no such host:7000"})
	status := command(args, nil, io.Discard, stderr, signals{})
	if got := stderr.String(); status != exitFailed || !strings.HasPrefix(got,
		"ringcast: udp: lookup no such host") || strings.Count(got, "\n") != 1 {
		t.Errorf("status %d: %s", status, got)
	}
}

func TestTermination(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(s.String(), func(t *testing.T) {
			in := startProcess(t)
			if status, _ := get(t, "http://"+in.admin+"/readyz"); status != http.StatusOK {
				t.Errorf("readyz: %d", status)
			}
			in.signal(s)
			if status := in.end(t); status != exitDone {
				t.Errorf("status %d, want %d; log:\n%s", status, exitDone, in.stderr)
			}
			in.stderr.entry(t, "shutting down", "reason", s.String())
		})
	}
}

// A request is one that the server has begun to read and waits for the rest of.
type request struct {
	net.Conn
	reader *bufio.Reader
}

// hold sends an offer but for its body. The server's 100 Continue says that its handler runs.
func hold(t *testing.T, address string, length int) *request {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "POST /whip/x HTTP/1.1\r\nHost: %s\r\nContent-Type: application/sdp\r\nContent-Length: "+
		"%d\r\nExpect: 100-continue\r\n\r\n",
		address, length)
	r := &request{c, bufio.NewReader(c)}
	line, err := r.reader.ReadString('\n')
	if err == nil && strings.Contains(line, " 100 ") {
		_, err = r.reader.ReadString('\n')
	}
	if err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	return r
}

// While the server ends, readyz reports it, and an offer in flight is refused with 503.
func TestDrain(t *testing.T) {
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t)
	r := hold(t, in.http, len(offer))
	in.signal(syscall.SIGTERM)
	in.stderr.entry(t, "shutting down", "reason", syscall.SIGTERM.String())
	for {
		status, text, err := tryGet("http://" + in.admin + "/readyz")
		if err != nil {
			t.Fatalf("readyz is gone while a request is in flight: %v", err)
		}
		if status == http.StatusServiceUnavailable {
			break
		}
		if status != http.StatusOK {
			t.Fatalf("readyz: %d %s", status, text)
		}
	}
	if _, err := r.Write(offer); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(r.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new session: %s", answer.Status)
	}
	if status := in.end(t); status != exitDone {
		t.Errorf("status %d; log:\n%s", status, in.stderr)
	}
}

// A request that never ends is cut off.
func TestDrainIsBounded(t *testing.T) {
	in := start(t)
	hold(t, in.http, 100)
	began := time.Now()
	in.stop(t)
	if took := time.Since(began); took < web.RequestSpan/2 {
		t.Errorf("cut off after %v, want %v", took, web.RequestSpan)
	}
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	signals := make(chan os.Signal)
	stopping, release, stderr := make(chan error), make(chan struct{}), newOutput()
	ended := make(chan int)
	go func() {
		ended <- supervise(signals, stderr, func(ctx context.Context) error {
			<-ctx.Done()
			stopping <- context.Cause(ctx)
			<-release // a stop that hangs
			return nil
		})
	}()
	signals <- syscall.SIGTERM
	if cause := <-stopping; cause.Error() != syscall.SIGTERM.String() {
		t.Errorf("cause: %v", cause)
	}
	signals <- syscall.SIGINT
	status := <-ended
	close(release)
	if got, want := stderr.String(), "ringcast: interrupt while shutting down: exit at once\n"; status != exitFailed ||
		got != want {
		t.Errorf("status %d: %q", status, got)
	}
}

// The process itself, held up by a request. The kernel chooses which signal comes first.
func TestSecondSignalEndsProcess(t *testing.T) {
	in := startProcess(t)
	hold(t, in.http, 100)
	in.signal(syscall.SIGTERM)
	in.signal(syscall.SIGINT)
	status := in.end(t)
	last := regexp.MustCompile(`(?m)^ringcast: (interrupt|terminated) while shutting down: exit at once$`)
	if status != exitFailed || !last.MatchString(in.stderr.String()) {
		t.Errorf("status %d; log:\n%s", status, in.stderr)
	}
}

// Neither the log nor the admin side of a server shows its tokens.
func TestTokens(t *testing.T) {
	const publish, view, admin = "s3cret-publish", "s3cret-view", "s3cret-of-operators"
	in := startProcess(t, "--publish-token", publish, "--view-token", view, "--admin-token", admin,
		"--metrics-token", "s3cret-of-prometheus", "--log-level", "debug")
	var shown []string
	for path, own := range map[string]string{
		"/whip/x": publish, "/whep/x": view, "/whip": "x:" + publish,
		"/whep": "x:" + view,
	} {
		for _, token := range []string{publish, view, "x:" + publish, "x:" + view, "no-" + publish} {
			r, err := http.NewRequest(http.MethodPost, "http://"+in.http+path, strings.NewReader("v=0\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/sdp")
			r.Close = true
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			refused := answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden
			if err != nil || answer.StatusCode < 400 || token == own && refused || strings.HasPrefix(token,
				"no-") && !refused {
				t.Errorf("%s: %s, %v", path, answer.Status, err)
			}
			shown = append(shown, string(text))
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2"} {
		status, text := manage(t, http.MethodGet, "http://"+in.admin+path, admin)
		equal(t, path, status, http.StatusOK)
		shown = append(shown, text)
	}
	in.stop(t)
	shown = append(shown, in.stderr.String(), in.stdout.String())
	if i := slices.IndexFunc(shown, func(s string) bool { return strings.Contains(s, "s3cret") }); i >= 0 {
		t.Errorf("a token is shown:\n%s", shown[i])
	}
}

// A public address may be given by name, which the answer has the address of.
func TestPublicName(t *testing.T) {
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	in := start(t, "--public-ip", "localhost", "--udp", "127.0.0.2:0")
	p, err := peer.New(peer.Config{}, netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, _, err := p.Post(t.Context(), trusting(t), "http://"+in.http+"/whip/x", string(offer))
	if err != nil || len(l.Candidates) != 1 || l.Candidates[0].Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("got candidates %v, %v, want 127.0.0.1", l.Candidates, err)
	}
	in.stop(t)
}

// A stop during the start does not wait for a name server that is silent.
func TestStopDuringLookup(t *testing.T) {
	usual := net.DefaultResolver
	asked := make(chan struct{}, 100)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	defer func() { net.DefaultResolver = usual }()
	stop, stderr, ended := make(chan os.Signal, 1), newOutput(), make(chan int, 1)
	go func() {
		args := withLocal([]string{"--public-ip", "media.example.org"})
		ended <- command(args, nil, io.Discard, stderr, signals{stop: stop})
	}()
	<-asked
	stop <- syscall.SIGTERM
	if status := <-ended; status != exitDone {
		t.Errorf("got status %d, want %d", status, exitDone)
	}
	if log := stderr.String(); strings.Contains(log, "cannot be looked up") { // after its 5 s
		t.Errorf("the start waited for the name:\n%s", log)
	}
}

func TestStreamsAreListed(t *testing.T) {
	in := start(t)
	if status, text := get(t, "http://"+in.admin+"/api/streams"); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	in.stop(t)
}

func TestNoAdmin(t *testing.T) {
	in := startWithout(t, "--admin", "")
	if status, _ := get(t, "http://"+in.http+"/"); status != http.StatusOK {
		t.Errorf("page: %d", status)
	}
	in.stop(t)
	if strings.Contains(in.stderr.String(), `"listener":"admin"`) {
		t.Error("there is an admin listener")
	}
}
