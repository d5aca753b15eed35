package sim

import (
	"net/netip"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/engine/stun"
	"ringcast/engine/worker"
)

// apart is the way between two servers of one continent. rough loses, delays and reorders.
var (
	apart = Faults{Delay: 25 * port.Millisecond, Jitter: 2 * port.Millisecond}
	rough = Faults{
		Loss: 0.05, Duplicate: 0.01, Reorder: 0.02, Delay: 25 * port.Millisecond, Jitter: 5 * port.Millisecond,
		Late: 20 * port.Millisecond,
	}
)

// beside makes one more server.
func beside(t *testing.T, first *World, seed uint64) *World {
	t.Helper()
	return newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm, Beside: first})
}

// pulls counts the sessions by which others pull from a server, of those that have not ended.
func pulls(w *World) (n int) {
	for _, p := range w.peers {
		if s, ok := p.(*socket); ok && s.to == w && p.address() == s.addr {
			n++
		}
	}
	return n
}

// checkEdge fails unless all viewers of a server have all packets, in order.
func checkEdge(t *testing.T, w *World, subs []*Subscriber, high [][2]uint64) {
	t.Helper()
	checkOracle(t, w)
	for i, s := range subs {
		if s.Video.High-s.Video.Low < 100 {
			t.Errorf("subscriber %d got %d packets of video", i, s.Video.High-s.Video.Low)
		}
		checkWhole(t, i, s, high[i], [2]int{})
	}
}

// A stream is pulled over a way that loses every twentieth datagram in each direction. The viewers of the other server
// miss nothing: each lost packet is asked for on the way, once for all of them.
func TestPullOverLoss(t *testing.T) {
	first := begin(t)
	for i := range scaled(5, 2) {
		origin := newWorld(t, Config{Seed: first + uint64(i), Workers: 2, Faults: calm})
		edge := beside(t, origin, first+100+uint64(i))
		pub := origin.Publish(theStream, 60)
		origin.Run(origin.Now() + 200*port.Millisecond)
		p := edge.Pull(origin, theStream, &rough)
		subs := watchers(edge, 20) // some of them before the pull has a path
		origin.Run(origin.Now() + 10*port.Second)
		high := settle(edge, subs)
		pub.Stop()
		checkEdge(t, edge, subs, high)
		checkOracle(t, origin)
		if why, _, ended := p.Ended(); ended {
			t.Errorf("the pull ended: %s", why)
		}
		sent, asked := origin.Counters().Counts[worker.SentRTP], edge.Counters().Counts[worker.SentNACKs]
		lost := float64(sent) * (rough.Loss + rough.Reorder) // a late packet may be asked for, too
		t.Logf("world %d: %d packets to the edge, about %.0f lost or late, %d asked for", i, sent, lost, asked)
		if n := float64(asked); n < lost/2 || n > 2*lost {
			t.Errorf("world %d: %.0f packets were asked for; about %.0f were lost or late", i, n, lost)
		}
	}
}

// A chain of three servers: viewers at its end miss nothing, and each hop mends its own losses.
func TestChainOfThree(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	middle, last := beside(t, origin, seed+1), beside(t, origin, seed+2)
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	middle.Pull(origin, theStream, &rough)
	last.Pull(middle, theStream, &apart)
	subs := watchers(last, scaled(100, 20))
	origin.Run(origin.Now() + 10*port.Second)
	high := settle(last, subs)
	pub.Stop()
	checkEdge(t, last, subs, high)
	resent := last.Counters().Counts[worker.SentNACKs]
	t.Logf("asked for: %d on the way that loses, %d on the other; %d times at the publisher",
		middle.Counters().Counts[worker.SentNACKs], resent, pub.NACKed)
	if pub.NACKed > 0 {
		t.Errorf("the publisher was asked for %d packets that it did not lose", pub.NACKed)
	}
	// The last server asks for packets, too, that the middle one has yet to get again.
	if all := middle.Counters().Counts[worker.SentNACKs]; resent > 2*all {
		t.Errorf("%d packets were asked for on a way that loses none; %d on the other", resent, all)
	}
}

// One origin with many edges sends each packet once to each edge, however many viewers an edge has. Its publisher is
// asked for no more keyframes than by one.
func TestOriginWithEdges(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	var edges []*World
	viewers := make([][]*Subscriber, scaled(16, 4))
	for i := range viewers {
		e := beside(t, origin, seed+1+uint64(i))
		edges = append(edges, e)
		e.Pull(origin, theStream, &apart)
		for range 1 + i%5*4 {
			viewers[i] = append(viewers[i],
				e.Watch(Viewer{Stream: theStream, RTX: true, Profile: srtp.AEADAES128GCM}))
		}
	}
	origin.Run(origin.Now() + port.Second)
	sent, received := origin.Counters().Counts[worker.SentRTP], origin.Counters().Counts[worker.ReceivedRTP]
	origin.Run(origin.Now() + 5*port.Second)
	sent = origin.Counters().Counts[worker.SentRTP] - sent
	received = origin.Counters().Counts[worker.ReceivedRTP] - received
	t.Logf("%d packets of the publisher, %d to %d edges; %d PLIs", received, sent, len(edges), len(pub.PLIs))
	if want := received * uint64(len(edges)); sent < want*99/100 || sent > want*101/100 {
		t.Errorf("the origin sent %d packets; expected about %d", sent, want)
	}
	if n := pulls(origin); n != len(edges) {
		t.Errorf("%d sessions at the origin; expected %d", n, len(edges))
	}
	if n := len(pub.PLIs); n > 4 {
		t.Errorf("the publisher was asked for %d keyframes", n)
	}
	for i, e := range edges {
		checkEdge(t, e, viewers[i], highsBefore(viewers[i]))
	}
}

// highsBefore are numbers that surely arrived.
func highsBefore(subs []*Subscriber) (all [][2]uint64) {
	for _, h := range highs(subs) {
		all = append(all, [2]uint64{h[0] - 20, h[1] - 5})
	}
	return all
}

// An upstream vanishes. The pull ends within 1.6 s of its last datagram and a turn. The viewers' sessions go on with
// the media of another upstream.
func TestUpstreamVanishes(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	first, second, edge := beside(t, origin, seed+1), beside(t, origin, seed+2), beside(t, origin, seed+3)
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	first.Pull(origin, theStream, &apart)
	second.Pull(origin, theStream, &apart)
	origin.Run(origin.Now() + 200*port.Millisecond)
	p := edge.Pull(first, theStream, &apart)
	subs := watchers(edge, 8)
	origin.Run(origin.Now() + 3*port.Second)
	p.Cut(true)
	cut := origin.Now()
	origin.Run(cut + 2*port.Second)
	why, at, ended := p.Ended()
	if !ended || why != api.ReasonUpstreamSilent || at-cut < 1500*port.Millisecond || at-cut > 1700*port.Millisecond {
		t.Errorf("ended %t, %s, %.3f s after the cut; expected %s after about 1.6 s", ended, why, (at - cut).Seconds(),
			api.ReasonUpstreamSilent)
	}
	edge.Pull(second, theStream, &apart)
	origin.Run(origin.Now() + 3*port.Second)
	high := settle(edge, subs)
	pub.Stop()
	for i, s := range subs {
		v, _ := checkWhole(t, i, s, high[i], [2]int{1, 1})
		if v.Pause > 2500*port.Millisecond {
			t.Errorf("subscriber %d: silent for %.2f s", i, v.Pause.Seconds())
		}
	}
	checkOracle(t, edge)
}

// A change of upstream while both are there leaves no gap: the new pull takes the stream with its first media.
func TestPullReplacesPull(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	relay, edge := beside(t, origin, seed+1), beside(t, origin, seed+2)
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	relay.Pull(origin, theStream, &apart)
	old := edge.Pull(origin, theStream, &apart)
	subs := watchers(edge, 8)
	origin.Run(origin.Now() + 3*port.Second)
	edge.Pull(relay, theStream, &apart)
	origin.Run(origin.Now() + 3*port.Second)
	high := settle(edge, subs)
	pub.Stop()
	if why, _, ended := old.Ended(); !ended || why != api.ReasonReplaced {
		t.Errorf("the old pull: ended %t, %s; expected %s", ended, why, api.ReasonReplaced)
	}
	for i, s := range subs {
		v, _ := checkWhole(t, i, s, high[i], [2]int{1, 1})
		if v.Pause > 400*port.Millisecond {
			t.Errorf("subscriber %d: silent for %.3f s", i, v.Pause.Seconds())
		}
	}
	checkOracle(t, edge)
}

// A pull lives as long as its upstream answers checks, without any media. It ends once the answers stop.
func TestPausedPublisherKeepsPull(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	edge := beside(t, origin, seed+1)
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	p := edge.Pull(origin, theStream, &apart)
	subs := watchers(edge, 4)
	origin.Run(origin.Now() + 2*port.Second)
	pub.Pause()
	origin.Run(origin.Now() + 60*port.Second)
	if why, _, ended := p.Ended(); ended {
		t.Fatalf("the pull of a paused publisher ended: %s", why)
	}
	pub.Resume()
	origin.Run(origin.Now() + 3*port.Second)
	for i, s := range subs {
		if ago := origin.Now() - s.last; ago > 100*port.Millisecond {
			t.Errorf("subscriber %d: no media for %.2f s", i, ago.Seconds())
		}
	}
	p.lose = func(data []byte) bool { return stun.IsResponse(data) }
	origin.Run(origin.Now() + 10*port.Second)
	if why, _, ended := p.Ended(); ended {
		t.Errorf("a pull whose media comes ended: %s", why)
	}
	p.lose = func([]byte) bool { return true }
	stopped := origin.Now()
	origin.Run(stopped + 2*port.Second)
	if why, at, ended := p.Ended(); !ended || why != api.ReasonUpstreamSilent || at-stopped > 1800*port.Millisecond {
		t.Errorf("ended %t, %s, after %.3f s", ended, why, (at - stopped).Seconds())
	}
}

// Candidates that never answer cost a pull 20 ms each.
func TestDeadCandidates(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	edge := beside(t, origin, seed+1)
	origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	var dead []netip.AddrPort
	for i := range byte(7) {
		dead = append(dead, netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, i}), serverPort))
	}
	start := origin.Now()
	p := edge.Pull(origin, theStream, &apart, dead...)
	for origin.control.sessions[p.Upstream].owner < 0 && origin.Now() < start+port.Second {
		origin.Run(origin.Now() + port.Millisecond)
	}
	// The last candidate is checked after 140 ms. The nomination arrives one and a half round trips later.
	if took := origin.Now() - start; took > 140*port.Millisecond+85*port.Millisecond+10*port.Millisecond {
		t.Errorf("the upstream was nominated after %d ms", took/port.Millisecond)
	}
}

// A NAT gives the dialling side another address. The next check nominates it: a second of silence, and a round trip.
func TestPullerRebinds(t *testing.T) {
	seed := begin(t)
	for _, lossy := range []bool{false, true} {
		way := apart
		if lossy {
			way = rough
		}
		origin := newWorld(t, Config{Seed: seed, Workers: 4, Faults: calm})
		edge := beside(t, origin, seed+1)
		pub := origin.Publish(theStream, 60)
		origin.Run(origin.Now() + 200*port.Millisecond)
		p := edge.Pull(origin, theStream, &way)
		subs := watchers(edge, 8)
		for range 3 {
			origin.Run(origin.Now() + 3*port.Second)
			p.Rebind()
		}
		origin.Run(origin.Now() + 4*port.Second)
		high := settle(edge, subs)
		pub.Stop()
		if why, _, ended := p.Ended(); ended {
			t.Fatalf("the pull ended: %s", why)
		}
		for i, s := range subs {
			v := s.Video.Judge(high[i][0])
			if len(v.Breaks)+len(v.Backwards) > 0 {
				t.Errorf("subscriber %d: breaks %v, back %v", i, head(v.Breaks), head(v.Backwards))
			}
			if most := 1300 * port.Millisecond; !lossy && v.Pause > most {
				t.Errorf("subscriber %d: silent for %.2f s", i, v.Pause.Seconds())
			}
			if ago := origin.Now() - s.last; ago > 2*port.Second {
				t.Errorf("subscriber %d: no media for %.2f s", i, ago.Seconds())
			}
		}
		checkOracle(t, edge)
	}
}

// Garbage, forged and replayed datagrams reach the socket of a pull, from its upstream's address and from others. They
// neither end it nor change its media.
func TestPullUnderGarbage(t *testing.T) {
	seed := begin(t)
	origin := newWorld(t, Config{Seed: seed, Workers: 2, Faults: calm})
	edge := beside(t, origin, seed+1)
	pub := origin.Publish(theStream, 60)
	origin.Run(origin.Now() + 200*port.Millisecond)
	p := edge.Pull(origin, theStream, &apart)
	subs := watchers(edge, 8)
	r := edge.rand
	addresses := []netip.AddrPort{
		netip.AddrPortFrom(origin.server, serverPort), netip.AddrPortFrom(origin.server, 99),
		netip.MustParseAddrPort("203.0.113.5:3478"),
	}
	var attack func()
	attack = func() {
		for range 3 {
			data := make([]byte, 1+r.IntN(200))
			for i := range data {
				data[i] = byte(r.Uint32())
			}
			if n := len(p.seen); n > 0 && r.IntN(2) == 0 {
				data = append([]byte(nil), p.seen[r.IntN(n)]...)
				if r.IntN(2) == 0 {
					data[r.IntN(len(data))] ^= 1 << r.IntN(8)
				}
			}
			p.inject(addresses[r.IntN(len(addresses))], data)
		}
		edge.at(edge.Now()+2*port.Millisecond, attack)
	}
	attack()
	origin.Run(origin.Now() + 10*port.Second)
	high := settle(edge, subs)
	pub.Stop()
	if why, _, ended := p.Ended(); ended {
		t.Errorf("the pull ended: %s", why)
	}
	checkEdge(t, edge, subs, high)
	if n := edge.Counters().Drops[worker.DropUnasked]; n == 0 {
		t.Error("no response was replayed")
	}
}

// Two servers and their pull have the same trace each time.
func TestPullSameTrace(t *testing.T) {
	seed := begin(t)
	var traces []uint64
	for range 2 {
		origin := New(Config{Seed: seed, Workers: 2, Faults: calm})
		edge := New(Config{Seed: seed + 1, Workers: 2, Faults: calm, Beside: origin})
		origin.Publish(theStream, 60)
		edge.Pull(origin, theStream, &rough)
		watchers(edge, 4)
		origin.Run(origin.Now() + 3*port.Second)
		traces = append(traces, origin.Trace(), edge.Trace())
	}
	if traces[0] != traces[2] || traces[1] != traces[3] {
		t.Errorf("traces differ: %x", traces)
	}
}
