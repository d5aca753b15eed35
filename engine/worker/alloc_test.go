package worker

import (
	"testing"

	"ringcast/engine/port"
)

// The hot path allocates nothing: each entry point by itself, in steady state.
func TestNoAllocations(t *testing.T) {
	const runs = 400
	s := newStage(t, 100)
	warm := s.packets(2000) // histories reach their size
	for _, p := range warm {
		s.publish(p)
		s.drain()
	}

	t.Run("RTP and fan-out", func(t *testing.T) {
		packets := s.packets(runs + 1)
		i, frames := 0, 0
		check(t, runs, func() {
			s.publish(packets[i])
			i++
			frames += s.drain()
		})
		// All subscribers got each, so that what was measured is the fan-out.
		if frames < runs*100 {
			t.Errorf("%d frames of %d packets to 100 subscribers", frames, runs)
		}
	})
	t.Run("RTP alone", func(t *testing.T) {
		packets := s.packets(runs + 1)
		i := 0
		check(t, runs, func() {
			s.publish(packets[i])
			i++
		})
		s.drain()
	})
	t.Run("check of a known session", func(t *testing.T) {
		in := port.Inbound{Path: s.paths[0]}
		frames := 0
		check(t, runs, func() {
			s.now += port.Millisecond
			in.Data, in.Arrival = s.scratch[:copy(s.scratch, s.checks[0])], s.now
			s.w.HandlePacket(s.now, &in)
			frames += s.drain()
		})
		if frames < runs {
			t.Errorf("%d answers to %d checks", frames, runs)
		}
	})
	t.Run("RTCP with a NACK, and the resend", func(t *testing.T) {
		var packets [][]byte
		for range runs + 1 {
			packets = append(packets, s.feedback(0, s.sequence(0)))
		}
		in := port.Inbound{Path: s.paths[0]}
		i := 0
		before := s.w.counters.Counts[SentRTX]
		check(t, runs, func() {
			s.subscriber(0).budget = resendLimit
			in.Data, in.Arrival = s.scratch[:copy(s.scratch, packets[i])], s.now
			i++
			s.w.HandlePacket(s.now, &in)
			s.drain()
		})
		if got := s.w.counters.Counts[SentRTX] - before; got < runs {
			t.Errorf("%d resends for %d NACKs", got, runs)
		}
	})
	t.Run("timers and reports", func(t *testing.T) {
		subs := s.w.streams[1].all()
		packets := s.packets(runs + 1)
		i := 0
		before := s.w.counters.Counts[SentFeedbacks]
		check(t, runs, func() {
			s.now += 10 * port.Millisecond
			s.publish(packets[i])
			i++
			if s.w.Deadline() <= s.now {
				s.w.HandleTimeout(s.now)
			}
			for _, sub := range subs {
				sub.session.heard = s.now
			}
			s.w.streams[1].pub.session.heard = s.now
			s.drain()
		})
		if got := s.w.counters.Counts[SentFeedbacks] - before; got < runs/10 {
			t.Errorf("%d transport-wide feedbacks in %d packets; expected more", got, runs)
		}
	})
}

func check(t *testing.T, runs int, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(runs, f); n != 0 {
		t.Errorf("%v allocations each", n)
	}
}
