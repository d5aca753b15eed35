package sim

import (
	"fmt"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// maxFailover is the longest pause of the picture when a backup stands in, in a network that only takes its time.
const maxFailover = port.Second

// standIn makes a backup of the stream, with numbers, clocks and a wall clock of its own.
func standIn(w *World, codec rtp.Codec, rids ...string) *Publisher {
	w.Place(2)
	p := w.PublishAs(theStream, 600, codec, rids...)
	p.StandBy()
	p.Pictures = true
	for _, l := range p.layers {
		l.base, l.seq = l.base+0x13579BDF, 12345
	}
	p.Wall = func(now port.Time) int64 { return 3_950_000_000e9 + int64(now) }
	w.Place(anyone)
	return p
}

// The primary fails in every way, and comes back where it can. The backup stands in within a second. Nothing is lost of
// the numbering, and picture and sound stay together.
func TestBackup(t *testing.T) {
	silent := func(_ *World, p *Publisher, off bool) { p.quiet(off) }
	for _, x := range []struct {
		name   string
		faults Faults
		fails  func(w *World, p *Publisher, off bool)
		ends   bool
	}{
		{"silent, with reports", calm, silent, false},
		{"cut off", calm, func(w *World, p *Publisher, off bool) { w.cut(p.addr, off) }, false},
		{"without a picture", calm, func(_ *World, p *Publisher, off bool) { p.layers[0].paused = off }, false},
		{"ended", calm, func(w *World, p *Publisher, _ bool) {
			p.Stop()
			w.control.close(p.spec.ID, api.ReasonBye)
		}, true},
		{"silent, under loss", lossy, silent, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: x.faults})
			w.Place(0)
			primary := w.Publish(theStream, 60)
			primary.Pictures = true
			w.Run(w.Now() + 200*port.Millisecond)
			second := standIn(w, rtp.VP8)
			subs := watchers(w, 16)
			w.Run(w.Now() + 4*port.Second)
			if n := len(second.PLIs); n > 0 || second.Feedbacks == 0 {
				t.Errorf("%d keyframes and %d pieces of feedback for the backup that waits; expected feedback alone", n,
					second.Feedbacks)
			}
			x.fails(w, primary, true)
			w.Run(w.Now() + 4*port.Second)
			cuts := 1
			if !x.ends {
				x.fails(w, primary, false)
				w.Run(w.Now() + 2*port.Second)
				w.control.hand(theStream)
				w.Run(w.Now() + 3*port.Second)
				cuts = 2
			}
			high := settle(w, subs)
			primary.Stop()
			second.Stop()
			checkOracle(t, w)
			reports := 6
			if x.faults != calm {
				reports = 3
			}
			checkSync(t, subs, reports, primary, second)
			checkFailover(t, w, subs, high, cuts)
		})
	}
}

// checkFailover judges the subscribers, whose publisher changed a number of times.
func checkFailover(t *testing.T, w *World, subs []*Subscriber, high [][2]uint64, cuts int) {
	t.Helper()
	quiet := w.cfg.Faults == calm
	var m transition
	for i, s := range subs {
		v := s.Video.Judge(high[i][0])
		if quiet {
			v, _ = checkWhole(t, i, s, high[i], [2]int{cuts, cuts})
		} else if len(v.Breaks)+len(v.Backwards)+len(v.Pictures) > 0 {
			t.Errorf("subscriber %d: breaks %v, timestamps back %v, pictures %v", i, head(v.Breaks), head(v.Backwards),
				head(v.Pictures))
		}
		for _, cut := range v.Cuts {
			m.measure(s, cut, 0)
		}
	}
	t.Logf("gap: %s; timestamps off by %s", spread(m.gaps), spread(m.clock))
	for _, gap := range m.gaps {
		if quiet && gap > maxFailover {
			t.Errorf("a picture paused for %.0f ms; expected at most %d", gap.Seconds()*1000,
				maxFailover/port.Millisecond)
		}
	}
	if len(m.gaps) == 0 {
		t.Error("no subscriber saw a change of publisher")
	}
}

// The backup has layers of its own, or another codec. Viewers who cannot play that codec are ended, the others play on.
func TestBackupOfAnotherKind(t *testing.T) {
	for _, x := range []struct {
		name  string
		codec rtp.Codec
		rids  []string
	}{
		{"layers", rtp.VP8, []string{"q", "h", "f"}},
		{"codec", rtp.H264, nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
			w.Place(0)
			primary := w.PublishAs(theStream, 60, rtp.VP8, "lo", "hi")
			primary.Pictures = true
			w.Run(w.Now() + 200*port.Millisecond)
			standIn(w, x.codec, x.rids...)
			both := []rtp.Codec{rtp.VP8, rtp.H264}
			var subs []*Subscriber
			for i := range 12 {
				v := Viewer{Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM, Codecs: both}
				if i%3 == 0 {
					v.Codecs = both[:1]
				}
				subs = append(subs, w.Watch(v))
			}
			w.Run(w.Now() + 3*port.Second)
			primary.Pause()
			w.Run(w.Now() + 3*port.Second)
			primary.Resume()
			w.Run(w.Now() + 2*port.Second)
			w.control.hand(theStream) // after its first packets, the primary names its layers no more
			w.Run(w.Now() + 3*port.Second)
			settle(w, subs)
			checkOracle(t, w)
			for i, s := range subs {
				_, ended := w.control.ended[s.spec.ID]
				if want := x.codec == rtp.H264 && i%3 == 0; ended != want {
					t.Errorf("subscriber %d ended: %t; expected %t", i, ended, want)
				}
				checkOpening(t, i, s)
				if from := s.Video.Packets[s.Video.High].Stamp >> 40; !ended && from != uint64(primary.spec.ID) {
					t.Errorf("subscriber %d was last sent pictures of session %d; expected the primary's", i, from)
				}
			}
		})
	}
}

// TestSeedsOfBackups plays publishers that come, fail, return and end, in any order, for viewers who come at any time.
func TestSeedsOfBackups(t *testing.T) {
	first := begin(t)
	for seed := first; seed < first+*seedsFlag; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, Config{Seed: seed, Workers: 1 + int(seed%3), Faults: lossy, BusLoss: 0.01})
			publish := func() *Publisher {
				var rids []string
				if w.rand.IntN(2) == 0 {
					rids = []string{"q", "h", "f"}
				}
				return w.PublishAs(theStream, 20+w.rand.IntN(100), rtp.VP8, rids...)
			}
			pubs := []*Publisher{publish(), publish()}
			pubs[1].StandBy()
			watch := func() {
				w.Watch(Viewer{
					Stream: theStream, RTX: w.rand.IntN(2) == 0, Profile: srtp.AEADAES128GCM,
					Codecs: []rtp.Codec{rtp.VP8},
				})
			}
			watch()
			for range 40 {
				w.Run(w.Now() + port.Time(w.rand.Int64N(int64(400*port.Millisecond))))
				i := w.rand.IntN(2)
				switch k := w.rand.IntN(10); {
				case k < 4:
					watch()
				case k < 7:
					pubs[i].quiet(!pubs[i].audio.paused)
				case k < 8:
					w.Block(w.rand.IntN(len(w.workers)), port.Time(w.rand.Int64N(int64(1500*port.Millisecond))))
				case k < 9 && w.control.standby[theStream] != nil:
					w.control.hand(theStream)
				case w.control.standby[theStream] != nil:
					w.control.close(pubs[i].spec.ID, api.ReasonBye)
					pubs[i].Stop()
					pubs[i] = publish()
					pubs[i].StandBy()
				}
			}
			w.Run(w.Now() + 2*port.Second)
			checkOracle(t, w)
		})
	}
}
