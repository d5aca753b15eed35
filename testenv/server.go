package testenv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"ringcast/testenv/server"
)

// Chosen ports are free for a moment only; another process may be quicker.
const startAttempts = 3

// ServerOptions describe a server; the zero value is IPv4 loopback over sockets.
type ServerOptions struct {
	// IP is the loopback address that HTTP and media use: 127.0.0.1 (the default) or ::1.
	IP string
	// HTTP is the address of the public listener, for tests that need to know it before; the default is a free port.
	HTTP string
	// IO is the --io flag; the default is udp.
	IO string
	// Workers is the --workers flag; 0 leaves it out.
	Workers int
	// LogLevel is the --log-level flag; the default is info.
	LogLevel string
	// Args are further flags.
	Args []string
}

// Metrics are a server's.
type Metrics = server.Metrics

// A Server is a ringcast process that belongs to one test.
type Server struct{ *server.Server }

// Wrap gives a test a server that it has started itself, if there was no error.
func Wrap(s *server.Server, err error) (*Server, error) {
	if err != nil {
		return nil, err
	}
	return &Server{s}, nil
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
	httpAddr, err := o.HTTP, error(nil)
	if httpAddr == "" {
		httpAddr, err = FreePort("tcp", ip)
	}
	if err != nil {
		return nil, err
	}
	udpAddr, err := FreePort("udp", ip)
	if err != nil {
		return nil, err
	}
	adminAddr, err := FreePort("tcp", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	args := []string{
		"--http", httpAddr, "--udp", udpAddr, "--admin", adminAddr, "--public-ip", ip,
		"--io", cmp.Or(o.IO, "udp"), "--log-level", cmp.Or(o.LogLevel, "info"),
	}
	if o.Workers > 0 {
		args = append(args, "--workers", fmt.Sprint(o.Workers))
	}
	args = append(args, o.Args...)
	args = append(args, strings.Fields(os.Getenv("RINGCAST_ARGS"))...)

	s, err := Wrap(server.Launch{
		URL: "http://" + httpAddr, Admin: "http://" + adminAddr, UDP: udpAddr,
		Cmd: exec.Command(binary, args...),
	}.Start(ctx))
	if err != nil && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) {
		err = fmt.Errorf("%w: %w", errAddressInUse, err)
	}
	return s, err
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

// Restart ends the process by a signal and runs it again, as server.Server does.
func (s *Server) Restart(t testing.TB, end syscall.Signal) {
	t.Helper()
	if err := s.Server.Restart(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// EndWith stops the server at the end of the test, which fails if that or the server's own end was not
// clean. Its log becomes part of the test's if the test fails.
func (s *Server) EndWith(t testing.TB) { t.Cleanup(func() { s.finish(t) }) }

func (s *Server) finish(t testing.TB) {
	early := false
	select {
	case <-s.Done():
		early = s.Stop() != nil
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
	mu    sync.Mutex // guards the fields below
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
			err = os.Chmod(dir, 0o755) // other users may run its programs, as some tests need
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

// Artifacts returns the directory for files that people look at after a test.
func Artifacts(t testing.TB) string {
	t.Helper()
	dir := cmp.Or(os.Getenv("RINGCAST_ARTIFACTS"), filepath.Join(os.TempDir(), "ringcast-artifacts"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Ports from firstPort on are below those that Linux, macOS and Windows give to sockets that ask for any. So a free one
// stays free, unless somebody asks for it by its number.
const (
	firstPort = 10000
	portCount = 22000
)

var (
	portsBegin = rand.Uint32N(portCount)
	portsTried atomic.Uint32
)

// FreePort returns an address whose port nothing uses now. No two calls of a process return the same port soon.
func FreePort(network, ip string) (string, error) {
	for range portCount {
		number := firstPort + (portsBegin+portsTried.Add(1))%portCount
		var c io.Closer
		var err error
		address := net.JoinHostPort(ip, strconv.FormatUint(uint64(number), 10))
		if network == "udp" {
			c, err = net.ListenPacket(network, address)
		} else {
			c, err = net.Listen(network, address)
		}
		switch {
		case err == nil:
			return address, c.Close()
		case !errors.Is(err, syscall.EADDRINUSE):
			return "", fmt.Errorf("find a free port: %w", err)
		}
	}
	return "", errors.New("find a free port: all are in use")
}
