package testenv

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"testing"

	"ringcast/testenv/lab"
)

// NewLab opens a lab until the test ends. The test fails if something still runs on its hosts then, and is skipped
// without network namespaces.
func NewLab(t testing.TB) *lab.Lab {
	t.Helper()
	Need(t, NetworkNamespaces)
	l, err := lab.Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatalf("open the lab: %v", err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return l
}

// Pair is Lab.Pair in a lab of the test's own.
func Pair(t testing.TB, link lab.Link) (server, client *lab.Host) {
	t.Helper()
	server, client, err := NewLab(t).Pair(link)
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// Routed is Lab.Routed in a lab of the test's own.
func Routed(t testing.TB, link lab.Link) (server, router, client *lab.Host) {
	t.Helper()
	server, router, client, err := NewLab(t).Routed(link)
	if err != nil {
		t.Fatal(err)
	}
	return server, router, client
}

// StartOn runs the server that Binary returns on a host of a lab, by Host.StartServer. Let EndWith end it.
func StartOn(ctx context.Context, h *lab.Host, cpus []int, args ...string) (*Server, error) {
	binary, err := Binary()
	if err != nil {
		return nil, fmt.Errorf("no server to run: %w", err)
	}
	return StartCommandOn(ctx, h, cpus, exec.Command(binary, args...))
}

// StartCommandOn is StartOn with a command line.
func StartCommandOn(ctx context.Context, h *lab.Host, cpus []int, cmd *exec.Cmd) (*Server, error) {
	return Wrap(h.StartServer(ctx, cpus, cmd))
}
