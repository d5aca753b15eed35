package srtp

import (
	"bytes"
	"testing"

	pionrtp "github.com/pion/rtp"

	"ringcast/engine/srtp/ctr"
	"ringcast/engine/srtp/gcm"
)

// prepared is packets made ahead, so that only opening is measured. Each is opened once.
func prepared(b testing.TB, n int, build func(i int) []byte) [][]byte {
	b.Helper()
	out := [][]byte{}
	for i := range n {
		out = append(out, build(i))
	}
	return out
}

// TestAllocations checks every entry point, in its usual case and for packets that are refused.
func TestAllocations(t *testing.T) {
	const runs = 200
	for _, p := range profiles {
		t.Run(p.String(), func(t *testing.T) {
			perMedia, perControl := 0.0, 0.0
			if p == AES128CMSHA180 && !ctr.Accelerated() {
				perMedia, perControl = 1, 3 // crypto/cipher's stream; and the expanded key
			}
			if p == AEADAES128GCM && gcm.Kernel() == "standard" {
				perControl = 4 // crypto/cipher's expanded key
			}
			ours, theirs := testKeys(p)
			s, o, peer := mustSealer(t, ours), mustOpener(t, ours), mustSealer(t, theirs)
			payload := make([]byte, benchPayload)
			header := rtpHeader(5, 0)
			frame := make([]byte, 0, 2000)

			// AllocsPerRun calls once more than it counts; one more makes the source known.
			media := prepared(t, runs+2, func(i int) []byte {
				return seal(peer, rtpHeader(5, uint16(i)), payload, uint64(i))
			})
			control := prepared(t, runs+2, func(int) []byte {
				return sealControlPacket(peer.SealRTCP, receiverReport(5))
			})
			toSealer := prepared(t, runs+2, func(i int) []byte { return bytes.Clone(control[i]) })
			forged := append(rtpHeader(5, 9000), make([]byte, 100)...)
			strange := append(rtpHeader(6, 9000), make([]byte, 100)...)
			replayed := bytes.Clone(media[0])
			var i, j, k, index int
			checks := []struct {
				name string
				max  float64
				f    func()
			}{
				{"SealRTP", perMedia, func() {
					s.SealRTP(append(frame, header...), len(header), payload, uint64(index))
					index++
				}},
				{"SealRTCP", perControl, func() { s.SealRTCP(append(frame, header...)) }},
				{"Opener.SealRTCP", perControl, func() { o.SealRTCP(append(frame, header...)) }},
				{"OpenRTP", perMedia, func() {
					if _, r := o.OpenRTP(media[i]); r != OpenOK {
						t.Fatal(r)
					}
					i++
				}},
				{"OpenRTCP", perControl, func() {
					if _, r := o.OpenRTCP(control[j]); r != OpenOK {
						t.Fatal(r)
					}
					j++
				}},
				{"Sealer.OpenRTCP", perControl, func() {
					if _, r := s.OpenRTCP(toSealer[k]); r != OpenOK {
						t.Fatal(r)
					}
					k++
				}},
				{"replayed", 0, func() { o.OpenRTP(replayed) }},
				{"forged", 0, func() { o.OpenRTP(forged) }},
				{"forged, unknown source", 0, func() { o.OpenRTP(strange) }},
			}
			for _, c := range checks {
				c.f()
				got := testing.AllocsPerRun(runs, c.f)
				t.Logf("%s: %v", c.name, got)
				if got > c.max {
					t.Errorf("%s: %v allocations, want at most %v", c.name, got, c.max)
				}
			}
		})
	}
}

func BenchmarkSealRTP(b *testing.B) {
	for _, p := range profiles {
		ours, _ := testKeys(p)
		payload := make([]byte, benchPayload)
		header := rtpHeader(5, 0)
		b.Run(p.String()+"/ours", func(b *testing.B) {
			s := mustSealer(b, ours)
			frame := append(make([]byte, 0, 2000), header...)
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			for i := range b.N {
				frame[2], frame[3] = byte(i>>8), byte(i)
				s.SealRTP(frame, len(header), payload, uint64(i))
			}
		})
		b.Run(p.String()+"/pion", func(b *testing.B) {
			c := pionContext(b, p, ours.LocalKey, ours.LocalSalt)
			packet := append(bytes.Clone(header), payload...)
			frame := make([]byte, 0, 2000)
			var h pionrtp.Header
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			for i := range b.N {
				packet[2], packet[3] = byte(i>>8), byte(i)
				if _, err := c.EncryptRTP(frame, packet, &h); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOpenRTP(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.String(), func(b *testing.B) {
			ours, theirs := testKeys(p)
			o, peer := mustOpener(b, ours), mustSealer(b, theirs)
			const n = 1 << 12
			payload := make([]byte, benchPayload)
			packets := prepared(b, n, func(i int) []byte {
				return seal(peer, rtpHeader(5, uint16(i)), payload, uint64(i))
			})
			buffer := make([]byte, 2000)
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			for i := range b.N {
				if i%n == 0 {
					o = mustOpener(b, ours)
				}
				if _, r := o.OpenRTP(buffer[:copy(buffer, packets[i%n])]); r != OpenOK {
					b.Fatal(r)
				}
			}
		})
	}
}

func BenchmarkSealRTCP(b *testing.B) {
	for _, p := range profiles {
		b.Run(p.String(), func(b *testing.B) {
			ours, _ := testKeys(p)
			s := mustSealer(b, ours)
			buffer := append(make([]byte, 0, 200), receiverReport(1)...)
			b.ReportAllocs()
			for range b.N {
				s.SealRTCP(buffer)
			}
		})
	}
}
