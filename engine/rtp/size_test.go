package rtp

import (
	"encoding/hex"
	"testing"
)

// Parameter sets and frame beginnings that x264, x265, libvpx and libaom wrote for pictures of known sizes.
const (
	sps1080       = "67640028acd940780227e5c044000003000400000300f03c60c658"
	sps1080i      = "67640028acd94078044fde0220000003002000000783e2c5b2c0"
	spsBaseline   = "6742c01eda0290bf889b0110000003001000000303c0f162ea"
	sps444        = "67f4001e919b281485fc7c5e0220000003002000000781e2c5b2c0"
	sps265        = "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000f04"
	sps265small   = "42010101600000030090000003000003003fa005120169c9596566924caf016808000003000800000300f040"
	frameVP9      = "824983420077f043762238241c184a1804f87fd5fa3e"
	frameVP9deep  = "924983420014080b2b051c120e0c2c0802d47fd1"
	sequenceAV1   = "0a0b00000042abbfc3732be401"
	sequence8AV1  = "080000000cc5036536be4010" // without a size of its own
	frameVP8      = "f0d4029d012a80073804008708858588858488"
	frameVP8small = "b0a6009d012a820266010007088585888584"
)

// pictures are payloads that start a keyframe, in hexadecimal digits, with the size in each.
var pictures = []struct {
	name          string
	codec         Codec
	payload       string
	width, height int
}{
	{"VP8", VP8, "10" + frameVP8, 1920, 1080},
	{"VP8, full descriptor", VP8, "90e091230520" + frameVP8small, 642, 358},
	{"VP8, scaled", VP8, "10" + "f0d4029d012a8047388400", 1920, 1080},
	{"VP8, cut short", VP8, "10" + frameVP8[:18], 0, 0},
	{"VP8, no start code", VP8, "10" + "f0d4029d012b80073804008708", 0, 0},
	{"VP8, inter", VP8, "10" + "f1d4029d012a80073804008708", 0, 0},
	{"VP9, frame header", VP9, "08" + frameVP9, 1920, 1080},
	{"VP9, profile 2", VP9, "08" + frameVP9deep, 642, 358},
	{"VP9, structure", VP9, "8b9123" + "18" + "014000f0" + "010401" + frameVP9, 320, 240},
	{
		"VP9, structure of three layers", VP9,
		"ab91230000" + "50" + "0140" + "00b4" + "0280" + "0168" + "0500" + "02d0" + frameVP9, 1280, 720,
	},
	{"VP9, structure without sizes", VP9, "8a9123" + "08" + "02" + "0401" + "00" + frameVP9, 1920, 1080},
	{"VP9, structure cut short", VP9, "8a9123" + "50" + "0140" + "00b4", 0, 0},
	{"VP9, group cut short", VP9, "8a9123" + "08" + "02" + "0c01", 0, 0},
	{"VP9, shown before", VP9, "08" + "88" + frameVP9[2:], 0, 0},
	{"H.264", H264, sps1080, 1920, 1080},
	{"H.264, interlaced", H264, sps1080i, 1920, 1080},
	{"H.264, baseline", H264, spsBaseline, 642, 358},
	{"H.264, 4:4:4", H264, sps444, 642, 358},
	{"H.264, aggregated", H264, "78" + "00020910" + "0019" + spsBaseline + "000468ce3c80", 642, 358},
	{"H.264, aggregated with order", H264, "79" + "0001" + "001b" + sps1080, 1920, 1080},
	{"H.264, cut short", H264, sps1080[:18], 0, 0},
	{"H.264, slice", H264, "65b8000400", 0, 0},
	{"H.265", H265, sps265, 1920, 1080},
	{"H.265, aggregated", H265, "6001" + "000440010c01" + "002c" + sps265small, 642, 358},
	{"H.265, cut short", H265, sps265[:44], 0, 0},
	{"H.265, VPS", H265, "40010c01ffff", 0, 0},
	{"AV1", AV1, "18" + sequenceAV1, 1920, 1080},
	{"AV1, with a length", AV1, "28" + "0c" + sequence8AV1 + "320101", 642, 358},
	{"AV1, all with lengths", AV1, "08" + "0d" + sequenceAV1 + "02" + "3201", 1920, 1080},
	{"AV1, not first", AV1, "28" + "02" + "2a00" + sequenceAV1, 1920, 1080},
	{"AV1, continued", AV1, "98" + sequenceAV1, 0, 0},
	{"AV1, cut short", AV1, "18" + sequenceAV1[:12], 0, 0},
	{"AV1, frame alone", AV1, "10" + "32e52100", 0, 0},
	{"Opus", Opus, "fc010203", 0, 0},
}

func TestPictureSize(t *testing.T) {
	for _, x := range pictures {
		if w, h := PictureSize(x.codec, unhex(t, x.payload)); w != x.width || h != x.height {
			t.Errorf("%s: %d x %d; want %d x %d", x.name, w, h, x.width, x.height)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The size of any payload lies in the range of pictures or is unknown, and looking costs no memory.
func FuzzPictureSize(f *testing.F) {
	for _, x := range pictures {
		f.Add(uint8(x.codec), unhex(f, x.payload))
	}
	f.Fuzz(func(t *testing.T, codec uint8, payload []byte) {
		w, h := PictureSize(Codec(codec), payload)
		if w < 0 || h < 0 || w > 1<<16 || h > 1<<16 || (w == 0) != (h == 0) {
			t.Errorf("a picture of %d x %d", w, h)
		}
	})
}

func TestPictureSizeAllocations(t *testing.T) {
	for _, x := range pictures {
		payload := unhex(t, x.payload)
		if n := testing.AllocsPerRun(20, func() { PictureSize(x.codec, payload) }); n != 0 {
			t.Errorf("%s: %v allocations", x.name, n)
		}
	}
}
