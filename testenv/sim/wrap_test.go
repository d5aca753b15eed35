package sim

import (
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/srtp"
	"ringcast/testenv"
)

// All wrapping counters wrap: the publisher's sequence numbers (and so its rollover counter), those of its
// retransmissions, and the timestamps on both sides. So do the outgoing sequence numbers, and those of our
// retransmissions.
func TestWrapAround(t *testing.T) {
	w := newWorld(t, Config{
		Seed: begin(t), Workers: 2, BusLoss: 0.001,
		Faults: Faults{
			Loss: 0.01, Reorder: 0.01, Duplicate: 0.01, Delay: 15 * port.Millisecond, Late: 8 * port.Millisecond,
		},
		// The first sequence numbers are the highest that are allowed, 2^15-1, and timestamps
		// begin 12 seconds below 2^32 (the publisher's 0.7 s).
		Random: func(x uint64) uint64 { return x&^0xFFFFFFFF | 0xFFF0_7FFF },
	})
	w.Place(0)
	pub := w.Publish(theStream, 60)
	pub.Tiny = true // so that the budget pays for many retransmissions
	pub.layers[0].packets, pub.layers[0].size = [2]int{60, 70}, 1200
	w.Run(w.Now() + port.Second)
	var subs []*Subscriber
	for i := range scaled(3, 2) {
		w.Place(1 - i%2) // the first follows
		profile := srtp.AEADAES128GCM
		if i == 1 {
			profile = srtp.AES128CMSHA180
		}
		subs = append(subs, w.Watch(Viewer{Stream: theStream, RTX: i != 1, Profile: profile}))
		if i != 1 {
			askForTinyOnes(w, subs[i])
		}
	}
	// 2,000 packets a second.
	w.Run(w.Now() + port.Time(scaled(36, 18))*port.Second)
	high := settle(w, subs)
	pub.Stop()

	logCounters(t, w)
	checkOracle(t, w)
	rounds := func(seq uint64) uint64 { return seq>>16 - 1 } // the unwrapper begins at 1<<16
	for i, s := range subs {
		v, _ := checkWhole(t, i, s, high[i], [2]int{})
		first, last := s.Video.Packets[v.From], s.Video.Packets[high[i][0]]
		t.Logf("subscriber %d: sequence numbers %d to %d, timestamps %08x to %08x, %d retransmissions up to %d",
			i, v.From-1<<16, high[i][0]-1<<16, first.Timestamp, last.Timestamp, s.Video.Resent,
			max(s.Video.lastResend, 1<<16)-1<<16)
		if v.From-1<<16 < 1<<15-1 || rounds(high[i][0]) < 1 {
			t.Errorf("subscriber %d: sequence numbers %d to %d did not wrap around from near 2^15", i, v.From-1<<16,
				high[i][0]-1<<16)
		}
		if last.Timestamp > first.Timestamp {
			t.Errorf("subscriber %d: timestamps did not wrap around", i)
		}
		if i != 1 && rounds(s.Video.lastResend) < 1 {
			t.Errorf("subscriber %d: retransmissions went up to %d and did not wrap around", i,
				s.Video.lastResend-1<<16)
		}
	}
	l := pub.layers[0]
	t.Logf("publisher: sequence numbers 65000 to %d, retransmissions 65000 to %d", l.seq, l.rtx.seq)
	if l.seq < uint64(scaled(1<<17, 1<<16)) || !testenv.RaceEnabled && l.rtx.seq < 1<<16 {
		t.Errorf("the publisher did not wrap around: %d, retransmissions %d", l.seq, l.rtx.seq)
	}
}

// askForTinyOnes has a subscriber ask again and again for the first packets of the latest frames.
func askForTinyOnes(w *World, s *Subscriber) {
	var ask func()
	ask = func() {
		var seqs []uint16
		for e := s.Video.High; e > s.Video.Low && e+1600 > s.Video.High; e-- {
			if p := s.Video.Packets[e]; p.Start && !p.Key {
				seqs = append(seqs, uint16(e))
			}
		}
		for i, j := 0, len(seqs)-1; i < j; i, j = i+1, j-1 {
			seqs[i], seqs[j] = seqs[j], seqs[i]
		}
		if len(seqs) > 0 {
			s.AskAgain(seqs)
		}
		w.at(w.clock.Now()+8*port.Millisecond, ask)
	}
	w.at(w.clock.Now()+port.Second, ask)
}
