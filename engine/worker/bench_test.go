package worker

import (
	"fmt"
	"math/rand/v2"
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

// BenchmarkReports measures one report of a viewer, an estimate or transport-wide feedback. Reports of all viewers are
// shuffled and come in batches, after media that takes the caches.
func BenchmarkReports(b *testing.B) {
	const subscribers, batch = 2000, 64
	for _, foresees := range []bool{false, true} {
		b.Run(fmt.Sprintf("foresee=%t", foresees), func(b *testing.B) {
			s := newLayeredStage(b, subscribers, stageSSRC, stageSSRC+1)
			for i := range 30 {
				s.step(i == 0)
				s.drain()
			}
			random := rand.New(rand.NewPCG(1, 2))
			in := make([]port.Inbound, batch)
			for i := range in {
				in[i].Data = make([]byte, 0, 256)
			}
			reports, others := 0, make([]byte, 64<<20)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				s.step(false)
				s.drain()
				for i := 0; i < len(others); i += 64 {
					others[i]++
				}
				for i := range in {
					in[i] = s.report(random.IntN(subscribers), in[i].Data[:0])
				}
				b.StartTimer()
				for i := range in {
					if foresees && i%Foreseen == 0 {
						s.w.Foresee(in[i:])
					}
					s.w.HandlePacket(s.now, &in[i])
				}
				reports += len(in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(reports), "ns/report")
		})
	}
}

// report returns a subscriber's receiver report with an estimate.
func (s *stage) report(sub int, data []byte) port.Inbound {
	data = rtcp.AppendReceiverReport(data, 1, []rtcp.ReportBlock{{SSRC: uint32(0x20000000 + 2*sub)}})
	data = rtcp.AppendREMB(data, 1, 5_000_000, uint32(0x20000000+2*sub))
	return port.Inbound{Path: s.paths[sub], Data: s.subs[sub].SealRTCP(data), Arrival: s.now}
}
