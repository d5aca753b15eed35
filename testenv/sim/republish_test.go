package sim

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
)

// A stream's publisher goes and another comes, owned by another worker, or replaces one that is still there with its
// first media. For subscribers the numbering goes on, and nothing of the beginning is lost.
func TestRepublish(t *testing.T) {
	for _, x := range []struct {
		name   string
		faults Faults
		close  bool // the old session is closed before the new one comes
		first  int  // the new one's first frame: 0 is a keyframe, before 1 a keyframe is asked for
		pause  port.Time
	}{
		{"closed", calm, true, 0, 300 * port.Millisecond},
		{"closed, no keyframe at first", calm, true, 1, 300 * port.Millisecond},
		{"silent", calm, false, 0, 3 * port.Second},
		{"silent, no keyframe at first", calm, false, 1, 3 * port.Second},
		{"taken over while it sends", calm, false, 0, 0},
		{"under loss", lossy, true, 1, port.Second},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: x.faults})
			w.Place(0)
			old := w.Publish(theStream, 60)
			old.Pictures = true
			old.layers[0].picture, old.layers[0].tl0 = 0x7FD0, 200
			w.Place(anyone)
			w.Run(w.Now() + 200*port.Millisecond)
			subs := watchers(w, 24)
			w.Run(w.Now() + 3*port.Second)

			if x.pause > 0 {
				old.Stop()
				w.Run(w.Now() + 100*port.Millisecond)
			}
			before := highs(subs)
			if x.close {
				old.silent = true
				w.control.close(old.spec.ID, api.ReasonBye)
			}
			w.Run(w.Now() + x.pause)
			pub := startAgain(w)
			pub.frame = x.first
			w.Run(w.Now() + 3*port.Second)
			if why, ok := w.control.ended[old.spec.ID]; !ok || why == api.ReasonReplaced == x.close {
				t.Errorf("the old session ended: %t, %v; expected it to be replaced: %t", ok, why, !x.close)
			}
			high := settle(w, subs)
			pub.Stop()
			old.Stop()
			checkOracle(t, w)
			reports := 5
			if x.faults != calm {
				reports = 2 // others are lost
			}
			checkSync(t, subs, reports, old, pub)
			var m transition
			for i, s := range subs {
				var cut uint64
				if x.faults == lossy {
					cut = lossyCut(t, i, s, high[i])
				} else if v, _ := checkWhole(t, i, s, high[i], [2]int{1, 1}); len(v.Cuts) == 1 {
					cut = v.Cuts[0]
				}
				if x.pause > 0 && cut > 0 && cut <= before[i][0] {
					t.Errorf("subscriber %d: cut at %d, had %d before", i, cut, before[i][0])
				}
				m.measure(s, cut, pub.began)
			}
			t.Logf("gap: %s; after the new publisher's first packet: %s; timestamps off by %s; %d PLIs", spread(m.gaps),
				spread(m.after), spread(m.clock), len(pub.PLIs))
			if x.faults == calm && len(pub.PLIs) != x.first {
				t.Errorf("%d PLIs to the new publisher, want %d", len(pub.PLIs), x.first)
			}
			checkPLIs(t, pub)
		})
	}
}

// A transition is a change of publisher as subscribers saw it.
type transition struct {
	gaps, after, clock []port.Time
}

// measure adds a subscriber, whose video went over at cut; 0 if it did not.
func (m *transition) measure(s *Subscriber, cut uint64, began port.Time) {
	first, last := s.Video.Packets[cut], s.Video.Packets[cut-1]
	if cut == 0 || last.Stamp == 0 {
		return // the last one was lost, or padding
	}
	m.gaps = append(m.gaps, first.At-last.At)
	m.after = append(m.after, first.At-began)
	d := port.Time(int32(first.Timestamp-last.Timestamp)) * port.Second / 90000
	m.clock = append(m.clock, max(d-(first.At-last.At), first.At-last.At-d))
}

// startAgain publishes the stream again, with other numbers.
func startAgain(w *World) *Publisher {
	w.Place(2)
	pub := w.Publish(theStream, 60)
	pub.Pictures = true
	pub.layers[0].picture, pub.layers[0].tl0 = 0x1234, 7
	pub.layers[0].base, pub.layers[0].seq = 0x13579BDF, 12345
	return pub
}

// lossyCut returns the number at which a subscriber's video goes over to the new publisher. Packets lost at the end of
// the old one can have no answer any more.
func lossyCut(t *testing.T, i int, s *Subscriber, high [2]uint64) (cut uint64) {
	t.Helper()
	v := s.Video.Judge(high[0])
	for e := v.From; e <= high[0]; e++ {
		if p, ok := s.Video.Packets[e]; ok && p.Stamp>>40 > s.Video.Packets[v.From].Stamp>>40 {
			cut = e
			break
		}
	}
	if len(v.Breaks)+len(v.Backwards)+len(v.Pictures) > 0 || len(v.Cuts) > 1 {
		t.Errorf("subscriber %d: breaks %v, timestamps back %v, pictures %v, cuts %v", i, head(v.Breaks),
			head(v.Backwards), head(v.Pictures), head(v.Cuts))
	}
	for _, g := range v.Gaps {
		if cut == 0 || g >= cut || g+80 < cut {
			t.Errorf("subscriber %d: gap at %d, cut at %d", i, g, cut)
		}
	}
	checkOpening(t, i, s)
	return cut
}

// The new publisher sends another codec. A subscriber that negotiated it plays on, any other is ended.
func TestRepublishWithAnotherCodec(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	old := w.Publish(theStream, 60)
	w.Place(anyone)
	w.Run(w.Now() + 200*port.Millisecond)
	var subs []*Subscriber
	for i := range 24 {
		w.Run(w.Now() + 5*port.Millisecond)
		codecs := []rtp.Codec{rtp.VP8, rtp.H264}
		if i%2 == 1 {
			codecs = codecs[:1]
		}
		subs = append(subs,
			w.Watch(Viewer{Stream: theStream, RTX: i%4 < 2, Profile: srtp.AEADAES128GCM, Codecs: codecs}))
	}
	w.Run(w.Now() + 2*port.Second)
	old.Stop()
	old.silent = true
	w.control.close(old.spec.ID, api.ReasonBye)
	w.Run(w.Now() + 500*port.Millisecond)
	w.Place(3)
	pub := w.PublishAs(theStream, 60, rtp.H264)
	w.Run(w.Now() + 3*port.Second)
	high := settle(w, subs)
	pub.Stop()

	checkOracle(t, w)
	var told []port.Time
	for i, s := range subs {
		why, ended := w.control.ended[s.spec.ID]
		if i%2 == 0 {
			checkWhole(t, i, s, high[i], [2]int{1, 1})
			if ended {
				t.Errorf("subscriber %d was ended: %v", i, why)
			}
			continue
		}
		if !ended || why != api.ReasonCodec {
			t.Errorf("subscriber %d: ended %v, %v", i, ended, why)
		}
		told = append(told, w.control.endedAt[s.spec.ID]-pub.began)
		checkOpening(t, i, s)
		if s.last > pub.began+100*port.Millisecond {
			t.Errorf("subscriber %d was sent media until %v s, the new codec began at %v s", i, s.last.Seconds(),
				pub.began.Seconds())
		}
	}
	t.Logf("told after the new publisher's first packet: %s; %d PLIs", spread(told), len(pub.PLIs))
}
