package main

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/version"
)

// Whoever asks for the version gets one line of it, whatever else the command line and the environment say.
func TestVersion(t *testing.T) {
	for _, args := range [][]string{
		{"--version"}, {"-version"}, {"--workers", "nonsense", "--version"}, {"doctor", "--version"}, {"--version", "--help"},
	} {
		stdout, stderr := newOutput(), newOutput()
		status := command(args, []string{"RINGCAST_WORKERS=nonsense"}, stdout, stderr, signals{})
		want := "ringcast " + version.Read().String() + "\n"
		if got := stdout.String(); status != exitDone || got != want || stderr.String() != "" {
			t.Errorf("%q: status %d, %q, stderr %q; want status %d, %q", args, status, got, stderr, exitDone, want)
		}
	}
}

// The labels are what the build says, and there is one series.
func TestBuildInfo(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(buildInfo(version.Info{Version: "v1.2.3+dirty", Revision: "1eca007", Modified: true, Go: "go1.26.8"}))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("%v, %v; want one series", err, families)
	}
	m := families[0].GetMetric()[0]
	var labels []string
	for _, l := range m.GetLabel() { // by name
		labels = append(labels, l.GetName()+"="+l.GetValue())
	}
	got, want := strings.Join(labels, " "), "goversion=go1.26.8 modified=true revision=1eca007 version=v1.2.3+dirty"
	if families[0].GetName() != "ringcast_build_info" || got != want || m.GetGauge().GetValue() != 1 {
		t.Errorf("%s %s %v; want ringcast_build_info %s 1", families[0].GetName(), got, m.GetGauge().GetValue(), want)
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
