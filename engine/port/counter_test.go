package port

import "testing"

// Every counter has a name of its own and a metric. Counters that share a metric share its help, and differ in a label.
func TestCounters(t *testing.T) {
	names, metrics := make(map[string]bool), make(map[Metric]bool)
	help := make(map[string]string)
	for c := range NumCounters {
		m := c.Metric()
		if c.String() == "" || names[c.String()] {
			t.Errorf("counter %d is named %q, want a name of its own", c, c)
		}
		if m.Name == "" || m.Help == "" || (m.Label == "") != (m.Value == "") || metrics[m] {
			t.Errorf("%v has the metric %+v, want one of its own with help", c, m)
		}
		if before, known := help[m.Name]; known && before != m.Help {
			t.Errorf("%s has the help texts %q and %q, want one", m.Name, before, m.Help)
		}
		names[c.String()], metrics[m], help[m.Name] = true, true, m.Help
	}
}

func TestStatsString(t *testing.T) {
	for want, s := range map[string]Stats{
		"[]":                   {},
		"[sent 3, rejected 1]": {Rejected: 1, Sent: 3},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
