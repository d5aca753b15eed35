package worker

import (
	"fmt"
	"testing"

	"ringcast/engine/port"
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
