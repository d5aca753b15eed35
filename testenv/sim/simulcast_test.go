package sim

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
)

// A publisher sends three layers, their SSRCs known only by the RID on early packets. Subscribers follow the highest
// that is active: down when it pauses, up when it returns. They switch at a keyframe and with numbering that goes on.
func TestSimulcast(t *testing.T) {
	for _, x := range []struct {
		name   string
		faults Faults
		bus    float64
	}{{"calm", calm, 0}, {"under loss", lossy, 0.01}} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: x.faults, BusLoss: x.bus})
			w.Place(0)
			pub := w.PublishAs(theStream, 300, rtp.VP8, "q", "h", "f")
			pub.Pictures = true
			w.Place(anyone)
			w.Run(w.Now() + 200*port.Millisecond)
			var subs []*Subscriber
			for i := range 24 {
				w.Run(w.Now() + 5*port.Millisecond)
				subs = append(subs, w.Watch(Viewer{Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM}))
			}
			top := pub.layers[2]
			down := func(on bool) {
				top.paused = on
				w.Run(w.Now() + 4*port.Second)
			}
			w.Run(w.Now() + 4*port.Second)
			checkLayer(t, w, subs, 2, "at first")
			down(true)
			checkLayer(t, w, subs, 1, "while the top layer pauses")
			down(false)
			checkLayer(t, w, subs, 2, "after the top layer came back")
			// All but the lowest, and back.
			pub.layers[1].paused = true
			down(true)
			checkLayer(t, w, subs, 0, "while only the lowest is active")
			pub.layers[1].paused = false
			down(false)
			checkLayer(t, w, subs, 2, "in the end")
			high := settle(w, subs)
			pub.Stop()

			logCounters(t, w)
			checkOracle(t, w)
			checkSync(t, subs, 12, pub)
			frozen := newPauses()
			cuts := 0
			for i, s := range subs {
				v := checkLayers(t, i, s, high[i], x.faults == calm)
				most := 5 * port.Millisecond
				if x.faults != calm { // a keyframe may come a frame late again and again
					most += frameInterval
				}
				checkTime(t, i, s, pub, most)
				cuts = max(cuts, len(v.Cuts))
				frozen.add(s, &v)
			}
			frozen.log(t)
			t.Logf("at most %d switches; %d PLIs, %s", cuts, len(pub.PLIs), intervals(pub.PLIs))
			if n := w.Counters().Drops[worker.DropUnbound]; n > 0 && x.faults == calm {
				t.Errorf("%d packets belonged to no layer", n)
			}
		})
	}
}

// pauses are those at switches, by direction, of subscribers at the owner and at followers.
type pauses [2]map[string][]port.Time

func newPauses() pauses {
	return pauses{make(map[string][]port.Time), make(map[string][]port.Time)}
}

// add takes in the switches of a subscriber.
func (p *pauses) add(s *Subscriber, v *Verdict) {
	follower := 0
	if s.owner() != 0 {
		follower = 1
	}
	s.switches(v, func(from, to int, pause port.Time) {
		way := "down"
		if to > from {
			way = "up"
		}
		p[follower][way] = append(p[follower][way], pause)
	})
}

func (p *pauses) log(t *testing.T) {
	t.Helper()
	for i, where := range []string{"the owner", "followers"} {
		t.Logf("pause at switches, subscribers of %s: down %s; up %s", where, spread(p[i]["down"]), spread(p[i]["up"]))
	}
}

// Of each layer's feed to each follower the first packets are lost on the bus, those with which the
// layer's keyframe starts. They are asked for again; subscribers must switch all the same, and soon.
func TestSwitchWithFullBus(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	pub := w.PublishAs(theStream, 1_000_000, rtp.VP8, "q", "h", "f")
	pub.Pictures = true
	w.Place(anyone)
	type key struct {
		to    bus.Address
		layer uint8
		start uint64
	}
	lost := make(map[key]bool)
	w.lose = func(m *bus.Media) bool {
		k := key{m.To, m.Layer, m.Start}
		if m.Packet.Flags&bus.KeyframeStart == 0 || lost[k] {
			return false
		}
		lost[k] = true
		return true
	}
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 16)
	for range 3 {
		w.Run(w.Now() + 3*port.Second)
		checkLayer(t, w, subs, 2, "on top")
		pub.layers[2].paused = true
		w.Run(w.Now() + 3*port.Second)
		checkLayer(t, w, subs, 1, "while the top layer pauses")
		pub.layers[2].paused = false
	}
	high := settle(w, subs)
	pub.Stop()
	checkOracle(t, w)
	var pauses []port.Time
	for i, s := range subs {
		v := checkLayers(t, i, s, high[i], true)
		checkTime(t, i, s, pub, 5*port.Millisecond)
		pauses = append(pauses, v.Pause)
		if v.Pause > 1600*port.Millisecond { // a pause of the layer is noticed after 1 to 1.5 s
			t.Errorf("subscriber %d (worker %d): a pause of %v s", i, s.owner(), v.Pause.Seconds())
		}
	}
	t.Logf("%d first packets of keyframes lost on the bus; longest pauses %s", len(lost), spread(pauses))
	if len(lost) < 6 {
		t.Error("too few were lost")
	}
}

// checkLayer checks that the newest packet of each subscriber is of a layer.
func checkLayer(t *testing.T, w *World, subs []*Subscriber, want int, when string) {
	t.Helper()
	for i, s := range subs {
		for e := s.Video.High; e >= s.Video.Low; e-- {
			p, ok := s.Video.Packets[e]
			if !ok || p.Stamp == 0 {
				continue
			}
			if got, age := p.layerOf(), w.clock.Now()-p.At; got != want || age > 200*port.Millisecond {
				t.Errorf("subscriber %d (worker %d) %s: layer %d, want %d, %v s old", i, s.owner(), when, got, want,
					age.Seconds())
			}
			break
		}
	}
}

// checkLayers judges a video that was switched. Under loss, packets of a layer that were missing when it was left may
// stay away.
func checkLayers(t *testing.T, i int, s *Subscriber, high [2]uint64, calm bool) Verdict {
	t.Helper()
	v := s.Video.Judge(high[0])
	var gaps []uint64
	for _, g := range v.Gaps {
		excused := false
		for e := g; e < g+60 && !calm; e++ {
			if p, ok := s.Video.Packets[e]; ok && p.Key {
				excused = true
			}
		}
		if !excused {
			gaps = append(gaps, g)
		}
	}
	if len(gaps)+len(v.Breaks)+len(v.Backwards)+len(v.Pictures) > 0 {
		t.Errorf("subscriber %d (worker %d): gaps %v, breaks %v, timestamps back %v, pictures %v, cuts %v",
			i, s.owner(), head(gaps), head(v.Breaks), head(v.Backwards), head(v.Pictures), head(v.Cuts))
	}
	a := s.Audio.Judge(high[1])
	if len(a.Gaps)+len(a.Cuts)+len(a.Backwards) > 0 {
		t.Errorf("subscriber %d, audio: gaps %v, cuts %v, timestamps back %v", i, head(a.Gaps), head(a.Cuts),
			head(a.Backwards))
	}
	checkOpening(t, i, s)
	return v
}

// checkTime checks that the timestamps of a video go on as its captures did, from layer to layer too. No keyframe is
// older than the picture shown before it, and no packet comes too late for a keyframe.
func checkTime(t *testing.T, i int, s *Subscriber, pub *Publisher, most port.Time) {
	t.Helper()
	var begun *Packet
	var base, worst port.Time
	var at uint64
	for e := s.Video.Low; e <= s.Video.High; e++ {
		p, ok := s.Video.Packets[e]
		if !ok || p.Stamp == 0 {
			continue
		}
		captured := pub.layers[p.layerOf()].captured[p.Stamp&0xFFFF_FFFF-1]
		if begun == nil {
			begun, base = &p, captured
		}
		shown := port.Time(int32(p.Timestamp-begun.Timestamp)) * port.Second / 90_000
		if off := shown - (captured - base); max(off, -off) > max(worst, -worst) {
			worst, at = off, e
		}
	}
	if max(worst, -worst) > most {
		t.Errorf("subscriber %d (worker %d): packet %d is shown %.1f ms late, by the first to come; want at most %.0f",
			i, s.owner(), at, worst.Seconds()*1000, most.Seconds()*1000)
	}
}

// switches reports each cut from one layer to another.
func (s *Subscriber) switches(v *Verdict, tell func(from, to int, pause port.Time)) {
	for _, e := range v.Cuts {
		p, last := s.Video.Packets[e], s.Video.Packets[e-1]
		if last.Stamp != 0 {
			tell(last.layerOf(), p.layerOf(), p.At-last.At)
		}
	}
}
