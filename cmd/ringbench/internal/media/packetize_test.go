package media

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"

	"ringcast/engine/rtp"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		size, most int
		want       []int
	}{
		{0, 10, nil},
		{1, 10, []int{1}},
		{10, 10, []int{10}},
		{11, 10, []int{5, 6}},
		{12, 10, []int{6, 6}},
		{20, 10, []int{10, 10}},
		{21, 10, []int{7, 7, 7}},
		{22, 10, []int{7, 7, 8}},
		{23, 10, []int{7, 8, 8}},
		{5, 1, []int{1, 1, 1, 1, 1}},
		// A frame of 2 Mbit/s at 30 frames a second.
		{8333, 1172, []int{1041, 1041, 1041, 1042, 1042, 1042, 1042, 1042}},
	} {
		if got := Split(nil, c.size, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%d by %d: %v, want %v", c.size, c.most, got, c.want)
		}
	}
	for size := range 3000 {
		parts := Split(nil, size, 100)
		sum := 0
		for i, n := range parts {
			sum += n
			if n > 100 || i > 0 && (n < parts[i-1] || n > parts[0]+1) {
				t.Fatalf("%d: %v", size, parts)
			}
		}
		if sum != size || len(parts) != (size+99)/100 {
			t.Fatalf("%d: %d bytes in %d parts", size, sum, len(parts))
		}
	}
}

// TestVP8 reassembles generated frames with pion's depacketizer.
func TestVP8(t *testing.T) {
	const most = 500
	source := NewVideo(VideoConfig{Codec: rtp.VP8, Bitrate: 1_000_000, FrameRate: 30, Keyframe: time.Second, Seed: 7})
	p := NewPacketizer(rtp.VP8, most)
	total := 0
	last := uint16(0)
	for n := range 90 {
		f := source.Next(keyframeIf(n == 45))
		if want := n%30 == 0 && n < 45 || n == 45 || n == 75; f.Key != want {
			t.Errorf("frame %d: key %v", n, f.Key)
		}
		total += len(f.Units[0])
		var frame []byte
		for i, payload := range p.Packets(f) {
			if len(payload) > most {
				t.Errorf("frame %d: a payload of %d bytes", n, len(payload))
			}
			var d codecs.VP8Packet
			b, err := d.Unmarshal(payload)
			if err != nil {
				t.Fatal(err)
			}
			if (d.S == 1) != (i == 0) || d.I != 1 || n > 0 && i == 0 && d.PictureID != last+1 ||
				i > 0 && d.PictureID != last {
				t.Errorf("frame %d, payload %d: %+v after picture %d", n, i, d, last)
			}
			last = d.PictureID
			if got := rtp.ContentOf(rtp.VP8, payload).Starts(); got != (f.Key && i == 0) {
				t.Errorf("frame %d, payload %d: starts a keyframe: %v", n, i, got)
			}
			frame = append(frame, b...)
		}
		if !bytes.Equal(frame, f.Units[0]) {
			t.Fatalf("frame %d came out otherwise", n)
		}
	}
	if want := 3 * 1_000_000 / 8; total < want-2 || total > want {
		t.Errorf("3 s are %d bytes, want %d", total, want)
	}
}

func TestH264(t *testing.T) {
	unit := append([]byte{0x65}, bytes.Repeat([]byte{0x88, 1, 2, 3}, 600)...)
	small := []byte{0x67, 0x42, 0xE0, 0x1F}
	payloads := NewPacketizer(rtp.H264, 1000).Packets(Frame{Units: [][]byte{{9, 0xF0}, small, unit}})
	if len(payloads) != 4 || !bytes.Equal(payloads[0], small) {
		t.Fatalf("%d payloads, the first % x", len(payloads), payloads[0])
	}
	var lengths []int
	var d codecs.H264Packet
	var out []byte
	for _, payload := range payloads {
		lengths = append(lengths, len(payload))
		b, err := d.Unmarshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, b...)
	}
	if want := []int{4, 802, 802, 802}; !slices.Equal(lengths, want) {
		t.Errorf("payloads of %v bytes, want %v", lengths, want)
	}
	code := []byte{0, 0, 0, 1}
	if want := slices.Concat(code, small, code, unit); !bytes.Equal(out, want) {
		t.Error("the units came out otherwise")
	}
}

func TestStamp(t *testing.T) {
	for _, c := range []rtp.Codec{rtp.VP8, rtp.Opus} {
		payload := bytes.Repeat([]byte{0x5A}, 80)
		if _, f := ReadStamp(c, payload); f != Unstamped {
			t.Errorf("%v: without a stamp, got %v, want %v", c, f, Unstamped)
		}
		want := Stamp{Count: 1<<40 + 3, Due: time.Unix(1_700_000_000, 123_456_789)}
		PutStamp(c, payload, want)
		got, f := ReadStamp(c, payload)
		if f != Intact || got.Count != want.Count || !got.Due.Equal(want.Due) {
			t.Errorf("%v: got %+v, %v; want %+v, %v", c, got, f, want, Intact)
		}
		payload[2]++ // VP8's picture ID, which a server may change
		if _, f := ReadStamp(c, payload); (f == Intact) != (c == rtp.VP8) {
			t.Errorf("%v: descriptor changed: got %v", c, f)
		}
		payload[2]--
		payload[20]++
		if _, f := ReadStamp(c, payload); f != Damaged {
			t.Errorf("%v: damaged: got %v, want %v", c, f, Damaged)
		}
	}
	PutStamp(rtp.VP8, make([]byte, StampLen+3), Stamp{}) // too short: stays as it is
	if _, f := ReadStamp(rtp.VP8, make([]byte, 3)); f != Unstamped {
		t.Errorf("a stamp in 3 bytes: got %v, want %v", f, Unstamped)
	}
}

// TestRecut reads stamps as a server leaves them that puts frames together and splits them in its own way.
func TestRecut(t *testing.T) {
	payload := bytes.Repeat([]byte{0x5A}, 400)
	PutStamp(rtp.VP8, payload, Stamp{Count: 5, Due: time.Unix(1, 2)})
	frame := payload[vp8Descriptor:]
	descriptor := []byte{0x10}
	for _, c := range []struct {
		name    string
		payload []byte
		damage  int // the offset of a byte to damage, 0 for none
		want    Finding
	}{
		{"a shorter descriptor", slices.Concat(descriptor, frame), 0, Recut},
		{"the end of another packet before it", slices.Concat(descriptor, frame[:100], frame), 0, Recut},
		{"only the end", slices.Concat(descriptor, frame[200:]), 0, Recut},
		{"damage in front of it", slices.Concat(descriptor, frame[:100], frame), 50, Recut},
		{"damage", slices.Concat(descriptor, frame[:100], frame), 200, Damaged},
		{"without the end", slices.Concat(descriptor, frame[:300]), 0, Unstamped},
	} {
		if c.damage > 0 {
			c.payload[c.damage]++
		}
		s, f := ReadStamp(rtp.VP8, c.payload)
		if f != c.want || f == Recut && !s.Due.Equal(time.Unix(1, 2)) {
			t.Errorf("%s: got %v of %v, want %v", c.name, f, s.Due, c.want)
		}
	}
}

func FuzzReadStamp(f *testing.F) {
	payload := bytes.Repeat([]byte{0x5A}, 80)
	PutStamp(rtp.VP8, payload, Stamp{Count: 7, Due: time.Unix(1_700_000_000, 0)})
	f.Add(payload)
	f.Add(payload[:StampLen])
	f.Add(payload[len(payload)-StampLen:])
	f.Add(payload[20:])
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, c := range []rtp.Codec{rtp.VP8, rtp.Opus} {
			s, finding := ReadStamp(c, payload)
			if finding != Intact {
				continue
			}
			again := bytes.Clone(payload)
			if PutStamp(c, again, s); !bytes.Equal(again, payload) {
				t.Error("written again it is another")
			}
		}
	})
}

// TestGenerated reads the sizes of generated keyframes, and finds no keyframe in other frames.
func TestGenerated(t *testing.T) {
	for _, codec := range []rtp.Codec{rtp.VP8, rtp.H264} {
		for _, size := range [][2]int{{1280, 720}, {640, 360}, {320, 180}, {1920, 1080}} {
			source := NewVideo(VideoConfig{
				Codec: codec, Width: size[0], Height: size[1], Bitrate: 1_000_000, FrameRate: 30, Keyframe: time.Second,
			})
			p := NewPacketizer(codec, 1000)
			for n := range 40 {
				f := source.Next(AnyFrame)
				var content rtp.Content
				var got [2]int
				for _, payload := range p.Packets(f) {
					content |= rtp.ContentOf(codec, payload)
					if width, height := rtp.PictureSize(codec, payload); width > 0 {
						got = [2]int{width, height}
					}
				}
				if content.Starts() != f.Key || f.Key && got != size {
					t.Errorf("%v, frame %d: size %v, starts %t; want %v, %t",
						codec, n, got, content.Starts(), size, f.Key)
				}
			}
		}
	}
}

// TestLayerStamps keeps a layer beside the count.
func TestLayerStamps(t *testing.T) {
	payload := make([]byte, 100)
	PutStamp(rtp.VP8, payload, Stamp{Layer: 2, Count: 1<<56 + 7, Due: time.Unix(1, 2)})
	s, f := ReadStamp(rtp.VP8, payload)
	if f != Intact || s.Layer != 2 || s.Count != 7 || !s.Due.Equal(time.Unix(1, 2)) {
		t.Errorf("got %+v, %v; want layer 2, count 7, %v", s, f, Intact)
	}
}
