package frame

import (
	"testing"

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
		{"IPv4Checksum", path4, Options{Checksum: true}},
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
