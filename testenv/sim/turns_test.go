package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/srtp"
)

// Packets that come late, and the NACKs for them, are of one batch where turns are long. A packet is sealed with the
// same bytes each time, in any batch. Viewers without RTX get resends of packets that the walk has not reached yet, and
// frames of two lengths are padded.
func TestTurns(t *testing.T) {
	for _, turn := range []port.Time{300 * port.Microsecond, port.Millisecond, 3 * port.Millisecond} {
		t.Run(fmt.Sprint(turn.Seconds()), func(t *testing.T) {
			n := scaled(100, 30)
			w := newWorld(t, Config{
				Seed: begin(t), Workers: 1, Turn: turn,
				Faults: Faults{Loss: 0.05, Delay: 15 * port.Millisecond, Jitter: 50 * port.Microsecond},
			})
			pub := w.Publish(theStream, 60)
			pub.layers[0].packets = [2]int{14, 20}
			w.Run(w.Now() + 200*port.Millisecond)
			for range n {
				w.Run(w.Now() + 5*port.Millisecond + port.Time(w.rand.Int64N(int64(port.Millisecond))))
				w.Watch(Viewer{Stream: theStream, RTX: false, Profile: srtp.AEADAES128GCM})
			}
			w.Run(w.Now() + 5*port.Second)
			pub.Stop()
			logCounters(t, w)
			checkOracle(t, w)
			if w.Oracle.Again == 0 {
				t.Error("no packet was sealed a second time: the oracle proved nothing")
			}
		})
	}
}

// Packets of any length come through as those of two lengths do.
func TestRaggedFrames(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 2, Faults: lossy})
	pub := w.Publish(theStream, 60)
	pub.Ragged = true
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 20)
	w.Run(w.Now() + 3*port.Second)
	high := settle(w, subs)
	pub.Stop()
	checkOracle(t, w)
	for i, s := range subs {
		checkWhole(t, i, s, high[i], [2]int{})
	}
}
