package engine

import (
	"slices"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// relayOf is the offer of a relay, for sound and pictures.
func relayOf(address string) api.Offer {
	o := from(address)
	o.Relay = true
	o.Tracks = []rtp.Track{
		{Kind: rtp.Audio, MID: "0", Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus, Feedback: rtp.NACK}}},
		{Kind: rtp.Video, MID: "1", Formats: []rtp.Format{{
			PayloadType: 96, RTX: 97, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI | rtp.TransportCC,
		}}},
	}
	o.Tracks[1].Extensions = rtp.ExtensionMap{rtp.MID: 4, rtp.TransportSequence: 3, rtp.VideoOrientation: 5}
	return o
}

// A relay's lines name the publisher's layers, each with SSRCs of its own. Its session has a line for each layer.
func TestRelayLines(t *testing.T) {
	r := newRegistry(t)
	r.publishLayers("s", "h", "m", "l")
	local, err := r.open(api.Subscriber, "s", relayOf("198.18.0.9"))
	if err != nil {
		t.Fatal(err)
	}
	if len(local.Tracks) != 2 || len(local.Tracks[0].Encodings) != 1 || len(local.Tracks[1].Encodings) != 3 {
		t.Fatalf("lines %+v, want one layer of sound and three of pictures", local.Tracks)
	}
	used := map[uint32]bool{0: true}
	for i, e := range local.Tracks[1].Encodings {
		if want := []string{"h", "m", "l"}[i]; e.RID != want || used[e.SSRC] || used[e.RTXSSRC] {
			t.Errorf("layer %d is %+v, want RID %s and SSRCs of its own", i, e, want)
		}
		used[e.SSRC], used[e.RTXSSRC] = true, true
	}
	sound := local.Tracks[0].Encodings[0]
	if used[sound.SSRC] || sound.RTXSSRC != 0 || sound.RID != "" {
		t.Errorf("the sound is %+v, want an SSRC of its own", sound)
	}
	if x := local.Tracks[1].Extensions; x != (rtp.ExtensionMap{rtp.VideoOrientation: 5}) {
		t.Errorf("extensions %v, want the orientation alone", x)
	}
	if f := local.Tracks[1].Formats[0]; f.Feedback&rtp.TransportCC != 0 {
		t.Error("a relay has transport-wide feedback")
	}
	spec := r.sessions[local.ID].spec
	if !spec.Relay || len(spec.Tracks) != 4 {
		t.Errorf("%d lines in the session, a relay: %t; want 4", len(spec.Tracks), spec.Relay)
	}
	for _, line := range spec.Tracks {
		e := line.Encodings[0]
		if len(line.Encodings) != 1 || line.SSRC != e.SSRC || line.RTXSSRC != e.RTXSSRC {
			t.Errorf("line %+v, want one layer with the line's SSRCs", line)
		}
	}
}

// Relays are no viewers: not by count, by limit, or by metric. They are sessions of the stream all the same.
func TestRelaysAreNoViewers(t *testing.T) {
	r := newRegistry(t, limited(api.Limits{Viewers: 1, SourceSessions: 1}))
	r.publishLayers("s", "h", "l")
	viewer := r.must(api.Subscriber, "s", from("198.18.0.2"))
	r.connect(viewer)
	var relays []api.SessionID
	for range 3 {
		relays = append(relays, r.must(api.Subscriber, "s", relayOf("198.18.0.2")))
		r.connect(relays[len(relays)-1])
	}
	if n := r.streams.named["s"].describe().Subscribers; n != 1 {
		t.Errorf("the stream has %d viewers, want 1", n)
	}
	r.try(api.Subscriber, "s", from("198.18.0.3"), api.ErrStreamFull)
	if got := [...]int64{r.census.subscribers.Load(), r.census.relays.Load()}; got != [...]int64{1, 3} {
		t.Errorf("metrics count %d viewers and %d relays, want 1 and 3", got[0], got[1])
	}
	listed := 0
	for _, s := range r.list("s") {
		if s.Relay != slices.Contains(relays, s.ID) {
			t.Errorf("session %d is listed as a relay: %t", s.ID, s.Relay)
		}
		if s.Relay {
			listed++
		}
	}
	if listed != 3 {
		t.Errorf("%d relays are listed, want 3", listed)
	}
	for _, id := range relays {
		r.close(r.sessions[id], api.ReasonClosed)
	}
	st := r.streams.named["s"]
	if n := st.describe().Subscribers; n != 1 || st.relays != 0 || r.census.relays.Load() != 0 {
		t.Errorf("%d viewers, %d relays, %d by the metric after the relays left; want 1 and none", n, st.relays,
			r.census.relays.Load())
	}
	r.close(r.sessions[viewer], api.ReasonClosed)
	r.try(api.Subscriber, "s", from("198.18.0.3"), nil)
}
