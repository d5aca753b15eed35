package rtp

import "testing"

func TestFit(t *testing.T) {
	for _, c := range []struct {
		codec       Codec
		sent, taken string
		want, back  Fit // back is for the two exchanged
	}{
		{VP8, "", "", ExactFit, ExactFit},
		{Opus, "", "", ExactFit, ExactFit},
		{H264, "42e0/1", "42e0/1", ExactFit, ExactFit},
		// A receiver of mode 1 takes mode 0; the reverse is the last choice, with any profile.
		{H264, "42e0/0", "42e0/1", SubsetFit, ModeFit},
		{H264, "42e0/0", "6400/1", SubsetFit, ModeFit},
		{H264, "6400/0", "42e0/1", ProfileFit, ModeFit},
		{H264, "42e0/1", "4200/0", ModeFit, ProfileFit},
		// Constrained baseline in its three ways to write it, and each set it is part of.
		{H264, "42e0/1", "4280/1", SubsetFit, ProfileFit},
		{H264, "42c0/1", "42e0/1", SubsetFit, SubsetFit},
		{H264, "4d80/1", "42e0/1", SubsetFit, SubsetFit},
		{H264, "58c0/1", "42e0/1", SubsetFit, SubsetFit},
		{H264, "42e0/1", "4200/1", SubsetFit, ProfileFit},
		{H264, "42e0/1", "5800/1", SubsetFit, ProfileFit},
		{H264, "42e0/1", "4d00/1", SubsetFit, ProfileFit},
		{H264, "42e0/1", "640c/1", SubsetFit, ProfileFit},
		{H264, "4d00/1", "6400/1", SubsetFit, ProfileFit},
		{H264, "6400/1", "640c/1", SubsetFit, SubsetFit},
		// More than 8 bits or other chroma than 4:2:0 is only for receivers that name it, in either mode.
		{H264, "6e00/1", "42e0/1", NoFit, SubsetFit},
		{H264, "7a00/1", "42e0/1", NoFit, SubsetFit},
		{H264, "f400/1", "42e0/1", NoFit, SubsetFit},
		{H264, "2c00/1", "42e0/1", NoFit, ProfileFit},
		{H264, "f400/1", "4200/0", NoFit, ProfileFit},
		{H264, "7a00/1", "6400/0", NoFit, SubsetFit},
		{H264, "6e00/1", "6400/1", NoFit, SubsetFit},
		{H264, "6400/1", "f400/1", SubsetFit, NoFit},
		{H264, "6e00/1", "7a00/1", SubsetFit, NoFit},
		{H264, "6e10/1", "6e00/1", SubsetFit, SubsetFit},
		{H264, "7a00/1", "f400/1", SubsetFit, NoFit},
		{H264, "7a00/1", "f400/0", ModeFit, NoFit},
		{H264, "2c00/1", "f400/1", SubsetFit, NoFit},
		{H264, "2c00/1", "2c00/0", ModeFit, SubsetFit},
		{H264, "f400/1", "?/1", NoFit, ProfileFit},
		// Main and above lack tools of Baseline and Extended.
		{H264, "4200/1", "5800/1", SubsetFit, ProfileFit},
		{H264, "5880/1", "4200/1", SubsetFit, SubsetFit},
		{H264, "4200/1", "6400/1", ProfileFit, ProfileFit},
		{H264, "5800/1", "f400/1", ProfileFit, NoFit},
		{H264, "2c00/1", "6400/1", NoFit, ProfileFit},
		{H264, "?/1", "6400/1", ProfileFit, ProfileFit},
		{H265, "1", "2", SubsetFit, NoFit},
		{H265, "3", "1", SubsetFit, NoFit},
		{H265, "1", "4", NoFit, NoFit},
		{VP9, "0", "2", SubsetFit, NoFit},
		{VP9, "1", "2", NoFit, NoFit},
		{VP9, "1", "3", SubsetFit, NoFit},
		{VP9, "2", "3", SubsetFit, NoFit},
		{AV1, "0", "1", SubsetFit, NoFit},
		{AV1, "1", "2", SubsetFit, NoFit},
		{AV1, "x", "2", NoFit, NoFit},
	} {
		sent, taken := &Format{Codec: c.codec, Profile: c.sent}, &Format{Codec: c.codec, Profile: c.taken}
		if got := sent.Fit(taken); got != c.want {
			t.Errorf("%v %q to %q: fit %d; expected %d", c.codec, c.sent, c.taken, got, c.want)
		}
		if got := taken.Fit(sent); got != c.back {
			t.Errorf("%v %q to %q: fit %d; expected %d", c.codec, c.taken, c.sent, got, c.back)
		}
	}
	if got := (&Format{Codec: VP9, Profile: "0"}).Fit(&Format{Codec: AV1, Profile: "0"}); got != NoFit {
		t.Errorf("VP9 to AV1: fit %d; expected %d", got, NoFit)
	}
}

func TestMatch(t *testing.T) {
	offered := []Format{
		{PayloadType: 1, Codec: VP8},
		{PayloadType: 2, Codec: H264, Profile: "42e0/0"},
		{PayloadType: 3, Codec: H264, Profile: "f400/1"},
		{PayloadType: 4, Codec: H264, Profile: "4200/1"},
		{PayloadType: 5, Codec: H264, Profile: "42e0/1"},
	}
	for _, c := range []struct {
		codec   Codec
		profile string
		offered []Format
		want    uint8 // 0 for none
	}{
		{VP8, "", offered, 1},
		{H264, "42e0/0", offered, 2},
		{H264, "42e0/1", offered, 5},
		{H264, "42e0/1", offered[:4], 3},
		{H264, "6400/1", offered, 3},
		{H264, "6400/1", offered[3:], 4},
		{H264, "42e0/1", offered[:2], 2}, // the last choice
		{H264, "42e0/1", offered[:1], 0},
		{VP9, "0", offered, 0},
	} {
		f := &Format{Codec: c.codec, Profile: c.profile}
		got := uint8(0)
		if m := f.Match(c.offered); m != nil {
			got = m.PayloadType
		}
		if got != c.want {
			t.Errorf("%v %q among %d: payload type %d; expected %d", c.codec, c.profile, len(c.offered), got, c.want)
		}
	}
}
