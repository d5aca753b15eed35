package sim

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/worker"
)

// The media lanes between workers refuse three messages of ten for a second. The refused messages are asked for again
// over the control lanes, which lose nothing: in the end all are there.
func TestFullBus(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	pub := w.Publish(theStream, 60)
	pub.Pictures = true
	w.Place(anyone)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 40)
	w.Run(w.Now() + 2*port.Second)
	asked := 0
	w.onMessage = func(m *bus.Control) {
		if m.Kind == bus.KindResendWanted {
			asked++
		}
	}
	before := w.Counters().Counts[worker.Replicated]
	began := w.Now()
	w.SetBusLoss(0.3)
	w.Run(w.Now() + port.Second)
	w.SetBusLoss(0)
	during := w.Counters().Counts[worker.Replicated] - before
	full := w.Now()
	w.Run(w.Now() + 2*port.Second)
	high := settle(w, subs)
	pub.Stop()

	logCounters(t, w)
	checkOracle(t, w)
	var late []port.Time
	for i, s := range subs {
		checkWhole(t, i, s, high[i], [2]int{})
		// How long after its successor a packet came.
		for e, p := range s.Video.Packets {
			if n, ok := s.Video.Packets[e+1]; ok && p.At > n.At && p.At > began && p.At < full+port.Second {
				late = append(late, p.At-n.At)
			}
		}
	}
	t.Logf("%d packets replicated in that second, asked for again with %d messages; %d came after their successor: %s",
		during, asked, len(late), spread(late))
	if asked == 0 {
		t.Error("nothing was asked for again")
	}
}
