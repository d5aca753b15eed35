package sim

import (
	"fmt"
	"slices"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
	"ringcast/testenv"
)

// begin prints the seed with which to repeat a scenario.
func begin(t *testing.T) uint64 {
	t.Helper()
	t.Logf("seed %d (go test ./testenv/sim -run '^%s$' -args -seed N)", *seedFlag, t.Name())
	return *seedFlag
}

// newWorld makes a world. When the test ends it prints the world's trace. A change that means to alter nothing on the
// wire can be held against the traces before it.
func newWorld(t *testing.T, cfg Config) *World {
	t.Helper()
	w := New(cfg)
	t.Cleanup(func() { t.Logf("%s: trace %016x of %d datagrams", t.Name(), w.Trace(), w.Network.Sent) })
	return w
}

// scaled is n, or less of it under the race detector.
func scaled(n, race int) int {
	if testenv.RaceEnabled {
		return race
	}
	return n
}

// calm is a network that only takes its time.
var calm = Faults{Delay: 15 * port.Millisecond, Jitter: 2 * port.Millisecond}

// theStream is the stream of all scenarios.
const theStream = bus.StreamID(1)

// watchers adds n subscribers within a tenth of a second, each fourth without RTX.
func watchers(w *World, n int) (subs []*Subscriber) {
	for i := range n {
		w.Run(w.Now() + port.Second/10/port.Time(n))
		subs = append(subs, w.Watch(Viewer{Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM}))
	}
	return subs
}

// highs are the newest numbers of each subscriber's video and audio.
func highs(subs []*Subscriber) (all [][2]uint64) {
	for _, s := range subs {
		all = append(all, [2]uint64{s.Video.High, s.Audio.High})
	}
	return all
}

// settle lets all sent packets arrive, and returns the numbers up to which all should be there.
func settle(w *World, subs []*Subscriber) [][2]uint64 {
	h := highs(subs)
	w.Run(w.Now() + port.Second)
	return h
}

// checkWhole judges one subscriber: nothing missing or out of place but for the wanted number of cuts
// in video and audio.
func checkWhole(t *testing.T, i int, s *Subscriber, high [2]uint64, cuts [2]int) (video, audio Verdict) {
	t.Helper()
	for k, r := range [...]*Reception{&s.Video, &s.Audio} {
		v := r.Judge(high[k])
		if k == 0 {
			video = v
		} else {
			audio = v
		}
		say := func(what string, where []uint64) {
			t.Helper()
			if len(where) > 0 {
				t.Errorf("subscriber %d (worker %d), %s: from %d to %d, %d %s %v", i, s.owner(), r.spec.Kind, v.From,
					high[k], len(where), what, head(where))
			}
		}
		say("gaps", v.Gaps)
		say("breaks without a keyframe", v.Breaks)
		say("timestamps that do not advance", v.Backwards)
		say("picture IDs out of turn", v.Pictures)
		if len(v.Cuts) != cuts[k] {
			t.Errorf("subscriber %d (worker %d), %s: %d cuts %v, want %d", i, s.owner(), r.spec.Kind, len(v.Cuts),
				head(v.Cuts), cuts[k])
		}
		if high[k] < v.From+20 {
			t.Errorf("subscriber %d (worker %d), %s: only numbers %d to %d", i, s.owner(), r.spec.Kind, v.From, high[k])
		}
	}
	checkOpening(t, i, s)
	return video, audio
}

func checkOpening(t *testing.T, i int, s *Subscriber) {
	t.Helper()
	if s.Forged > 0 || s.twice > 0 {
		t.Errorf("subscriber %d: %d packets did not open, %d transport-wide numbers came twice", i, s.Forged, s.twice)
	}
}

// checkOracle fails for every nonce that was used for two things.
func checkOracle(t *testing.T, w *World) {
	t.Helper()
	if w.Oracle.Seals == 0 {
		t.Error("the oracle saw no seal")
	}
	for _, v := range w.Oracle.Violations {
		t.Error("nonce reuse:", v)
	}
	if n := w.Counters().Drops[worker.DropPlainResend]; n > 0 {
		t.Errorf("%d packets with transport-wide numbers were to be resent plainly", n)
	}
}

func logCounters(t *testing.T, w *World) {
	t.Helper()
	c := w.Counters()
	t.Logf("network: %d datagrams, %d lost; %d seals, %d of the same bytes again", w.Network.Sent, w.Network.Lost,
		w.Oracle.Seals, w.Oracle.Again)
	t.Logf("workers: %d sent, %d resent, %d NACKs, %d replicated, %d forwarded, %d PLIs sent",
		c.Counts[worker.SentRTP], c.Counts[worker.SentRTX], c.Counts[worker.ReceivedNACKs], c.Counts[worker.Replicated],
		c.Counts[worker.Forwarded], c.Counts[worker.SentPLIs])
	for r, n := range c.Drops {
		if n > 0 {
			t.Logf("drop %s: %d", worker.DropReason(r), n)
		}
	}
}

// spread is the median and the maximum of durations.
func spread(x []port.Time) string {
	if len(x) == 0 {
		return "none"
	}
	slices.Sort(x)
	return fmt.Sprintf("p50 %.1f ms, max %.1f ms", 1000*x[len(x)/2].Seconds(), 1000*x[len(x)-1].Seconds())
}
