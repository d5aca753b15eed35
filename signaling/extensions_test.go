package signaling

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ringcast/engine/api"
)

const (
	sseURN   = "urn:ietf:params:whep:ext:core:server-sent-events"
	layerURN = "urn:ietf:params:whep:ext:core:layer"
)

// simulcast is a stream of three layers, whose lowest is silent and of unknown size.
func simulcast(t *testing.T) api.Stream {
	t.Helper()
	st := obsStream(t)
	st.Since = time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)
	st.Ladder = []api.Rung{
		{RID: "q"},
		{RID: "h", Rate: 500_000, Width: 640, Height: 360},
		{RID: "f", Rate: 1_800_000, Width: 1280, Height: 720},
	}
	return st
}

// watchSimulcast opens a subscriber of a stream of three layers.
func (b *bench) watchSimulcast(t *testing.T) (location string) {
	t.Helper()
	b.engine.streams["live"] = simulcast(t)
	location, _ = b.mustOpen("/whep/live", chromiumRX, "Bearer vt")
	return location
}

// openEvents makes an event stream, and returns the path of its URL.
func (b *bench) openEvents(session, list string) string {
	b.t.Helper()
	w := b.do(http.MethodPost, session+"/events", list, "Content-Type", jsonType, "Authorization", "Bearer vt")
	if w.Code != http.StatusCreated {
		b.t.Fatalf("status %d, want 201: %s", w.Code, w.Body)
	}
	return w.Header().Get("Location")
}

// extensionRow is a request to an extension.
type extensionRow struct {
	name string
	// method is POST where empty, mediaType that of JSON and bearer the view token's. none is no such header.
	method, mediaType, bearer string
	// path is layerName, eventsName, anEventStream, or one for all sessions.
	path, body string
	// err is the engine's.
	err error
	// status is 200 where 0.
	status int
	// names is a part of the problem.
	names string
	// chosen is the RID that the engine is told, nil for none.
	chosen  *string
	headers map[string]string
}

const (
	none          = "none"
	anEventStream = "an event stream"
	otherPlace    = "an event stream under another place"
	noSuch        = "/whep/live/unknown"
)

func chose(rid string) *string { return &rid }

var largeChoice = `{"rid":"` + strings.Repeat("x", maxExtensionBody) + `"}`

// extensionRows has a line for each demand of the draft webrtc-http-egress-events on requests, and for the mistakes
// that they can contain.
var extensionRows = []extensionRow{
	// Choices
	{name: "rid", path: layerName, body: `{"mediaId":"1","rid":"h"}`, chosen: chose("h")},
	{name: "rid without mediaId", path: layerName, body: `{"rid":"q"}`, chosen: chose("q")},
	{name: "mediaId as a number", path: layerName, body: `{"mediaId":1,"rid":"f"}`, chosen: chose("f")},
	{
		name: "parameters of the media type", path: layerName, mediaType: jsonType + "; charset=utf-8",
		body: `{"rid":"q"}`, chosen: chose("q"),
	},
	{name: "automatic", path: layerName, body: `{"mediaId":"1"}`, chosen: chose("")},
	{name: "automatic: an empty object", path: layerName, body: `{}`, chosen: chose("")},
	{name: "automatic: no body", path: layerName, mediaType: none, chosen: chose("")},
	{name: "automatic: nulls", path: layerName, body: `{"rid":null,"maxWidth":null}`, chosen: chose("")},
	{name: "unknown members", path: layerName, body: `{"rid":"h","x":[1]}`, chosen: chose("h")},
	{
		name: "spatial and temporal layer 0", path: layerName,
		body: `{"rid":"h","spatialLayerId":0,"temporalLayerId":0}`, chosen: chose("h"),
	},
	{
		name: "most spatial and temporal layers", path: layerName,
		body: `{"maxSpatialLayerId":2,"maxTemporalLayerId":0}`, chosen: chose("f"),
	},
	{name: "width", path: layerName, body: `{"maxWidth":1279}`, chosen: chose("h")},
	{name: "height", path: layerName, body: `{"maxHeight":720}`, chosen: chose("f")},
	// Layers that are not there
	{name: "unknown rid", path: layerName, body: `{"rid":"x"}`, status: 409, names: `"available":["f","h","q"]`},
	{name: "empty rid", path: layerName, body: `{"rid":""}`, status: 409, names: "available"},
	{name: "spatial layer 1", path: layerName, body: `{"spatialLayerId":1}`, status: 409, names: "available"},
	{
		name: "temporal layer 1", path: layerName, body: `{"rid":"h","temporalLayerId":1}`, status: 409,
		names: "available",
	},
	{name: "too narrow", path: layerName, body: `{"maxWidth":10}`, status: 409, names: "available"},
	{
		name: "rid of unknown size", path: layerName, body: `{"rid":"q","maxHeight":4000}`, status: 409,
		names: "available",
	},
	{
		name: "layer gone meanwhile", path: layerName, body: `{"rid":"h"}`, err: api.ErrNoLayer,
		status: 409, names: "layers",
	},
	// Mistakes
	{name: "other media line", path: layerName, body: `{"mediaId":"0","rid":"h"}`, status: 400, names: `\"1\"`},
	{name: "mediaId no number", path: layerName, body: `{"mediaId":"video"}`, status: 400, names: "mediaId"},
	{name: "no JSON", path: layerName, body: `{"rid":"h"`, status: 400, names: "JSON"},
	{name: "two objects", path: layerName, body: `{"rid":"h"}{}`, status: 400, names: "JSON"},
	{name: "a list", path: layerName, body: `["h"]`, status: 400, names: "object"},
	{name: "rid no string", path: layerName, body: `{"rid":1}`, status: 400, names: "rid"},
	{name: "negative", path: layerName, body: `{"maxWidth":-1}`, status: 400, names: "negative"},
	{name: "fraction", path: layerName, body: `{"maxWidth":1.5}`, status: 400, names: "maxWidth"},
	{name: "overflow", path: layerName, body: `{"maxWidth":1e99}`, status: 400, names: "maxWidth"},
	{
		name: "layer: media type", path: layerName, mediaType: sdpType, body: `{"rid":"h"}`, status: 415,
		names: jsonType, headers: map[string]string{"Accept-Post": jsonType},
	},
	{name: "layer: too large", path: layerName, body: largeChoice, status: 413, names: "4096"},
	{
		name: "layer: closing", path: layerName, body: `{}`, err: api.ErrClosing, status: 503, names: "shutting down",
		headers: map[string]string{"Retry-After": `^\d+$`},
	},
	{name: "layer: no session", path: noSuch + "/layer", body: `{}`, status: 404, names: "session"},
	{name: "layer: ended meanwhile", path: layerName, body: `{}`, err: api.ErrNoSession, status: 404, names: "session"},
	{
		name: "layer: method", method: "GET", path: layerName, status: 405, names: "GET",
		headers: map[string]string{"Allow": "^OPTIONS, POST$"},
	},
	{
		name: "layer: no bearer", path: layerName, body: `{}`, bearer: none, status: 401,
		headers: map[string]string{"WWW-Authenticate": "^Bearer"},
	},
	{name: "layer: other bearer", path: layerName, body: `{}`, bearer: "Bearer pt", status: 403},
	{
		name: "layer: preflight", method: "OPTIONS", path: layerName, bearer: none,
		headers: map[string]string{"Accept-Post": jsonType, "Allow": "^OPTIONS, POST$"},
	},
	// Event streams
	{
		name: "events", path: eventsName, body: `["active","inactive","layers","reconnect","viewercount"]`,
		status:  201,
		headers: map[string]string{"Location": `^/whep/live/events/[\w-]{24}$`, "Content-Length": "^0$"},
	},
	{name: "events: some, twice", path: eventsName, body: `["layers","layers"]`, status: 201},
	{name: "events: no body", path: eventsName, mediaType: none, status: 201},
	{name: "events: unknown", path: eventsName, body: `["active","scte35"]`, status: 400, names: "scte35"},
	{name: "events: empty list", path: eventsName, body: `[]`, status: 400, names: "empty"},
	{name: "events: no list", path: eventsName, body: `"active"`, status: 400, names: "list"},
	{name: "events: no strings", path: eventsName, body: `[1]`, status: 400, names: "list"},
	{name: "events: null", path: eventsName, body: `null`, status: 400, names: "empty"},
	{
		name: "events: media type", path: eventsName, mediaType: "text/plain", body: `["active"]`, status: 415,
		names: jsonType, headers: map[string]string{"Accept-Post": jsonType},
	},
	{name: "events: too large", path: eventsName, body: largeChoice, status: 413, names: "4096"},
	{name: "events: no session", path: noSuch + "/events", status: 404, names: "session"},
	{name: "events: method", method: "GET", path: eventsName, status: 405, names: "GET"},
	{
		name: "events: no bearer", path: eventsName, body: `["active"]`, bearer: none, status: 401,
		headers: map[string]string{"WWW-Authenticate": "^Bearer"},
	},
	{
		name: "events: preflight", method: "OPTIONS", path: eventsName, bearer: none,
		headers: map[string]string{"Accept-Post": jsonType},
	},
	{
		name: "event stream: HEAD", method: "HEAD", path: anEventStream, bearer: none,
		headers: map[string]string{
			"Content-Type": "^text/event-stream$", "Cache-Control": "no-store", "X-Accel-Buffering": "^no$",
		},
	},
	{name: "event stream: DELETE", method: "DELETE", path: anEventStream, bearer: none},
	{
		name: "event stream: method", path: anEventStream, bearer: none, mediaType: none, status: 405, names: "POST",
		headers: map[string]string{"Allow": "^OPTIONS, GET, HEAD, DELETE$"},
	},
	{
		name: "event stream: unknown", method: "GET", path: "/whep/live/events/unknown", bearer: none, status: 404,
		names: "event stream",
	},
	{
		name: "event stream: another place", method: "GET", path: otherPlace, bearer: none, status: 404,
		names: "event stream",
	},
	{
		name: "event stream: preflight", method: "OPTIONS", path: anEventStream, bearer: none,
		headers: map[string]string{"Allow": "^OPTIONS, GET, HEAD, DELETE$"},
	},
	{name: "a session named events", method: "GET", path: "/whep/live/events", status: 404, names: "session"},
	{name: "a publisher has no layer", path: "/whip/live/x/layer", body: `{}`, bearer: "Bearer pt", status: 405},
}

func TestExtensions(t *testing.T) {
	for _, row := range extensionRows {
		t.Run(row.name, func(t *testing.T) { testExtension(t, &row) })
	}
}

func testExtension(t *testing.T, row *extensionRow) {
	b := newBench(t, Config{PublishToken: "pt", ViewToken: "vt"})
	session := b.watchSimulcast(t)
	path := row.path
	switch path {
	case layerName, eventsName:
		path = session + "/" + path
	case anEventStream:
		path = b.openEvents(session, "")
	case otherPlace:
		path = strings.Replace(b.openEvents(session, ""), "live", "-", 1)
	}
	var request []string
	if row.mediaType != none {
		request = append(request, "Content-Type", cmp.Or(row.mediaType, jsonType))
	}
	if row.bearer != none {
		request = append(request, "Authorization", cmp.Or(row.bearer, "Bearer vt"))
	}
	b.engine.err = row.err
	w := b.do(cmp.Or(row.method, http.MethodPost), path, row.body, request...)
	if status := cmp.Or(row.status, http.StatusOK); status >= 400 {
		checkProblem(t, w, status, "")
		if !strings.Contains(w.Body.String(), row.names) {
			t.Errorf("want %q in the problem %s", row.names, w.Body)
		}
	} else if w.Code != status || w.Body.Len() > 0 {
		t.Errorf("status %d and %d bytes, want %d and none: %s", w.Code, w.Body.Len(), status, w.Body)
	}
	checkCORS(t, w)
	checkHeaders(t, w, row.headers)
	got, told := b.engine.chosen[b.engine.last]
	if told != (row.chosen != nil) || told && got != *row.chosen {
		t.Errorf("the engine was told %q (%t), want %v", got, told, row.chosen)
	}
}

// The extensions are announced to subscribers. Layers are announced only together with their event.
func TestExtensionLinks(t *testing.T) {
	const (
		layer = `<%s/layer>; rel="` + layerURN + `"`
		all   = `; rel="` + sseURN + `"; events="active,inactive,layers,reconnect,viewercount"`
	)
	soundOnly := replace(t, fixture(t, chromiumRX), "m=video 9", "m=video 0")
	soundOnly = replace(t, soundOnly, "a=group:BUNDLE 0 1", "a=group:BUNDLE 0")
	for _, tt := range []struct {
		name, path, offer string
		want              []string // %s is the session's URL
	}{
		{"subscriber", "/whep/live", fixture(t, chromiumRX), []string{layer, "<%s/events>" + all}},
		{"behind a base", "/cast/whep/live", fixture(t, chromiumRX), []string{layer, "<%s/events>" + all}},
		{"sound only", "/whep/live", soundOnly, []string{"<%s/events>" + strings.Replace(all, "layers,", "", 1)}},
		{"publisher", "/whip/own", fixture(t, obs), nil},
	} {
		b := newBench(t, Config{Base: "/cast"})
		b.engine.streams["live"] = simulcast(t)
		w := b.post(tt.path, tt.offer)
		if w.Code != http.StatusCreated {
			t.Fatalf("%s: status %d: %s", tt.name, w.Code, w.Body)
		}
		var want []string
		for _, link := range tt.want {
			want = append(want, fmt.Sprintf(link, w.Header().Get("Location")))
		}
		if got := w.Header().Values("Link"); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("%s: got the links\n%s\nwant\n%s", tt.name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if tt.name == "sound only" {
			resource := w.Header().Get("Location") + "/layer"
			w := b.do(http.MethodPost, resource, "{}", "Content-Type", jsonType)
			checkProblem(t, w, http.StatusConflict, "video")
		}
	}
}

// A choice without a publisher is refused, except the return to automatic.
func TestChoiceWithoutPublisher(t *testing.T) {
	b := newBench(t, Config{})
	session := b.watchSimulcast(t)
	delete(b.engine.streams, "live")
	w := b.do(http.MethodPost, session+"/layer", `{"rid":"h"}`, "Content-Type", jsonType)
	checkProblem(t, w, http.StatusConflict, "live publisher")
	if w := b.do(http.MethodPost, session+"/layer", ""); w.Code != http.StatusOK {
		t.Errorf("automatic: status %d, want 200: %s", w.Code, w.Body)
	}
}

// A session may choose in bursts, and twice a second in the long run. Others do not notice.
func TestChoiceFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, Config{})
		session := b.watchSimulcast(t)
		another, _ := b.mustOpen("/whep/live", chromiumRX, "")
		choose := func(session string) int {
			return b.do(http.MethodPost, session+"/layer", `{"rid":"h"}`, "Content-Type", jsonType).Code
		}
		count := func(n int) (ok int) {
			for range n {
				switch status := choose(session); status {
				case http.StatusOK:
					ok++
				case http.StatusTooManyRequests:
				default:
					t.Fatalf("status %d, want 200 or 429", status)
				}
			}
			return ok
		}
		if got := count(100); got != choiceBurst {
			t.Errorf("%d of 100 choices at once, want %d", got, choiceBurst)
		}
		if status := choose(another); status != http.StatusOK {
			t.Errorf("another session: status %d, want 200", status)
		}
		time.Sleep(10 * choiceInterval)
		if got := count(100); got != choiceBurst {
			t.Errorf("%d of 100 choices after a pause, want %d", got, choiceBurst)
		}
		got := 0
		for range 100 {
			time.Sleep(choiceInterval / 10)
			got += count(1)
		}
		if got != 10 {
			t.Errorf("%d of 100 choices in 10 intervals, want 10", got)
		}
	})
}
