package rtp

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// recordings are the packets of real encoders and payloaders for a picture of 64 by 64 pixels. 16 bits of length
// precede each packet in a file. FFmpeg 5.1 made those named after it:
//
//	ffmpeg -f lavfi -i testsrc2=size=64x64:rate=10 -t 0.9 -c:v libx264 -qp 40 -preset ultrafast
//	  -tune zerolatency -g 4 -x264-params repeat-headers=0 -flags +global_header -f rtp …
//
// GStreamer 1.22 made one with x264enc and rtph264pay config-interval=0 aggregate-mode=zero-latency. The AV1 recording
// is from libaom and pion's payloader.
var recordings = []struct {
	name  string
	codec Codec
	// frames are the contents of the frames in order.
	frames []Content
}{
	{"h264-ffmpeg", H264, []Content{HasKey, 0, 0, 0, HasKey, 0, 0, 0, HasKey}}, // its sets are in SDP only
	{"h264-gst", H264, []Content{HasSets | HasKey, 0, 0, 0, HasSets | HasKey, 0, 0, 0, HasSets | HasKey}},
	{"h264-intra-refresh", H264, []Content{
		HasSets | HasKey, 0, 0, 0, 0, 0, 0, 0, HasSets | HasKey, 0, 0, 0, 0, 0, 0, 0, HasSets | HasKey, 0, 0, 0,
	}},
	{"h265-ffmpeg", H265, []Content{HasKey, 0, 0, 0, HasKey, 0, 0, 0, HasKey}},
	{"vp9-ffmpeg", VP9, []Content{HasKey, 0, 0, 0, HasKey, 0, 0, 0, HasKey}}, // P is never set
	{"av1-pion", AV1, []Content{
		HasSets | HasFrame | HasIntra, HasFrame, HasFrame, HasFrame, HasSets | HasFrame | HasIntra,
		HasFrame, HasFrame, HasFrame, HasSets | HasFrame | HasIntra,
	}},
}

// recorded reads a recording's packets.
func recorded(t testing.TB, name string) (packets [][]byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name+".rtp"))
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 2 {
		n := int(binary.BigEndian.Uint16(data))
		packets = append(packets, data[2:2+n])
		data = data[2+n:]
	}
	return packets
}

func TestContentOfRecordings(t *testing.T) {
	for _, c := range recordings {
		t.Run(c.name, func(t *testing.T) {
			var frames []Content
			var h Header
			last := uint32(0)
			for i, p := range recorded(t, c.name) {
				if !h.Parse(p, nil) {
					t.Fatalf("packet %d is not RTP", i)
				}
				if i == 0 || h.Timestamp != last {
					last = h.Timestamp
					frames = append(frames, 0)
				}
				frames[len(frames)-1] |= ContentOf(c.codec, p[h.HeaderLen:])
			}
			if !slices.Equal(frames, c.frames) {
				t.Errorf("frames hold %04b; expected %04b", frames, c.frames)
			}
		})
	}
}
