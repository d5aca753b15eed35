// Package server runs ringcast, or another server, as a process of its own. It waits until the server is ready, keeps
// the end of its log, reads its metrics, and ends it.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startDeadline = time.Minute
	stopDeadline  = time.Minute
	keptLog       = 256 << 10
)

// A Server is a process that was ready once. Its methods may be called at the same time, but for Restart.
type Server struct {
	// URL and Admin are the roots of the two HTTP listeners, without a final slash.
	URL, Admin string
	// UDP is the media address.
	UDP string

	cmd    *exec.Cmd
	run    func(*exec.Cmd) (wait func() error, err error)
	client *http.Client
	ask    func(context.Context) error // reports that it is ready; nil for /readyz
	log    *tail
	// runtime is a directory that the server may write to. ringcast leaves the admin token there.
	runtime string
	done    chan struct{} // closed when the process has ended; err is valid then
	err     error
}

// A Launch describes how to run a server on known addresses.
type Launch struct {
	// URL, Admin and UDP are the Server's.
	URL, Admin, UDP string
	// Cmd is the server's command line. The log takes its output; its environment is this process's
	// without the tests' own variables.
	Cmd *exec.Cmd
	// Run starts a command and returns the function that waits for its end. The default is Cmd's own.
	Run func(*exec.Cmd) (wait func() error, err error)
	// Client reaches the server. The default is http.DefaultClient.
	Client *http.Client
	// Probe returns nil once the server is ready. The default asks Admin's /readyz.
	Probe func(context.Context) error
}

// Start runs the server and returns when it is ready. The caller calls Stop.
func (l Launch) Start(ctx context.Context) (*Server, error) {
	if l.Client == nil {
		l.Client = http.DefaultClient
	}
	if l.Run == nil {
		l.Run = func(cmd *exec.Cmd) (func() error, error) { return cmd.Wait, cmd.Start() }
	}
	s := &Server{
		URL: l.URL, Admin: l.Admin, UDP: l.UDP, cmd: l.Cmd, run: l.Run, client: l.Client, ask: l.Probe,
		log: &tail{limit: keptLog},
	}
	// The tests' own variables are left out: the server refuses variables that it does not know. Those of the command
	// come after this process's.
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RINGCAST_") })
	s.cmd.Env = append(own, s.cmd.Env...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	var err error
	if s.runtime, err = os.MkdirTemp("", "ringcast-runtime-"); err != nil {
		return nil, err
	}
	if err := os.Chmod(s.runtime, 0o777); err != nil { // the server may run as another user
		return nil, err
	}
	s.cmd.Env = append(s.cmd.Env, "RUNTIME_DIRECTORY="+s.runtime)
	if err := s.start(ctx); err != nil {
		_ = os.RemoveAll(s.runtime)
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
	resp, err := s.Get(ctx, "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// AdminToken returns the admin token that the server drew, or nothing for other servers.
func (s *Server) AdminToken() string {
	text, err := os.ReadFile(filepath.Join(s.runtime, "admin-token"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// Get asks the admin listener as an operator, and makes an error of every answer but a success. The caller closes the
// body.
func (s *Server) Get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	if token := s.AdminToken(); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := s.client.Do(req)
	if err == nil && resp.StatusCode/100 != 2 {
		resp.Body.Close()
		err = fmt.Errorf("%s: %s", req.URL, resp.Status)
	}
	return resp, err
}

// ReadMetrics fetches and parses /metrics.
func (s *Server) ReadMetrics(ctx context.Context) (Metrics, error) {
	resp, err := s.Get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return ParseMetrics(resp.Body)
}

// Stop sends SIGTERM and waits for the process to end. It may be called again.
func (s *Server) Stop() error {
	err := s.stop()
	return errors.Join(err, os.RemoveAll(s.runtime))
}

// Kill ends the process by SIGKILL, and waits for that. Stop then reports no error.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.done
	s.err = nil
}

func (s *Server) stop() error {
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
		// SIGQUIT prints every goroutine's stack, which shows the ones that did not stop.
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

// Log is the last part of the process's output.
func (s *Server) Log() string { return s.log.String() }

// Restart ends the process, by SIGTERM or, as a crash does, by SIGKILL. It runs the process again on the same ports and
// returns when it is ready. No other method of the Server may run at the same time.
func (s *Server) Restart(ctx context.Context, end syscall.Signal) error {
	if end == syscall.SIGTERM {
		if err := s.stop(); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	} else {
		if err := s.cmd.Process.Signal(end); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		<-s.done
	}

	again := exec.Command(s.cmd.Path, s.cmd.Args[1:]...)
	again.Env, again.Stdout, again.Stderr = s.cmd.Env, s.log, s.log
	s.cmd = again
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}

func errOr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// tail keeps the last part of its input.
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
