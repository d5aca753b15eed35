package worker

import "testing"

// Each counter and reason has a name of its own, and each counter a help text of its own.
func TestCounterNames(t *testing.T) {
	seen := make(map[string]bool)
	once := func(kind, text string) {
		if text == "" || seen[text] {
			t.Errorf("%s %q is empty or there twice", kind, text)
		}
		seen[text] = true
	}
	for c := range NumCounters {
		once("counter", c.String())
		once("help", c.Help())
	}
	for r := range NumDropReasons {
		once("reason", r.String())
	}
}
