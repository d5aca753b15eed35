package frame

import (
	"math"
	"testing"
	"time"

	"ringcast/engine/port"
)

// benchPayload is a video packet of 1,200 bytes with its extensions and tag.
const benchPayload = 1230

// BenchmarkPut is the headers of one packet, the frames lying as far apart as a UMEM's chunks.
func BenchmarkPut(b *testing.B) {
	for _, c := range []struct {
		name string
		path port.Path
		opt  Options
	}{
		{"IPv4", path4, Options{}},
		{"IPv4Checksum4Off", path4, Options{Checksum4Off: true}},
		{"IPv6", path6, Options{}},
	} {
		b.Run(c.name, func(b *testing.B) {
			const chunks, chunkSize = 8, 2048
			memory := make([]byte, chunks*chunkSize)
			for i := range memory {
				memory[i] = byte(i * 7)
			}
			tpl := Make(ourMAC, peerMAC, c.path, ourPort, c.opt)
			b.ReportAllocs()
			for i := uint32(0); b.Loop(); i++ {
				at := int(i) % chunks * chunkSize
				tpl.Put(memory[at:at+chunkSize], benchPayload, i)
			}
		})
	}
}

// BenchmarkChecksum4 prints the cost of a packet's UDP checksum over IPv4. It alternates short rows with and without
// the checksum, and compares the fastest of each.
func BenchmarkChecksum4(b *testing.B) {
	const row = 256
	chunk := make([]byte, Headroom+benchPayload)
	templates := [2]Template{
		Make(ourMAC, peerMAC, path4, ourPort, Options{Checksum4Off: true}),
		Make(ourMAC, peerMAC, path4, ourPort, Options{}),
	}
	fastest := [2]time.Duration{math.MaxInt64, math.MaxInt64}
	for b.Loop() {
		for i := range templates {
			begun := time.Now()
			for id := range uint32(row) {
				templates[i].Put(chunk, benchPayload, id)
			}
			fastest[i] = min(fastest[i], time.Since(begun))
		}
	}
	b.ReportMetric(float64(fastest[1]-fastest[0])/row, "ns/checksum")
}

func BenchmarkParse(b *testing.B) {
	for _, path := range []port.Path{path4, path6} {
		tpl := Make(ourMAC, peerMAC, path, ourPort, Options{})
		f := put(&tpl, make([]byte, benchPayload), 0)
		b.Run(map[bool]string{true: "IPv4", false: "IPv6"}[path.Local.Is4()], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Parse(f, "v")
			}
		})
	}
}

func BenchmarkMake(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Make(ourMAC, peerMAC, path6, ourPort, Options{})
	}
}
