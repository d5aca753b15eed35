package sim

import (
	"net/netip"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtp"
	"ringcast/engine/worker"
)

// moved is a subscriber's state when its address changed.
type moved struct {
	owner  int
	at     port.Time
	before uint64
	old    netip.AddrPort
}

// check checks a subscriber after its next check, and returns how long it was silent.
func (m *moved) check(t *testing.T, w *World, i int, s *Subscriber, high [2]uint64) port.Time {
	t.Helper()
	v, a := s.Video.Judge(high[0]), s.Audio.Judge(high[1])
	t.Logf("subscriber %d: worker %d, now by worker %d: silent for %.2f s; of %d video packets %d, of audio %d "+
		"never came, %d resends",
		i, m.owner, w.hash(s.addr), v.Pause.Seconds(), high[0]-m.before, len(v.Gaps), len(a.Gaps),
		s.Video.Resent)
	if v.Pause > checkInterval+200*port.Millisecond {
		t.Errorf("subscriber %d: silent for %v s, the next check came within 2.5", i, v.Pause.Seconds())
	}
	if n := len(v.Breaks) + len(v.Backwards) + len(a.Backwards); n > 0 {
		t.Errorf("subscriber %d: breaks %v, timestamps back %v, %v", i, head(v.Breaks), head(v.Backwards),
			head(a.Backwards))
	}
	checkOpening(t, i, s)
	c := w.control.sessions[s.spec.ID]
	if c.owner != m.owner || c.claims != 1 || c.keyed != 1 {
		t.Errorf("subscriber %d: owner %d, was %d, %d claims, given keys %d times", i, c.owner, m.owner, c.claims,
			c.keyed)
	}
	return v.Pause
}

// A NAT forgets some subscribers, and they come back with addresses that hash to another worker. Their next check moves
// the path. Owner, keys and numbering stay.
func TestRebinding(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	pub := w.Publish(theStream, 60)
	w.Place(anyone)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 16)
	w.Run(w.Now() + 2*port.Second)

	moves := make(map[int]moved)
	for i := 0; i < len(subs); i += 2 {
		s := subs[i]
		w.Run(w.Now() + port.Time(w.rand.Int64N(int64(300*port.Millisecond)))) // anywhere between two checks
		m := moved{s.owner(), w.Now(), s.Video.High, s.addr}
		s.rebind((m.owner + 1 + i%3) % 4)
		moves[i] = m
	}
	forwarded := w.Counters().Counts[worker.Forwarded]
	w.Run(w.Now() + 4*port.Second)
	senders := watchSenders(w)
	w.Run(w.Now() + 2*port.Second)
	high := settle(w, subs)
	pub.Stop()

	logCounters(t, w)
	checkOracle(t, w)
	var gaps []port.Time
	for i, s := range subs {
		m, ok := moves[i]
		if !ok {
			checkWhole(t, i, s, high[i], [2]int{})
			continue
		}
		gaps = append(gaps, m.check(t, w, i, s, high[i]))
		senders.check(t, i, s, s.addr)
	}
	t.Logf("silence: %s", spread(gaps))
	if w.Counters().Counts[worker.Forwarded] == forwarded {
		t.Error("nothing was forwarded")
	}
}

// A publisher's address changes to one of another worker: the packets that it sent in between are asked for again.
func TestPublisherRebinding(t *testing.T) {
	w := newWorld(t, Config{Seed: begin(t), Workers: 4, Faults: calm})
	w.Place(0)
	pub := w.Publish(theStream, 60)
	w.Place(anyone)
	w.Run(w.Now() + 200*port.Millisecond)
	subs := watchers(w, 16)
	w.Run(w.Now() + 2*port.Second)
	pub.rebind(3)
	w.Run(w.Now() + 5*port.Second)
	high := settle(w, subs)
	pub.Stop()

	logCounters(t, w)
	checkOracle(t, w)
	var gaps []port.Time
	lost := 0
	for i, s := range subs {
		v, a := s.Video.Judge(high[i][0]), s.Audio.Judge(high[i][1])
		gaps = append(gaps, v.Pause)
		lost = max(lost, len(v.Gaps)+len(a.Gaps))
		if n := len(v.Breaks) + len(v.Backwards) + len(a.Backwards); n > 0 {
			t.Errorf("subscriber %d: breaks %v, timestamps back %v, %v", i, head(v.Breaks), head(v.Backwards),
				head(a.Backwards))
		}
		checkOpening(t, i, s)
		if s.Video.High < high[i][0]+20 {
			t.Errorf("subscriber %d: media did not go on", i)
		}
	}
	t.Logf("silence at the subscribers: %s; at most %d packets never came; %d asked for again, %d PLIs", spread(gaps),
		lost, pub.NACKed, len(pub.PLIs))
	if pub.owner() != 0 || w.Counters().Counts[worker.Forwarded] == 0 {
		t.Errorf("owner %d, %d forwarded", pub.owner(), w.Counters().Counts[worker.Forwarded])
	}
}

// senders are the workers that sent media of each SSRC, and the addresses that they sent to.
type senders map[uint32]map[sender]int

type sender struct {
	worker int
	remote netip.AddrPort
}

// watchSenders begins to note the sender of each SSRC.
func watchSenders(w *World) senders {
	all := make(senders)
	w.onDown = func(from int, remote netip.AddrPort, data []byte) {
		if data[0] < 128 || rtp.IsRTCP(data) {
			return
		}
		ssrc := uint32(data[8])<<24 | uint32(data[9])<<16 | uint32(data[10])<<8 | uint32(data[11])
		if all[ssrc] == nil {
			all[ssrc] = make(map[sender]int)
		}
		all[ssrc][sender{from, remote}]++
	}
	return all
}

// check fails unless all media of a subscriber came from its owner and went to one address.
func (all senders) check(t *testing.T, i int, s *Subscriber, to netip.AddrPort) {
	t.Helper()
	for _, ssrc := range [...]uint32{s.Video.spec.SSRC, s.Audio.spec.SSRC} {
		for x, n := range all[ssrc] {
			if x.worker != s.owner() || x.remote != to {
				t.Errorf("subscriber %d: worker %d sent %d packets to %v; owner is %d, the path %v", i, x.worker, n,
					x.remote, s.owner(), to)
			}
		}
		if len(all[ssrc]) == 0 {
			t.Errorf("subscriber %d was sent no media", i)
		}
	}
}
