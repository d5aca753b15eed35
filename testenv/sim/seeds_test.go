package sim

import (
	"flag"
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

var seedsFlag = flag.Uint64("seeds", 5, "how many seeds TestSeeds plays")

// With any seed, no nonce is used for two things. The seed draws codec, layers, lengths of turns, loss, viewers with
// and without RTX, layers that pause, workers that stall, addresses that change. It draws all ways to keep a path
// alive, too, and a second publisher.
func TestSeeds(t *testing.T) {
	first := begin(t)
	seals, again := uint64(0), uint64(0)
	for seed := first; seed < first+*seedsFlag; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := anything(t, seed)
			checkOracle(t, w)
			seals += w.Oracle.Seals
			again += w.Oracle.Again
		})
	}
	t.Logf("%d seeds: %d seals, %d of the same bytes again", *seedsFlag, seals, again)
	if again == 0 {
		t.Error("no packet was sealed a second time: the oracle proved nothing")
	}
}

// anything plays a few seconds of all that can happen.
func anything(t *testing.T, seed uint64) *World {
	w := newWorld(t, Config{Seed: seed, Workers: 1 + int(seed%3), Faults: lossy, BusLoss: 0.01})
	w.Network.Faults.Loss = 0.1 * w.rand.Float64()
	publish := func() *Publisher {
		var rids []string
		if w.rand.IntN(2) == 0 {
			rids = []string{"q", "h", "f"}
		}
		p := w.PublishAs(theStream, 20+w.rand.IntN(100), [...]rtp.Codec{rtp.VP8, rtp.H264}[w.rand.IntN(2)], rids...)
		p.Pictures, p.Padding = w.rand.IntN(2) == 0, w.rand.IntN(2) == 0
		p.Tiny, p.Ragged = w.rand.IntN(4) == 0, w.rand.IntN(4) == 0
		p.layers[len(p.layers)-1].packets = [2]int{10, 20}
		return p
	}
	pub := publish()
	var subs []*Subscriber
	for range 30 {
		w.Run(w.Now() + port.Time(w.rand.Int64N(int64(200*port.Millisecond))))
		switch k := w.rand.IntN(10); {
		case k < 6:
			profile := [...]srtp.Profile{srtp.AEADAES128GCM, srtp.AES128CMSHA180}[w.rand.IntN(8)/7]
			s := w.Watch(Viewer{
				Stream: theStream, RTX: w.rand.IntN(2) == 0, Profile: profile, Codecs: []rtp.Codec{rtp.VP8, rtp.H264},
			})
			s.habit = habit(w.rand.IntN(int(checksNoMore) + 1))
			subs = append(subs, s)
		case k < 7:
			l := pub.layers[w.rand.IntN(len(pub.layers))]
			l.paused = !l.paused
		case k < 8:
			w.Block(w.rand.IntN(len(w.workers)), port.Time(w.rand.Int64N(int64(1500*port.Millisecond))))
		case k < 9 && len(subs) > 0:
			subs[w.rand.IntN(len(subs))].rebind(anyone)
		case w.rand.IntN(3) == 0:
			pub.Stop()
			pub = publish()
		}
	}
	w.Run(w.Now() + 2*port.Second)
	pub.Stop()
	return w
}
