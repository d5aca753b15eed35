package sim

import (
	"fmt"
	"net/netip"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker"
)

var habits = []struct {
	name    string
	habit   habit
	reports port.Time
}{
	{"nominate always", nominatesAlways, port.Second},
	{"nominate once", nominatesOnce, port.Second},
	{"indications, SRTCP each 5 s", indicates, 5 * port.Second},
	{"SRTCP each 5 s alone", checksNoMore, 5 * port.Second},
}

// All habits that keep a peer alive keep its session: checks, or SRTCP alone, toward one worker or passed on by
// another.
func TestHabits(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: workers, Faults: calm})
			var pubs []*Publisher
			var subs []*Subscriber
			for i, x := range habits {
				w.Place(i % workers)
				p := w.Publish(bus.StreamID(i+1), 60)
				p.habit = x.habit
				p.layers[0].packets = [2]int{1, 2}
				pubs = append(pubs, p)
			}
			w.Place(anyone)
			w.Run(w.Now() + 200*port.Millisecond)
			for i := range 16 {
				s := w.Watch(Viewer{Stream: bus.StreamID(i%4 + 1), RTX: i%8 < 6, Profile: 1})
				x := habits[i/4]
				s.habit = x.habit
				subs = append(subs, s)
				w.Run(w.Now() + 10*port.Millisecond)
				s.ReportEvery(x.reports)
			}
			w.Run(w.Now() + 75*port.Second)
			high := settle(w, subs)
			checkOracle(t, w)
			for i, s := range subs {
				checkWhole(t, i, s, high[i], [2]int{})
				if why, ended := w.control.ended[s.spec.ID]; ended {
					t.Errorf("a subscriber with %s was ended: %v", habits[i/4].name, why)
				}
			}
			for i, p := range pubs {
				if why, ended := w.control.ended[p.spec.ID]; ended {
					t.Errorf("a publisher with %s was ended: %v", habits[i].name, why)
				}
			}
			if n := w.Counters().Drops[worker.DropUnproven]; n != 0 {
				t.Errorf("media was withheld %d times, want never", n)
			}
		})
	}
}

// Peers that nominate only once get a new port from their NAT, of another worker where there are several. Their
// checks go on from there without a nomination, and so does the stream.
func TestRebindingOfOnceNominators(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: workers, Faults: calm})
			w.Place(0)
			pub := w.Publish(theStream, 60)
			pub.habit = nominatesOnce
			w.Place(anyone)
			w.Run(w.Now() + 200*port.Millisecond)
			subs := watchers(w, 12)
			for _, s := range subs {
				s.habit = nominatesOnce
				s.ReportEvery(port.Second)
			}
			w.Run(w.Now() + 2*port.Second)
			for i, s := range subs {
				w.Run(w.Now() + port.Time(w.rand.Int64N(int64(300*port.Millisecond))))
				if i%2 == 0 {
					s.rebind((s.owner() + 1) % workers)
				}
			}
			w.Run(w.Now() + 12*port.Second)
			senders := watchSenders(w)
			w.Run(w.Now() + 2*port.Second)
			pub.rebind((pub.owner() + 1) % workers)
			w.Run(w.Now() + 12*port.Second)
			pub.NACKed, pub.Feedbacks = 0, 0
			before := highs(subs)
			w.Run(w.Now() + 2*port.Second)
			high := settle(w, subs)
			pub.Stop()

			checkOracle(t, w)
			var gaps []port.Time
			for i, s := range subs {
				v := checkMoved(t, w, i, s, high[i])
				if i%2 == 0 {
					gaps = append(gaps, v.Pause)
				}
				if high[i][0] < before[i][0]+20 {
					t.Errorf("subscriber %d: media did not go on", i)
				}
				senders.check(t, i, s, s.addr)
			}
			t.Logf("silence: %s", spread(gaps))
			if why, ended := w.control.ended[pub.spec.ID]; ended {
				t.Errorf("the publisher was ended: %v", why)
			}
			if pub.Feedbacks < 20 {
				t.Errorf("the publisher was sent %d feedbacks in 3 s at its new port, want 20 a second", pub.Feedbacks)
			}
		})
	}
}

// checkMoved checks a subscriber whose path or publisher moved.
func checkMoved(t *testing.T, w *World, i int, s *Subscriber, high [2]uint64) Verdict {
	t.Helper()
	v, a := s.Video.Judge(high[0]), s.Audio.Judge(high[1])
	if n := len(v.Breaks) + len(v.Backwards) + len(a.Backwards); n > 0 {
		t.Errorf("subscriber %d: breaks %v, timestamps back %v, %v", i, head(v.Breaks), head(v.Backwards),
			head(a.Backwards))
	}
	checkOpening(t, i, s)
	// Six seconds of silence, or until the next check; the publisher's moves take as long.
	if most := max(6*port.Second, slowChecks) + 2*port.Second; v.Pause > most {
		t.Errorf("subscriber %d: silent for %.2f s, want at most %.2f", i, v.Pause.Seconds(), most.Seconds())
	}
	if why, ended := w.control.ended[s.spec.ID]; ended {
		t.Errorf("subscriber %d was ended: %v", i, why)
	}
	return v
}

// nobodysHost is an address that never sends anything itself.
type nobodysHost struct{ addr netip.AddrPort }

func (nobodysHost) receive([]byte)            {}
func (h nobodysHost) address() netip.AddrPort { return h.addr }

// Viewers forge one nomination each from a victim's address, and go on with plain checks from their own. Each
// victim is sent 200 datagrams, or three seconds of them, and the viewers' streams come back.
func TestAimedStreams(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: workers, Faults: calm})
			pub := w.Publish(theStream, 60)
			w.Run(w.Now() + 200*port.Millisecond)
			subs := watchers(w, 8)
			for i, s := range subs {
				s.habit = nominatesOnce
				if i%2 == 0 {
					s.ReportEvery(port.Second)
				}
			}
			w.Run(w.Now() + 2*port.Second)
			victims := make(map[netip.AddrPort]int)
			for i, s := range subs {
				w.Place(i % workers)
				victim := w.join(nobodysHost{})
				victims[victim] = 0
				s.probe(victim, s.ice, true)
			}
			w.Place(anyone)
			start := w.Now()
			last := start
			w.onDown = func(_ int, remote netip.AddrPort, data []byte) {
				if n, ok := victims[remote]; ok && (data[0] > 3 || rtp.IsRTCP(data)) {
					victims[remote], last = n+1, w.clock.Now()
				}
			}
			w.Run(w.Now() + 180*port.Second)
			before := highs(subs)
			w.Run(w.Now() + port.Second)
			high := settle(w, subs)
			pub.Stop()
			checkOracle(t, w)
			for victim, n := range victims {
				if n == 0 || n > 200 {
					t.Errorf("%v was sent %d datagrams in 180 s, want 1 to 200", victim, n)
				}
			}
			if span := last - start; span > 3*port.Second+2*calm.Delay {
				t.Errorf("the last datagram to a victim was sent %.2f s after the nomination, want 3", span.Seconds())
			}
			for i := range subs {
				if high[i][0] < before[i][0]+20 {
					t.Errorf("subscriber %d: its own stream did not come back", i)
				}
			}
		})
	}
}
