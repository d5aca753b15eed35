package sim

import (
	"cmp"
	"flag"
	"fmt"
	"math"
	"slices"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/testenv/netpath"
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

// TestSeedsOfLayers is TestSeeds for viewers who get what their networks carry. The seed draws how they report, and who
// lies; links that fall and recover; formats with and without RTX, and when the publisher changes them.
func TestSeedsOfLayers(t *testing.T) {
	first := begin(t)
	for seed := first; seed < first+*seedsFlag; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, _ := anythingLayered(t, seed)
			checkOracle(t, w)
		})
	}
}

// anythingLayered plays half a minute of all that can happen to viewers of layers.
func anythingLayered(t *testing.T, seed uint64) (*World, *Publisher) {
	faults := lossy
	w := newWorld(t, Config{Seed: seed, Workers: 1 + int(seed%3), Faults: faults, BusLoss: 0.005, Adapt: true})
	w.Network.Faults.Loss = 0.03 * w.rand.Float64()
	publish := func() *Publisher {
		c := Simulcast{Rungs: Three[w.rand.IntN(3):], Apart: w.rand.IntN(2) == 0}
		c.Codec = [...]rtp.Codec{rtp.VP8, rtp.H264}[w.rand.IntN(2)]
		return w.PublishSimulcast(theStream, c)
	}
	pub := publish()
	var subs []*Subscriber
	for range 40 {
		w.Run(w.Now() + port.Time(w.rand.Int64N(int64(1200*port.Millisecond))))
		switch k := w.rand.IntN(12); {
		case k < 5:
			subs = append(subs, w.watchSomehow())
		case k < 7:
			l := pub.layers[w.rand.IntN(len(pub.layers))]
			l.paused = !l.paused
		case k < 8:
			w.Block(w.rand.IntN(len(w.workers)), port.Time(w.rand.Int64N(int64(500*port.Millisecond))))
		case k < 9 && len(subs) > 0:
			subs[w.rand.IntN(len(subs))].rebind(anyone)
		case k < 10 && len(subs) > 0:
			subs[w.rand.IntN(len(subs))].Lie(Lie(w.rand.IntN(int(lies))))
		case k < 11:
			pub.Turn([...]rtp.Codec{rtp.VP8, rtp.H264}[w.rand.IntN(2)])
		case w.rand.IntN(4) == 0:
			pub.Stop()
			pub = publish()
		}
	}
	w.Run(w.Now() + 2*port.Second)
	pub.Stop()
	return w, pub
}

// watchSomehow adds a viewer whose network changes again and again.
func (w *World) watchSomehow() *Subscriber {
	v := browserOf([...]*Manner{Chromium, Chromium, Firefox, Blind}[w.rand.IntN(4)])
	v.Codecs = []rtp.Codec{rtp.VP8, rtp.H264}
	v.RTX = w.rand.IntN(4) > 0
	v.Plain = [][]rtp.Codec{nil, nil, {rtp.VP8}, {rtp.H264}}[w.rand.IntN(4)]
	l := Link{Queue: 300 * port.Millisecond}
	for i := range 5 {
		from := w.Now() + port.Time(i)*port.Time(w.rand.Int64N(int64(10*port.Second)))
		l.Rate = append(l.Rate, netpath.Step{From: from, Value: 1e5 * math.Exp(5*w.rand.Float64())})
	}
	slices.SortFunc(l.Rate, func(a, b netpath.Step) int { return cmp.Compare(a.From, b.From) })
	if w.rand.IntN(2) == 0 {
		l.Jitter = port.Time(w.rand.Int64N(int64(20 * port.Millisecond)))
	}
	s := w.Watch(v)
	s.habit = habit(w.rand.IntN(int(checksNoMore) + 1))
	s.way = w.Down(s, l)
	return s
}
