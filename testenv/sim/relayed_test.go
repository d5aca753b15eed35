package sim

import (
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/testenv/netpath"
)

// relayedTo makes a chain of three servers, each 25 ms from the next, over which a publisher's layers are relayed.
func relayedTo(t *testing.T, publish func(w *World) *Publisher) (nodes []*World, pub *Publisher) {
	t.Helper()
	nodes = servers(t, 3)
	pub = publish(nodes[0])
	nodes[0].Run(nodes[0].Now() + 300*port.Millisecond)
	for i := range nodes[1:] {
		relayTo(nodes[i+1], nodes[i], pub.spec.Tracks, 25*port.Millisecond, 0)
	}
	nodes[2].Network.Faults = calm
	return nodes, pub
}

// A stream goes on at the end of a chain: another publisher replaces its own, a backup stands in, or the codec changes.
// Viewers keep their sessions, and their timestamps and picture IDs go on.
func TestRelayedPublishers(t *testing.T) {
	one := []Rung{{"", 500_000, 640}}
	for _, x := range []struct {
		name  string
		cuts  [2]int
		pause port.Time
		turn  func(w *World, p *Publisher)
	}{
		{"taken over", [2]int{1, 1}, 500 * port.Millisecond, func(w *World, _ *Publisher) { startAgain(w) }},
		{"closed, and another", [2]int{1, 1}, 900 * port.Millisecond, func(w *World, p *Publisher) {
			p.Stop()
			w.control.close(p.spec.ID, api.ReasonBye)
			w.Run(w.Now() + 300*port.Millisecond)
			startAgain(w)
		}},
		{"a backup", [2]int{1, 1}, 1500 * port.Millisecond, func(w *World, p *Publisher) {
			standIn(w, rtp.VP8)
			w.Run(w.Now() + port.Second)
			p.quiet(true)
		}},
		{"another codec", [2]int{0, 0}, 200 * port.Millisecond, func(_ *World, p *Publisher) { p.Turn(rtp.H264) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			nodes, pub := relayedTo(t, func(w *World) *Publisher {
				if x.cuts == [2]int{} {
					return w.PublishSimulcast(theStream, Simulcast{Rungs: one})
				}
				p := w.Publish(theStream, 60)
				p.Pictures = true
				return p
			})
			var subs []*Subscriber
			for i := range 12 {
				v := Viewer{Stream: theStream, RTX: i%2 == 0, Profile: srtp.AEADAES128GCM}
				v.Codecs = []rtp.Codec{rtp.VP8, rtp.H264}
				subs = append(subs, nodes[2].Watch(v))
			}
			nodes[0].Run(nodes[0].Now() + 4*port.Second)
			x.turn(nodes[0], pub)
			nodes[0].Run(nodes[0].Now() + 4*port.Second)
			high := settle(nodes[2], subs)
			for _, w := range nodes {
				checkOracle(t, w)
			}
			for i, s := range subs {
				v, _ := checkWhole(t, i, s, high[i], x.cuts)
				if i == 0 {
					t.Logf("the longest pause is %.0f ms", v.Pause.Seconds()*1000)
				}
				if v.Pause > x.pause {
					t.Errorf("subscriber %d: silent for %.3f s, want at most %.3f s", i, v.Pause.Seconds(),
						x.pause.Seconds())
				}
			}
		})
	}
}

// A keyframe request of a viewer at the end of a chain reaches the publisher within the delay of the ways and 20 ms.
// Those of many viewers, of all nodes, are one a second and layer.
func TestRelayedKeyframeRequests(t *testing.T) {
	nodes, pub := relayedTo(t, func(w *World) *Publisher {
		return w.PublishSimulcast(theStream, Simulcast{Rungs: Three})
	})
	var viewers []*Subscriber
	for _, w := range nodes {
		for range scaled(10, 4) {
			viewers = append(viewers, w.Watch(Viewer{Stream: theStream, RTX: true, Profile: srtp.AEADAES128GCM}))
		}
	}
	origin := nodes[0]
	origin.Run(origin.Now() + 3*port.Second)
	before, asked := len(pub.PLIs), origin.Now()
	viewers[len(viewers)-1].AskKeyframe()
	origin.Run(asked + port.Second)
	ways := 2*25*port.Millisecond + calm.Delay + calm.Jitter
	if len(pub.PLIs) == before {
		t.Fatal("the publisher got no request")
	}
	took := pub.PLIs[before] - asked
	t.Logf("a request took %.1f ms, ways of %.1f ms among them", took.Seconds()*1000, ways.Seconds()*1000)
	if took > ways+20*port.Millisecond {
		t.Errorf("a request took %.1f ms, want at most 20 ms more than the ways", took.Seconds()*1000)
	}

	origin.Run(origin.Now() + 10*port.Second)
	before = len(pub.PLIs)
	const span = 15
	for range span * 10 {
		for _, v := range viewers {
			v.AskKeyframe()
		}
		origin.Run(origin.Now() + 100*port.Millisecond)
	}
	n := len(pub.PLIs) - before
	t.Logf("%d requests in %d s, of %d viewers that ask ten times a second", n, span, len(viewers))
	if n > span*len(Three) {
		t.Errorf("%d requests in %d s for %d layers, want at most one a second each", n, span, len(Three))
	}
}

// Viewers of a node at the end of a chain are sent the layers that their networks carry, by that node's choice. The
// node knows the layers' rates, and the other nodes are sent and asked for nothing more.
func TestRelayedLayers(t *testing.T) {
	nodes, pub := relayedTo(t, func(w *World) *Publisher {
		return w.PublishSimulcast(theStream, Simulcast{Rungs: Three})
	})
	origin, end := nodes[0], nodes[2]
	var rates []uint32
	end.onMessage = func(m *bus.Control) {
		if m.Kind == bus.KindLadder && m.To == bus.Controller {
			rates = nil
			for _, r := range *m.Ladder {
				rates = append(rates, r.Rate)
			}
		}
	}
	watch := func(rate float64) *Subscriber {
		s := end.Watch(Viewer{Stream: theStream, RTX: true, Profile: srtp.AEADAES128GCM, Manner: Chromium})
		end.Down(s, Link{Rate: netpath.Always(rate)})
		return s
	}
	fast, slow := watch(20e6), watch(1.2e6)
	origin.Run(origin.Now() + 20*port.Second)
	checkLayer(t, end, []*Subscriber{fast}, 2, "over 20 Mbit/s")
	checkLayer(t, end, []*Subscriber{slow}, 1, "over 1.2 Mbit/s")
	if len(rates) != 3 || !slices.IsSorted(rates) {
		t.Errorf("the node knows the rates %v, want three that rise", rates)
	}
	for i, r := range rates {
		if want := Three[i].Rate; float64(r) < want*0.8 || float64(r) > want*1.4 {
			t.Errorf("layer %s has %d bit/s, want about %.0f", Three[i].RID, r, want)
		}
	}
	t.Logf("rates %v, %d requests for keyframes at the publisher", rates, len(pub.PLIs))
	for _, w := range nodes {
		checkOracle(t, w)
	}
}
