package sim

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker"
)

// Viewers on every worker wait for a stream whose publisher comes back again and again. Each worker is fed each
// publication at once, no request comes too early, and a worker is answered once.
func TestFollowersOfARepublishedStream(t *testing.T) {
	const workers, rounds = 4, 5
	w := newWorld(t, Config{Seed: begin(t), Workers: workers, Faults: calm})
	asked := make(map[bus.Generation]int)
	w.onMessage = func(m *bus.Control) {
		if m.Kind == bus.KindFollow {
			asked[m.Generation]++
		}
	}
	pub := w.Publish(theStream, 60)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 10*workers)
	for round := range rounds {
		w.Run(w.Now() + 2*port.Second)
		pub.Stop()
		if round < rounds-1 {
			w.control.close(pub.spec.ID, api.ReasonBye)
			pub = w.Publish(theStream, 60)
		}
	}
	w.Run(w.Now() + port.Second)
	for g := range bus.Generation(rounds) {
		if n := asked[g+1]; n != workers-1 {
			t.Errorf("publication %d was asked for %d times; expected once by each worker but its owner", g+1, n)
		}
	}
	if n := w.Counters().Drops[worker.DropFollow]; n != 0 {
		t.Errorf("%d requests came before the publication that they name; expected none", n)
	}
	for i, s := range subs {
		if len(s.Video.Packets) == 0 {
			t.Errorf("subscriber %d was sent no video", i)
		}
	}
	checkOracle(t, w)
}
