package xsk

import (
	"slices"
	"testing"

	"ringcast/engine/port"
)

// Every counter has a name of its own. A metric is one counter's; metrics that share a name share help and label.
func TestCounters(t *testing.T) {
	type shown struct{ name, value string }
	names, seen, families := make(map[string]bool), make(map[shown]bool), make(map[string]port.Metric)
	check := func(name string, metrics ...port.Metric) {
		t.Helper()
		if name == "" || names[name] {
			t.Errorf("a counter is named %q, want a name of its own", name)
		}
		names[name] = true
		for _, m := range metrics {
			if m.Name == "" || m.Help == "" || (m.Label == "") != (m.Value == "") || seen[shown{m.Name, m.Value}] {
				t.Errorf("%s has the metric %+v, want one of its own with help", name, m)
			}
			seen[shown{m.Name, m.Value}] = true
			if before, known := families[m.Name]; known && (before.Help != m.Help || before.Label != m.Label) {
				t.Errorf("%s is described as %+v and as %+v", m.Name, before, m)
			}
			families[m.Name] = m
		}
	}
	withoutMetric := []Counter{CompanionReceived, CompanionSent, CompanionRejected}
	for c := range NumCounters {
		if m := c.Metric(); slices.Contains(withoutMetric, c) {
			check(c.String())
		} else {
			check(c.String(), m)
		}
	}
	for c := range NumQueueCounters {
		check("queue "+c.String(), c.Metrics()...)
	}
}
