package rtp

import (
	"bytes"
	"testing"

	pion "github.com/pion/rtp"
)

var testMap = ExtensionMap{
	MID: 1, RID: 2, RepairedRID: 3, TransportSequence: 4, AudioLevel: 14, VideoOrientation: 15, PlayoutDelay: 200,
	ColorSpace: 255,
}

// packet puts an extension block between a fixed header and a payload.
func packet(first byte, block []byte, payload ...byte) []byte {
	b := make([]byte, HeaderLen)
	FixedHeader{
		Marker: true, Extension: block != nil, PayloadType: 111, Sequence: 0xABCD, Timestamp: 0x01020304,
		SSRC: 0xDEADBEEF,
	}.Put(b)
	b[0] |= first
	for range first & 0x0F {
		b = append(b, 0xC5, 0xC5, 0xC5, 0xC5)
	}
	return append(append(b, block...), payload...)
}

func TestFixedHeader(t *testing.T) {
	for _, marker := range []bool{false, true} {
		for _, extension := range []bool{false, true} {
			var b [HeaderLen + 4]byte
			FixedHeader{
				Marker: marker, Extension: extension, PayloadType: 96, Sequence: 65535, Timestamp: 1 << 31, SSRC: 7,
			}.Put(b[:])
			var p pion.Header
			if _, err := p.Unmarshal(b[:]); err != nil {
				t.Fatal(err)
			}
			if p.Version != 2 || p.Marker != marker || p.Extension != extension || p.PayloadType != 96 ||
				p.SequenceNumber != 65535 || p.Timestamp != 1<<31 || p.SSRC != 7 || p.Padding || len(p.CSRC) != 0 {
				t.Errorf("wrote %v", p)
			}
		}
	}
}

func TestParse(t *testing.T) {
	data := packet(0, nil, 1, 2, 3)
	var h Header
	if !h.Parse(data, &testMap) {
		t.Fatal("does not parse")
	}
	want := Header{
		Marker: true, PayloadType: 111, Sequence: 0xABCD, Timestamp: 0x01020304, SSRC: 0xDEADBEEF, HeaderLen: 12,
	}
	if h != want {
		t.Errorf("got %+v", h)
	}
	if !h.Parse(packet(3, nil, 1), nil) || h.HeaderLen != 24 {
		t.Errorf("contributing sources: %+v", h)
	}
	for version := range byte(4) {
		data[0] = version << 6
		if h.Parse(data, nil) != (version == 2) {
			t.Errorf("version %d", version)
		}
	}
	if h.Parse(make([]byte, maxPacket+1), nil) {
		t.Error("longer than UDP")
	}
}

func TestExtensions(t *testing.T) {
	type values map[Extension]string
	for _, c := range []struct {
		name  string
		block []byte
		ok    bool
		want  values
	}{
		{"empty", []byte{0xBE, 0xDE, 0, 0}, true, values{}},
		{"one byte form", []byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0x41, 1, 2, 0xE0, 0x55, 0}, true, values{
			MID: "0", TransportSequence: "\x01\x02", AudioLevel: "\x55",
		}},
		{"padding between", []byte{0xBE, 0xDE, 0, 3, 0, 0, 0x10, '0', 0, 0, 0, 0x41, 1, 2, 0, 0}, true, values{
			MID: "0", TransportSequence: "\x01\x02",
		}},
		{
			"16 bytes", append([]byte{0xBE, 0xDE, 0, 5, 0x2F}, "0123456789abcdef\x00\x00\x00"...), true,
			values{RID: "0123456789abcdef"},
		},
		{"15 ends", []byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0xF1, 1, 2, 0x20, 'r', 0}, true, values{MID: "0"}},
		{
			"padding with a length ends",
			[]byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0x01, 1, 2, 0x20, 'r', 0},
			true,
			values{MID: "0"},
		},
		{"first counts", []byte{0xBE, 0xDE, 0, 1, 0x10, 'a', 0x10, 'b'}, true, values{MID: "a"}},
		{"unknown number", []byte{0xBE, 0xDE, 0, 1, 0x90, 'a', 0x10, 'b'}, true, values{MID: "b"}},
		{"one byte too long", []byte{0xBE, 0xDE, 0, 1, 0x10, 'a', 0x11, 'b'}, false, nil},
		{"ends after its header", []byte{0xBE, 0xDE, 0, 1, 0x10, 'a', 0, 0x10}, false, nil},
		{"block too long", []byte{0xBE, 0xDE, 0, 2, 0x10, 'a', 0, 0}, false, nil},
		{"block without length", []byte{0xBE, 0xDE, 0}, false, nil},
		{"two byte form", []byte{0x10, 0, 0, 4, 1, 1, '0', 4, 2, 1, 2, 200, 3, 7, 8, 9, 255, 0, 15, 0}, true, values{
			MID: "0", TransportSequence: "\x01\x02", PlayoutDelay: "\x07\x08\x09", ColorSpace: "", VideoOrientation: "",
		}},
		{"two byte form, application's bits", []byte{0x10, 0x0F, 0, 1, 0, 1, 1, 'x'}, true, values{MID: "x"}},
		{"two byte form, padding", []byte{0x10, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0}, true, values{MID: ""}},
		{
			"two byte form, long", append([]byte{0x10, 0, 0, 65, 1, 255}, make([]byte, 258)...), true,
			values{MID: string(make([]byte, 255))},
		},
		{"two byte form, too long", []byte{0x10, 0, 0, 1, 1, 3, 1, 2}, false, nil},
		{"two byte form, no length", []byte{0x10, 0, 0, 1, 1, 1, 'a', 1}, false, nil},
		{"another profile", []byte{0x12, 0x34, 0, 1, 0x10, 'a', 0x10, 'a'}, true, values{}},
		{"encrypted (RFC 9335)", []byte{0xC0, 0xDE, 0, 1, 0x10, 'a', 0x10, 'a'}, true, values{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, sources := range []byte{0, 1, 15} {
				data := packet(sources, c.block)
				if c.ok {
					data = append(data, "payload"...)
				}
				var h Header
				if got := h.Parse(data, &testMap); got != c.ok {
					t.Fatalf("got %v", got)
				}
				if !c.ok {
					continue
				}
				if string(data[h.HeaderLen:]) != "payload" {
					t.Errorf("payload at %d", h.HeaderLen)
				}
				for e := range NumExtensions {
					got, ok := h.Value(data, e)
					want, wanted := c.want[e]
					if ok != wanted || string(got) != want {
						t.Errorf("%s: %q, %v; want %q, %v", e.URI(), got, ok, want, wanted)
					}
				}
				if !h.Parse(data, nil) || h.Extensions != [NumExtensions]Span{} {
					t.Error("without a map")
				}
			}
		})
	}
}

// TestExtensionAbsent checks that number 0, which stands for "not negotiated", matches nothing.
func TestExtensionAbsent(t *testing.T) {
	var h Header
	if !h.Parse(packet(0, []byte{0xBE, 0xDE, 0, 1, 0, 0, 0, 0}), &ExtensionMap{}) ||
		h.Extensions != [NumExtensions]Span{} {
		t.Errorf("got %+v", h)
	}
}

func TestTruncated(t *testing.T) {
	whole := packet(2, []byte{0xBE, 0xDE, 0, 3, 0x10, '0', 0x41, 1, 2, 0xE0, 0x55, 0, 0x2F, 0, 0, 0}[:12], 1)
	two := packet(0, []byte{0x10, 0, 0, 2, 1, 2, 'a', 'b', 4, 2, 1, 2})
	for _, data := range [][]byte{whole, two} {
		var full Header
		full.Parse(data, &testMap)
		for n := range data {
			var h Header
			if h.Parse(data[:n:n], &testMap) && h.HeaderLen > n {
				t.Errorf("%d bytes: header of %d", n, h.HeaderLen)
			}
			// Values of the whole packet must not be taken from a packet that was cut.
			for e := range NumExtensions {
				full.Value(data[:n:n], e)
			}
			full.PaddingLen(data[:n:n])
		}
	}
}

// TestPaddingLen tries every count on payloads of many lengths.
func TestPaddingLen(t *testing.T) {
	for n := range 300 {
		for count := range 256 {
			data := packet(0x20, nil, make([]byte, n)...)
			if n > 0 {
				data[len(data)-1] = byte(count)
			}
			var h Header
			if !h.Parse(data, nil) || !h.Padding {
				t.Fatal("does not parse")
			}
			got, ok := h.PaddingLen(data)
			want := n > 0 && count > 0 && count <= n
			if ok != want || ok && got != count {
				t.Fatalf("count %d in %d bytes: %d, %v", count, n, got, ok)
			}
		}
	}
	var h Header
	data := packet(0, nil, 1, 2, 255)
	if h.Parse(data, nil); h.Padding {
		t.Fatal("padding")
	}
	if n, ok := h.PaddingLen(data); n != 0 || !ok {
		t.Errorf("without padding: %d, %v", n, ok)
	}
}

func TestDemux(t *testing.T) {
	for second := range 256 {
		data := append([]byte{0x80, byte(second)}, make([]byte, 10)...)
		control := second >= 192 && second <= 223
		if IsRTCP(data) != control {
			t.Errorf("%d: %v", second, IsRTCP(data))
		}
		for _, n := range []int{0, 1, 7} {
			if IsRTCP(data[:n]) {
				t.Errorf("%d bytes", n)
			}
		}
		if IsRTCP(data[:8]) != control {
			t.Errorf("%d: shortest", second)
		}
		data[0] = 0x40
		if IsRTCP(data) {
			t.Error("version 1")
		}
	}
}

func TestUnwrapper(t *testing.T) {
	var u Unwrapper
	if u.Peek(65535) != 1<<16+65535 || u.highest != 0 {
		t.Error("first Peek")
	}
	const start = 1 << 16
	for i, c := range []struct {
		seq  uint16
		want uint64
	}{
		{10, start + 10},
		{9, start + 9},
		{65535, start - 1},
		{65535, start - 1},
		{32777, start + 32777},
		{10, start + 10},
		{9, start + 9}, // exactly half the range before
		{8, 2*start + 8},
		{65535, 2*start - 1},
		{32776, start + 32776},
		{32775, 2*start + 32775},
		{0, 3 * start},
	} {
		if got := u.Peek(c.seq); got != c.want {
			t.Errorf("%d: peeking at %d gives %d, want %d", i, c.seq, got, c.want)
		}
		if got := u.Unwrap(c.seq); got != c.want {
			t.Errorf("%d: unwrapping %d gives %d, want %d", i, c.seq, got, c.want)
		}
	}
	u = Unwrapper{}
	for i := range uint64(1 << 18) {
		want := i*7 + 65530 + start
		if got := u.Unwrap(uint16(want)); got != want {
			t.Fatalf("in order: %d, want %d", got, want)
		}
		if old := want - 30000 - i%2768; old > start && i > 5000 {
			if got := u.Unwrap(uint16(old)); got != old {
				t.Fatalf("late: %d, want %d", got, old)
			}
		}
	}
}

func TestAllocations(t *testing.T) {
	data := packet(2, []byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0x41, 1, 2, 0xE0, 0x55, 0}, 1, 2, 3)
	var h Header
	var u Unwrapper
	vp8 := []byte{0x90, 0xF0, 0x80, 0, 0, 0, 0, 1}
	stap := []byte{24, 0, 2, 1, 2, 0, 3, 0x67, 1, 2}
	for name, f := range map[string]func(){
		"Parse": func() { h.Parse(data, &testMap); h.Value(data, MID); h.PaddingLen(data) },
		"FixedHeader.Put": func() {
			FixedHeader{Marker: true, Extension: true, PayloadType: 96, Sequence: 1, Timestamp: 2, SSRC: 3}.Put(data)
		},
		"Unwrap":    func() { u.Unwrap(77) },
		"PictureID": func() { p, _ := ParsePictureID(VP8, vp8); p.Patch(vp8, 3, 4) },
		"ContentOf": func() { ContentOf(VP8, vp8); ContentOf(H264, stap); ContentOf(H265, stap); ContentOf(AV1, stap) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzParse compares with pion.
func FuzzParse(f *testing.F) {
	f.Add(packet(0, nil, 1, 2, 3))
	f.Add(packet(2, []byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0x41, 1, 2, 0xE0, 0x55, 0}, 1))
	f.Add(packet(0x2F, []byte{0x10, 0, 0, 2, 1, 2, 'a', 'b', 4, 2, 1, 2}, 1, 2, 2))
	f.Add(packet(0, []byte{0xBE, 0xDE, 0, 2, 0x10, '0', 0xF1, 1, 2, 0x20, 'r', 0}))
	f.Add(packet(0, []byte{0x12, 0x34, 0, 0}))
	// An Opus packet and a VP8 packet as Chromium sends them: MID, transport sequence, send time.
	f.Add([]byte(
		"\x90\xef\x12\x34\x00\x0b\xb8\x00\x5a\x5a\x01\x02\xbe\xde\x00\x04\xe0\xff\x22\xab\xcd\xef\x31\x00\x07\x40\x30\x00\x00\x00\x00\x00\x78\x83",
	))
	f.Add([]byte(
		"\x90\x60\xff\xff\xff\xff\xf0\x00\x11\x22\x33\x44\xbe\xde\x00\x03\x22\x01\x02\x03\x31\x00\x08\x40\x31\x10\x80\x00\x90\xe0\x81\x02\x03\x20\x10\x02\x00\x9d\x01\x2a",
	))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h Header
		ok := h.Parse(data, &testMap)
		var p pion.Header
		n, err := p.Unmarshal(data)
		if len(data) < HeaderLen || len(data) > maxPacket || data[0]>>6 != 2 {
			if ok {
				t.Error("parsed")
			}
			return
		}
		// pion takes the two-byte form with application's bits for another profile.
		if p.Extension && p.ExtensionProfile != twoByteProfile &&
			p.ExtensionProfile&twoByteProfileMask == twoByteProfile {
			return
		}
		if ok != (err == nil) {
			t.Fatalf("we %v, pion %v", ok, err)
		}
		if !ok {
			return
		}
		if h.HeaderLen != n || h.Marker != p.Marker || h.PayloadType != p.PayloadType ||
			h.Sequence != p.SequenceNumber || h.Timestamp != p.Timestamp || h.SSRC != p.SSRC ||
			h.Padding != p.Padding {
			t.Fatalf("we %+v, pion %+v", h, p)
		}
		compareExtensions(t, &h, &p, data)
		var whole pion.Packet
		err = whole.Unmarshal(data)
		if pad, ok := h.PaddingLen(data); ok != (err == nil) || ok && len(whole.Payload) != len(data)-n-pad {
			t.Fatalf("padding: we %d, %v, pion %d, %v", pad, ok, whole.Header.PaddingSize, err)
		}
	})
}

// compareExtensions compares the values of data's extensions with pion's.
func compareExtensions(t *testing.T, h *Header, p *pion.Header, data []byte) {
	t.Helper()
	known := p.ExtensionProfile == oneByteProfile || p.ExtensionProfile == twoByteProfile
	for e := range NumExtensions {
		got, have := h.Value(data, e)
		var want []byte
		listed := false
		for _, id := range p.GetExtensionIDs() {
			listed = listed || id == testMap[e]
		}
		listed = listed && known && p.Extension
		if listed {
			want = p.GetExtension(testMap[e])
		}
		if have != listed || !bytes.Equal(got, want) {
			t.Fatalf("%s: we %x, %v, pion %x, %v", e.URI(), got, have, want, listed)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	data := packet(0, []byte{0xBE, 0xDE, 0, 3, 0x10, '0', 0x41, 1, 2, 0xE0, 0x55, 0x22, 1, 2, 3, 0}, 1)
	b.ReportAllocs()
	var h Header
	for range b.N {
		if !h.Parse(data, &testMap) {
			b.Fatal("does not parse")
		}
	}
}
