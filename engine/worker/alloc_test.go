package worker

import (
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// allocationRuns is how often each entry point is called.
const allocationRuns = 400

// The hot path allocates nothing: each entry point by itself, in steady state.
func TestNoAllocations(t *testing.T) {
	s := newStage(t, 100)
	for _, p := range s.packets(2000) { // histories reach their size
		s.publish(p)
		s.drain()
	}
	for _, x := range []struct {
		name string
		f    func(t *testing.T, s *stage)
	}{
		{"RTP and fan-out", fanOutAllocations},
		{"RTP alone", recordAllocations},
		{"check of a known session", checkAllocations},
		{"RTCP with a NACK, and the resend", resendAllocations},
		{"timers and reports", timerAllocations},
		{"a look ahead", foreseeAllocations},
	} {
		t.Run(x.name, func(t *testing.T) { x.f(t, s) })
	}
}

func fanOutAllocations(t *testing.T, s *stage) {
	packets := s.packets(allocationRuns + 1)
	i, frames := 0, 0
	check(t, func() {
		s.publish(packets[i])
		i++
		frames += s.drain()
	})
	// All subscribers got each, so that the fan-out was measured.
	if frames < allocationRuns*100 {
		t.Errorf("%d frames of %d packets to 100 subscribers", frames, allocationRuns)
	}
}

func recordAllocations(t *testing.T, s *stage) {
	packets := s.packets(allocationRuns + 1)
	i := 0
	check(t, func() {
		s.publish(packets[i])
		i++
	})
	s.drain()
}

func checkAllocations(t *testing.T, s *stage) {
	in := port.Inbound{Path: s.paths[0]}
	frames := 0
	check(t, func() {
		s.now += port.Millisecond
		in.Data, in.Arrival = s.scratch[:copy(s.scratch, s.checks[0])], s.now
		s.w.HandlePacket(s.now, &in)
		frames += s.drain()
	})
	if frames < allocationRuns {
		t.Errorf("%d answers to %d checks", frames, allocationRuns)
	}
}

// A batch of all kinds: reports of subscribers, of the publisher and of nobody, and an empty datagram.
func foreseeAllocations(t *testing.T, s *stage) {
	batch := []port.Inbound{{Path: s.pubPath, Data: s.feedback(0, 1)}, {Data: s.feedback(1, 1)}, {Path: s.paths[0]}}
	for i := range 2 * Foreseen {
		batch = append(batch, port.Inbound{Path: s.paths[i], Data: s.feedback(i, 1)})
	}
	check(t, func() { s.w.Foresee(batch) })
}

func resendAllocations(t *testing.T, s *stage) {
	var packets [][]byte
	for range allocationRuns + 1 {
		packets = append(packets, s.feedback(0, s.sequence(0)))
	}
	in := port.Inbound{Path: s.paths[0]}
	i := 0
	before := s.w.counters.Counts[SentRTX]
	check(t, func() {
		s.subscriber(0).budget = resendLimit
		in.Data, in.Arrival = s.scratch[:copy(s.scratch, packets[i])], s.now
		i++
		s.w.HandlePacket(s.now, &in)
		s.drain()
	})
	if got := s.w.counters.Counts[SentRTX] - before; got < allocationRuns {
		t.Errorf("%d resends for %d NACKs", got, allocationRuns)
	}
}

func timerAllocations(t *testing.T, s *stage) {
	subs := s.w.streams[1].all()
	packets := s.packets(allocationRuns + 1)
	i := 0
	before := s.w.counters.Counts[SentFeedbacks]
	check(t, func() {
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
	if got := s.w.counters.Counts[SentFeedbacks] - before; got < allocationRuns/10 {
		t.Errorf("%d transport-wide feedbacks in %d packets; expected more", got, allocationRuns)
	}
}

// check fails if a call of f allocates.
func check(t *testing.T, f func()) {
	t.Helper()
	if n := testing.AllocsPerRun(allocationRuns, f); n != 0 {
		t.Errorf("%v allocations each", n)
	}
}

// Neither feedback nor a switch nor a probe allocates. One frame of a second is a keyframe. For a while each is late by
// more than the one before, so the viewer is sent less. Later it is sent more again.
func TestNoAllocationsOfSelectors(t *testing.T) {
	const runs = 1500
	s := newLayeredStage(t, 1, stageSSRC, stageSSRC+1)
	sub := s.subscriber(0)
	var arrivals rtcp.Arrivals
	report := make([]byte, 0, 1500)
	i, late := 0, port.Time(0)
	var packets [][]byte // five for a frame of both layers
	for n := range 5 * (runs + 201) {
		if s.ssrc = stageSSRC; n%5 == 4 {
			s.ssrc++
		}
		packets = append(packets, s.packet(n/5%30 == 0))
	}
	frame := func() {
		s.now += 25 * port.Millisecond
		first := sub.transport
		for _, p := range packets[5*i : 5*i+5] {
			s.publish(p)
		}
		s.drain()
		if late = late + 15*port.Millisecond; i < 500 || i > 560 {
			late = 0
		}
		for n := first; n != sub.transport; n++ {
			arrivals.Note(n, int64(s.now+late)+int64(n-first)*int64(100*port.Microsecond))
		}
		if b, _ := arrivals.AppendFeedback(report, 1200, 1, 2); len(b) > 0 {
			in := port.Inbound{Path: s.paths[0], Data: s.subs[0].SealRTCP(b), Arrival: s.now}
			s.w.HandlePacket(s.now, &in)
		}
		if s.w.Deadline() <= s.now {
			s.w.HandleTimeout(s.now)
		}
		sub.session.heard, s.w.streams[1].pub.session.heard = s.now, s.now
		s.drain()
		i++
	}
	for range 200 {
		frame() // histories and slices reach their size
	}
	if n := testing.AllocsPerRun(runs, frame); n != 0 {
		t.Errorf("%v allocations each", n)
	}
	c := &s.w.counters
	if c.Switches[adapt.CauseDelay] == 0 || c.Switches[adapt.CauseCapacity] == 0 || c.Counts[SentPaddings] == 0 {
		t.Errorf("switches by cause %v, %d trains of padding; want some for delay and capacity", c.Switches,
			c.Counts[SentPaddings])
	}
}

// Viewers on different layers cost no allocation, and neither does the measuring of the layers.
func TestNoAllocationsOnLayers(t *testing.T) {
	x := newSimulcaster(t, sizes, "lo", "mid", "hi")
	w := x.l.w
	viewers := []*sub{x.s, x.l.watch(1, watched(true)[0]), x.l.watch(1, watched(true)[0])}
	x.run(port.Second)
	for i, s := range viewers {
		s.choose(int8(i))
	}
	x.run(9 * port.Second)
	var batch [][]byte
	for i := range 3 * (allocationRuns + 1) {
		r := x.rungs[i%3]
		batch = append(batch, x.p.seal(packet{
			ssrc: r.ssrc, pt: pubVP8, seq: r.seq, ts: x.timestamp(r) + uint32(i/3)*90, marker: true,
			payload: vp8(true, false, "a picture"),
		}))
		r.seq++
	}
	before, i := w.counters.Counts[SentRTP], 0
	check(t, func() {
		x.l.now += port.Millisecond
		for range 3 {
			w.HandlePacket(x.l.now, &port.Inbound{Path: x.p.path, Data: batch[i], Arrival: x.l.now})
			i++
		}
		for w.Poll(x.l.now, &x.l.out) || x.l.out.Filled > 0 {
			x.l.out.Filled, x.l.out.Control = 0, x.l.out.Control[:0]
			for f := range x.l.out.Frames {
				x.l.out.Frames[f].Data = x.l.memory[f][:0]
			}
		}
	})
	if got := w.counters.Counts[SentRTP] - before; got < 3*allocationRuns {
		t.Errorf("%d packets were sent to three viewers of %d pictures each", got, allocationRuns)
	}
}
