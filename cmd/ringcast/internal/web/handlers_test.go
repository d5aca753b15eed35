package web

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/version"
)

// The labels name the build, and there is one series.
func TestBuildInfo(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(buildInfo(version.Info{
		Version: "v1.2.3+dirty", Revision: "1eca007", Modified: true,
		Go: "go1.26.8",
	}))
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
