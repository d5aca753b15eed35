package signaling

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

var someStreams = map[string]api.Stream{
	"b": {
		Name: "b", Since: time.Date(2026, 11, 3, 12, 0, 0, 500_000_000, time.FixedZone("", 3600)), Subscribers: 3,
		Backup: true, Standby: true,
	},
	"a": {
		Name: "a", Since: time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC), Subscribers: 2,
		Active: []int{111, 51}, SoundOnly: 1,
		Ladder: []api.Rung{
			{RID: "l"}, {RID: "h", Rate: 1_500_000, Width: 1280, Height: 720, Subscribers: 1},
		},
		Tracks: []rtp.Track{
			{Kind: rtp.Audio, MID: "0", Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus}}},
			{
				Kind: rtp.Video, MID: "1", Encodings: []rtp.Encoding{{RID: "h"}, {RID: "l"}}, Formats: []rtp.Format{
					{PayloadType: 50, Codec: rtp.VP8}, {PayloadType: 51, Codec: rtp.H264, Profile: "42e0/1"},
				},
			},
		},
	},
	"early": {
		Name: "early", Active: []int{-1}, Tracks: []rtp.Track{
			{
				Kind: rtp.Video, Encodings: []rtp.Encoding{{SSRC: 7}},
				Formats: []rtp.Format{{PayloadType: 50, Codec: rtp.VP8}},
			},
			{Kind: rtp.Audio},
		},
	},
}

func TestStreams(t *testing.T) {
	b := newBench(t, Config{PublishToken: "pt"})
	if w := b.do(http.MethodGet, "/streams", ""); w.Body.String() != "[]\n" {
		t.Errorf("no streams are %s", w.Body)
	}
	b.engine.streams = someStreams
	w := b.do(http.MethodGet, "/streams", "", "Authorization", "Bearer whatever")
	const want = `[{"name":"a","codecs":["opus","H264"],"since":"2026-11-03T10:00:00Z","subscribers":2},` +
		`{"name":"b","codecs":[],"since":"2026-11-03T11:00:00.5Z","subscribers":3},` +
		`{"name":"early","codecs":[],"since":"0001-01-01T00:00:00Z","subscribers":0}]` + "\n"
	if w.Code != http.StatusOK || w.Body.String() != want {
		t.Errorf("status %d\n got %s\nwant %s", w.Code, w.Body, want)
	}
	if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	checkCORS(t, w)
	checkProblem(t, b.do(http.MethodPost, "/streams", "[]"), http.StatusMethodNotAllowed, "POST")
	checkProblem(t, b.do(http.MethodGet, "/streams/a", ""), http.StatusNotFound, "path")

	b = newBench(t, Config{PublishToken: "pt", ViewToken: "vt"})
	b.engine.streams = someStreams
	checkChallenge(t, b.do(http.MethodGet, "/streams", ""), http.StatusUnauthorized, realm)
	checkChallenge(t, b.do(http.MethodGet, "/streams", "", "Authorization", "Bearer no"), http.StatusUnauthorized,
		invalidToken)
	checkChallenge(t, b.do(http.MethodGet, "/streams", "", "Authorization", "Bearer pt"), http.StatusForbidden,
		insufficient)
	if w := b.do(http.MethodGet, "/streams", "", "Authorization", "Bearer vt"); w.Code != http.StatusOK ||
		w.Body.String() != want {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestAdminStreams(t *testing.T) {
	e := &fakeManager{streams: []api.Stream{someStreams["early"], someStreams["b"], someStreams["a"]}}
	get := func(cfg AdminConfig, method string) *httptest.ResponseRecorder {
		cfg.OpenReads, cfg.Hosts = true, []string{"example.com"}
		w := httptest.NewRecorder()
		NewAdmin(cfg).ServeHTTP(w, httptest.NewRequest(method, "/api/streams", nil))
		return w
	}
	w := get(AdminConfig{Engine: e}, http.MethodGet)
	const want = `[{"name":"a","publisher":0,"tracks":[{"kind":"audio","mid":"0","codec":"opus"},` +
		`{"kind":"video","mid":"1","codec":"H264","profile":"42e0/1","layers":[` +
		`{"rid":"l","bitrate":0,"subscribers":0},` +
		`{"rid":"h","bitrate":1500000,"width":1280,"height":720,"subscribers":1}],"soundOnly":1}],` +
		`"since":"2026-11-03T10:00:00Z","subscribers":2},` +
		`{"name":"b","publisher":0,"tracks":[],"since":"2026-11-03T11:00:00.5Z","subscribers":3,` +
		`"backup":true,"standby":true},` +
		`{"name":"early","publisher":0,"tracks":[{"kind":"video","codec":""},{"kind":"audio","codec":""}],` +
		`"since":"0001-01-01T00:00:00Z","subscribers":0}]` + "\n"
	if w.Code != http.StatusOK || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d, %v\n got %s\nwant %s", w.Code, w.Header(), w.Body, want)
	}
	if w := get(AdminConfig{Engine: &fakeManager{}}, http.MethodGet); w.Body.String() != "[]\n" {
		t.Errorf("no streams are %s", w.Body)
	}
	if w := get(AdminConfig{Engine: e}, http.MethodPost); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d", w.Code)
	}
	if w := get(AdminConfig{}, http.MethodGet); w.Code != http.StatusNotFound {
		t.Errorf("without an engine: status %d", w.Code)
	}
}
