package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/signaling"
)

// A fakeEngine opens sessions without media. A session that dials publishes its stream once it is answered.
type fakeEngine struct {
	mu      sync.Mutex
	last    api.SessionID
	live    map[api.SessionID]string // the stream
	streams map[string]api.Stream
	dials   []api.SessionID
	hidden  map[string]bool // the streams that were dialled as hidden
	viewers map[api.SessionID]bool
	limit   int // of viewers of a stream, 0 for none
	answers []api.Answer
	ended   []func(api.SessionID, api.Reason)
	// candidates are those of all sessions that peers open.
	candidates []netip.AddrPort
	// name is a part of the credentials of all sessions.
	name string
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{
		live: make(map[api.SessionID]string), streams: make(map[string]api.Stream), hidden: make(map[string]bool),
		viewers:    make(map[api.SessionID]bool),
		candidates: []netip.AddrPort{netip.MustParseAddrPort("203.0.113.1:7000")},
	}
}

func (e *fakeEngine) open(stream string) api.Local {
	e.last++
	e.live[e.last] = stream
	return api.Local{
		ID: e.last, ICE: api.Credentials{Ufrag: e.ufrag(e.last), Password: "passwordOf24Characters24"},
		Fingerprint: api.Fingerprint{Algorithm: "sha-256", Value: strings.Repeat("AB:", 31) + "AB"},
		Candidates:  e.candidates, CNAME: "cname",
	}
}

func (e *fakeEngine) ufrag(id api.SessionID) string { return fmt.Sprintf("ufrag%s%d", e.name, id) }

// publish makes a stream that a peer of this engine publishes.
func (e *fakeEngine) publish(stream string) api.SessionID {
	e.mu.Lock()
	defer e.mu.Unlock()
	local := e.open(stream)
	e.streams[stream] = api.Stream{
		Name: stream, Publisher: local.ID, Active: []int{111, 96}, Tracks: []rtp.Track{
			{Kind: rtp.Audio, MID: "0", Formats: []rtp.Format{{PayloadType: 111, Codec: rtp.Opus}}},
			{Kind: rtp.Video, MID: "1", Formats: []rtp.Format{{PayloadType: 96, Codec: rtp.VP8, RTX: 97}}},
		},
	}
	return local.ID
}

// begin sends the first packets of a stream.
func (e *fakeEngine) begin(stream string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.streams[stream]
	s.Active = slices.Clone(s.Active)
	for i := range s.Active {
		s.Active[i] = int(s.Tracks[i].Formats[0].PayloadType)
	}
	e.streams[stream] = s
}

func (e *fakeEngine) Publish(_ context.Context, stream string, o api.Offer) (api.Local, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.streams[stream]; ok {
		return api.Local{}, api.ErrStreamTaken
	}
	local := e.open(stream)
	local.Tracks = o.Tracks
	e.streams[stream] = api.Stream{
		Name: stream, Publisher: local.ID, Tracks: o.Tracks, Active: slices.Repeat([]int{-1}, len(o.Tracks)),
	}
	return local, nil
}

func (e *fakeEngine) Subscribe(_ context.Context, stream string, o api.Offer) (api.Local, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.streams[stream]; !ok {
		return api.Local{}, api.ErrNoPublisher
	}
	if !o.Relay && e.limit > 0 && e.audience(stream)+o.Elsewhere >= e.limit {
		return api.Local{}, api.ErrStreamFull
	}
	local := e.open(stream)
	e.viewers[local.ID] = !o.Relay
	local.Tracks = slices.Clone(o.Tracks)
	for i := range local.Tracks {
		t := &local.Tracks[i]
		if t.SSRC, t.RTXSSRC = uint32(1000+i), uint32(2000+i); o.Relay {
			t.Encodings = []rtp.Encoding{{SSRC: t.SSRC, RTXSSRC: t.RTXSSRC}}
		}
	}
	return local, nil
}

func (e *fakeEngine) Dial(_ context.Context, role api.Role, stream string, d api.Dial) (api.Local, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, live := e.streams[stream]
	switch {
	case live && role == api.Publisher:
		return api.Local{}, api.ErrStreamTaken
	case !live && role == api.Subscriber:
		return api.Local{}, api.ErrNoPublisher
	}
	local := e.open(stream)
	local.Tracks = slices.Clone(d.Tracks)
	for i := range local.Tracks {
		local.Tracks[i].SSRC, local.Tracks[i].RTXSSRC = uint32(3000+i), uint32(4000+i)
	}
	e.dials = append(e.dials, local.ID)
	if d.Hidden {
		e.hidden[stream] = true
	}
	return local, nil
}

func (e *fakeEngine) Answered(_ context.Context, id api.SessionID, a api.Answer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	stream, ok := e.live[id]
	if !ok {
		return api.ErrNoSession
	}
	e.answers = append(e.answers, a)
	if _, pushed := e.streams[stream]; pushed {
		return nil
	}
	e.streams[stream] = api.Stream{
		Name: stream, Publisher: id, Pulled: true, Tracks: a.Tracks, Active: slices.Repeat([]int{-1}, len(a.Tracks)),
	}
	return nil
}

func (e *fakeEngine) Restart(context.Context, api.SessionID, api.Credentials, netip.Addr) (api.Local, error) {
	return api.Local{}, api.ErrNoSession
}

func (e *fakeEngine) Close(id api.SessionID) { e.End(id, api.ReasonClosed) }

func (e *fakeEngine) End(id api.SessionID, why api.Reason) bool {
	e.mu.Lock()
	stream, ok := e.live[id]
	delete(e.live, id)
	delete(e.viewers, id)
	if e.streams[stream].Publisher == id {
		delete(e.streams, stream)
	}
	e.mu.Unlock()
	if ok {
		for _, f := range e.ended {
			f(id, why)
		}
	}
	return ok
}

func (e *fakeEngine) EndStream(stream string, why api.Reason) (ended int) {
	e.mu.Lock()
	ids := slices.Sorted(maps.Keys(e.live))
	ids = slices.DeleteFunc(ids, func(id api.SessionID) bool { return e.live[id] != stream })
	e.mu.Unlock()
	for _, id := range ids {
		if e.End(id, why) {
			ended++
		}
	}
	return ended
}

func (e *fakeEngine) Choose(context.Context, api.SessionID, string) error { return api.ErrNoLayer }

func (e *fakeEngine) View(id api.SessionID) (v api.View, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, ok = e.live[id]
	return v, ok
}

func (e *fakeEngine) Stream(name string) (api.Stream, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.streams[name]
	s.Subscribers = e.audience(name)
	return s, ok
}

// audience counts the viewers of a stream. The caller holds the mutex.
func (e *fakeEngine) audience(stream string) (viewers int) {
	for id, views := range e.viewers {
		if views && e.live[id] == stream {
			viewers++
		}
	}
	return viewers
}

func (e *fakeEngine) Streams() []api.Stream {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.Collect(maps.Values(e.streams))
	for i := range all {
		all[i].Subscribers = e.audience(all[i].Name)
	}
	return slices.DeleteFunc(all, func(s api.Stream) bool { return e.hidden[s.Name] })
}

func (e *fakeEngine) OnEnded(f func(api.SessionID, api.Reason)) { e.ended = append(e.ended, f) }

func (e *fakeEngine) OnMedia(func()) {}

// sessions returns the number of live sessions, and that of all dials.
func (e *fakeEngine) sessions() (live, dials int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.live), len(e.dials)
}

func (e *fakeEngine) lastAnswer(t *testing.T) api.Answer {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.answers) == 0 {
		t.Fatal("the engine got no answer, want one")
	}
	return e.answers[len(e.answers)-1]
}

// A network carries requests to handlers by host, without sockets.
type network struct {
	mu    sync.Mutex
	hosts map[string]http.Handler
	posts []string // the hosts of all POSTs
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	h := n.hosts[r.URL.Host]
	if r.Method == http.MethodPost {
		n.posts = append(n.posts, r.URL.Host)
	}
	n.mu.Unlock()
	if h == nil {
		return nil, errors.New("no such host")
	}
	served := r.Clone(r.Context())
	served.RequestURI, served.RemoteAddr = r.URL.RequestURI(), "198.51.100.1:1000"
	w := httptest.NewRecorder()
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.ServeHTTP(w, served)
	}()
	select {
	case <-done:
	case <-r.Context().Done():
		<-done // a handler ends with its request
		return nil, r.Context().Err()
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

func (n *network) setHandler(host string, h http.Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[host] = h
}

func (n *network) requests() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.posts)
}

// A server is a ringcast without media.
type server struct {
	engine *fakeEngine
	node   *Node
	web    http.Handler
	log    *bytes.Buffer
}

const (
	stream    = "live"
	originURL = "https://origin.example/whep/" + stream
)

// newServer starts a server on a network, with upstreams of the stream.
func newServer(t *testing.T, net *network, host string, upstreams ...Remote) *server {
	t.Helper()
	return newServerWith(t, net, host, Config{Pulls: upstreams})
}

func newServerWith(t *testing.T, net *network, host string, cfg Config) *server {
	t.Helper()
	s := &server{engine: newFakeEngine(), log: &bytes.Buffer{}}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s.node = NewNode(NodeConfig{
		Config: cfg, Log: log, Transport: net, Chance: func() float64 { return .5 },
	}, s.engine)
	s.web = signaling.New(signaling.Config{
		Log: slog.New(slog.DiscardHandler), Find: s.node.Find, Admit: s.node.Admit,
	}, s.node).Handler()
	net.hosts[host] = s.web
	t.Cleanup(s.node.Stop)
	return s
}

func newNetwork() *network { return &network{hosts: make(map[string]http.Handler)} }

// A viewer is a session at a server.
type viewer struct {
	status int
	header http.Header
	body   string
}

// watch posts a viewer's offer.
func (s *server) watch(headers ...string) viewer {
	r := httptest.NewRequest(http.MethodPost, "/whep/"+stream, strings.NewReader(viewerOffer()))
	r.Header.Set("Content-Type", "application/sdp")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.web.ServeHTTP(w, r)
	return viewer{w.Code, w.Header(), w.Body.String()}
}

// leave ends a viewer's session.
func (s *server) leave(t *testing.T, v viewer) {
	t.Helper()
	w := httptest.NewRecorder()
	s.web.ServeHTTP(w, httptest.NewRequest(http.MethodDelete, v.header.Get("Location"), http.NoBody))
	if w.Code != http.StatusOK {
		t.Fatalf("got status %d at a viewer's end, want 200", w.Code)
	}
}

// phase returns the phase of the stream's pull, or numPhases where there is none.
func (s *server) phase() phase {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if p := s.node.pulls[stream]; p != nil {
		return p.phase
	}
	return numPhases
}

// logs counts the log's lines with a text.
func (s *server) logs(text string) int {
	synctest.Wait() // for those who write it
	return strings.Count(s.log.String(), text)
}
