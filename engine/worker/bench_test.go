package worker

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// benchBurst is the packets of one frame: they arrive together and leave as one run for each subscriber.
const benchBurst = 7

// BenchmarkOpenRecord measures one packet of a publisher until it is in its history. It includes a copy of the packet,
// which is opened in place.
func BenchmarkOpenRecord(b *testing.B) {
	s := newStage(b, 0)
	packets := s.packets(4096)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		if i == len(packets) {
			b.StopTimer()
			packets, i = s.packets(4096), 0
			b.StartTimer()
		}
		s.publish(packets[i])
		s.drain()
	}
}

// BenchmarkFanOut measures one packet to one subscriber, from the history to the sealed frame.
func BenchmarkFanOut(b *testing.B) {
	for _, subscribers := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprintf("subscribers=%d", subscribers), func(b *testing.B) {
			s := newStage(b, subscribers)
			frames := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				for _, p := range s.packets(benchBurst) {
					s.publish(p)
				}
				b.StartTimer()
				frames += s.drain()
			}
			if want := b.N * benchBurst * subscribers; frames != want {
				b.Logf("%d frames, %d media: the rest are reports", frames, want)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
		})
	}
}

// BenchmarkFanOutOfLayers measures one packet to one subscriber of two layers, with and without Selectors. All viewers
// are well: they report on the numbered packets in time.
func BenchmarkFanOutOfLayers(b *testing.B) {
	const subscribers = 1000
	for _, adapts := range []bool{false, true} {
		b.Run(fmt.Sprintf("adapt=%t", adapts), func(b *testing.B) {
			s := newLayeredStage(b, subscribers, stageSSRC, stageSSRC+1)
			s.w.cfg.Adapt = adapts
			arrivals := make([]rtcp.Arrivals, subscribers)
			for i := range 300 {
				s.step(i%30 == 0)
				s.drain()
				s.reportAll(arrivals)
			}
			frames := 0
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s.step(false)
				b.StartTimer()
				frames += s.drain()
				b.StopTimer()
				s.reportAll(arrivals)
				b.StartTimer()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(frames), "ns/frame")
		})
	}
}

// step publishes a frame of both layers, and does what is due.
func (s *stage) step(key bool) {
	s.now += 26 * port.Millisecond
	for i := range benchBurst {
		s.publish(s.packet(key && i == 0))
	}
	s.ssrc++
	s.publish(s.packet(key))
	s.ssrc--
	if s.w.Deadline() <= s.now {
		s.w.HandleTimeout(s.now)
	}
	s.w.streams[1].pub.session.heard = s.now
}

// reportAll brings the Selectors reports on the last packets with numbers.
func (s *stage) reportAll(arrivals []rtcp.Arrivals) {
	for i := range arrivals {
		sub := s.subscriber(i)
		sub.session.heard = s.now
		if sub.selector == nil {
			continue
		}
		for n := uint16(benchBurst); n > 0; n-- {
			arrivals[i].Note(sub.transport-n, int64(s.now))
		}
		var p rtcp.Packet
		feedback, _ := arrivals[i].AppendFeedback(nil, 1200, 1, 2)
		for r := rtcp.NewReader(feedback); r.Next(&p); {
			s.w.reported(s.now, sub, &p)
		}
	}
}

// BenchmarkCheck is a check of a known session and its answer.
func BenchmarkCheck(b *testing.B) {
	s := newStage(b, 1000)
	in := port.Inbound{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n := i % len(s.checks)
		in.Path, in.Arrival = s.paths[n], s.now
		in.Data = s.scratch[:copy(s.scratch, s.checks[n])]
		s.w.HandlePacket(s.now, &in)
		if i%64 == 0 {
			s.drain()
		}
	}
}
