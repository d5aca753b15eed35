package main

import (
	"testing"

	"ringcast/testenv"
)

// A small heap gathers as much garbage as the machine affords, a large one as much as is live.
func TestCollectorPercent(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live uint64
		ram  int64
		want int
	}{
		{0, 4096 * mb, 800},
		{2 * mb, 4096 * mb, 800},
		{8 * mb, 4096 * mb, 400},
		{16 * mb, 4096 * mb, 200},
		{32 * mb, 4096 * mb, 100},
		{1024 * mb, 4096 * mb, 100},
		{8 * mb, 256 * mb, 200},
		{8 * mb, 64 * mb, 100},
	} {
		if got := collectorPercent(c.live, c.ram); got != c.want {
			t.Errorf("%d MB live of %d: %d percent, want %d", c.live/mb, c.ram/mb, got, c.want)
		}
	}
}

// The server chooses the collector's target and limit, unless the operator has.
func TestCollectorsSettings(t *testing.T) {
	const limit, percent = "go_gc_gomemlimit_bytes", "go_gc_gogc_percent"
	chosen := testenv.StartServer(t, testenv.ServerOptions{}).Metrics(t)
	if chosen[limit] > 1<<50 || chosen[percent] <= 100 {
		t.Errorf("limit %.0f, %.0f percent, want the server's choice", chosen[limit], chosen[percent])
	}
	t.Setenv("GOGC", "77")
	t.Setenv("GOMEMLIMIT", "1234MiB")
	operators := testenv.StartServer(t, testenv.ServerOptions{}).Metrics(t)
	if operators[limit] != 1234<<20 || operators[percent] != 77 {
		t.Errorf("limit %.0f, %.0f percent, want the operator's", operators[limit], operators[percent])
	}
}
