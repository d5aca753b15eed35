package engine_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine"
)

// A server that dials nobody has no worker, no descriptor and no metric for it. One that may has one worker more, and
// the descriptors that it sleeps on.
func TestDialsAreForThoseThatAsk(t *testing.T) {
	const workers = 2
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	var descriptors [2]int
	for i, dials := range []bool{false, true} {
		e := start(t, func(c *engine.Config) { c.Workers, c.Dials = workers, dials })
		registry := prometheus.NewRegistry()
		registry.MustRegister(e)
		families := gather(t, registry)
		if got, want := len(families["ringcast_worker_turns_total"].GetMetric()), workers+i; got != want {
			t.Errorf("dials %v: %d workers, want %d", dials, got, want)
		}
		sockets := families["ringcast_dialled_sockets"]
		if dials != (sockets != nil) || sum(sockets) != 0 {
			t.Errorf("dials %v: the metric of sockets is %v", dials, sockets)
		}
		if got, least := runtime.GOMAXPROCS(0), workers+i+2; got < least {
			t.Errorf("dials %v: %d processors, want at least %d", dials, got, least)
		}
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		descriptors[i] = len(entries)
		shutdown(t, e)
	}
	if more := descriptors[1] - descriptors[0]; more != 4 {
		t.Errorf("dialling takes %d descriptors more, want 4", more)
	}
}
