package engine_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine"
	"ringcast/engine/host"
)

// Log and metrics show a refusal in the doctor's words.
func TestRefusalIsTheDoctors(t *testing.T) {
	var log strings.Builder
	e := start(t, func(c *engine.Config) {
		c.Workers, c.Log, c.Host.Interfaces = 1, slog.New(slog.NewJSONHandler(&log, nil)), []string{"lo"}
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	all, err := registry.Gather()
	shutdown(t, e)
	if err != nil {
		t.Fatal(err)
	}
	cfg := host.DefaultConfig()
	cfg.Interfaces = []string{"lo"}
	refused := host.Look(cfg)[0].Decision.Refused[0]

	record, series := "", make(map[string]bool)
	for line := range strings.Lines(log.String()) {
		var e struct{ Msg, Interface, IO, Reason string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Msg == "falling back to sockets" {
			record = e.Interface + " " + e.IO + " " + e.Reason
		}
	}
	for _, f := range all {
		if f.GetName() != "ringcast_port_refused_info" {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() { // by name: interface, io, reason
				labels = append(labels, l.GetValue())
			}
			series[strings.Join(labels, " ")] = true
		}
	}
	if want := "lo xdp-zerocopy,xdp-copy,xdp-generic " + refused.String(); record != want {
		t.Errorf("logged %q, want %q", record, want)
	}
	for _, rung := range refused.Rungs {
		if want := "lo " + string(rung) + " " + refused.String(); !series[want] {
			t.Errorf("no series %q in %v", want, series)
		}
	}
}
