package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A fake systemd receives the notifications of a service.
func listenAsSystemd(t *testing.T) (socket string, next func() string) {
	t.Helper()
	// Not t.TempDir, whose name may be too long for a socket.
	dir, err := os.MkdirTemp("", "ringcast-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket = filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return socket, func() string {
		t.Helper()
		b := make([]byte, 1024)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(b)
		if err != nil {
			t.Fatalf("nothing is told: %v", err)
		}
		return string(b[:n])
	}
}

func TestSystemdIsTold(t *testing.T) {
	socket, next := listenAsSystemd(t)
	in := startProcessWith(t, []string{"NOTIFY_SOCKET=" + socket, "WATCHDOG_USEC=300000"})
	if got := next(); got != "READY=1" {
		t.Fatalf("first %q", got)
	}
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Fatalf("while it serves %q", got)
		}
	}
	in.signal(syscall.SIGTERM)
	got := next()
	for got == "WATCHDOG=1" {
		got = next()
	}
	if got != "STOPPING=1" {
		t.Errorf("at the end %q", got)
	}
	if status := in.end(t); status != exitDone {
		t.Errorf("status %d; log:\n%s", status, in.stderr)
	}
}

func TestNoWatchdogUnlessAskedFor(t *testing.T) {
	socket, next := listenAsSystemd(t)
	in := startProcessWith(t, []string{"NOTIFY_SOCKET=" + socket})
	in.signal(syscall.SIGTERM)
	if got := []string{next(), next()}; !slices.Equal(got, []string{"READY=1", "STOPPING=1"}) {
		t.Errorf("told %q", got)
	}
	if status := in.end(t); status != exitDone {
		t.Errorf("status %d; log:\n%s", status, in.stderr)
	}
}

func TestSystemdIsGone(t *testing.T) {
	in := startProcessWith(t, []string{"NOTIFY_SOCKET=/nonexistent/notify", "WATCHDOG_USEC=soon"})
	in.stderr.entry(t, "systemd was not notified", "state", "READY=1", "level", "WARN")
	in.stderr.entry(t, "systemd's watchdog will not be fed", "level", "WARN")
	in.stop(t)
}

// On sockets the process keeps no privilege of its start, on any of its threads.
func TestPrivilegesAreGivenUp(t *testing.T) {
	in := startProcess(t)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", in.pid))
	if err != nil || len(tasks) < 3 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		content, err := os.ReadFile(task)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the thread ended
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{
			"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000",
			"CapAmb:\t0000000000000000", "NoNewPrivs:\t1",
		} {
			if !strings.Contains(string(content), "\n"+line+"\n") {
				t.Errorf("%s lacks %q:\n%s", task, line, content)
			}
		}
	}
	in.stop(t)
}
