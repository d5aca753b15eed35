package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startDeadline = time.Minute
	stopDeadline  = time.Minute
	// Chosen ports are free for a moment only; another process may be quicker.
	startAttempts = 3
	keptLog       = 256 << 10
)

// ServerOptions say how to run the server; the zero value is IPv4 loopback over sockets.
type ServerOptions struct {
	// IP is the loopback address that HTTP and media use: 127.0.0.1 (the default) or ::1.
	IP string
	// IO is the --io flag; the default is udp.
	IO string
	// Workers is the --workers flag; 0 leaves it out.
	Workers int
	// LogLevel is the --log-level flag; the default is info.
	LogLevel string
	// Args are further flags.
	Args []string
}

// A Server is a ringcast process that belongs to one test.
type Server struct {
	// URL and Admin are the roots of the two HTTP listeners, without a final slash.
	URL, Admin string
	// UDP is the media address.
	UDP string

	cmd    *exec.Cmd
	run    func(*exec.Cmd) (wait func() error, err error)
	client *http.Client
	ask    func(context.Context) error // whether it is ready, nil for /readyz
	log    *tail
	done   chan struct{} // closed when the process has ended; err is valid then
	err    error
}

// StartServer runs the server on free loopback ports until the test ends, and returns when it
// is ready. Its log becomes part of the test's if the test fails.
func StartServer(t testing.TB, o ServerOptions) *Server {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		t.Fatalf("no server to test: %v", err)
	}
	for attempt := 1; ; attempt++ {
		s, err := startServer(t.Context(), binary, o)
		if err == nil {
			s.EndWith(t)
			return s
		}
		if attempt == startAttempts || !errors.Is(err, errAddressInUse) {
			t.Fatalf("start %s: %v", binary, err)
		}
	}
}

var errAddressInUse = errors.New("a chosen port is taken")

func startServer(ctx context.Context, binary string, o ServerOptions) (*Server, error) {
	ip := o.IP
	if ip == "" {
		ip = "127.0.0.1"
	}
	httpAddr, err := freePort("tcp", ip)
	if err != nil {
		return nil, err
	}
	udpAddr, err := freePort("udp", ip)
	if err != nil {
		return nil, err
	}
	adminAddr, err := freePort("tcp", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	args := []string{
		"--http", httpAddr, "--udp", udpAddr, "--admin", adminAddr, "--public-ip", ip,
		"--io", or(o.IO, "udp"), "--log-level", or(o.LogLevel, "info"),
	}
	if o.Workers > 0 {
		args = append(args, "--workers", fmt.Sprint(o.Workers))
	}
	args = append(args, o.Args...)
	args = append(args, strings.Fields(os.Getenv("RINGCAST_ARGS"))...)

	s, err := Launch{
		URL: "http://" + httpAddr, Admin: "http://" + adminAddr, UDP: udpAddr,
		Cmd: exec.Command(binary, args...),
	}.Start(ctx)
	if err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		err = fmt.Errorf("%w: %w", errAddressInUse, err)
	}
	return s, err
}

// A Launch says how to run a server of which one knows where it will listen.
type Launch struct {
	// URL, Admin and UDP are the Server's.
	URL, Admin, UDP string
	// Cmd is the server's command line. The log takes its output; its environment is this process's
	// without the tests' own variables.
	Cmd *exec.Cmd
	// Run starts a command and returns what waits for its end. The default is Cmd's own.
	Run func(*exec.Cmd) (wait func() error, err error)
	// Client reaches the server. The default is http.DefaultClient.
	Client *http.Client
	// Probe tells whether the server is ready. The default asks Admin's /readyz.
	Probe func(context.Context) error
}

// Start runs the server and returns when it is ready. It is the caller's to Stop.
func (l Launch) Start(ctx context.Context) (*Server, error) {
	if l.Client == nil {
		l.Client = http.DefaultClient
	}
	if l.Run == nil {
		l.Run = func(cmd *exec.Cmd) (func() error, error) { return cmd.Wait, cmd.Start() }
	}
	s := &Server{URL: l.URL, Admin: l.Admin, UDP: l.UDP, cmd: l.Cmd, run: l.Run, client: l.Client, ask: l.Probe, log: &tail{limit: keptLog}}
	// The tests' own variables are not the server's, which refuses what it does not know.
	s.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RINGCAST_") })
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s\n%s", err, l.Cmd, s.log)
	}
	return s, nil
}

// start runs cmd until it is ready, or not at all.
func (s *Server) start(ctx context.Context) error {
	wait, err := s.run(s.cmd)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	s.done, s.err = done, nil
	go func() {
		s.err = wait()
		close(done)
	}()
	if err := s.waitReady(ctx); err != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.done
		return err
	}
	return nil
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	var last error
	for {
		if last = s.probe(ctx); last == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("the server ended before it was ready: %w", errOr(s.err, "status 0"))
		case <-ctx.Done():
			return fmt.Errorf("the server was not ready within %v: %w", startDeadline, last)
		case <-poll.C:
		}
	}
}

func (s *Server) probe(ctx context.Context) error {
	if s.ask != nil {
		return s.ask(ctx)
	}
	resp, err := s.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// get asks the admin listener, and makes an error of every answer but a success.
func (s *Server) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err == nil && resp.StatusCode/100 != 2 {
		resp.Body.Close()
		err = fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return resp, err
}

// Metrics fetches and parses /metrics.
func (s *Server) Metrics(t testing.TB) Metrics {
	t.Helper()
	m, err := s.ReadMetrics(context.WithoutCancel(t.Context())) // cleanups ask too
	if err != nil {
		t.Fatalf("metrics: %v", err)
	}
	return m
}

// ReadMetrics fetches and parses /metrics.
func (s *Server) ReadMetrics(ctx context.Context) (Metrics, error) {
	resp, err := s.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return ParseMetrics(resp.Body)
}

// Stop sends SIGTERM and waits for the process to end. It may be called again.
func (s *Server) Stop() error {
	select {
	case <-s.done:
		return s.err
	default:
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the server: %w", err)
	}
	select {
	case <-s.done:
		return s.err
	case <-time.After(stopDeadline):
		// SIGQUIT prints every goroutine's stack, which tells who did not stop.
		s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.done:
		case <-time.After(stopDeadline):
			s.cmd.Process.Kill()
			<-s.done
		}
		return fmt.Errorf("the server did not end within %v of SIGTERM", stopDeadline)
	}
}

// Done is closed when the process has ended.
func (s *Server) Done() <-chan struct{} { return s.done }

// PID is the process's number.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log is the end of what the process wrote.
func (s *Server) Log() string { return s.log.String() }

// EndWith stops the server at the end of the test, which fails if that or the server's own end was not
// clean. Its log becomes part of the test's if the test fails.
func (s *Server) EndWith(t testing.TB) { t.Cleanup(func() { s.finish(t) }) }

func (s *Server) finish(t testing.TB) {
	early := false
	select {
	case <-s.done:
		early = s.err != nil
	default:
	}
	if err := s.Stop(); err != nil {
		when := "at its end"
		if early {
			when = "during the test"
		}
		t.Errorf("server %s: %v", when, err)
	}
	if log := s.Log(); strings.Contains(log, "WARNING: DATA RACE") {
		t.Errorf("the server has a data race")
	}
	if t.Failed() {
		t.Logf("server log:\n%s", s.Log())
	}
}

var built struct {
	mu    sync.Mutex // guards what follows
	dir   string
	paths map[string]string // by package
}

// Binary returns the server to test, built once per test binary; with the race detector if the
// test itself has it. RINGCAST_BIN names one to use instead.
func Binary() (string, error) {
	if path := os.Getenv("RINGCAST_BIN"); path != "" {
		return filepath.Abs(path)
	}
	return Build("ringcast/cmd/ringcast")
}

// Build returns a program of this module, built once per process as Binary does. RemoveBuilt removes it.
func Build(pkg string) (string, error) {
	built.mu.Lock()
	defer built.mu.Unlock()
	if path := built.paths[pkg]; path != "" {
		return path, nil
	}
	if built.dir == "" {
		dir, err := os.MkdirTemp("", "ringcast-testenv-")
		if err == nil {
			err = os.Chmod(dir, 0o755) // other users may run what is in it, as some tests have it
		}
		if err != nil {
			return "", err
		}
		built.dir, built.paths = dir, map[string]string{}
	}
	program := filepath.Join(built.dir, filepath.Base(pkg))
	args := []string{"build", "-o", program}
	if RaceEnabled {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, pkg)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, bytes.TrimSpace(out))
	}
	built.paths[pkg] = program
	return program, nil
}

// RemoveBuilt removes what Build has built.
func RemoveBuilt() error {
	built.mu.Lock()
	defer built.mu.Unlock()
	dir := built.dir
	built.dir, built.paths = "", nil
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

// Main runs a package's tests and then removes what Binary built. Use it in TestMain:
//
//	func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }
func Main(m *testing.M) int {
	defer func() { _ = RemoveBuilt() }() // it is in the temporary directory
	return m.Run()
}

// Artifacts returns the directory for what a test leaves to be looked at.
func Artifacts(t testing.TB) string {
	t.Helper()
	dir := or(os.Getenv("RINGCAST_ARTIFACTS"), filepath.Join(os.TempDir(), "ringcast-artifacts"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func freePort(network, ip string) (string, error) {
	addr := net.JoinHostPort(ip, "0")
	if network == "udp" {
		c, err := net.ListenPacket(network, addr)
		if err != nil {
			return "", fmt.Errorf("find a free UDP port: %w", err)
		}
		defer c.Close()
		return c.LocalAddr().String(), nil
	}
	l, err := net.Listen(network, addr)
	if err != nil {
		return "", fmt.Errorf("find a free TCP port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func or(value, otherwise string) string {
	if value != "" {
		return value
	}
	return otherwise
}

func errOr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// tail keeps the end of what is written to it.
type tail struct {
	limit int

	mu  sync.Mutex
	buf []byte
	cut bool
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if len(w.buf) > 2*w.limit {
		w.buf = slices.Clone(w.buf[len(w.buf)-w.limit:])
		w.cut = true
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return "[…]" + string(w.buf)
	}
	return string(w.buf)
}
