package sim

import (
	"flag"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
)

var seedFlag = flag.Uint64("seed", 1, "seed of the simulations")

// lossy is 5 % loss, reordering and duplicates, both ways.
var lossy = Faults{
	Loss: 0.05, Duplicate: 0.02, Reorder: 0.03,
	Delay: 15 * port.Millisecond, Jitter: 2 * port.Millisecond, Late: 8 * port.Millisecond,
}

type outcome struct {
	world *World
	pub   *Publisher
	subs  []*Subscriber
	high  [][2]uint64 // of video and audio, a second before the end
}

// crowd runs one publisher, and n subscribers that join during the first second, for span.
func crowd(t *testing.T, seed uint64, n int, span port.Time, faults Faults, busLoss float64) *outcome {
	w := newWorld(t, Config{Seed: seed, Workers: 4, Faults: faults, BusLoss: busLoss})
	o := &outcome{world: w}
	const stream = bus.StreamID(1)
	o.pub = w.Publish(stream, 60)
	o.pub.Padding = true
	for i := range n {
		w.Run(w.Now() + port.Second/port.Time(n))
		profile := srtp.AEADAES128GCM
		if i%50 == 49 {
			profile = srtp.AES128CMSHA180
		}
		o.subs = append(o.subs, w.Watch(Viewer{Stream: stream, RTX: i%4 != 3, Profile: profile}))
	}
	w.Run(w.Now() + span)
	for _, s := range o.subs {
		o.high = append(o.high, [2]uint64{s.Video.High, s.Audio.High})
	}
	w.Run(w.Now() + port.Second)
	o.pub.Stop()
	return o
}

// One publisher, 200 subscribers, 4 workers, 5 % loss, reordering and duplicates both ways. From its first keyframe on
// every subscriber holds everything, in order and once.
func TestCrowdUnderLoss(t *testing.T) {
	checkCrowd(t, crowd(t, begin(t), 200, 5*port.Second, lossy, 0.01), 5*port.Second)
}

func checkCrowd(t *testing.T, o *outcome, span port.Time) {
	t.Helper()
	w := o.world
	c := w.Counters()
	logCounters(t, w)
	t.Logf("publisher: %d packets asked for again, %d PLIs, %d transport feedbacks", o.pub.NACKed, len(o.pub.PLIs),
		o.pub.Feedbacks)
	checkOracle(t, w)
	for i, s := range o.subs {
		for k, r := range [...]*Reception{&s.Video, &s.Audio} {
			from, gaps, breaks := r.Gaps(o.high[i][k])
			if len(gaps) > 0 || len(breaks) > 0 {
				t.Errorf("subscriber %d, %s: from %d to %d, %d gaps %v, %d breaks %v",
					i, r.spec.Kind, from, o.high[i][k], len(gaps), head(gaps), len(breaks), head(breaks))
			}
			// A PLI that is lost, too, costs joiners up to two seconds of waiting.
			if want := uint64(20 * span / port.Second); o.high[i][k]-from < want {
				t.Errorf("subscriber %d, %s: only %d packets", i, r.spec.Kind, o.high[i][k]-from)
			}
		}
		checkOpening(t, i, s)
		if s.Reports == 0 {
			t.Errorf("subscriber %d got no sender report", i)
		}
	}
	if got, share := c.Counts[worker.SentRTX], float64(
		c.Counts[worker.SentRTX],
	)/float64(c.Counts[worker.SentRTP]); share > 0.2 {
		t.Errorf("%d resends, %.1f %% of all packets; the budget is 20 %%", got, 100*share)
	}
	if w.Oracle.Again == 0 {
		t.Error("no plain resend: the oracle proved nothing about those")
	}
	checkPLIs(t, o.pub)
}

// checkPLIs: at most one upstream PLI in 500 ms, however many the crowd sends.
func checkPLIs(t *testing.T, p *Publisher) {
	t.Helper()
	for i := 1; i < len(p.PLIs); i++ {
		// The network duplicated or delayed the others.
		if d := p.PLIs[i] - p.PLIs[i-1]; d < 450*port.Millisecond && d > 60*port.Millisecond {
			t.Errorf("PLIs %v apart", d.Seconds())
		}
	}
}

func head(x []uint64) []uint64 { return x[:min(len(x), 8)] }

// The same seed gives the same trace, another seed another.
func TestSameSeedSameTrace(t *testing.T) {
	seed := *seedFlag
	a := crowd(t, seed, 20, port.Second, lossy, 0.01).world.Trace()
	b := crowd(t, seed, 20, port.Second, lossy, 0.01).world.Trace()
	c := crowd(t, seed+1, 20, port.Second, lossy, 0.01).world.Trace()
	if a != b {
		t.Errorf("seed %d gave the traces %016x and %016x", seed, a, b)
	}
	if a == c {
		t.Errorf("seeds %d and %d gave the same trace", seed, seed+1)
	}
}
