package signaling

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"ringcast/engine/api"
)

// TestProtocol has a line for each demand of the WHIP and WHEP specifications, or of their clients, on the server's
// HTTP. Other tests look closer.
func TestProtocol(t *testing.T) {
	const (
		whipURL, whepURL     = "/whip/live", "/whep/live"
		whipSession          = "a publisher's session"
		whepSession          = "a subscriber's session"
		trickled, restarting = obsICE + audioPart + oneMore, secondICE + audioPart + oneMore
		tag                  = "the current tag"
		pt, vt               = "Bearer pt", "Bearer vt"
	)
	guarded := Config{PublishToken: "pt", ViewToken: "vt"}
	type headers map[string]string // patterns; an empty one is no header
	created := headers{
		"Content-Type": sdpType, "Location": `^/whip/live/[\w-]+$`, "ETag": `^"[\w-]+"$`,
		"Access-Control-Allow-Origin": `^\*$`,
	}
	for _, tt := range []struct {
		name         string
		cfg          Config
		method, path string
		mediaType    string
		body         string
		match        string
		bearer       string
		err          error
		status       int
		has          []string // parts of the body; one that begins with "!" must not be there
		headers      headers
	}{
		// POST
		{
			"POST",
			Config{},
			"POST", whipURL, sdpType, obs, "", "", nil, 201,
			[]string{" 192.0.2.1 8189 typ host\r\n", " 2001:db8::1 8190 typ host\r\n", "end-of-candidates"},
			created,
		},
		{
			"POST: media type",
			Config{},
			"POST", whipURL, "text/plain", obs, "", "", nil, 415,
			[]string{`"status":415`, sdpType},
			headers{"Accept-Post": sdpType},
		},
		{
			"POST: malformed",
			Config{},
			"POST", whipURL, sdpType, "v=0\r\nm=\r\n", "", "", nil, 400, nil,
			headers{"Location": ""},
		},
		{"POST: too large", Config{MaxBody: 100}, "POST", whipURL, sdpType, obs, "", "", nil, 413, nil, nil},
		{
			"POST: no query in Location",
			Config{},
			"POST", whipURL + "?token=x", sdpType, obs, "", "", nil, 201, nil,
			created,
		},
		// Direction
		{
			"WHIP: sendonly is answered recvonly",
			Config{},
			"POST", whipURL, sdpType, obs, "", "", nil, 201,
			[]string{"a=recvonly", "!a=sendonly", "!a=sendrecv"},
			nil,
		},
		{
			"WHIP: sendrecv is answered recvonly",
			Config{},
			"POST", whipURL, sdpType, "sendrecv", "", "", nil, 201,
			[]string{"a=recvonly", "!a=sendonly", "!a=sendrecv"},
			nil,
		},
		{"WHIP: recvonly", Config{}, "POST", whipURL, sdpType, chromiumRX, "", "", nil, 422, []string{"recvonly"}, nil},
		{
			"WHEP: recvonly is answered sendonly",
			Config{},
			"POST", whepURL, sdpType, chromiumRX, "", "", nil, 201,
			[]string{"a=sendonly", "!a=recvonly", "!a=sendrecv"},
			nil,
		},
		{
			"WHEP: sendrecv is answered sendonly",
			Config{},
			"POST", whepURL, sdpType, "sendrecv", "", "", nil, 201,
			[]string{"a=sendonly", "!a=recvonly", "!a=sendrecv"},
			nil,
		},
		{"WHEP: sendonly", Config{}, "POST", whepURL, sdpType, obs, "", "", nil, 422, []string{"sendonly"}, nil},
		// Tracks
		{"two videos", Config{}, "POST", whipURL, sdpType, "two videos", "", "", nil, 422, []string{"video"}, nil},
		{
			"two MediaStreams",
			Config{},
			"POST", whipURL, sdpType, "two MediaStreams", "", "", nil, 422,
			[]string{"MediaStream"},
			nil,
		},
		{
			"no partial answer",
			Config{},
			"POST", whipURL, sdpType, "one codec unknown", "", "", nil, 422,
			[]string{"H264", "theora", `"offered"`, `"available"`},
			headers{"Location": ""},
		},
		// PATCH: candidates
		{
			"trickle",
			Config{},
			"PATCH", whipSession, fragmentType, trickled, tag, "", nil, 204, nil,
			headers{"ETag": ""},
		},
		{
			"trickle to a viewer's",
			Config{},
			"PATCH", whepSession, fragmentType, audioPart + oneMore, `"*"`, "", nil,
			204, nil,
			headers{"ETag": ""},
		},
		{
			"trickle: media type",
			Config{},
			"PATCH", whipSession, sdpType, trickled, tag, "", nil, 415, nil,
			headers{"Accept-Patch": fragmentType},
		},
		{
			"trickle: .local",
			Config{},
			"PATCH", whipSession, fragmentType,
			strings.Replace(trickled, "192.0.2.1", "x.local", 1), tag, "", nil, 204, nil,
			headers{"ETag": ""},
		},
		{
			"trickle: TCP",
			Config{},
			"PATCH", whipSession, fragmentType,
			strings.Replace(trickled, " udp ", " tcp ", 1), tag, "", nil, 204, nil,
			headers{"ETag": ""},
		},
		{
			"trickle: If-Match of MediaMTX's readers",
			Config{},
			"PATCH", whipSession, fragmentType, trickled, `"*"`,
			"", nil, 204, nil,
			headers{"ETag": ""},
		},
		{
			"trickle: malformed",
			Config{},
			"PATCH", whipSession, fragmentType, "a=candidate:x\r\n", tag, "", nil, 400,
			nil, nil,
		},
		// PATCH: restart
		{
			"restart",
			Config{},
			"PATCH", whipSession, fragmentType, restarting, "*", "", nil, 200,
			[]string{"a=ice-lite\r\na=ice-options:ice2\r\na=ice-ufrag:LocalUfrag1\r\na=ice-pwd:", "typ host"},
			headers{"ETag": `^"[\w-]+"$`, "Content-Type": fragmentType},
		},
		{
			"restart of a viewer's",
			Config{},
			"PATCH", whepSession, fragmentType, secondICE, `"*"`, "", nil, 200,
			[]string{"a=ice-ufrag:"},
			headers{"ETag": `^"`},
		},
		{
			"restart by the current tag",
			Config{},
			"PATCH", whipSession, fragmentType, restarting, tag, "", nil, 200,
			[]string{"a=ice-ufrag:"},
			headers{"ETag": `^"`},
		},
		{
			"restart fails",
			Config{},
			"PATCH", whipSession, fragmentType, restarting, "*", "", api.ErrFull, 503, nil,
			headers{"ETag": "", "Retry-After": `^\d+$`},
		},
		// Preconditions
		{
			"trickle without If-Match",
			Config{},
			"PATCH", whipSession, fragmentType, trickled, "", "", nil, 428, nil,
			nil,
		},
		{
			"restart without If-Match",
			Config{},
			"PATCH", whipSession, fragmentType, restarting, "", "", nil, 428, nil,
			nil,
		},
		{
			"trickle for another ICE session",
			Config{},
			"PATCH", whipSession, fragmentType, trickled, `"other"`, "",
			nil, 412, nil, nil,
		},
		{
			"restart of another ICE session",
			Config{},
			"PATCH", whipSession, fragmentType, restarting, `"other"`, "",
			nil, 412, nil, nil,
		},
		// DELETE
		{"DELETE", Config{}, "DELETE", whipSession, "", "", "", "", nil, 200, nil, nil},
		{"DELETE: If-Match means nothing", Config{}, "DELETE", whepSession, "", "", `"other"`, "", nil, 200, nil, nil},
		{"DELETE: unknown", Config{}, "DELETE", whipURL + "/unknown", "", "", "", "", nil, 404, nil, nil},
		// OPTIONS
		{
			"OPTIONS", guarded, "OPTIONS", whipURL, "", "", "", "", nil, 200, nil,
			headers{
				"Accept-Post": sdpType, "Access-Control-Allow-Headers": "^Authorization, Content-Type, If-Match$",
				"Access-Control-Allow-Methods":  "OPTIONS.*PATCH.*DELETE",
				"Access-Control-Expose-Headers": "^Location, ETag, Link, Retry-After, Access-Control-Allow-Methods$",
			},
		},
		{
			"OPTIONS on a session", guarded, "OPTIONS", whepSession, "", "", "", "", nil, 200, nil,
			headers{"Accept-Patch": fragmentType, "Accept-Post": sdpType},
		},
		{
			"OPTIONS on a fixed URL", guarded, "OPTIONS", "/whip", "", "", "", "", nil, 200, nil,
			headers{"Accept-Post": sdpType},
		},
		{
			"OPTIONS on the list", guarded, "OPTIONS", "/streams", "", "", "", "", nil, 200, nil,
			headers{"Access-Control-Allow-Headers": "Authorization"},
		},
		// GET and HEAD
		{"GET an endpoint", Config{}, "GET", whipURL, "", "", "", "", nil, 204, nil, nil},
		{"HEAD an endpoint", Config{}, "HEAD", whipURL, "", "", "", "", nil, 204, nil, nil},
		{
			"GET WHEP",
			Config{},
			"GET", whepURL, "", "", "", "", nil, 200, nil,
			headers{"Content-Type": "^application/sdp$", "Content-Length": "^0$"},
		},
		{
			"HEAD WHEP",
			Config{},
			"HEAD", whepURL, "", "", "", "", nil, 200, nil,
			headers{"Content-Type": "^application/sdp$", "Content-Length": "^0$"},
		},
		{
			"HEAD WHEP, nobody publishes",
			Config{},
			"HEAD", "/whep/nobody", "", "", "", "", nil, 200, nil,
			headers{"Content-Type": sdpType},
		},
		{
			"HEAD WHEP without a bearer", guarded, "HEAD", whepURL, "", "", "", "", nil, 401, nil,
			headers{"WWW-Authenticate": "^Bearer"},
		},
		{"GET a session", Config{}, "GET", whipSession, "", "", "", "", nil, 204, nil, nil},
		{"HEAD a session", Config{}, "HEAD", whepSession, "", "", "", "", nil, 204, nil, nil},
		// Load
		{
			"busy",
			Config{},
			"POST", whipURL, sdpType, obs, "", "", api.ErrBusy, 503, nil,
			headers{"Retry-After": `^[234]$`},
		},
		{
			"full",
			Config{},
			"POST", whepURL, sdpType, chromiumRX, "", "", api.ErrFull, 503, nil,
			headers{"Retry-After": `^\d+$`},
		},
		{
			"no redirect of an unclean path",
			Config{},
			"POST", "/whip//live", sdpType, obs, "", "", nil, 400, nil,
			headers{"Location": ""},
		},
		// No publisher, no codec
		{
			"WHEP, nobody publishes",
			Config{},
			"POST", "/whep/nobody", sdpType, chromiumRX, "", "", nil, 409, nil,
			headers{"Retry-After": `^\d+$`},
		},
		{
			"WHEP, no codec in common",
			Config{},
			"POST", whepURL, sdpType, "VP8 only", "", "", nil, 422,
			[]string{`"offered":["VP8"]`, `"available":["H264 42e0/1"]`},
			nil,
		},
		// Access
		{
			"no bearer", guarded, "POST", whipURL, sdpType, obs, "", "", nil, 401, nil,
			headers{"WWW-Authenticate": `^Bearer realm="[a-z]+"$`},
		},
		{
			"wrong bearer", guarded, "POST", whepURL, sdpType, chromiumRX, "", "Bearer x", nil, 401, nil,
			headers{"WWW-Authenticate": `^Bearer .*error="invalid_token"`},
		},
		{
			"the other role's bearer", guarded, "POST", whepURL, sdpType, chromiumRX, "", pt, nil, 403, nil,
			headers{"WWW-Authenticate": `error="insufficient_scope"`},
		},
		{"bearer", guarded, "POST", whipURL, sdpType, obs, "", pt, nil, 201, nil, created},
		{"viewer's bearer", guarded, "POST", whepURL, sdpType, chromiumRX, "", vt, nil, 201, nil, nil},
		{
			"session without bearer", guarded, "DELETE", whipSession, "", "", "", "", nil, 401, nil,
			headers{"WWW-Authenticate": "^Bearer"},
		},
		{"session with bearer", guarded, "DELETE", whipSession, "", "", "", pt, nil, 200, nil, nil},
		{"bearer where none is needed", Config{}, "POST", whipURL, sdpType, obs, "", pt, nil, 201, nil, created},
		{
			"stream key",
			Config{},
			"POST", "/whip", sdpType, obs, "", "Bearer my-key", nil, 201, nil,
			headers{"Location": `^/whip/-/[\w-]+$`},
		},
		{
			"stream key of a viewer",
			Config{},
			"POST", "/whep", sdpType, chromiumRX, "", "Bearer live", nil, 201,
			[]string{"msid:live"},
			headers{"Location": `^/whep/-/[\w-]+$`},
		},
		{
			"stream key and token", guarded, "POST", "/whip", sdpType, obs, "", "Bearer my-key:pt", nil, 201, nil,
			headers{"Location": `^/whip/-/[\w-]+$`},
		},
		{
			"no stream key",
			Config{},
			"POST", "/whip", sdpType, obs, "", "", nil, 401, nil,
			headers{"WWW-Authenticate": "^Bearer"},
		},
		// The list
		{
			"list",
			Config{},
			"GET", "/streams", "", "", "", "", nil, 200,
			[]string{`"name":"live"`, `"subscribers":0`},
			headers{"Content-Type": "^application/json$"},
		},
		{
			"list for nobody", guarded, "GET", "/streams", "", "", "", "", nil, 401,
			[]string{"!live"},
			headers{"WWW-Authenticate": "^Bearer"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, tt.cfg)
			b.engine.streams["live"] = obsStream(t)
			path, match := tt.path, tt.match
			var etag string
			switch path {
			case whipSession:
				path, etag = b.mustOpen(whipURL, obs, pt)
			case whepSession:
				path, etag = b.mustOpen(whepURL, chromiumRX, vt)
			}
			if match == tag {
				match = etag
			}
			request := []string{"Content-Type", tt.mediaType}
			if match != "" {
				request = append(request, "If-Match", match)
			}
			if tt.bearer != "" {
				request = append(request, "Authorization", tt.bearer)
			}
			b.engine.err = tt.err
			w := b.do(tt.method, path, protocolBody(t, tt.body, tt.path), request...)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			checkCORS(t, w)
			if w.Code >= 400 {
				checkProblem(t, w, tt.status, "")
			}
			empty := tt.method != "POST" && tt.method != "PATCH" && w.Code == 200 && tt.path != "/streams"
			if (w.Code == 204 || empty) && w.Body.Len() != 0 {
				t.Errorf("a body where none is due: %s", w.Body)
			}
			for _, part := range tt.has {
				if text, absent := strings.CutPrefix(part, "!"); strings.Contains(w.Body.String(), text) == absent {
					t.Errorf("want %q in the body:\n%s", part, w.Body)
				}
			}
			checkHeaders(t, w, tt.headers)
		})
	}
}

// mustOpen opens a session with a fixture's offer.
func (b *bench) mustOpen(path, offer, bearer string) (location, etag string) {
	b.t.Helper()
	w := b.do("POST", path, fixture(b.t, offer), "Content-Type", sdpType, "Authorization", bearer)
	if w.Code != http.StatusCreated {
		b.t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Header().Get("Location"), w.Header().Get("ETag")
}

func checkHeaders(t *testing.T, w *httptest.ResponseRecorder, want map[string]string) {
	t.Helper()
	for name, pattern := range want {
		got := w.Header().Get(name)
		if pattern == "" && got != "" || pattern != "" && !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s: %q, want %q", name, got, pattern)
		}
	}
}

// obsStream is the stream of OBS's offer once its packets come.
func obsStream(t *testing.T) api.Stream {
	t.Helper()
	b := newBench(t, Config{})
	b.mustPost("/whip/live", fixture(t, obs))
	st, _ := b.engine.Stream("live")
	st.Active = []int{111, 96}
	return st
}

// protocolBody is a body that a line of TestProtocol names, or is.
func protocolBody(t *testing.T, name, path string) string {
	t.Helper()
	switch name {
	case obs, chromiumRX:
		return fixture(t, name)
	case "sendrecv":
		if strings.HasPrefix(path, "/whep") {
			return replace(t, fixture(t, chromiumRX), "a=recvonly", "a=sendrecv")
		}
		return replace(t, fixture(t, obs), "a=sendonly", "a=sendrecv")
	case "two videos":
		return replace(t, fixture(t, obs), "m=audio 49660 UDP/TLS/RTP/SAVPF 111", "m=video 9 UDP/TLS/RTP/SAVPF 111")
	case "two MediaStreams":
		return replace(t, fixture(t, obs), "a=msid:obs obs-video", "a=msid:screen obs-video")
	case "one codec unknown":
		return replace(t, fixture(t, obs), "H264/90000", "theora/90000")
	case "VP8 only":
		audio, _, _ := strings.Cut(fixture(t, firefoxRX), "m=video")
		return audio +
			"m=video 9 UDP/TLS/RTP/SAVPF 120\r\na=mid:1\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:120 VP8/90000\r\n"
	}
	return name
}
