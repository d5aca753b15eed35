package sim

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker"
)

// Every one of 1,000 subscribers asks for a keyframe 100 times a second: the publisher is asked at
// most once in 500 ms.
func TestPLIFlood(t *testing.T) {
	n, span := scaled(1000, 100), 2*port.Second
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	pub := w.Publish(theStream, 300)
	pub.layers[0].packets = [2]int{1, 1}
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, n)
	w.Run(w.Now() + 500*port.Millisecond)
	began := w.Now()
	for _, s := range subs {
		s.Mute = true
		var ask func()
		ask = func() {
			if w.clock.Now() < began+span {
				s.AskKeyframe()
				w.at(w.clock.Now()+10*port.Millisecond, ask)
			}
		}
		w.at(began+port.Time(w.rand.Int64N(int64(10*port.Millisecond))), ask)
	}
	w.Run(began + span)
	high := settle(w, subs)
	pub.Stop()

	checkOracle(t, w)
	for i, s := range subs {
		checkWhole(t, i, s, high[i], [2]int{})
	}
	c := w.Counters()
	t.Logf("%d PLIs of %d subscribers came to %d upstream, %s", c.Counts[worker.ReceivedPLIs], n, len(pub.PLIs),
		intervals(pub.PLIs))
	if got := int(c.Counts[worker.ReceivedPLIs]); got < n*int(span/(11*port.Millisecond)) {
		t.Errorf("only %d PLIs arrived", got)
	}
	if len(pub.PLIs) == 0 || len(pub.PLIs) > int(span/(500*port.Millisecond))+1 {
		t.Errorf("%d PLIs to the publisher", len(pub.PLIs))
	}
	checkApart(t, pub, 500*port.Millisecond)
}

// intervals describes the times between requests.
func intervals(at []port.Time) string {
	var d []port.Time
	for i := 1; i < len(at); i++ {
		d = append(d, at[i]-at[i-1])
	}
	return "apart by " + spread(d)
}

// checkApart checks that the publisher of a calm network was asked for keyframes no more often than
// every interval.
func checkApart(t *testing.T, p *Publisher, interval port.Time) {
	t.Helper()
	for i := 1; i < len(p.PLIs); i++ {
		if d := p.PLIs[i] - p.PLIs[i-1]; d < interval-calm.Jitter {
			t.Errorf("PLIs %.4f s apart", d.Seconds())
		}
	}
}

// An account is the bytes that a subscriber was sent.
type account struct {
	media, resent uint64
	sent          map[uint32]bool // plain packets, by kind and number
}

// watchAccounts begins to count the bytes for each subscriber.
func watchAccounts(w *World) map[*Subscriber]*account {
	accounts := make(map[*Subscriber]*account)
	w.onDown = func(_ int, remote netip.AddrPort, data []byte) {
		s, ok := w.peers[w.indexOf(remote)].(*Subscriber)
		if !ok || data[0] < 128 || rtp.IsRTCP(data) {
			return
		}
		a := accounts[s]
		if a == nil {
			a = &account{sent: make(map[uint32]bool)}
			accounts[s] = a
		}
		ssrc, id := binary.BigEndian.Uint32(data[8:]), uint32(binary.BigEndian.Uint16(data[2:]))
		if ssrc == s.Audio.spec.SSRC {
			id |= 1 << 16
		}
		if ssrc == s.Video.spec.RTXSSRC || a.sent[id] {
			a.resent += uint64(len(data))
			return
		}
		a.sent[id] = true
		a.media += uint64(len(data))
	}
	return accounts
}

// flood asks for the last hundred packets each 10 ms.
func (s *Subscriber) flood(until port.Time) {
	w := s.world
	if w.clock.Now() > until {
		return
	}
	var seqs []uint16
	for e := max(s.Video.Low, s.Video.High-100); e <= s.Video.High; e++ {
		seqs = append(seqs, uint16(e))
	}
	s.AskAgain(seqs)
	w.at(w.clock.Now()+10*port.Millisecond, func() { s.flood(until) })
}

// Subscribers ask for the same hundred packets again and again. The resends stay within a fifth of the media and the
// initial budget, and the media itself does not suffer.
func TestNACKFlood(t *testing.T) {
	const initial = 64 << 10 // bytes that a subscriber may be sent again before it was sent anything
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	pub := w.Publish(theStream, 60)
	w.Run(w.Now() + 200*port.Millisecond)
	accounts := watchAccounts(w)
	subs := watchers(w, scaled(40, 12))
	w.Run(w.Now() + 500*port.Millisecond)
	flooders := subs[:len(subs)/2]
	began := w.Now()
	for _, s := range flooders {
		s.flood(began + 5*port.Second)
	}
	w.Run(began + 5*port.Second)
	high := settle(w, subs)
	pub.Stop()

	logCounters(t, w)
	checkOracle(t, w)
	worst := 0.0
	for i, s := range subs {
		checkWhole(t, i, s, high[i], [2]int{})
		a := accounts[s]
		if limit := a.media/5 + initial; a.resent > limit {
			t.Errorf("subscriber %d: %d bytes of media, %d sent again, the limit is %d", i, a.media, a.resent, limit)
		}
		if i < len(flooders) {
			worst = max(worst, float64(a.resent-min(a.resent, initial))/float64(a.media))
		}
	}
	c := w.Counters()
	t.Logf("%d numbers asked for, %d sent again; at worst %.1f %% of the media beside the initial 64 KiB",
		c.Counts[worker.ReceivedNACKs], c.Counts[worker.SentRTX], 100*worst)
	if c.Drops[worker.DropResends] == 0 {
		t.Error("nothing was refused")
	}
	if worst < 0.1 {
		t.Error("the budget was not used up: the test proves nothing")
	}
}

// Fifty subscribers join every second, for ten: the publisher is asked for at most one keyframe a
// second.
func TestSteadyJoiners(t *testing.T) {
	rate := scaled(50, 10)
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	pub := w.Publish(theStream, 1_000_000)
	pub.layers[0].packets = [2]int{1, 1}
	w.Run(w.Now() + port.Second)
	var subs []*Subscriber
	for i := range 10 * rate {
		w.Run(w.Now() + port.Second/port.Time(rate))
		subs = append(subs, w.Watch(Viewer{Stream: theStream, RTX: i%4 != 3, Profile: srtp.AEADAES128GCM}))
	}
	w.Run(w.Now() + 2*port.Second)
	high := settle(w, subs)
	pub.Stop()

	checkOracle(t, w)
	var waited []port.Time
	for i, s := range subs {
		v, _ := checkWhole(t, i, s, high[i], [2]int{})
		waited = append(waited, s.Video.Packets[v.From].At-s.connected)
	}
	t.Logf("%d joiners: %d PLIs, %s; from connected to the first keyframe %s", len(subs), len(pub.PLIs),
		intervals(pub.PLIs), spread(waited))
	if len(pub.PLIs) > 12 {
		t.Errorf("%d PLIs in 13 s", len(pub.PLIs))
	}
	checkApart(t, pub, port.Second)
	for _, d := range waited {
		if d > 1200*port.Millisecond {
			t.Errorf("a joiner waited %v s", d.Seconds())
		}
	}
}
