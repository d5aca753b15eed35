package media

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"ringcast/engine/rtp"
	"ringcast/testenv"
)

// page makes an Ogg page of one stream.
func page(flags byte, serial uint32, packets ...[]byte) []byte {
	head := make([]byte, oggHeader)
	copy(head, "OggS")
	head[5] = flags
	binary.LittleEndian.PutUint32(head[14:], serial)
	var table, body []byte
	for _, p := range packets {
		body = append(body, p...)
		for n := len(p); ; n -= 255 {
			table = append(table, byte(min(n, 255)))
			if n < 255 {
				break
			}
		}
	}
	head[26] = byte(len(table))
	return slices.Concat(head, table, body)
}

func oggFile() []byte {
	long := append([]byte{0xFC}, make([]byte, 599)...)
	first := page(2, 5, []byte("OpusHead........"))
	tags := page(0, 5, []byte("OpusTags"))
	// Two packets and the beginning of a third, which goes on on the next page.
	split := page(0, 5, []byte{0xF8, 1}, []byte{0xF9, 1, 2}, long[:510])
	split = append(split[:oggHeader+4], split[oggHeader+5:]...) // without the lacing of 0 that ends it
	split[26]--
	return slices.Concat(first, page(2, 9, []byte("another")), tags, split, page(1, 5, long[510:]))
}

func TestOgg(t *testing.T) {
	f, err := Parse(oggFile(), 0)
	if err != nil {
		t.Fatal(err)
	}
	var lengths []int
	var durations []time.Duration
	for _, x := range f.frames {
		lengths = append(lengths, len(x.Units[0]))
		durations = append(durations, x.Duration)
	}
	if want := []int{2, 3, 600}; !slices.Equal(lengths, want) {
		t.Errorf("packets of %v bytes, want %v", lengths, want)
	}
	if want := []time.Duration{
		20 * time.Millisecond, 40 * time.Millisecond,
		20 * time.Millisecond,
	}; !slices.Equal(durations, want) {
		t.Errorf("durations %v, want %v", durations, want)
	}
}

func TestOpusDuration(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		packet []byte
		want   time.Duration // 0 for an error
	}{
		{nil, 0},
		{[]byte{0}, 10 * ms},
		{[]byte{3 << 3}, 60 * ms},
		{[]byte{3<<3 | 1}, 120 * ms},
		{[]byte{12 << 3}, 10 * ms},
		{[]byte{15 << 3}, 20 * ms},
		{[]byte{16 << 3}, 2500 * time.Microsecond},
		{[]byte{31<<3 | 2}, 40 * ms},
		{[]byte{31<<3 | 3, 6}, 120 * ms},
		{[]byte{31<<3 | 3, 7}, 0},
		{[]byte{31<<3 | 3, 0}, 0},
		{[]byte{31<<3 | 3}, 0},
	} {
		got, err := opusDuration(c.packet)
		if (err != nil) != (c.want == 0) || err == nil && got != c.want {
			t.Errorf("% x: %v, %v; want %v", c.packet, got, err, c.want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	ogg := oggFile()
	for name, data := range map[string][]byte{
		"empty":            {},
		"text":             []byte("hello"),
		"ogg, cut":         ogg[:len(ogg)-1],
		"ogg, header only": ogg[:oggHeader],
		"ogg, not opus":    page(2, 5, []byte("vorbis")),
		"ivf, cut":         []byte("DKIF\x00\x00\x20\x00VP80"),
		"h264, empty":      {0, 0, 0, 1},
		"h264, no frame":   {0, 0, 0, 1, 0x67, 1, 2, 3},
	} {
		if _, err := Parse(data, 30); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none"), 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// TestFFmpegFiles parses files of ffmpeg's test sources: two seconds at 25 frames a second with a keyframe each second.
func TestFFmpegFiles(t *testing.T) {
	testenv.Need(t, testenv.FFmpeg)
	for _, c := range []struct {
		name  string
		codec rtp.Codec
		args  []string
	}{
		{"a.ivf", rtp.VP8, []string{"-c:v", "libvpx", "-deadline", "realtime", "-g", "25"}},
		{"b.ivf", rtp.VP9, []string{"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "25"}},
		{"c.h264", rtp.H264, []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"}},
	} {
		t.Run(c.codec.String(), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), c.name)
			testenv.TestSource(t, path, 2*time.Second, c.args...)
			f, err := Open(path, 25)
			if err != nil {
				t.Fatal(err)
			}
			if f.Codec() != c.codec {
				t.Errorf("codec %v", f.Codec())
			}
			var keys []int
			for i, x := range f.frames {
				if x.Key {
					keys = append(keys, i)
				}
				if d := x.Duration; d < 39*time.Millisecond || d > 41*time.Millisecond {
					t.Errorf("frame %d lasts %v", i, d)
				}
			}
			if len(f.frames) != 50 || !slices.Equal(keys, []int{0, 25}) {
				t.Errorf("%d frames, keyframes %v", len(f.frames), keys)
			}
			// Keyframe goes back to the last keyframe, the end to the beginning.
			s := f.Source()
			for range 30 {
				s.Next(AnyFrame)
			}
			if x := s.Next(Keyframe); !x.Key || &x.Units[0][0] != &f.frames[25].Units[0][0] {
				t.Errorf("got a frame of %d bytes, key %v; want the last keyframe", len(x.Units[0]), x.Key)
			}
			for range 24 {
				s.Next(AnyFrame)
			}
			if x := s.Next(AnyFrame); &x.Units[0][0] != &f.frames[0].Units[0][0] {
				t.Errorf("got a frame of %d bytes after the end, want the first", len(x.Units[0]))
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(oggFile())
	f.Add([]byte("DKIF\x00\x00\x20\x00VP80\x10\x00\x10\x00\x1e\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00" +
		"\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x02\x00\x9d\x01\x2a\x10\x00\x10\x00"))
	f.Add([]byte("\x00\x00\x00\x01\x67\x42\xe0\x1f\x00\x00\x00\x01\x68\xce\x00\x00\x01\x65\x88\x84\x00\x00\x00\x01\x41\x9a\x24"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data, 30)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Errorf("%v does not wrap ErrFile", err)
			}
			return
		}
		s, p := file.Source(), NewPacketizer(file.Codec(), 200)
		for i := range min(2*len(file.frames), 100) {
			x := s.Next(keyframeIf(i%7 == 3))
			if x.Duration <= 0 {
				t.Fatalf("frame %d lasts %v", i, x.Duration)
			}
			for _, payload := range p.Packets(x) {
				if file.Codec() != rtp.Opus && len(payload) > 200 {
					t.Fatalf("a payload of %d bytes", len(payload))
				}
			}
		}
	})
}

func keyframeIf(is bool) Want {
	if is {
		return Keyframe
	}
	return AnyFrame
}
