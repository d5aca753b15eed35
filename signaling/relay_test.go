package signaling

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling/client"
)

// relayOffer is the offer of a node that pulls all layers.
func relayOffer() string {
	o := client.Offer{
		Role: api.Subscriber, Audio: true, Video: true, Relay: true,
		ICE: api.Credentials{Ufrag: "edge", Password: "passwordOfTheEdge1234567"}, Fingerprint: localFingerprint,
	}
	return o.String()
}

// layered is the fake engine with the layers of a relay.
type layered struct{ *fakeEngine }

var relayLayers = []rtp.Encoding{
	{RID: "h", SSRC: 1, RTXSSRC: 4}, {RID: "m", SSRC: 2, RTXSSRC: 5}, {RID: "l", SSRC: 3, RTXSSRC: 6},
}

func (e layered) Subscribe(ctx context.Context, stream string, o api.Offer) (api.Local, error) {
	local, err := e.fakeEngine.Subscribe(ctx, stream, o)
	for i := range local.Tracks {
		t := &local.Tracks[i]
		if !o.Relay {
			continue
		}
		if t.SSRC, t.RTXSSRC, t.Encodings = 0, 0, relayLayers; t.Kind == rtp.Audio {
			t.Encodings = []rtp.Encoding{{SSRC: 7}}
		}
	}
	return local, err
}

// newRelayBench has a stream with three layers.
func newRelayBench(t testing.TB, relays bool) *bench {
	b := newBench(t, Config{})
	b.http = New(Config{Log: b.server.log, Relays: relays}, layered{b.engine}).Handler()
	b.mustPost("/whip/x", fixture(t, "chromium-offer-sendonly-simulcast"))
	return b
}

// A relay's answer names all layers, and the side that asked finds the SSRCs of each.
func TestRelayAnswer(t *testing.T) {
	b := newRelayBench(t, true)
	offer := relayOffer()
	_, answer := b.mustPost("/whep/x", offer)
	peer := b.engine.lastPeer()
	if !peer.Relay {
		t.Error("got a viewer at the engine, want a relay")
	}
	for _, track := range peer.Tracks {
		if track.Extensions[rtp.MID] != 0 || track.Extensions[rtp.TransportSequence] != 0 {
			t.Errorf("got the extensions %v for a relay, want neither MID nor transport-wide numbers", track.Extensions)
		}
	}
	media, err := ReadMedia([]byte(offer), []byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	if len(media.Tracks) != 2 || !slices.Equal(media.Tracks[1].Encodings, relayLayers) ||
		!slices.Equal(media.Tracks[0].Encodings, []rtp.Encoding{{SSRC: 7}}) {
		t.Errorf("got the tracks %+v; want audio with SSRC 7, and video with %v", media.Tracks, relayLayers)
	}
	if media.CompoundRTCP {
		t.Error("got compound RTCP, want reduced-size RTCP as offered")
	}
}

// The attribute of a relay counts only where relays are served, and layers only for those who asked for them.
func TestNoRelay(t *testing.T) {
	b := newRelayBench(t, false)
	_, answer := b.mustPost("/whep/x", relayOffer())
	if b.engine.lastPeer().Relay || strings.Contains(answer, "simulcast") {
		t.Error("got a relay at the public listener, want a viewer")
	}
	b = newRelayBench(t, true)
	offer := relayOffer()
	_, answer = b.mustPost("/whep/x", offer)
	plain := strings.ReplaceAll(offer, "a="+relayAttribute+"\r\n", "")
	media, err := ReadMedia([]byte(plain), []byte(answer))
	if err != nil || len(media.Tracks) != 2 || len(media.Tracks[1].Encodings) != 1 {
		t.Errorf("got %+v, %v; want one layer for a viewer", media.Tracks, err)
	}
}

// Layers whose sources are missing or double are an error.
func TestRelayAnswersThatLie(t *testing.T) {
	b := newRelayBench(t, true)
	offer := relayOffer()
	_, answer := b.mustPost("/whep/x", offer)
	for name, edit := range map[string][2]string{
		"no group":       {"a=ssrc-group:SIM 1 2 3\r\n", ""},
		"short group":    {"SIM 1 2 3", "SIM 1 2"},
		"long group":     {"SIM 1 2 3", "SIM 1 2 3 4"},
		"two groups":     {"a=ssrc-group:SIM 1 2 3", "a=ssrc-group:SIM 1 2 3\r\na=ssrc-group:SIM 1 2 3"},
		"double":         {"SIM 1 2 3", "SIM 1 2 2"},
		"zero":           {"SIM 1 2 3", "SIM 1 2 0"},
		"text":           {"SIM 1 2 3", "SIM 1 2 x"},
		"too many":       {"a=simulcast:send h;m;l", manyLayers()},
		"publisher-only": {"a=sendonly", "a=recvonly"},
	} {
		if _, err := ReadMedia([]byte(offer), []byte(replace(t, answer, edit[0], edit[1]))); err == nil {
			t.Errorf("%s: got no error, want one", name)
		}
	}
}

func manyLayers() string {
	var lines, rids []string
	for _, r := range "abcdefghi" {
		lines, rids = append(lines, "a=rid:"+string(r)+" send"), append(rids, string(r))
	}
	return strings.Join(lines, "\r\n") + "\r\na=simulcast:send " + strings.Join(rids, ";")
}

// A Finder's errors have statuses of their own, and the search comes before the engine's look.
func TestFinder(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{nil, http.StatusCreated},
		{ErrUpstream, http.StatusServiceUnavailable},
		{ErrUnknown, http.StatusConflict},
		{ErrLoop, http.StatusLoopDetected},
		{api.ErrNoPublisher, http.StatusConflict},
		{api.ErrClosing, http.StatusServiceUnavailable},
	} {
		b := newBench(t, Config{})
		find := func(w http.ResponseWriter, _ *http.Request, _ netip.Addr, stream string) error {
			b.engine.change(func(e *fakeEngine) { e.streams[stream] = api.Stream{Name: stream} })
			w.Header().Set("Found", stream)
			return test.err
		}
		b.http = New(Config{Log: b.server.log, Find: find}, b.engine).Handler()
		w := b.post("/whep/y", relayOffer())
		if w.Code != test.status || w.Header().Get("Found") != "y" {
			t.Errorf("%v: got status %d and the headers %v; want %d, and that of the search", test.err, w.Code,
				w.Header(), test.status)
		}
	}
}

// FuzzReadMedia: an answer gives tracks within what was offered, or an error.
func FuzzReadMedia(f *testing.F) {
	offer := []byte(relayOffer())
	_, answer := newRelayBench(f, true).mustPost("/whep/x", string(offer))
	f.Add([]byte(answer))
	_, plain := newRelayBench(f, false).mustPost("/whep/x", string(offer))
	f.Add([]byte(plain))
	for _, name := range fixtureNames(f) {
		f.Add([]byte(fixture(f, name)))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		media, err := ReadMedia(offer, answer)
		if err != nil {
			return
		}
		for _, track := range media.Tracks {
			if len(track.Encodings) == 0 || len(track.Encodings) > maxLayers || len(track.Formats) == 0 {
				t.Errorf("got %d encodings and %d formats; want 1 to %d, and a format", len(track.Encodings),
					len(track.Formats), maxLayers)
			}
		}
	})
}
