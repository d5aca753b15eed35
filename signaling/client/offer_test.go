package client

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// TestOffer leaves out of an offer all that its fields say, and nothing else.
func TestOffer(t *testing.T) {
	full := Offer{
		Role: api.Publisher, Audio: true, Video: true, ICE: ours, Fingerprint: fingerprint,
		VideoSSRC: 1, VideoRTX: 2, AudioSSRC: 3, CNAME: "me", StreamID: "mine",
	}
	for _, c := range []struct {
		name            string
		change          func(o *Offer)
		without, remain []string
	}{
		{"a publisher", func(*Offer) {}, []string{"a=recvonly", "toffset", "rid"}, []string{
			"a=sendonly", "a=ssrc-group:FID 1 2", "a=ssrc:3 cname:me", "a=msid:mine mine-1", "a=ice-ufrag:ours",
			"rtx/90000",
		}},
		{
			"a subscriber", func(o *Offer) { o.Role = api.Subscriber },
			[]string{"a=sendonly", "a=ssrc:", "a=msid:"},
			[]string{
				"a=recvonly", "toffset", "PCMU/8000",
			},
		},
		{
			"no RTX", func(o *Offer) { o.NoRTX = true },
			[]string{"rtx/", "apt=", "ssrc-group"},
			[]string{"transport-wide-cc", "VP8"},
		},
		{
			"no transport-wide numbers", func(o *Offer) { o.NoTransportCC = true },
			[]string{"transport-cc", "transport-wide-cc"},
			[]string{"rtx/"},
		},
		{
			"simulcast", func(o *Offer) { o.RIDs = []string{"h", "m", "l"} },
			[]string{"ssrc-group", "a=ssrc:1 "},
			[]string{
				"a=rid:h send", "a=rid:l send", "a=simulcast:send h;m;l\r\n", "sdes:rtp-stream-id",
				"repaired-rtp-stream-id", "a=ssrc:3 cname:me",
			},
		},
		{"one codec", func(o *Offer) { o.Codec = rtp.AV1 }, []string{"VP8", "H264"}, []string{"AV1/90000", "opus"}},
		{"no audio", func(o *Offer) { o.Audio = false }, []string{"m=audio", "opus"}, []string{"BUNDLE 1\r\n"}},
	} {
		o := full
		c.change(&o)
		text := o.String()
		for _, line := range c.without {
			if strings.Contains(text, line) {
				t.Errorf("%s: got %q in\n%s", c.name, line, text)
			}
		}
		for _, line := range c.remain {
			if !strings.Contains(text, line) {
				t.Errorf("%s: want %q in\n%s", c.name, line, text)
			}
		}
	}
}

// TestImports keeps the engine out: a program that only talks to servers links the shared types alone.
func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	var own []string
	for _, path := range strings.Fields(string(out)) {
		if strings.HasPrefix(path, "ringcast/") && path != "ringcast/signaling/client" {
			own = append(own, path)
		}
	}
	if want := []string{"ringcast/engine/api", "ringcast/engine/rtp"}; !slices.Equal(slices.Sorted(slices.Values(own)),
		want) {
		t.Errorf("got %v, want %v", own, want)
	}
}
