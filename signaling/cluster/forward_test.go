package cluster_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/cluster"
	"ringcast/signaling/cluster/directory"
	"ringcast/signaling/cluster/secret"
)

// A liveEngine knows which of its sessions live.
type liveEngine struct {
	openEngine
	ended  map[api.SessionID]bool
	chosen string
	source netip.Addr // of the last restart
	onEnd  func(api.SessionID, api.Reason)
}

func (e *liveEngine) Restart(
	_ context.Context, id api.SessionID, _ api.Credentials, source netip.Addr,
) (api.Local, error) {
	e.source = source
	return api.Local{ID: id, ICE: api.Credentials{Ufrag: "again", Password: "passwordpasswordpassword"}}, nil
}

func (e *liveEngine) Close(id api.SessionID) { e.End(id, api.ReasonClosed) }

func (e *liveEngine) End(id api.SessionID, why api.Reason) bool {
	e.mu.Lock()
	was := e.ended[id]
	e.ended[id] = true
	e.mu.Unlock()
	if !was {
		e.onEnd(id, why)
	}
	return !was
}

func (e *liveEngine) Choose(_ context.Context, _ api.SessionID, rid string) error {
	e.chosen = rid
	return nil
}

func (e *liveEngine) View(id api.SessionID) (api.View, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return api.View{Rung: api.NoRung, Stream: api.Stream{
		Name: "cam", Since: time.Unix(1, 0), Subscribers: 3, Ladder: []api.Rung{{RID: "h"}, {RID: "f"}},
	}}, !e.ended[id]
}

func (e *liveEngine) OnEnded(f func(api.SessionID, api.Reason)) { e.onEnd = f }

// A member is a node with both listeners.
type member struct {
	id             string
	engine         *liveEngine
	public, nodes  *httptest.Server
	others         []directory.Node
	seen           int // requests at the listener for nodes
	caller         *secret.Caller
	answersForward func(http.ResponseWriter) bool
}

// newMembers makes nodes that know each other.
func newMembers(t *testing.T, ids ...string) []*member {
	t.Helper()
	keys, err := secret.New("the secret of a cluster of tests", "")
	if err != nil {
		t.Fatal(err)
	}
	var all []*member
	for _, id := range ids {
		m := &member{id: id, engine: &liveEngine{ended: make(map[api.SessionID]bool)}}
		log := slog.New(slog.DiscardHandler)
		m.caller = secret.NewCaller(keys, id, directory.StaticClient(&http.Transport{}), secret.NewClocks(log, nil))
		s := signaling.New(signaling.Config{
			Log: log, ViewToken: "viewer's", Base: "/cast",
			Nodes: cluster.NewForwards(directory.NodeID(id), m.caller, func() []directory.Node { return m.others }),
			Balancer: cluster.NewRedirects(cluster.RedirectConfig{
				Node: directory.Node{ID: directory.NodeID(id)}, Keys: keys, How: cluster.RedirectProxy, At: 1,
				Redeemer: secret.NewRedeemer(keys, id, nil, nil), Clocks: secret.NewClocks(log, nil),
				Nodes: func() []directory.Node { return m.others },
			}),
		}, m.engine)
		m.public = httptest.NewServer(s.Handler())
		guarded := secret.NewGuard(keys, id, nil, nil).Wrap(s.ForwardedHandler())
		m.nodes = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			m.seen++
			if m.answersForward == nil || !m.answersForward(w) {
				guarded.ServeHTTP(w, r)
			}
		}))
		t.Cleanup(m.public.Close)
		t.Cleanup(m.nodes.Close)
		all = append(all, m)
	}
	for _, m := range all {
		for _, o := range all {
			if o != m {
				m.others = append(m.others, directory.Node{ID: directory.NodeID(o.id), URL: o.nodes.URL})
			}
		}
	}
	return all
}

// ask makes a request with the viewers' token. headers are names and values in turn.
func (m *member) ask(t *testing.T, method, path, body string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, m.public.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer viewer's")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// watch opens a session, and returns its URL.
func (m *member) watch(t *testing.T) (location string) {
	t.Helper()
	answer := send(t, http.DefaultClient, http.MethodPost, m.public.URL+"/cast/whep/cam", "viewer's")
	location = answer.Header.Get("Location")
	if answer.StatusCode != http.StatusCreated || !strings.HasPrefix(location, "/cast/whep/cam/s/"+m.id+".") ||
		!strings.Contains(answer.Header.Get("Link"), location) {
		t.Fatalf("got %s, Location %q, Link %q, want 201 and the node's id in both", answer.Status, location,
			answer.Header.Values("Link"))
	}
	return location
}

const (
	fragment = "a=ice-ufrag:NewUfrag\r\na=ice-pwd:NewPasswordNewPasswordNew\r\n" +
		"m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
	fragmentMIM = "application/trickle-ice-sdpfrag"
)

// Every request about a session of another node has the same answer as there. The client's token counts there.
func TestForwards(t *testing.T) {
	nodes := newMembers(t, "here", "there")
	here, there := nodes[0], nodes[1]
	at := there.watch(t)
	for _, row := range []struct {
		name, method, path, body string
		headers                  []string
		want                     int
	}{
		{"HEAD", http.MethodHead, at, "", nil, 204},
		{"another token", http.MethodDelete, at, "", []string{"Authorization", "Bearer mine"}, 401},
		{"another secret", http.MethodDelete, at[:len(at)-1], "", nil, 404},
		{"no precondition", http.MethodPatch, at, fragment, []string{"Content-Type", fragmentMIM}, 428},
		{"another media type", http.MethodPatch, at, fragment, []string{"If-Match", "*"}, 415},
		{"restart", http.MethodPatch, at, fragment, []string{"Content-Type", fragmentMIM, "If-Match", "*"}, 200},
		{
			"layer", http.MethodPost, at + "/layer", `{"mediaId":"1","rid":"h"}`,
			[]string{"Content-Type", "application/json"},
			200,
		},
		{"method", http.MethodPut, at, "", nil, 405},
		{
			"too long", http.MethodPatch, at, strings.Repeat("a", 65<<10),
			[]string{"Content-Type", fragmentMIM, "If-Match", "*"},
			413,
		},
		{"offer", http.MethodPost, at, "", nil, 405},
	} {
		direct := row.want
		if row.name != "restart" { // the second one is a repetition
			direct = there.ask(t, row.method, row.path, row.body, row.headers...).StatusCode
		}
		got := here.ask(t, row.method, row.path, row.body, row.headers...)
		if got.StatusCode != row.want || direct != row.want {
			text, _ := io.ReadAll(got.Body)
			t.Errorf("%s: got %s here, %d there, want %d: %s", row.name, got.Status, direct, row.want, text)
		}
		if got.Header.Get("Access-Control-Allow-Origin") != "*" || row.want == 401 &&
			got.Header.Get("WWW-Authenticate") == "" || row.name == "restart" && got.Header.Get("ETag") == "" {
			t.Errorf("%s: got headers %v", row.name, got.Header)
		}
	}
	if there.engine.chosen != "h" || there.engine.source != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("got layer %q and a restart of %v, want h and the client's address", there.engine.chosen,
			there.engine.source)
	}
	checkEvents(t, here, at)
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != http.StatusOK || !there.engine.ended[1] {
		t.Errorf("DELETE: got %s, want 200 and the session's end", got.Status)
	}
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != http.StatusNotFound {
		t.Errorf("second DELETE: got %s, want 404", got.Status)
	}
}

// checkEvents reads the first event of a session at a node that does not have it.
func checkEvents(t *testing.T, here *member, session string) {
	t.Helper()
	made := here.ask(t, http.MethodPost, session+"/events", `["viewercount"]`, "Content-Type", "application/json")
	stream := made.Header.Get("Location")
	if made.StatusCode != http.StatusCreated || !strings.HasPrefix(stream, "/cast/whep/cam/events/there.") {
		t.Fatalf("events: got %s, Location %q, want 201 and a stream of the other node", made.Status, stream)
	}
	answer := here.ask(t, http.MethodGet, stream, "", "Authorization", "Bearer nobody's")
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("events: got %s, %v, want 200", answer.Status, answer.Header)
	}
	lines := bufio.NewScanner(answer.Body) // it would wait for ever if the events were kept back
	for _, want := range []string{"event: viewercount", `data: {"viewercount":3}`} {
		if lines.Scan(); lines.Text() != want {
			t.Errorf("events: got %q, want %q", lines.Text(), want)
		}
	}
	answer.Body.Close()
	if got := here.ask(t, http.MethodDelete, stream, ""); got.StatusCode != http.StatusOK {
		t.Errorf("DELETE of the events: got %s, want 200", got.Status)
	}
}

// A request goes to one other node at most, and only to one of the cluster. A node that is gone is named as such.
func TestForwardsEnd(t *testing.T) {
	nodes := newMembers(t, "here", "there", "third")
	here, there, third := nodes[0], nodes[1], nodes[2]
	at := there.watch(t)
	if got := here.ask(t, http.MethodDelete, strings.Replace(at, "there.", "nobody.", 1), ""); got.StatusCode != 404 {
		t.Errorf("a node that does not exist: got %s, want 404", got.Status)
	}
	// A node that has come in the place of another has none of its sessions.
	here.others[1].ID = "there"
	here.others = here.others[1:]
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != 404 || there.seen != 0 || third.seen != 2 {
		t.Errorf("by way of a third node: got %s, %d requests there, %d at the third, want 404, 0, 2", got.Status,
			there.seen, third.seen)
	}
	third.answersForward = func(w http.ResponseWriter) bool {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		return true
	}
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != http.StatusBadGateway {
		t.Errorf("an endless answer: got %s, want 502", got.Status)
	}
	third.nodes.Close()
	if got := here.ask(t, http.MethodDelete, at, ""); got.StatusCode != http.StatusBadGateway {
		t.Errorf("a node that is gone: got %s, want 502", got.Status)
	}
	// The headers between nodes mean nothing in a client's request.
	got := there.ask(t, http.MethodDelete, at, "", "Ringcast-Source", "192.0.2.1", "Authorization", "Bearer mine")
	if got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a client that claims to be a node: got %s, want 401", got.Status)
	}
}
