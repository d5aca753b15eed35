package sim

import (
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
)

// An encoder sends its parameter sets once. Viewers on any worker that come later get them right before the keyframe
// that they start with. Numbers, resends and replicas are as always.
func TestSetsSentOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults Faults
	}{
		{"calm", Faults{Delay: 15 * port.Millisecond}},
		{"lossy", lossy},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: c.faults, BusLoss: 0.01})
			w.Place(0)
			pub := w.PublishAs(theStream, 30, rtp.H264)
			pub.SetsOnce, pub.Padding = true, true
			w.Place(anyone)
			w.Run(w.Now() + 2*port.Second)
			var subs []*Subscriber
			for i := range 24 {
				w.Run(w.Now() + 100*port.Millisecond)
				subs = append(
					subs,
					w.Watch(Viewer{
						Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM, Codecs: []rtp.Codec{rtp.H264},
					}),
				)
			}
			w.Run(w.Now() + 2*port.Second)
			high := settle(w, subs)
			pub.Stop()

			checkOracle(t, w)
			counts := w.Counters().Counts
			t.Logf("%d keyframes, %d completed, %d incomplete", counts[worker.Keyframes],
				counts[worker.KeyframesCompleted], counts[worker.KeyframesLacking])
			for i, s := range subs {
				v, _ := checkWhole(t, i, s, high[i], [2]int{})
				sets := 0
				for e := v.From; e <= high[i][0]; e++ {
					p, before := s.Video.Packets[e], s.Video.Packets[e-1]
					if p.Key && before.Sets && before.Timestamp == p.Timestamp {
						sets++
					} else if p.Key && c.name == "calm" {
						t.Errorf("subscriber %d: no sets before the keyframe at %d", i, e)
					}
				}
				if sets == 0 {
					t.Errorf("subscriber %d was never sent the sets", i)
				}
			}
			if counts[worker.KeyframesCompleted] == 0 {
				t.Error("no keyframe was completed")
			}
		})
	}
}
