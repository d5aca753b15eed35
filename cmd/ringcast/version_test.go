package main

import (
	"strings"
	"testing"

	"ringcast/engine/version"
)

// --version prints one line, beside any other arguments and variables.
func TestVersion(t *testing.T) {
	for _, args := range [][]string{
		{"--version"},
		{"-version"},
		{"--workers", "nonsense", "--version"},
		{"doctor", "--version"},
		{"--version", "--help"},
	} {
		stdout, stderr := newOutput(), newOutput()
		status := command(args, []string{"RINGCAST_WORKERS=nonsense"}, stdout, stderr, signals{})
		want := "ringcast " + version.Read().String() + "\n"
		if got := stdout.String(); status != exitDone || got != want || stderr.String() != "" {
			t.Errorf("%q: status %d, %q, stderr %q; want status %d, %q", args, status, got, stderr, exitDone, want)
		}
	}
}

// A running server exports the build that --version prints.
func TestBuildInfoServed(t *testing.T) {
	in := start(t)
	_, text := get(t, "http://"+in.admin+"/metrics")
	in.stop(t)
	v := version.Read()
	for _, want := range []string{"\nringcast_build_info{", `version="` + v.Version + `"`, `goversion="` + v.Go + `"`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
