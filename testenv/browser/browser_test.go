package browser

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ringcast/testenv"
)

// A browser starts, runs pages that count as visible, and leaves neither process nor file.
func TestLifecycle(t *testing.T) {
	testenv.Need(t, testenv.Chromium)
	if err := Available(); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	b, err := Start(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid := b.PID()
	var tabs []*Tab
	for range 2 {
		tab, err := b.Open(t.Context(), "about:blank")
		if err != nil {
			t.Fatal(err)
		}
		tabs = append(tabs, tab)
	}
	for i, tab := range tabs {
		state, err := Eval[string](t.Context(), tab,
			"new Promise((done) => requestAnimationFrame(() => done(document.visibilityState)))")
		if err != nil || state != "visible" {
			t.Errorf("tab %d is %q, %v; want visible", i, state, err)
		}
	}
	if _, err := Eval[int](t.Context(), tabs[0], "console.warn('a', 1), nothing.there"); err == nil {
		t.Error("an exception was not reported")
	}
	// The console's lines come by their own way, which may be slower than the answer.
	giveUp := time.Now().Add(time.Minute)
	for ; !strings.Contains(tabs[0].Console(), "a 1"); time.Sleep(time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("console: %q", tabs[0].Console())
		}
	}
	tabs[0].Close()

	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := b.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	nothingLeft(t, pid, temp)
}

// nothingLeft holds that no process is left, and no file in the directory for temporary ones.
func nothingLeft(t *testing.T, pid int, temp string) {
	t.Helper()
	if p, err := os.FindProcess(pid); err == nil {
		if err := p.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
	// Its children name the profile, which lay in our own directory, on their command line.
	var left []string
	for giveUp := time.Now().Add(time.Minute); time.Now().Before(giveUp); time.Sleep(50 * time.Millisecond) {
		if left = mentioning(temp); len(left) == 0 {
			break
		}
	}
	if len(left) > 0 {
		t.Errorf("processes are left:\n%s", strings.Join(left, "\n"))
	}
	files, err := os.ReadDir(temp)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		t.Errorf("%s is left", f.Name())
	}
}

// mentioning lists the command lines of the processes that name a path.
func mentioning(path string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(path)) {
			found = append(found, file+": "+string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
