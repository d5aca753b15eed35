package signaling

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/prometheus/client_golang/prometheus"

	"ringcast/engine/api"
)

const (
	adminToken   Secret = "the-admin-token-of-tests"
	metricsToken Secret = "the-metrics-token-of-tests"
)

// fakeManager has one stream, live, with a publisher 1 and a viewer 2.
type fakeManager struct {
	streams []api.Stream
	limits  api.Limits
	ended   []string
}

func (m *fakeManager) Streams() []api.Stream { return slices.Clone(m.streams) }

func (m *fakeManager) Sessions(stream string) []api.Session {
	if stream != "live" {
		return nil
	}
	at := time.Date(2026, 11, 3, 10, 0, 0, 5, time.UTC)
	return []api.Session{
		{ID: 1, Role: api.Publisher, Opened: at, Connected: true, Live: true, Rung: api.NoRung},
		{
			ID: 2, Role: api.Subscriber, Opened: at, Connected: true, Source: netip.MustParseAddr("192.0.2.1"),
			Agent: "Player/1", Rung: 1, RID: "h", Cause: "capacity",
		},
		{ID: 3, Role: api.Subscriber, Opened: at, Rung: api.NoRung},
		{ID: 4, Role: api.Publisher, Opened: at, Connected: true, Rung: api.NoRung},
	}
}

func (m *fakeManager) End(id api.SessionID, why api.Reason) bool {
	if id == 0 || id > 4 {
		return false
	}
	m.ended = append(m.ended, strconv.Itoa(int(id))+": "+why.String())
	return true
}

func (m *fakeManager) EndStream(stream string, why api.Reason) int {
	if stream != "live" {
		return 0
	}
	m.ended = append(m.ended, stream+": "+why.String())
	return 4
}

func (m *fakeManager) Limits() api.Limits { return m.limits }

func (m *fakeManager) SetLimits(change func(*api.Limits)) api.Limits {
	change(&m.limits)
	return m.limits
}

// listenerAddress is the one that connections of the tests come to.
const listenerAddress = "127.0.0.1:9090"

// ask makes a request as by a connection to listenerAddress. headers come as name and value in turn; Host is one.
func ask(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(listenerAddress))
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
	r.Host, r.RemoteAddr = listenerAddress, "127.0.0.1:50000"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// managing makes an admin handler with both tokens.
func managing(change func(*AdminConfig)) (*Admin, *fakeManager) {
	m := &fakeManager{streams: []api.Stream{{Name: "live", Publisher: 1}}}
	cfg := AdminConfig{
		Log: slog.New(slog.DiscardHandler), Gatherer: prometheus.NewRegistry(), Engine: m,
		AdminAccess: AdminAccess{
			Token: adminToken, MetricsToken: metricsToken, Hosts: []string{"Admin.Example", "2001:db8::9"},
		},
	}
	if change != nil {
		change(&cfg)
	}
	return NewAdmin(cfg), m
}

const (
	bearerOfAdmin   = "Bearer " + string(adminToken)
	bearerOfMetrics = "Bearer " + string(metricsToken)
)

// The gate, row by row: host, origin, token and media type.
func TestGate(t *testing.T) {
	type h []string
	const write, auth, ctype = "DELETE /api/sessions/2", "Authorization", "Content-Type"
	good := h{auth, bearerOfAdmin, ctype, jsonType}
	and := func(more ...string) h { return append(slices.Clone(good), more...) }
	for _, row := range []struct {
		name, request string
		open          bool // reads are open, as on loopback
		headers       h
		status        int
	}{
		{"a write", write, true, good, 204},
		{"a write without a token", write, true, h{ctype, jsonType}, 401},
		{"another token", write, true, h{auth, "Bearer nonsense", ctype, jsonType}, 401},
		{"the start of the token", write, true, h{auth, bearerOfAdmin[:20], ctype, jsonType}, 401},
		{"the metrics token", write, true, h{auth, bearerOfMetrics, ctype, jsonType}, 403},
		{"another scheme", write, true, h{auth, "Basic " + string(adminToken), ctype, jsonType}, 401},
		{"two bearers", write, true, and(auth, bearerOfAdmin), 401},
		{"the token in a cookie", write, true, h{"Cookie", "token=" + string(adminToken), ctype, jsonType}, 401},
		{"the token in the query", write + "?access_token=" + string(adminToken), true, h{ctype, jsonType}, 401},
		{"no content type", write, true, h{auth, bearerOfAdmin}, 415},
		{"a form", write, true, h{auth, bearerOfAdmin, ctype, "application/x-www-form-urlencoded"}, 415},
		{"text, as a form can send JSON", write, true, h{auth, bearerOfAdmin, ctype, "text/plain"}, 415},
		{"a charset", write, true, h{auth, bearerOfAdmin, ctype, "Application/JSON; charset=utf-8"}, 204},
		{"a method in a header", "POST /api/sessions/2", true, and("X-HTTP-Method-Override", "DELETE"), 405},
		{"a GET of a write", "GET /api/sessions/2", true, good, 405},
		{"a preflight", "OPTIONS /api/limits", true, and("Origin", "http://evil.example"), 405},

		{"a page of another origin", write, true, and("Origin", "http://evil.example"), 403},
		{"a page without an origin", write, true, and("Origin", "null"), 403},
		{"a page on another port", write, true, and("Origin", "http://127.0.0.1:8080"), 403},
		{"the listener's own origin", write, true, and("Origin", "http://"+listenerAddress), 204},
		{"cross-site", write, true, and("Sec-Fetch-Site", "cross-site"), 403},
		{"same-site", write, true, and("Sec-Fetch-Site", "same-site"), 403},
		{"same-origin", write, true, and("Sec-Fetch-Site", "same-origin"), 204},
		{"typed by a person", "GET /metrics", true, h{"Sec-Fetch-Site", "none"}, 200},
		{"an image of another page", "GET /metrics", true, h{"Sec-Fetch-Site", "cross-site"}, 403},

		{"another name", write, true, and("Host", "evil.example:9090"), 421},
		{"another name reads", "GET /api/streams", true, h{"Host", "evil.example"}, 421},
		{"another address", "GET /api/streams", true, h{"Host", "192.0.2.1:9090"}, 421},
		{"no name", "GET /api/streams", true, h{"Host", ""}, 421},
		{"localhost", "GET /api/streams", true, h{"Host", "LocalHost:9090"}, 200},
		{"localhost as a label", "GET /api/streams", true, h{"Host", "localhost.evil.example"}, 421},
		{"by a tunnel's port", "GET /api/streams", true, h{"Host", "127.0.0.1:1234"}, 200},
		{"mapped", "GET /api/streams", true, h{"Host", "[::ffff:127.0.0.1]:9090"}, 200},
		{"a configured name", "GET /api/streams", true, h{"Host", "admin.example.:9090"}, 200},
		{"a configured address", "GET /api/streams", true, h{"Host", "[2001:db8::9]:9090"}, 200},
		{"a host with a space", "GET /api/streams", true, h{"Host", "127.0.0.1 "}, 421},

		{"an open read", "GET /metrics", true, nil, 200},
		{"an open list", "GET /api/limits", true, nil, 200},
		{"a guarded read", "GET /metrics", false, nil, 401},
		{"a guarded list", "GET /api/limits", false, nil, 401},
		{"a guarded document", "GET /api/openapi.json", false, nil, 401},
		{"the token reads", "GET /api/limits", false, h{auth, bearerOfAdmin}, 200},
		{"the metrics token", "GET /metrics", false, h{auth, bearerOfMetrics}, 200},
		{"the admin token for metrics", "GET /metrics", false, h{auth, bearerOfAdmin}, 200},
		{"the metrics token elsewhere", "GET /api/limits", false, h{auth, bearerOfMetrics}, 403},
		{"a HEAD", "HEAD /metrics", false, nil, 401},

		{"profiles of all", "GET /debug/pprof/goroutine", true, nil, 401},
		{"profiles", "GET /debug/pprof/goroutine", true, h{auth, bearerOfAdmin}, 200},
		{"the command line", "GET /debug/pprof/cmdline", true, nil, 401},
		{"profiles by the metrics token", "GET /debug/pprof/", true, h{auth, bearerOfMetrics}, 403},

		{"a probe", "GET /livez", false, h{"Host", ""}, 200},
		{"a probe of readiness", "GET /readyz", false, h{"Host", "evil.example"}, 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, m := managing(func(c *AdminConfig) { c.OpenReads = row.open })
			method, path, _ := strings.Cut(row.request, " ")
			w := ask(a, method, path, "", row.headers...)
			if w.Code != row.status {
				t.Errorf("got status %d, want %d: %s", w.Code, row.status, w.Body)
			}
			if done := len(m.ended) > 0; done != (row.status == 204) {
				t.Errorf("status %d, and ended %v", w.Code, m.ended)
			}
			for name := range w.Header() {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("the answer has %s", name)
				}
			}
			if strings.Contains(w.Body.String(), "oken-of-tests") {
				t.Errorf("the answer shows a token: %s", w.Body)
			}
		})
	}
}

// Without an admin token nobody writes, not even with an empty bearer.
func TestNoAdminToken(t *testing.T) {
	a, m := managing(func(c *AdminConfig) { c.Token, c.OpenReads = "", true })
	for _, auth := range []string{"Bearer ", "Bearer x", bearerOfMetrics} {
		w := ask(a, http.MethodDelete, "/api/streams/live", "", "Authorization", auth, "Content-Type", jsonType)
		if w.Code != http.StatusForbidden || len(m.ended) != 0 {
			t.Errorf("%q: status %d, ended %v", auth, w.Code, m.ended)
		}
	}
	if w := ask(a, http.MethodGet, "/api/limits", ""); w.Code != http.StatusOK {
		t.Errorf("a read: status %d", w.Code)
	}
}

// The document is valid OpenAPI. Every path, method and status in it is exercised, and each answer has the form that
// the document gives it.
func TestOpenAPI(t *testing.T) {
	d := loadDocument(t)
	ready, drained := true, 0
	d.admin, _ = managing(func(c *AdminConfig) {
		c.Ready = func() error {
			if ready {
				return nil
			}
			return api.ErrClosing
		}
		c.Drain = func() { drained++ }
		c.Cluster = func() any { return map[string][]int{"nodes": {}, "pulls": {}, "pushes": {}} }
	})
	auth := []string{"Authorization", bearerOfAdmin, "Content-Type", jsonType}
	const streams, stream, session = "/api/streams", "/api/streams/{stream}", "/api/sessions/{id}"
	for request, in := range map[string]string{
		"GET /metrics": "/metrics", "GET /api/openapi.json": "/api/openapi.json", "GET " + streams: streams,
		"GET " + stream + "/sessions": "/api/streams/live/sessions", "DELETE " + stream: "/api/streams/live",
		"DELETE " + session: "/api/sessions/2", "GET /api/limits": "/api/limits", "PATCH /api/limits": "/api/limits",
		"GET /api/cluster": "/api/cluster", "POST /api/drain": "/api/drain",
	} {
		success := 200
		switch {
		case strings.HasSuffix(request, session):
			success = 204
		case strings.HasPrefix(request, "POST "):
			success = 202
		}
		d.try(t, request, in, "{}", success, auth...)
		d.try(t, request, in, "{}", 401)
		d.try(t, request, in, "{}", 403, append(auth, "Origin", "http://evil.example")...)
		d.try(t, request, in, "{}", 421, append(auth, "Host", "evil.example")...)
		if !strings.HasPrefix(request, "GET ") {
			d.try(t, request, in, "{}", 415, auth[:2]...)
		}
	}
	d.try(t, "GET "+stream+"/sessions", "/api/streams/none/sessions", "", 404, auth...)
	d.try(t, "DELETE "+stream, "/api/streams/none", "", 404, auth...)
	d.try(t, "DELETE "+session, "/api/sessions/99", "", 404, auth...)
	d.admin.nodes = &fakeNodes{err: ErrUpstream, silent: 1}
	d.try(t, "DELETE "+session, "/api/sessions/node2.7", "", 502, auth...)
	d.try(t, "DELETE "+stream, "/api/streams/none", "", 502, auth...)
	d.try(t, "DELETE "+stream, "/api/streams/live", "", 200, auth...)
	d.try(t, "GET "+stream+"/sessions", "/api/streams/live/sessions", "", 200, auth...)
	d.try(t, "PATCH /api/limits", "/api/limits", `{"colour":1}`, 400, auth...)
	d.try(t, "PATCH /api/limits", "/api/limits", strings.Repeat(" ", maxExtensionBody+1), 413, auth...)
	d.try(t, "GET /livez", "/livez", "", 200)
	d.try(t, "GET /readyz", "/readyz", "", 200)
	ready = false
	d.try(t, "GET /readyz", "/readyz", "", 503)
	if drained != 1 {
		t.Errorf("drained %d times, want once: only one request passed the gate", drained)
	}
	if len(d.missing) > 0 {
		t.Errorf("no request had these answers of the document: %q", slices.Sorted(maps.Keys(d.missing)))
	}
}

// fakeNodes are node1, which is this one, and node2 with the session 7.
type fakeNodes struct {
	err    error
	silent int
	asked  []string
}

func (*fakeNodes) Self() string { return "node1" }

func (n *fakeNodes) EndSession(_ context.Context, node string, id api.SessionID) (bool, error) {
	n.asked = append(n.asked, node+" "+strconv.Itoa(int(id)))
	if node != "node2" {
		return false, ErrNoNode
	}
	return id == 7, n.err
}

func (n *fakeNodes) EndStream(_ context.Context, stream string) (ended, silent int) {
	n.asked = append(n.asked, stream)
	if stream == "there" {
		ended = 3
	}
	return ended, n.silent
}

// In a cluster a stream's viewers are those of all nodes.
func TestViewersElsewhere(t *testing.T) {
	a, m := managing(func(c *AdminConfig) {
		c.Elsewhere = func(stream string) int { return map[string]int{"live": 5}[stream] }
	})
	m.streams[0].Subscribers = 2
	w := ask(a, http.MethodGet, "/api/streams", "", "Authorization", bearerOfAdmin)
	if !strings.Contains(w.Body.String(), `"subscribers":7`) {
		t.Errorf("got %s, want 7 subscribers", w.Body)
	}
}

// In a cluster the id of a session may have that of its node, and a stream ends at all nodes.
func TestEndAtOtherNodes(t *testing.T) {
	nodes := &fakeNodes{}
	a, m := managing(func(c *AdminConfig) { c.Nodes = nodes })
	for _, row := range []struct {
		path   string
		status int
		answer string
	}{
		{"/api/sessions/2", 204, ""},
		{"/api/sessions/node1.2", 204, ""},
		{"/api/sessions/node2.7", 204, ""},
		{"/api/sessions/node2.2", 404, "no-session"},
		{"/api/sessions/node3.7", 404, "no-session"},
		{"/api/sessions/node2.", 404, "no-session"},
		{"/api/sessions/.2", 404, "no-session"},
		{"/api/sessions/node%0A2.2", 404, "no-session"},
		{"/api/sessions/node2.7.7", 404, "no-session"},
		{"/api/streams/live", 200, `{"ended":4}`},
		{"/api/streams/there", 200, `{"ended":3}`},
		{"/api/streams/none", 404, "no-stream"},
		{"/api/streams/b%0Ad", 404, "no-stream"},
	} {
		w := ask(a, http.MethodDelete, row.path, "", "Authorization", bearerOfAdmin, "Content-Type", jsonType)
		if w.Code != row.status || !strings.Contains(w.Body.String(), row.answer) {
			t.Errorf("%s: got %d, %s, want %d, %s", row.path, w.Code, w.Body, row.status, row.answer)
		}
	}
	if want := []string{"node2 7", "node2 2", "node3 7", "live", "there", "none"}; !slices.Equal(nodes.asked, want) {
		t.Errorf("other nodes were asked for %q, want %q", nodes.asked, want)
	}
	if len(m.ended) != 3 {
		t.Errorf("got %q ended here, want session 2 twice and the stream", m.ended)
	}
	w := ask(a, http.MethodGet, "/api/streams/live/sessions", "", "Authorization", bearerOfAdmin)
	if !strings.Contains(w.Body.String(), `{"id":1,"node":"node1",`) {
		t.Errorf("got %s, want the node's id beside the session's", w.Body)
	}
	a, _ = managing(nil)
	w = ask(a, http.MethodDelete, "/api/sessions/node2.7", "", "Authorization", bearerOfAdmin, "Content-Type", jsonType)
	if w.Code != http.StatusNotFound {
		t.Errorf("got %d without a cluster, want 404", w.Code)
	}
}

// A document is openapi.json beside the handler that it describes.
type document struct {
	*openapi3.T
	admin *Admin
	// missing holds the method, path and status of each answer that no request had yet.
	missing map[string]bool
}

func loadDocument(t *testing.T) *document {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(openAPI)
	if err == nil {
		err = doc.Validate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	d := &document{T: doc, missing: make(map[string]bool)}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				d.missing[method+" "+path+" "+status] = true
			}
		}
	}
	return d
}

// try makes a request, named by the document's method and path, at a URL. It compares the answer with the document.
func (d *document) try(t *testing.T, request, in, body string, status int, headers ...string) {
	t.Helper()
	method, path, _ := strings.Cut(request, " ")
	w := ask(d.admin, method, in, body, headers...)
	op := d.Paths.Find(path).GetOperation(method)
	if op == nil || w.Code != status || op.Responses.Status(status) == nil {
		t.Errorf("%s as %s: got status %d, want %d, which the document has: %s", request, in, w.Code, status, w.Body)
		return
	}
	delete(d.missing, request+" "+strconv.Itoa(status))
	want := op.Responses.Status(status).Value.Content
	got := mediaType(w.Header().Get("Content-Type"))
	if (got == "") != (want == nil) || want != nil && want.Get(got) == nil {
		t.Errorf("%s %d: Content-Type %q is not in the document", request, status, got)
		return
	}
	if !strings.HasSuffix(got, "json") {
		return
	}
	var v any
	err := json.Unmarshal(w.Body.Bytes(), &v)
	if err == nil {
		err = want.Get(got).Schema.Value.VisitJSON(v)
	}
	if err != nil {
		t.Errorf("%s %d: %v: %s", request, status, err, w.Body)
	}
}

// A PATCH changes the members that it has and no other. One that is not as expected changes nothing.
func TestSetLimits(t *testing.T) {
	before := api.Limits{Viewers: 1, SourceSessions: 2, Bitrate: 3_000_000, Refuse: true}
	for _, row := range []struct {
		body   string
		status int
		want   api.Limits
	}{
		{`{}`, 200, before},
		{`{"streamViewers":7}`, 200, api.Limits{Viewers: 7, SourceSessions: 2, Bitrate: 3_000_000, Refuse: true}},
		{
			`{"streamViewers":0,"sourceSessions":0,"publisherBitrate":0,"overBitrate":"warn"}`, 200, api.Limits{},
		},
		{`{"streamViewers":null}`, 200, before},
		{`{"publisherBitrate":10000}`, 200, api.Limits{Viewers: 1, SourceSessions: 2, Bitrate: 10_000, Refuse: true}},
		{`{"publisherBitrate":5000}`, 400, before}, // kilobits were meant
		{`{"publisherBitrate":2000000000}`, 400, before},
		{`{"streamViewers":-1}`, 400, before},
		{`{"streamViewers":1.5}`, 400, before},
		{`{"sourceSessions":99999999999999999999}`, 400, before},
		{`{"sourceSessions":"7"}`, 400, before},
		{`{"overBitrate":"end"}`, 400, before},
		{`{"streamViewers":9,"viewers":1}`, 400, before},
		{`{"streamViewers":9}{}`, 400, before},
		{`{"streamViewers":9}}`, 400, before},
		{`{"streamViewers":9}]`, 400, before},
		{"{}\n", 200, before},
		{`{"streamViewers":9`, 400, before},
		{`[]`, 400, before},
		{``, 400, before},
	} {
		a, m := managing(nil)
		m.limits = before
		w := ask(a, "PATCH", "/api/limits", row.body, "Authorization", bearerOfAdmin, "Content-Type", jsonType)
		if w.Code != row.status || m.limits != row.want {
			t.Errorf("%s: got %d, %+v, want %d, %+v: %s", row.body, w.Code, m.limits, row.status, row.want, w.Body)
		}
	}
}

// The list of sessions shows no secret, and leaves out what nobody knows.
func TestSessionsOfStream(t *testing.T) {
	a, _ := managing(nil)
	w := ask(a, http.MethodGet, "/api/streams/live/sessions", "", "Authorization", bearerOfAdmin)
	const want = `[{"id":1,"role":"publisher","state":"live","opened":"2026-11-03T10:00:00Z"},` +
		`{"id":2,"role":"subscriber","state":"connected","opened":"2026-11-03T10:00:00Z","source":"192.0.2.1",` +
		`"userAgent":"Player/1","rid":"h","cause":"capacity"},` +
		`{"id":3,"role":"subscriber","state":"pending","opened":"2026-11-03T10:00:00Z"},` +
		`{"id":4,"role":"publisher","state":"waiting","opened":"2026-11-03T10:00:00Z"}]` + "\n"
	if w.Body.String() != want {
		t.Errorf("got\n%swant\n%s", w.Body, want)
	}
}

// Each write leaves one record, with the result and the token's fingerprint. Where many
// are refused, the next record counts those without one. No record shows a bearer.
func TestAudit(t *testing.T) {
	var text bytes.Buffer
	a, m := managing(func(c *AdminConfig) { c.Log = slog.New(slog.NewJSONHandler(&text, nil)) })
	auth := []string{"Authorization", bearerOfAdmin, "Content-Type", jsonType}
	ask(a, http.MethodDelete, "/api/sessions/2", "", auth...)
	ask(a, http.MethodDelete, "/api/streams/live", "", auth...)
	ask(a, http.MethodDelete, "/api/streams/b%0Ad", "", auth...)
	ask(a, http.MethodPatch, "/api/limits", `{"streamViewers":5}`, auth...)
	ask(a, http.MethodPatch, "/api/limits", `{"x":5}`, auth...)
	if want := []string{"2: ended by an operator", "live: ended by an operator"}; !slices.Equal(m.ended, want) {
		t.Errorf("ended %q, want %q", m.ended, want)
	}
	var got []string
	for line := range strings.Lines(text.String()) {
		var e struct {
			Audit map[string]any `json:"audit"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Audit["token"] != fingerprint(string(adminToken)) || e.Audit["source"] != "127.0.0.1" {
			t.Errorf("nobody did it: %s", line)
		}
		got = append(got, e.Audit["action"].(string)+" "+e.Audit["result"].(string))
	}
	if want := []string{
		"end_session done", "end_stream done", "end_stream no-stream", "set_limits done", "set_limits malformed-json",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	text.Reset()
	synctest.Test(t, func(*testing.T) {
		for range 3 * choiceBurst {
			ask(a, http.MethodDelete, "/api/sessions/2", "", "Authorization", "Bearer s3cret-of-another-server")
		}
		time.Sleep(choiceInterval)
		ask(a, http.MethodDelete, "/api/sessions/2", "")
	})
	if n := strings.Count(text.String(), "admin write refused"); n != choiceBurst+1 {
		t.Errorf("%d records of %d refused writes, want %d", n, 3*choiceBurst+1, choiceBurst+1)
	}
	if want := `"missing":` + strconv.Itoa(2*choiceBurst); !strings.Contains(text.String(), want) {
		t.Errorf("no record has %s:\n%s", want, text.String())
	}
	if strings.Contains(text.String(), "s3cret") || strings.Contains(text.String(), string(adminToken)) {
		t.Errorf("a bearer is shown:\n%s", text.String())
	}
	if got := a.gate.refusals[barrierToken].Load(); got != 3*choiceBurst+1 {
		t.Errorf("%d refusals are counted, want %d", got, 3*choiceBurst+1)
	}
}
