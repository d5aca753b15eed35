package rtp

import (
	"bytes"
	"strings"
	"testing"

	"github.com/pion/rtp/codecs"
)

// contents are payloads of every form in which a codec's frames begin or go on.
var contents = []struct {
	name    string
	codec   Codec
	payload string
	want    Content
}{
	// VP8: X N S PID | I L T K | picture ID | TL0PICIDX | TID KEYIDX | frame header with P last.
	{"key, plain descriptor", VP8, "\x10\x50\x4a\x00\x9d\x01\x2a\x80\x02\xe0\x01", HasKey},
	{"inter, plain descriptor", VP8, "\x10\x51\x4a\x00", 0},
	{"key, continued", VP8, "\x00\x50\x4a\x00\x9d", 0},
	{"key, second partition", VP8, "\x11\x50\x4a\x00\x9d", 0},
	{"key, as Chromium sends it", VP8, "\x90\xe0\x91\x23\x05\x20\x10\x02\x00\x9d\x01\x2a", HasKey},
	{"inter, as Chromium sends it", VP8, "\x90\xe0\x91\x24\x06\x20\x31\x02\x00", 0},
	{"key, 7-bit picture ID", VP8, "\x90\x80\x11\x10\x02\x00", HasKey},
	{"key, TL0PICIDX only", VP8, "\x90\x40\xff\x10\x02\x00", HasKey},
	{"key, KEYIDX only", VP8, "\x90\x10\x1f\x10\x02\x00", HasKey},
	{"key, X without fields", VP8, "\x90\x00\x10\x02\x00", HasKey},
	{"inter, all fields", VP8, "\xb0\xf0\x80\x00\x00\xe1\x11\x02", 0},
	{"key, all fields", VP8, "\xb0\xf0\x80\x00\x00\xe1\x10\x02", HasKey},
	{"descriptor only", VP8, "\x90\xe0\x91\x23\x05\x20", 0},

	// VP9: I P L F B E V Z | picture ID | TID U SID D | TL0PICIDX, if not flexible | ...
	{"key, no fields", VP9, "\x08\x82\x49\x83\x42", HasKey},
	{"inter, no fields", VP9, "\x48\x86\x00", 0},
	{"key, continued", VP9, "\x04\x01\x02", 0},
	{"key, as Chromium sends it", VP9, "\x8b\x91\x23\x18\x01\x40\x00\xf0\x01\x04\x01\x82\x49\x83\x42", HasKey},
	{"inter after a structure, as if key", VP9, "\x8b\x91\x23\x18\x01\x40\x00\xf0\x01\x04\x01\x86\x00", 0},
	{"key, structure of two layers", VP9, "\x0a\x30\x01\x40\x00\xf0\x02\x80\x01\xe0\x82", HasKey},
	{"key, empty structure", VP9, "\x0a\x00\x82", HasKey},
	{"structure cut short", VP9, "\x0a\x18\x01\x40\x00\xf0\xff\x0c\x01", 0},
	{"inter, as FFmpeg sends it", VP9, "\x08\x86\x00\x40", 0},
	{"key of profile 3", VP9, "\x08\xb1\x24\xc1", HasKey},
	{"inter of profile 3", VP9, "\x08\xb2\x24\xc1", 0},
	{"existing frame", VP9, "\x08\x88\x00", 0},
	{"existing frame of profile 3", VP9, "\x08\xb4\x00", 0},
	{"no frame marker", VP9, "\x08\x42\x49", 0},
	{"key, layers, not flexible", VP9, "\xaa\x91\x23\x00\x07\x18\x01\x40\x00\xf0\x00\x82\x49", HasKey},
	{"key, upper spatial layer", VP9, "\xa8\x91\x23\x03\x07\x82\x49", 0},
	{"key, upper temporal layer", VP9, "\xa8\x91\x23\x30\x07\x82\x49", HasKey},
	{"inter, layers", VP9, "\xe8\x91\x23\x00\x07\x82\x49", 0},
	{"key, layers, flexible", VP9, "\xb8\x91\x23\x00\x82\x49", HasKey},
	{"key, upper spatial layer, flexible", VP9, "\xb8\x11\x05\x82\x49", 0},
	{"inter, flexible with a difference", VP9, "\xf8\x91\x23\x00\x02\x86", 0},
	{"key, layers without picture ID", VP9, "\x28\x00\x07\x82", HasKey},

	// H.264: NAL units 1 slice, 5 IDR, 6 SEI, 7 SPS, 8 PPS, 9 delimiter; 24 STAP-A, 25 STAP-B, 28, 29 FU.
	{"SPS", H264, "\x67\x42\xe0\x1f", HasSets},
	{"PPS", H264, "\x68\xce\x3c\x80", HasSets},
	{"IDR", H264, "\x65\xb8\x00\x04", HasKey},
	{"IDR, later slice", H264, "\x65\x01\x6e\x00", 0},
	{"slice", H264, "\x41\x9a\x24\x6c", 0},
	{"intra slice", H264, "\x61\x88\x84\x00", HasIntra},
	{"intra slice, others may differ", H264, "\x61\xb8\x84\x00", HasIntra},
	{"intra slice, not the first", H264, "\x61\x0b\x84\x00", 0},
	{"recovery point", H264, "\x06\x06\x01\xc4\x80", HasKey},
	{"recovery point after another message", H264, "\x06\x01\x02\x00\x04\x06\x01\xc4\x80", HasKey},
	{"recovery point after an escaped message", H264, "\x06\x01\x04\x00\x00\x03\x01\x00\x06\x01\xc4\x80", HasKey},
	{"recovery point within another message", H264, "\x06\x05\x03\x06\x01\xc4\x80", 0},
	{"SEI cut short", H264, "\x06\xff\xff\xff\xff", 0},
	{"recovery point far inside", H264, "\x06\x05\x7f" + strings.Repeat("x", 0x7f) + "\x06\x01\xc4\x80", 0},
	{"recovery point behind", H264, "\x06\x05\x70" + strings.Repeat("x", 0x70) + "\x06\x01\xc4\x80", HasKey},
	{"SEI of no end", H264, "\x06\x05\xff\xff\xff\x06\x01", 0},
	{"delimiter", H264, "\x09\x10", 0},
	{"STAP-A of SPS and PPS", H264, "\x78\x00\x04\x67\x42\xe0\x1f\x00\x04\x68\xce\x3c\x80", HasSets},
	{
		"STAP-A of delimiter, PPS, IDR", H264, "\x78\x00\x02\x09\x10\x00\x04\x68\xce\x3c\x80\x00\x03\x65\xb8\x00",
		HasSets | HasKey,
	},
	{"STAP-A of slices", H264, "\x58\x00\x03\x41\x9a\x24\x00\x02\x41\x9a", 0},
	{"STAP-A of a header and IDR", H264, "\x78\x00\x01\x09\x00\x03\x65\xb8\x00", HasKey},
	{"STAP-A cut short before SPS", H264, "\x78\x00\x02\x09\x10\x00\x09\x67\x42", 0},
	{"STAP-A cut short after SPS", H264, "\x78\x00\x02\x67\x42\x00\x09\x65\xb8", HasSets},
	{"STAP-A with an empty unit", H264, "\x78\x00\x00\x00\x04\x67\x42\xe0\x1f", 0},
	{"STAP-B of SPS", H264, "\x79\x00\x01\x00\x04\x67\x42\xe0\x1f", HasSets},
	{"STAP-B of a slice", H264, "\x79\x00\x01\x00\x03\x41\x9a\x24", 0},
	{"FU-A, start of IDR", H264, "\x7c\x85\xb8\x00", HasKey},
	{"FU-A, start of later IDR slice", H264, "\x7c\x85\x01\x00", 0},
	{"FU-A, middle of IDR", H264, "\x7c\x05\xb8\x00", 0},
	{"FU-A, end of IDR", H264, "\x7c\x45\xb8\x00", 0},
	{"FU-A, start of SPS", H264, "\x7c\x87\x42\xe0", HasSets},
	{"FU-A, start of slice", H264, "\x5c\x81\x9a\x24", 0},
	{"FU-A, start of intra slice", H264, "\x7c\x81\x88\x84", HasIntra},
	{"FU-B, start of IDR", H264, "\x7d\x85\x00\x01\xb8\x00", HasKey},
	{"FU-B, middle of IDR", H264, "\x7d\x05\x00\x01\xb8\x00", 0},
	{"header only", H264, "\x65", 0},

	// H.265: NAL units 1 slice, 19 and 20 IDR, 21 CRA, 32 VPS, 33 SPS, 34 PPS, 35 delimiter, 39 SEI; 48
	// AP, 49 FU.
	{"VPS", H265, "\x40\x01\x0c\x01", HasSets},
	{"SPS", H265, "\x42\x01\x01\x01", HasSets},
	{"PPS", H265, "\x44\x01\xc1\x72", HasSets},
	{"IDR_W_RADL", H265, "\x26\x01\xaf\x08", HasKey},
	{"IDR_N_LP", H265, "\x28\x01\xaf\x08", HasKey},
	{"CRA", H265, "\x2a\x01\xaf\x08", HasKey},
	{"BLA_W_LP", H265, "\x20\x01\x80\x08", HasKey},
	{"IDR, later slice", H265, "\x26\x01\x2f\x08", 0},
	{"reserved IRAP", H265, "\x2c\x01\xaf\x08", 0},
	{"slice", H265, "\x02\x01\xd0\x09", 0},
	{"delimiter", H265, "\x46\x01\x50", 0},
	{"recovery point", H265, "\x4e\x01\x06\x01\xd0\x80", HasKey},
	{"other SEI", H265, "\x4e\x01\x05\x01\xd0\x80", 0},
	{"AP of parameter sets", H265, "\x60\x01\x00\x04\x40\x01\x0c\x01\x00\x04\x42\x01\x01\x01", HasSets},
	{"AP of delimiter and IDR", H265, "\x60\x01\x00\x03\x46\x01\x50\x00\x04\x26\x01\xaf\x08", HasKey},
	{"AP of slices", H265, "\x60\x01\x00\x04\x02\x01\xd0\x09\x00\x03\x02\x01\xd0", 0},
	{"FU, start of IDR", H265, "\x62\x01\x93\xaf\x08", HasKey},
	{"FU, middle of IDR", H265, "\x62\x01\x13\xaf\x08", 0},
	{"FU, start of slice", H265, "\x62\x01\x81\xd0\x09", 0},
	{"PACI", H265, "\x64\x01\x40\x01\x0c", 0},
	{"header only", H265, "\x26\x01", 0},

	// AV1: Z Y W W N. OBU types: 1 sequence header (0a, without its size 08), 3 frame header, 4 tile group, 5 metadata,
	// 6 frame (32, 30). Then show_existing_frame, frame_type, show_frame.
	{
		"sequence and keyframe, sizes twice", AV1, "\x00\x04\x0a\x02\x00\x00\x03\x32\x01\x10",
		HasSets | HasFrame | HasIntra,
	},
	{
		"sequence and keyframe, the last without length", AV1, "\x20\x02\x08\x00\x30\x10\xff",
		HasSets | HasFrame | HasIntra,
	},
	{
		"sequence and keyframe, three elements", AV1, "\x30\x02\x08\x00\x02\x28\x01\x30\x10\xff",
		HasSets | HasFrame | HasIntra,
	},
	{"sequence and keyframe, which goes on", AV1, "\x68\x02\x08\x00\x30\x10\xff", HasSets | HasFrame | HasIntra},
	{"sequence and keyframe's header", AV1, "\x20\x02\x08\x00\x18\x10\xff", HasSets | HasFrame | HasIntra},
	{"sequence and inter frame, N", AV1, "\x28\x02\x08\x00\x30\x30\xff", HasSets | HasFrame},
	{"sequence and intra-only frame", AV1, "\x28\x02\x08\x00\x30\x50\xff", HasSets | HasFrame},
	{"sequence and hidden keyframe", AV1, "\x28\x02\x08\x00\x30\x00\xff", HasSets | HasFrame},
	{"sequence and existing frame", AV1, "\x28\x02\x08\x00\x18\x90", HasSets | HasFrame},
	{"sequence and keyframe of an upper spatial layer", AV1, "\x28\x02\x08\x00\x34\x08\x10\xff", HasSets | HasFrame},
	{
		"sequence and keyframe of an upper temporal layer", AV1, "\x28\x02\x08\x00\x34\x20\x10\xff",
		HasSets | HasFrame | HasIntra,
	},
	{"still picture", AV1, "\x20\x02\x08\x18\x30\x80", HasSets | HasFrame | HasIntra},
	{"OBUs in one element", AV1, "\x10\x0a\x01\x00\x32\x01\x10", HasSets | HasFrame | HasIntra},
	{"sequence alone, N", AV1, "\x18\x0a\x02\x00\x00", HasSets},
	{"sequence goes on", AV1, "\x58\x0a\x0b\x00", HasSets},
	{"keyframe alone", AV1, "\x10\x30\x10\xff", HasFrame | HasIntra},
	{"keyframe goes on, its size beyond the end", AV1, "\x50\x32\xff\x07\x10", HasFrame | HasIntra},
	{"inter frame, N", AV1, "\x18\x32\x02\x30\xff", HasFrame},
	{"frame without a header", AV1, "\x10\x30", HasFrame},
	{"tile group", AV1, "\x10\x20\x10", 0},
	{"continued, N", AV1, "\x98\x32\x01\x10", 0},
	{"continued, then sequence and keyframe", AV1, "\xb0\x01\xff\x02\x08\x00\x30\x10", HasSets | HasFrame | HasIntra},
	{"element longer than the payload", AV1, "\x20\x7f\x08\x00", 0},
	{"element of malformed length", AV1, "\x00\xff\xff\xff\xff\x01\x08", 0},
	{"OBU of malformed size", AV1, "\x10\x32\xff\xff\xff\xff\x01\x10", HasFrame},
	{"empty element", AV1, "\x20\x00\x30\x10", HasFrame | HasIntra},
	{"extension cut short", AV1, "\x10\x34", 0},
	{"header only", AV1, "\x18", 0},

	{"any", Opus, "\x78\x83\x10", 0},
	{"any", UnknownCodec, "\x10\x50\x4a\x00\x9d", 0},
	{"past the last", AV1 + 1, "\x18\x0a\x0b", 0},
}

func TestContent(t *testing.T) {
	for _, c := range contents {
		t.Run(c.codec.String()+" "+c.name, func(t *testing.T) {
			if got := ContentOf(c.codec, []byte(c.payload)); got != c.want {
				t.Errorf("%x: content %04b; expected %04b", c.payload, got, c.want)
			}
		})
	}
}

// TestPayloadTruncated reads every prefix of every payload as every codec, from memory that ends
// there.
func TestPayloadTruncated(t *testing.T) {
	for _, k := range contents {
		for n := range len(k.payload) + 1 {
			payload := bytes.Clone([]byte(k.payload)[:n])
			payload = payload[:n:n]
			for c := range AV1 + 2 {
				SettleAV1(payload, ContentOf(c, payload))
				copy(payload, k.payload)
				if p, ok := ParsePictureID(c, payload); ok {
					p.Patch(payload, 0xFFFF, 0xFF)
					copy(payload, k.payload)
				}
			}
		}
	}
	for c := range AV1 + 2 {
		if _, ok := ParsePictureID(c, nil); ok || ContentOf(c, nil) != 0 {
			t.Errorf("%v: nothing is something", c)
		}
	}
}

func TestPictureID(t *testing.T) {
	for _, c := range []struct {
		name    string
		codec   Codec
		payload string
		want    PictureID
		ok      bool
		patched string // with ID 0xABCD and TL0 0xEE
	}{
		{
			"15 bits", VP8, "\x90\xe0\x91\x23\x05\x20\x10\x02",
			PictureID{Off: 2, Bits: 15, ID: 0x1123, TL0Off: 4, TL0: 5},
			true,
			"\x90\xe0\xab\xcd\xee\x20\x10\x02",
		},
		{
			"7 bits", VP8, "\x90\xc0\x7f\xff\x10\x02",
			PictureID{Off: 2, Bits: 7, ID: 127, TL0Off: 3, TL0: 255},
			true,
			"\x90\xc0\x4d\xee\x10\x02",
		},
		{
			"no TL0PICIDX", VP8, "\x90\x80\x80\x01\x10\x02",
			PictureID{Off: 2, Bits: 15, ID: 1},
			true,
			"\x90\x80\xab\xcd\x10\x02",
		},
		{"TL0PICIDX alone", VP8, "\x90\x40\x33\x10\x02", PictureID{TL0Off: 2, TL0: 0x33}, true, "\x90\x40\xee\x10\x02"},
		{"KEYIDX alone", VP8, "\x90\x10\x33\x10\x02", PictureID{}, false, ""},
		{"no extension", VP8, "\x10\x50\x4a\x00", PictureID{}, false, ""},
		{"ends within", VP8, "\x90\xe0\x91", PictureID{}, false, ""},
		{"15 bits", VP9, "\x8b\x91\x23\x18\x00", PictureID{Off: 1, Bits: 15, ID: 0x1123}, true, "\x8b\xab\xcd\x18\x00"},
		{"7 bits", VP9, "\x88\x11\x82", PictureID{Off: 1, Bits: 7, ID: 0x11}, true, "\x88\x4d\x82"},
		{
			"layers, not flexible", VP9, "\xa8\x91\x23\x03\x07\x82\x49",
			PictureID{Off: 1, Bits: 15, ID: 0x1123, TL0Off: 4, TL0: 7},
			true,
			"\xa8\xab\xcd\x03\xee\x82\x49",
		},
		{
			"layers, flexible", VP9, "\xf8\x91\x23\x03\x07\x82\x49",
			PictureID{Off: 1, Bits: 15, ID: 0x1123},
			true,
			"\xf8\xab\xcd\x03\x07\x82\x49",
		},
		{"layers alone", VP9, "\x28\x00\x07\x82", PictureID{TL0Off: 2, TL0: 7}, true, "\x28\x00\xee\x82"},
		{"no fields", VP9, "\x08\x82\x49", PictureID{}, false, ""},
		{"another codec", H264, "\x90\xe0\x91\x23\x05\x20\x10\x02", PictureID{}, false, ""},
	} {
		t.Run(c.codec.String()+" "+c.name, func(t *testing.T) {
			payload := []byte(c.payload)
			got, ok := ParsePictureID(c.codec, payload)
			if ok != c.ok || ok && got != c.want {
				t.Fatalf("got %+v, %v", got, ok)
			}
			if !ok {
				return
			}
			got.Patch(payload, 0xABCD, 0xEE)
			if string(payload) != c.patched {
				t.Errorf("patched to %x", payload)
			}
			got.Patch(payload, got.ID, got.TL0)
			if string(payload) != c.payload {
				t.Errorf("patched back to %x", payload)
			}
		})
	}
}

func TestStarts(t *testing.T) {
	for c := range Content(16) {
		want := c&HasKey != 0 || c&HasIntra != 0 && c&HasSets != 0
		if got := c.Starts(); got != want {
			t.Errorf("%04b starts: %v; expected %v", c, got, want)
		}
	}
}

func TestSettleAV1(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		want          byte // the first byte
	}{
		{"sequence and keyframe", "\x20\x02\x08\x00\x30\x10\xff", 0x28},
		{"sequence and keyframe, N", "\x28\x02\x08\x00\x30\x10\xff", 0x28},
		{"sequence and inter frame, N", "\x28\x02\x08\x00\x30\x30\xff", 0x20},
		{"inter frame, N", "\x18\x30\x30\xff", 0x10},
		{"keyframe without a sequence, N", "\x18\x30\x10\xff", 0x10},
		{"keyframe without a sequence", "\x10\x30\x10\xff", 0x10},
		{"continued, N", "\xd8\xff\xff", 0xd0},
		{"continued, then sequence and keyframe", "\xb8\x01\xff\x02\x08\x00\x30\x10", 0xb0},
		{"sequence alone, N", "\x18\x08\x00", 0x18},
		{"sequence alone", "\x10\x08\x00", 0x10},
		{"header only, N", "\x18", 0x10},
	} {
		payload := []byte(c.payload)
		SettleAV1(payload, ContentOf(AV1, payload))
		if payload[0] != c.want || string(payload[1:]) != c.payload[1:] {
			t.Errorf("%s: %x became %x; expected %02x first", c.name, c.payload, payload, c.want)
		}
	}
	SettleAV1(nil, 0)
}

func TestSequenceAV1(t *testing.T) {
	const sequence = "\x08\x00\x01"
	for _, c := range []struct {
		name, payload string
		has           string // the sequence header in it
		with          string // with another before it
	}{
		{"keyframe", "\x10\x30\x10", "", "\x20\x03\x08\x00\x01\x30\x10"},
		{"keyframe, which goes on", "\x50\x30\x10", "", "\x60\x03\x08\x00\x01\x30\x10"},
		{"two elements", "\x20\x01\x28\x30\x10", "", "\x30\x03\x08\x00\x01\x01\x28\x30\x10"},
		{"three elements", "\x30\x01\x28\x01\x28\x30\x10", "", ""},
		{"lengths", "\x00\x02\x30\x10", "", "\x00\x03\x08\x00\x01\x02\x30\x10"},
		{"continued", "\x90\x30\x10", "", ""},
		{"sequence header", "\x20\x02\x08\x07\x30\x10", "\x08\x07", "\x30\x03\x08\x00\x01\x02\x08\x07\x30\x10"},
		{"with a size", "\x10\x0a\x01\x07\x32\x01\x10", "\x0a\x01\x07", "\x20\x03\x08\x00\x01\x0a\x01\x07\x32\x01\x10"},
		{"part of one", "\x50\x08\x07", "", "\x60\x03\x08\x00\x01\x08\x07"},
		{"nothing", "", "", ""},
	} {
		if got := string(SequenceAV1([]byte(c.payload))); got != c.has {
			t.Errorf("%s: has %x; expected %x", c.name, got, c.has)
		}
		if got := string(AppendSequenceAV1(nil, []byte(c.payload), []byte(sequence))); got != c.with {
			t.Errorf("%s: becomes %x; expected %x", c.name, got, c.with)
		}
	}
}

// fuzzAV1 looks for a settled payload that is not settled, that lost its meaning, or that differs in more than
// N.
func fuzzAV1(t *testing.T, payload []byte) {
	before, content := bytes.Clone(payload), ContentOf(AV1, payload)
	SettleAV1(payload, content)
	if len(payload) == 0 {
		return
	}
	if before[0]&^newSequence != payload[0]&^newSequence || !bytes.Equal(before[1:], payload[1:]) {
		t.Fatalf("AV1: %x became %x", before, payload)
	}
	if got := ContentOf(AV1, payload); got != content {
		t.Fatalf("AV1: content %04b became %04b", content, got)
	}
	if n := payload[0]&newSequence != 0; n && (payload[0]&0x80 != 0 || content&HasSets == 0) {
		t.Fatalf("AV1: N in %x", payload)
	}
	sequence := []byte{0x08, 0x00, 0x01}
	if with := AppendSequenceAV1(nil, payload, sequence); len(with) > 0 {
		if got := ContentOf(AV1, with); got&^HasIntra != (content|HasSets)&^HasIntra || got&content != content {
			t.Fatalf("AV1: content %04b with a sequence header is %04b", content, got)
		}
		if got := SequenceAV1(with); SequenceAV1(payload) == nil && !bytes.Equal(got, sequence) {
			t.Fatalf("AV1: %x holds the sequence header %x; expected %x", with, got, sequence)
		}
	}
	settled := payload[0]
	if SettleAV1(payload, content); payload[0] != settled {
		t.Fatalf("AV1: settled twice from %02x to %02x", settled, payload[0])
	}
}

// FuzzPayload compares the picture IDs with pion's, and looks for panics in all codecs.
func FuzzPayload(f *testing.F) {
	for _, k := range contents {
		f.Add([]byte(k.payload))
	}
	for _, r := range recordings {
		for _, p := range recorded(f, r.name) {
			f.Add(p[HeaderLen:])
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for c := range AV1 + 2 {
			ContentOf(c, payload)
		}
		fuzzAV1(t, bytes.Clone(payload))
		var vp8 codecs.VP8Packet
		p, ok := ParsePictureID(VP8, payload)
		if rest, err := vp8.Unmarshal(payload); err == nil && len(rest) > 0 {
			if ok != (vp8.I|vp8.L != 0) || p.ID != vp8.PictureID || p.TL0 != vp8.TL0PICIDX {
				t.Fatalf("VP8: %+v, %v, pion %+v", p, ok, vp8)
			}
			if want := vp8.S == 1 && vp8.PID == 0 && rest[0]&1 == 0; (ContentOf(VP8, payload) == HasKey) != want {
				t.Fatalf("VP8: keyframe %v", !want)
			}
		} else if ok {
			t.Fatalf("VP8: %+v where pion fails: %v", p, err)
		}
		var vp9 codecs.VP9Packet
		p, ok = ParsePictureID(VP9, payload)
		if rest, err := vp9.Unmarshal(payload); err == nil && len(rest) > 0 {
			if ok != (vp9.I || vp9.L && !vp9.F) || p.ID != vp9.PictureID || p.TL0 != vp9.TL0PICIDX {
				t.Fatalf("VP9: %+v, %v, pion %+v", p, ok, vp9)
			}
			if want := vp9.B && !vp9.P && vp9.SID == 0 && keyVP9(rest[0]); (ContentOf(VP9, payload) == HasKey) != want {
				t.Fatalf("VP9: keyframe %v", !want)
			}
		}
		for _, c := range []Codec{VP8, VP9} {
			p, ok := ParsePictureID(c, payload)
			if !ok {
				continue
			}
			patched := bytes.Clone(payload)
			p.Patch(patched, p.ID+1, p.TL0+1)
			q, ok := ParsePictureID(c, patched)
			want := p
			want.ID = (p.ID + 1) & (1<<p.Bits - 1)
			if p.TL0Off != 0 {
				want.TL0++
			}
			if !ok || q != want {
				t.Fatalf("%v: patched %+v to %+v", c, p, q)
			}
			q.Patch(patched, p.ID, p.TL0)
			if !bytes.Equal(patched, payload) {
				t.Fatalf("%v: patching changed something else", c)
			}
		}
	})
}
