package sim

import (
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/worker"
)

// The port of one worker takes nothing for longer than a history lasts. Its subscribers jump to a keyframe, with
// sequence numbers that know of no jump, and nobody else notices.
func TestStalledWorker(t *testing.T) {
	const blocked = 1
	for _, x := range []struct {
		name string
		span port.Time
		cuts int
	}{
		{"caught up", 800 * port.Millisecond, 0},
		{"jumped", 1500 * port.Millisecond, 1},
		{"jumped far", 4000 * port.Millisecond, 1},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
			w.Place(0)
			pub := w.Publish(theStream, 60)
			pub.Pictures = true
			w.Place(anyone)
			w.Run(w.Now() + 200*port.Millisecond)
			subs := watchers(w, 32)
			w.Run(w.Now() + 2*port.Second + port.Time(w.rand.Int64N(int64(2*port.Second))))
			stalled := w.Worker(blocked).Counters().Drops[worker.DropStalled]
			w.Block(blocked, x.span)
			end := w.Now() + x.span
			w.Run(end + 3*port.Second)
			high := settle(w, subs)
			pub.Stop()

			checkOracle(t, w)
			var back, others []port.Time
			for i, s := range subs {
				there := s.owner() == blocked
				cuts := [2]int{}
				if there {
					cuts = [2]int{x.cuts, x.cuts}
				}
				v, a := checkStall(t, i, s, high[i], cuts, there)
				if !there {
					others = append(others, max(v.Pause, a.Pause))
					continue
				}
				for _, c := range v.Cuts {
					back = append(back, s.Video.Packets[c].At-end)
				}
			}
			moved := w.Worker(blocked).Counters().Drops[worker.DropStalled] - stalled
			t.Logf("blocked for %v s: %d packets skipped; back after %s; longest pause of the others %s; %d PLIs",
				x.span.Seconds(), moved, spread(back), spread(others), len(pub.PLIs))
			if (moved > 0) != (x.cuts > 0) {
				t.Errorf("%d packets were counted as skipped", moved)
			}
			for i := range w.workers {
				if n := w.Worker(i).Counters().Drops[worker.DropStalled]; i != blocked && n > 0 {
					t.Errorf("worker %d was not blocked, but skipped %d packets", i, n)
				}
			}
			for _, d := range others {
				if d > 100*port.Millisecond {
					t.Errorf("a subscriber of another worker had a pause of %v s", d.Seconds())
				}
			}
		})
	}
}

// checkStall is checkWhole, but after a jump within one layer the picture IDs may have jumped too:
// the pictures between were there.
func checkStall(t *testing.T, i int, s *Subscriber, high [2]uint64, cuts [2]int, jumped bool) (video, audio Verdict) {
	t.Helper()
	if !jumped {
		return checkWhole(t, i, s, high, cuts)
	}
	video, audio = s.Video.Judge(high[0]), s.Audio.Judge(high[1])
	for k, v := range [...]*Verdict{&video, &audio} {
		if len(v.Gaps)+len(v.Breaks)+len(v.Backwards) > 0 || len(v.Cuts) != cuts[k] || len(v.Pictures) > cuts[k] {
			t.Errorf("subscriber %d, track %d: gaps %v, breaks %v, timestamps back %v, pictures %v, cuts %v, want %d",
				i, k, head(v.Gaps), head(v.Breaks), head(v.Backwards), head(v.Pictures), head(v.Cuts), cuts[k])
		}
	}
	checkOpening(t, i, s)
	return video, audio
}

// One subscriber's network is gone for a while. Nothing of ours stalls: packets that the history still holds are asked
// for again, and nobody else notices.
func TestPartitionedSubscriber(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	pub := w.Publish(theStream, 60)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 16)
	w.Run(w.Now() + 2*port.Second)
	const gone = 5
	before := subs[gone].Video.High
	w.cut(subs[gone].addr, true)
	w.Run(w.Now() + 1500*port.Millisecond)
	w.cut(subs[gone].addr, false)
	w.Run(w.Now() + 4*port.Second)
	high := settle(w, subs)
	pub.Stop()

	checkOracle(t, w)
	for i, s := range subs {
		if i != gone {
			checkWhole(t, i, s, high[i], [2]int{})
			continue
		}
		v := s.Video.Judge(high[i][0])
		t.Logf("gone for 1.5 s: %d of %d packets never came, longest pause %v s, %d resends", len(v.Gaps),
			high[i][0]-before, v.Pause.Seconds(), s.Video.Resent)
		if len(v.Breaks)+len(v.Backwards)+len(v.Cuts) > 0 {
			t.Errorf("breaks %v, timestamps back %v, cuts %v", head(v.Breaks), head(v.Backwards), head(v.Cuts))
		}
		if n := len(v.Gaps); n > 0 && v.Gaps[n-1]-v.Gaps[0] > 300 {
			t.Errorf("gaps from %d to %d", v.Gaps[0], v.Gaps[n-1])
		}
		checkOpening(t, i, s)
	}
}
