package rtp

import (
	"bytes"
	"testing"

	"github.com/pion/rtp/codecs"
)

// keyframes are payloads of every form in which a codec's frames begin or go on.
var keyframes = []struct {
	name    string
	codec   Codec
	payload string
	want    bool
}{
	// VP8: X N S PID | I L T K | picture ID | TL0PICIDX | TID KEYIDX | frame header with P last.
	{"key, plain descriptor", VP8, "\x10\x50\x4a\x00\x9d\x01\x2a\x80\x02\xe0\x01", true},
	{"inter, plain descriptor", VP8, "\x10\x51\x4a\x00", false},
	{"key, continued", VP8, "\x00\x50\x4a\x00\x9d", false},
	{"key, second partition", VP8, "\x11\x50\x4a\x00\x9d", false},
	{"key, as Chromium sends it", VP8, "\x90\xe0\x91\x23\x05\x20\x10\x02\x00\x9d\x01\x2a", true},
	{"inter, as Chromium sends it", VP8, "\x90\xe0\x91\x24\x06\x20\x31\x02\x00", false},
	{"key, 7-bit picture ID", VP8, "\x90\x80\x11\x10\x02\x00", true},
	{"key, TL0PICIDX only", VP8, "\x90\x40\xff\x10\x02\x00", true},
	{"key, KEYIDX only", VP8, "\x90\x10\x1f\x10\x02\x00", true},
	{"key, X without fields", VP8, "\x90\x00\x10\x02\x00", true},
	{"inter, all fields", VP8, "\xb0\xf0\x80\x00\x00\xe1\x11\x02", false},
	{"key, all fields", VP8, "\xb0\xf0\x80\x00\x00\xe1\x10\x02", true},
	{"descriptor only", VP8, "\x90\xe0\x91\x23\x05\x20", false},

	// VP9: I P L F B E V Z | picture ID | TID U SID D | TL0PICIDX, if not flexible | ...
	{"key, no fields", VP9, "\x08\x82\x49\x83\x42", true},
	{"inter, no fields", VP9, "\x48\x86\x00", false},
	{"key, continued", VP9, "\x04\x01\x02", false},
	{"key, as Chromium sends it", VP9, "\x8b\x91\x23\x18\x00\x01\x40\x00\xf0\x82\x49\x83\x42", true},
	{"key, layers, not flexible", VP9, "\xaa\x91\x23\x00\x07\x18\x82\x49", true},
	{"key, upper spatial layer", VP9, "\xa8\x91\x23\x03\x07\x82\x49", false},
	{"key, upper temporal layer", VP9, "\xa8\x91\x23\x30\x07\x82\x49", true},
	{"inter, layers", VP9, "\xe8\x91\x23\x00\x07\x82\x49", false},
	{"key, layers, flexible", VP9, "\xb8\x91\x23\x00\x82\x49", true},
	{"key, upper spatial layer, flexible", VP9, "\xb8\x11\x05\x82\x49", false},
	{"inter, flexible with a difference", VP9, "\xf8\x91\x23\x00\x02\x86", false},
	{"key, layers without picture ID", VP9, "\x28\x00\x07\x82", true},

	// H.264: NAL units 1 slice, 5 IDR, 7 SPS, 8 PPS, 9 delimiter; 24 STAP-A, 25 STAP-B, 28, 29 FU.
	{"SPS", H264, "\x67\x42\xe0\x1f", true},
	{"PPS", H264, "\x68\xce\x3c\x80", false},
	{"IDR", H264, "\x65\xb8\x00\x04", true},
	{"IDR, later slice", H264, "\x65\x01\x6e\x00", false},
	{"slice", H264, "\x41\x9a\x24\x6c", false},
	{"delimiter", H264, "\x09\x10", false},
	{"STAP-A of SPS and PPS", H264, "\x78\x00\x04\x67\x42\xe0\x1f\x00\x04\x68\xce\x3c\x80", true},
	{"STAP-A of delimiter, PPS, IDR", H264, "\x78\x00\x02\x09\x10\x00\x04\x68\xce\x3c\x80\x00\x03\x65\xb8\x00", true},
	{"STAP-A of slices", H264, "\x58\x00\x03\x41\x9a\x24\x00\x02\x41\x9a", false},
	{"STAP-A cut short before SPS", H264, "\x78\x00\x02\x09\x10\x00\x09\x67\x42", false},
	{"STAP-A with an empty unit", H264, "\x78\x00\x00\x00\x04\x67\x42\xe0\x1f", false},
	{"STAP-B of SPS", H264, "\x79\x00\x01\x00\x04\x67\x42\xe0\x1f", true},
	{"STAP-B of a slice", H264, "\x79\x00\x01\x00\x03\x41\x9a\x24", false},
	{"FU-A, start of IDR", H264, "\x7c\x85\xb8\x00", true},
	{"FU-A, start of later IDR slice", H264, "\x7c\x85\x01\x00", false},
	{"FU-A, middle of IDR", H264, "\x7c\x05\xb8\x00", false},
	{"FU-A, end of IDR", H264, "\x7c\x45\xb8\x00", false},
	{"FU-A, start of SPS", H264, "\x7c\x87\x42\xe0", true},
	{"FU-A, start of slice", H264, "\x5c\x81\x9a\x24", false},
	{"FU-B, start of IDR", H264, "\x7d\x85\x00\x01\xb8\x00", true},
	{"FU-B, middle of IDR", H264, "\x7d\x05\x00\x01\xb8\x00", false},
	{"header only", H264, "\x65", false},

	// H.265: NAL units 1 slice, 19 and 20 IDR, 21 CRA, 32 VPS, 33 SPS, 34 PPS, 35 delimiter; 48 AP,
	// 49 FU.
	{"VPS", H265, "\x40\x01\x0c\x01", true},
	{"SPS", H265, "\x42\x01\x01\x01", true},
	{"PPS", H265, "\x44\x01\xc1\x72", true},
	{"IDR_W_RADL", H265, "\x26\x01\xaf\x08", true},
	{"IDR_N_LP", H265, "\x28\x01\xaf\x08", true},
	{"CRA", H265, "\x2a\x01\xaf\x08", true},
	{"BLA_W_LP", H265, "\x20\x01\x80\x08", true},
	{"IDR, later slice", H265, "\x26\x01\x2f\x08", false},
	{"reserved IRAP", H265, "\x2c\x01\xaf\x08", false},
	{"slice", H265, "\x02\x01\xd0\x09", false},
	{"delimiter", H265, "\x46\x01\x50", false},
	{"AP of parameter sets", H265, "\x60\x01\x00\x04\x40\x01\x0c\x01\x00\x04\x42\x01\x01\x01", true},
	{"AP of delimiter and IDR", H265, "\x60\x01\x00\x03\x46\x01\x50\x00\x04\x26\x01\xaf\x08", true},
	{"AP of slices", H265, "\x60\x01\x00\x04\x02\x01\xd0\x09\x00\x03\x02\x01\xd0", false},
	{"FU, start of IDR", H265, "\x62\x01\x93\xaf\x08", true},
	{"FU, middle of IDR", H265, "\x62\x01\x13\xaf\x08", false},
	{"FU, start of slice", H265, "\x62\x01\x81\xd0\x09", false},
	{"PACI", H265, "\x64\x01\x40\x01\x0c", false},
	{"header only", H265, "\x26\x01", false},

	// AV1: Z Y W W N.
	{"new sequence", AV1, "\x18\x0a\x0b\x00\x00", true},
	{"new sequence, two elements", AV1, "\x28\x0b\x0a\x0b\x00", true},
	{"new sequence, goes on", AV1, "\x58\x0a\x0b", true},
	{"frame", AV1, "\x10\x32\x01", false},
	{"continued", AV1, "\x98\x32\x01", false},
	{"header only", AV1, "\x18", false},

	{"any", Opus, "\x78\x83\x10", false},
	{"any", UnknownCodec, "\x10\x50\x4a\x00\x9d", false},
	{"past the last", AV1 + 1, "\x18\x0a\x0b", false},
}

func TestStartsKeyframe(t *testing.T) {
	for _, c := range keyframes {
		t.Run(c.codec.String()+" "+c.name, func(t *testing.T) {
			if got := StartsKeyframe(c.codec, []byte(c.payload)); got != c.want {
				t.Errorf("%x: %v", c.payload, got)
			}
		})
	}
}

// TestPayloadTruncated reads every prefix of every payload as every codec, from memory that ends
// there.
func TestPayloadTruncated(t *testing.T) {
	for _, k := range keyframes {
		for n := range len(k.payload) + 1 {
			payload := bytes.Clone([]byte(k.payload)[:n])
			payload = payload[:n:n]
			for c := range AV1 + 2 {
				StartsKeyframe(c, payload)
				if p, ok := ParsePictureID(c, payload); ok {
					p.Patch(payload, 0xFFFF, 0xFF)
					copy(payload, k.payload)
				}
			}
		}
	}
	for c := range AV1 + 2 {
		if _, ok := ParsePictureID(c, nil); ok || StartsKeyframe(c, nil) {
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
		{"no TL0PICIDX", VP8, "\x90\x80\x80\x01\x10\x02", PictureID{Off: 2, Bits: 15, ID: 1}, true, "\x90\x80\xab\xcd\x10\x02"},
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

// FuzzPayload compares the picture IDs with pion's, and looks for panics in all codecs.
func FuzzPayload(f *testing.F) {
	for _, k := range keyframes {
		f.Add([]byte(k.payload))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for c := range AV1 + 2 {
			StartsKeyframe(c, payload)
		}
		var vp8 codecs.VP8Packet
		p, ok := ParsePictureID(VP8, payload)
		if rest, err := vp8.Unmarshal(payload); err == nil && len(rest) > 0 {
			if ok != (vp8.I|vp8.L != 0) || p.ID != vp8.PictureID || p.TL0 != vp8.TL0PICIDX {
				t.Fatalf("VP8: %+v, %v, pion %+v", p, ok, vp8)
			}
			if want := vp8.S == 1 && vp8.PID == 0 && rest[0]&1 == 0; StartsKeyframe(VP8, payload) != want {
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
			if want := vp9.B && !vp9.P && vp9.SID == 0; StartsKeyframe(VP9, payload) != want {
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
