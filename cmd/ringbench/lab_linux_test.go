package main

import (
	"strings"
	"testing"
)

// TestIOFlag names a way of sending by --io and by its old name --port, which the help leaves out.
func TestIOFlag(t *testing.T) {
	for _, name := range []string{"lab", "table", "soak", "joins", "memory"} {
		status, help, _ := invoke(t, name, "--help")
		if status != exitDone || !strings.Contains(help, "\n  --io CONTENDER ") || strings.Contains(help, "--port") {
			t.Errorf("%s --help: status %d, want %d, --io and no --port:\n%s", name, status, exitDone, help)
		}
		for _, way := range []string{"--io", "--port"} {
			status, _, stderr := invoke(t, name, way, "pigeon")
			if want := `"pigeon": expected xdp, segments`; status != exitUsage || !strings.Contains(stderr, want) {
				t.Errorf("%s %s: status %d, want %d and %s:\n%s", name, way, status, exitUsage, want, stderr)
			}
		}
	}
}
