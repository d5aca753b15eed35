package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What ships links neither the testing package nor what is for tests alone.
func TestShippedImports(t *testing.T) {
	for _, program := range []string{"ringcast/cmd/ringcast", "ringcast/cmd/ringbench"} {
		out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", program).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", program, err)
		}
		imported := strings.Fields(string(out))
		if !slices.Contains(imported, program) {
			t.Fatalf("%s is not among the %d packages that it links", program, len(imported))
		}
		for _, forbidden := range []string{"testing", "ringcast/testenv"} {
			if slices.Contains(imported, forbidden) {
				t.Errorf("%s links %s, want it not to", program, forbidden)
			}
		}
	}
}
