package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringcast/engine/host"
)

// asRingcast makes the test binary behave as the command, so that signals and exit statuses are real.
const asRingcast = "TEST_AS_RINGCAST"

func TestMain(m *testing.M) {
	if os.Getenv(asRingcast) != "" {
		main()
		return
	}
	dropPrivileges = func(host.Needs) error { return nil } // other tests need them
	// A CA of tests cannot be stopped.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

// patience bounds waits that take milliseconds on an idle machine.
const patience = time.Minute

// An output keeps what is written to it and lets tests wait for it.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // replaced at each write
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// entry waits for a JSON log line with these message and attributes.
func (o *output) entry(t *testing.T, message string, attributes ...string) map[string]any {
	t.Helper()
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		text, grown := o.text.String(), o.grown
		o.mu.Unlock()
	lines:
		for line := range strings.Lines(text) {
			var e map[string]any
			if json.Unmarshal([]byte(line), &e) != nil || e["msg"] != message {
				continue
			}
			for i := 0; i < len(attributes); i += 2 {
				if e[attributes[i]] != attributes[i+1] {
					continue lines
				}
			}
			return e
		}
		select {
		case <-grown:
		case <-deadline:
			t.Fatalf("no log line %q %q in:\n%s", message, attributes, text)
		}
	}
}

// An instance is a server that runs, in this process or in one of its own.
type instance struct {
	stderr *output
	stdout *output
	signal func(os.Signal)
	ended  chan int // the status, once
	pid    int      // of one in its own process

	http, admin string // host:port
}

var local = []string{
	"--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--io", "udp",
	"--workers", "1", "--log-format", "json",
}

func withLocal(args []string) []string { return slices.Concat(local, args) }

// start runs the command in this process.
func start(t *testing.T, args ...string) *instance {
	t.Helper()
	in := startWithout(t, args...)
	in.admin = in.address(t, "admin")
	return in
}

// startWithout does not wait for an admin listener.
func startWithout(t *testing.T, args ...string) *instance {
	t.Helper()
	stop, reload := make(chan os.Signal, 2), make(chan os.Signal, 1)
	in := &instance{
		stderr: newOutput(), stdout: newOutput(), ended: make(chan int, 1),
		signal: func(s os.Signal) {
			if s == syscall.SIGHUP {
				reload <- s
			} else {
				stop <- s
			}
		},
	}
	go func() { in.ended <- command(withLocal(args), nil, in.stdout, in.stderr, signals{stop, reload}) }()
	in.http = in.address(t, "http")
	return in
}

// startProcess runs the command as a process.
func startProcess(t *testing.T, args ...string) *instance {
	t.Helper()
	return startProcessWith(t, nil, args...)
}

// startProcessWith adds variables to this process's.
func startProcessWith(t *testing.T, environ []string, args ...string) *instance {
	t.Helper()
	process := exec.Command(os.Args[0], withLocal(args)...)
	process.Env = append(os.Environ(), environ...)
	return startCommand(t, process)
}

// startCommand runs a command line that ends in the command's.
func startCommand(t *testing.T, process *exec.Cmd) *instance {
	t.Helper()
	in := &instance{stderr: newOutput(), stdout: newOutput(), ended: make(chan int, 1)}
	process.Env = append(process.Environ(), asRingcast+"=1")
	process.Stdout, process.Stderr = in.stdout, in.stderr
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	in.pid = process.Process.Pid
	in.signal = func(s os.Signal) {
		if err := process.Process.Signal(s); err != nil {
			t.Errorf("signal %v: %v", s, err)
		}
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		_ = process.Wait()
		in.ended <- process.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = process.Process.Kill()
		<-waited
	})
	in.http, in.admin = in.address(t, "http"), in.address(t, "admin")
	return in
}

// address waits until a listener is open.
func (in *instance) address(t *testing.T, key string) string {
	t.Helper()
	address, _ := in.stderr.entry(t, "listening", "listener", key)["address"].(string)
	return address
}

// end waits for the status.
func (in *instance) end(t *testing.T) int {
	t.Helper()
	select {
	case status := <-in.ended:
		return status
	case <-time.After(patience):
		t.Fatalf("still running; log:\n%s", in.stderr)
		return -1
	}
}

// stop ends the instance as an operator does and expects that all is well.
func (in *instance) stop(t *testing.T) {
	t.Helper()
	in.signal(syscall.SIGTERM)
	if status := in.end(t); status != exitDone {
		t.Errorf("status %d; log:\n%s", status, in.stderr)
	}
}

// get returns status and body; the connection does not outlive it.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	status, body, err := tryGet(url)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func tryGet(url string) (int, string, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	r, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r.StatusCode, string(body), err
}
