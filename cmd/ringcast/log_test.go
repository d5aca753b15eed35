package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"ringcast/cmd/ringcast/internal/logging"
	"ringcast/testenv/server"
)

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

// A process whose log the test reads from a pipe, as far as it wants to.
func startWithPipe(t *testing.T) (*instance, *os.File, *bufio.Reader) {
	t.Helper()
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command(os.Args[0], withLocal([]string{"--log-level", "debug"})...)
	process.Env = append(os.Environ(), asRingcast+"=1")
	process.Stderr = writing
	if err := errors.Join(process.Start(), writing.Close()); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	in := &instance{stderr: newOutput(), ended: make(chan int, 1), pid: process.Process.Pid, signal: func(s os.Signal) {
		if err := process.Process.Signal(s); err != nil {
			t.Errorf("signal %v: %v", s, err)
		}
	}}
	go func() {
		defer close(waited)
		_ = process.Wait()
		in.ended <- process.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = process.Process.Kill()
		<-waited
		reading.Close()
	})
	lines := bufio.NewReader(reading)
	for in.http == "" || in.admin == "" {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var e struct{ Msg, Listener, Address string }
		if json.Unmarshal(line, &e) == nil && e.Msg == "listening" {
			if e.Listener == "http" {
				in.http = e.Address
			} else {
				in.admin = e.Address
			}
		}
	}
	return in, reading, lines
}

// converse has the server log more than any pipe and the queue hold, and open a session after that.
func converse(t *testing.T, in *instance) {
	t.Helper()
	offer, err := os.ReadFile("../../signaling/testdata/chromium-offer-sendonly.sdp")
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	do := func(method, path, body string, want int) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+in.http+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/sdp")
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Fatalf("%.10s %s: got %s, want %d", method, path, answer.Status, want)
		}
	}
	const length = 8 << 10
	for range (logging.Room + 1<<20) / length {
		do(strings.Repeat("X", length), "/whip/x", "", http.StatusMethodNotAllowed)
	}
	do(http.MethodPost, "/whip/x", string(offer), http.StatusCreated)
	if status, text := get(t, "http://"+in.admin+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, text)
	}
}

// dropped reads the count of dropped lines from the metrics.
func dropped(t *testing.T, in *instance) float64 {
	t.Helper()
	_, text := get(t, "http://"+in.admin+"/metrics")
	m, err := server.ParseMetrics(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return m.Sum("ringcast_log_lines_dropped_total")
}

// The process goes on, and ends as it should, while its log's reader is gone or stalled.
func TestLogReader(t *testing.T) {
	t.Run("gone", func(t *testing.T) {
		in, reading, _ := startWithPipe(t)
		reading.Close()
		converse(t, in)
		if n := dropped(t, in); n == 0 {
			t.Errorf("no dropped line is counted")
		}
		in.signal(syscall.SIGTERM)
		equal(t, "status", in.end(t), exitDone)
	})
	t.Run("stalled", func(t *testing.T) {
		in, _, _ := startWithPipe(t)
		converse(t, in)
		if n := dropped(t, in); n == 0 {
			t.Errorf("no dropped line is counted")
		}
		in.signal(syscall.SIGTERM)
		equal(t, "status", in.end(t), exitDone)
	})
	t.Run("reads again", func(t *testing.T) {
		in, _, lines := startWithPipe(t)
		converse(t, in)
		counted := int(dropped(t, in))
		missing := 0
		for missing == 0 {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				t.Fatal(err)
			}
			var e struct {
				Msg   string
				Lines int
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("not whole: %.100q: %v", line, err)
			}
			if e.Msg == "log lines were dropped" {
				missing = e.Lines
			}
		}
		equal(t, "missing lines", missing, counted)
		in.signal(syscall.SIGTERM)
		rest, err := io.ReadAll(lines)
		if err != nil || !strings.Contains(string(rest), `"shutting down"`) {
			t.Errorf("the end of the log: %q, %v", rest, err)
		}
		equal(t, "status", in.end(t), exitDone)
	})
}

// A second signal does not wait for the log's reader either.
func TestSecondSignalBesideStalledReader(t *testing.T) {
	in, _, _ := startWithPipe(t)
	converse(t, in)
	hold(t, in.http, 100)
	in.signal(syscall.SIGTERM)
	in.signal(syscall.SIGINT)
	equal(t, "status", in.end(t), exitFailed)
}
