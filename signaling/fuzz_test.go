package signaling

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// FuzzOffer posts anything to both endpoints: it must be answered consistently, or refused with a
// problem that is the offer's fault.
func FuzzOffer(f *testing.F) {
	for _, name := range fixtureNames(f) {
		f.Add([]byte(fixture(f, name)))
	}
	f.Fuzz(func(t *testing.T, offer []byte) {
		b := newBench(t, Config{})
		b.engine.streams["room"] = api.Stream{
			Name: "room", Active: []int{-1, 51},
			Tracks: []rtp.Track{
				{Kind: rtp.Audio, Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus}}},
				{Kind: rtp.Video, Formats: []rtp.Format{
					{PayloadType: 50, Codec: rtp.VP8}, {PayloadType: 51, Codec: rtp.H264, Profile: "42e0/1"},
				}},
			},
		}
		for _, root := range []string{"/whip/room", "/whep/room"} {
			w := b.post(root, string(offer))
			switch w.Code {
			case http.StatusCreated:
				checkAnswer(t, string(offer), w.Body.String(), b.engine.lastPeer().Tracks)
				for _, track := range b.engine.lastPeer().Tracks {
					checkTrack(t, track, root == "/whep/room")
				}
			case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
				checkProblem(t, w, w.Code, "")
			default:
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
		}
	})
}

// checkTrack checks the invariants that the engine relies on.
func checkTrack(t *testing.T, track rtp.Track, subscriber bool) {
	t.Helper()
	if len(track.Formats) == 0 || len(track.MID) > 32 {
		t.Errorf("track %+v", track)
	}
	for _, f := range track.Formats {
		if f.Codec.Kind() != track.Kind || f.PayloadType > 127 || f.RTX > 127 {
			t.Errorf("format %+v", f)
		}
		if subscriber && f.RTX == 0 && track.Extensions[rtp.TransportSequence] != 0 {
			t.Errorf("a per-send extension without RTX: %+v", track)
		}
	}
	if subscriber != (len(track.Encodings) == 0) {
		t.Errorf("encodings %+v", track.Encodings)
	}
}

// FuzzFragment sends anything as a PATCH: it must be refused as the fragment's fault, trickle, or restart
// ICE once with the credentials that it shows.
func FuzzFragment(f *testing.F) {
	offer := fixture(f, obs)
	f.Add([]byte("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF " +
		"0\r\na=mid:0\r\n" +
		"a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id " +
		"1\r\na=end-of-candidates\r\n"))
	for _, name := range fixtureNames(f) {
		f.Add([]byte(fixture(f, name)))
	}
	f.Add([]byte(audioPart + secondICE + videoPart + thirdICE + oneMore))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parseFragment(body, Limits{}.withDefaults())
		if err != nil {
			if p := asProblem(err); p.status != http.StatusBadRequest {
				t.Fatalf("problem %+v", p)
			}
			return
		}
		if got.candidates > strings.Count(string(body), "a=candidate:") {
			t.Errorf("%d candidates", got.candidates)
		}
		for _, c := range got.credentials {
			if !validCredential(c.Ufrag, minUfrag) || c.Password != "" && !validCredential(c.Password, minPassword) {
				t.Errorf("credentials %+v", c)
			}
		}
		b := newBench(t, Config{})
		location, etag := b.publish(offer)
		w := b.patch(location, string(body), "*")
		switch chosen := got.credentialsOf("0"); w.Code {
		case http.StatusNoContent:
			if len(b.engine.restarts) != 0 {
				t.Errorf("restarted without saying so: %+v", b.engine.restarts)
			}
		case http.StatusOK:
			if len(b.engine.restarts) != 1 || b.engine.restarts[0] != chosen || chosen.Password == "" ||
				w.Header().Get("ETag") == etag {
				t.Errorf("restarts %+v, want %+v; headers %v", b.engine.restarts, chosen, w.Header())
			}
			if again := b.patch(location, string(body), "*"); again.Code != http.StatusNoContent {
				t.Errorf("the same again: status %d: %s", again.Code, again.Body)
			}
		default:
			if checkProblem(t, w, http.StatusBadRequest, ""); chosen.Ufrag == "" || chosen.Password != "" {
				t.Errorf("refused credentials %+v", chosen)
			}
		}
	})
}

// BenchmarkOpen opens sessions: publishers', and subscribers' of whom each has values of its own.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct{ name, root, offer string }{
		{"publisher", "/whip/room", chromiumTX}, {"subscriber", "/whep/room", chromiumRX},
	} {
		b.Run(c.name, func(b *testing.B) {
			bench := newBench(b, Config{})
			bench.engine.streams["room"] = api.Stream{Name: "room"}
			var offers []string
			for n := range 64 {
				offers = append(offers, stranger(b, fixture(b, c.offer), n%4))
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				bench.mustPost(c.root, offers[n%len(offers)])
			}
		})
	}
}

// FuzzRequest asks for any path in any way, also as another server's clients do. It must be answered, below 500,
// with headers that are single lines and a Location only for a session.
func FuzzRequest(f *testing.F) {
	for _, seed := range []struct{ method, path, query, asked string }{
		{"POST", "/whip/room", "", ""},
		{"POST", "/rtc/v1/whip/", "app=live&stream=cam1", ""},
		{"POST", "/index/api/whep", "stream=%2e%2e", ""},
		{"POST", "/live/cam1/whip", "", ""},
		{"POST", "/app/cam1", "direction=whip&transport=tcp", ""},
		{"POST", "/api/whip", "", ""},
		{"PATCH", "/cast/whip/a/b/", "", ""},
		{"OPTIONS", "/whep/room", "", "authorization,content-type,x-requested-with"},
		{"OPTIONS", "*", "", "x-a\r\nSet-Cookie: a=b, traceparent"},
		{"GET", "//evil.example/\"/whip/\xff", "%zz;&", ""},
		{"HEAD", "", "watch=room", ""},
	} {
		f.Add(seed.method, seed.path, seed.query, seed.asked)
	}
	offer := fixture(f, obs)
	f.Fuzz(func(t *testing.T, method, path, query, asked string) {
		for _, base := range []string{"", "/cast"} {
			b := newBench(t, Config{Base: base})
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(offer))
			r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
			r.Header.Set("Content-Type", sdpType)
			r.Header["Access-Control-Request-Headers"] = []string{asked}
			w := httptest.NewRecorder()
			b.http.ServeHTTP(w, r)
			if w.Code >= 500 {
				t.Fatalf("%s %q: status %d: %s", method, path, w.Code, w.Body)
			}
			if w.Code >= 400 && method != http.MethodHead && w.Body.Len() > 0 && w.Header().Get("Content-Range") == "" {
				checkProblem(t, w, w.Code, "")
			}
			for name, values := range w.Header() {
				for _, v := range values {
					if strings.ContainsAny(v, "\r\n") {
						t.Errorf("%s %q: %s: %q", method, path, name, v)
					}
				}
			}
			if (w.Header().Get("Location") != "") != (w.Code == http.StatusCreated) {
				t.Errorf("%s %q: status %d, Location %q", method, path, w.Code, w.Header().Get("Location"))
			}
		}
	})
}

// FuzzExtensions sends any body to the resources of the extensions. A choice that is taken is of a layer that the
// stream has, or none.
func FuzzExtensions(f *testing.F) {
	for _, row := range extensionRows {
		f.Add(row.body)
	}
	f.Add(`{"mediaId":"1","rid":"\ud800","maxWidth":9223372036854775807}`)
	f.Add(`{"RID":"h","mediaid":1e0}`)
	f.Add(strings.Repeat("[", maxExtensionBody))
	rids := []string{"", "q", "h", "f"}
	f.Fuzz(func(t *testing.T, body string) {
		b := newBench(t, Config{})
		session := b.watchSimulcast(t)
		for _, name := range []string{layerName, eventsName} {
			w := b.do(http.MethodPost, session+"/"+name, body, "Content-Type", jsonType)
			switch {
			case w.Code >= 500:
				t.Fatalf("%s: status %d: %s", name, w.Code, w.Body)
			case w.Code >= 400:
				checkProblem(t, w, w.Code, "")
			}
		}
		if rid := b.engine.chosen[b.engine.last]; !slices.Contains(rids, rid) {
			t.Errorf("%q was chosen, want one of %q", rid, rids)
		}
	})
}
