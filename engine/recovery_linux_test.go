package engine

import (
	"log/slog"
	"testing"
	"time"
)

// A driver that hangs may reset its link before two seconds are over. Suspicions against the queues before the outage
// end with it: afterwards the queues have the whole span to show that they work.
func TestOutageEndsSuspicions(t *testing.T) {
	r := recovery{nic: &nic{log: slog.New(slog.DiscardHandler)}, up: true}
	now := time.Unix(1000, 0)
	s := signs{queues: []queueSigns{{completed: 5, waiting: true}}}
	look := func() string {
		now = now.Add(lookEvery)
		s.redirected++
		return r.vigil.look(now, s)
	}
	looks := 0
	for why := ""; why == ""; why = look() {
		looks++
	}
	r = recovery{nic: r.nic, up: true}
	for range looks - 1 {
		look()
	}
	r.suspend("the link is down")
	now = now.Add(time.Minute)
	for i := range looks - 1 {
		if why := look(); why != "" {
			t.Fatalf("look %d after the outage told %q, want nothing before look %d", i+1, why, looks)
		}
	}
	if why := look(); why == "" {
		t.Errorf("look %d after the outage told nothing, want that the new queue is stuck", looks)
	}
}
