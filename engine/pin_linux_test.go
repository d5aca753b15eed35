package engine_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"ringcast/engine"
	"ringcast/testenv"
)

// pinned counts this process's threads that may run on this core only.
func pinned(t *testing.T, core string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d threads, %v", len(files), err)
	}
	for _, name := range files {
		status, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(status), "\nCpus_allowed_list:\t"+core+"\n") { // else it has ended
			n++
		}
	}
	return n
}

// Named cores get a worker each, and keep it.
func TestPinning(t *testing.T) {
	testenv.Need(t, testenv.Cores(2))
	var own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &own); err != nil {
		t.Fatal(err)
	}
	core := 0
	for !own.IsSet(core) {
		core++
	}
	name := strconv.Itoa(core)
	before := pinned(t, name)
	e := start(t, func(c *engine.Config) { c.Host.CPUs = []int{core} })
	defer shutdown(t, e)
	until(t, "pinned", func() bool { return pinned(t, name) > before })
	if n := pinned(t, name) - before; n != 1 {
		t.Errorf("%d threads were pinned to one core", n)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(e)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); f.GetName() == "ringcast_port_received_datagrams_total" && n != 1 {
			t.Errorf("%d workers for one core", n)
		}
	}
}
