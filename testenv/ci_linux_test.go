package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// .ci/run with a make that prints lines as the Makefile's does.
func TestCIRun(t *testing.T) {
	const skips = `
skipped TestA: missing capability "magic": no wand
skipped TestB/of: two, parts: missing capability "magic": no wand
skipped TestC: missing capability "cores": there is 1
skipped TestD: no missing capability
`
	for _, c := range []struct {
		name, failing string
		args          []string
		status        int
		want          []string
	}{
		{"all capabilities", "", nil, 0, []string{"test: CI true, need", "check: CI true, need", "ci: all passed"}},
		{"some capabilities", "", []string{"xdp", "chromium"}, 0, []string{
			"test: CI false, need xdp chromium", "check: CI false, need xdp chromium", "ci: all passed",
			"2 cores", "4 magic", "2 no missing capability",
		}},
		{"the first fails", "test", []string{"xdp"}, 1, []string{"check: CI", "4 magic", "ci: failed: test"}},
		{"the second fails", "check", nil, 1, []string{"ci: failed: check"}},
	} {
		dir := t.TempDir()
		script := "#!/bin/sh\necho $1: CI $CI, need $RINGCAST_NEED\n" +
			"cat <<'END'" + skips + "END\n[ $1 != '" + c.failing + "' ]\n"
		if err := os.WriteFile(filepath.Join(dir, "make"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("../.ci/run", c.args...)
		cmd.Env = append(os.Environ(), "CI=true", "PATH="+dir+":"+os.Getenv("PATH"))
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != c.status {
			t.Errorf("%s: status %d, want %d; it printed\n%s", c.name, got, c.status, out)
		}
		for _, want := range c.want {
			if !strings.Contains(string(out), want) {
				t.Errorf("%s: want %q in\n%s", c.name, want, out)
			}
		}
	}
}

// A misspelled capability would excuse the tests that the workflow insists on.
func TestWorkflowNeeds(t *testing.T) {
	workflow, err := os.ReadFile("../.github/workflows/ci.yml")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`run: \.ci/run (.+)\n`).FindSubmatch(workflow)
	if m == nil {
		t.Fatalf("no call of .ci/run with capabilities in\n%s", workflow)
	}
	got, want := strings.Fields(string(m[1])), []string{XDP.Name, NetworkNamespaces.Name, Chromium.Name}
	if !slices.Equal(got, want) {
		t.Errorf("the workflow needs %q, want %q", got, want)
	}
}
