package signaling

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/rtp"
)

// fakeEngine opens sessions without any media.
type fakeEngine struct {
	mu sync.Mutex
	// err fails the next openings; opened is called after each, before it returns.
	err    error
	opened func(id api.SessionID)
	// restarting is called in each Restart; restarts are the credentials of those that succeeded.
	restarting    func(id api.SessionID)
	restarts      []api.Credentials
	restartSource netip.Addr // of the last
	onEnd         func(api.SessionID, api.Reason)
	last          api.SessionID
	live          map[api.SessionID]string
	// peers are all that were opened, by id.
	peers   map[api.SessionID]api.Offer
	streams map[string]api.Stream
	// rungs are the rungs that subscribers are sent, causes why; without one it is none. chosen are the bounds.
	rungs  map[api.SessionID]int
	causes map[api.SessionID]string
	chosen map[api.SessionID]string
	// candidates are Local's; see newFakeEngine.
	candidates []netip.AddrPort
	bitrate    int // Local's
}

func newFakeEngine() *fakeEngine {
	return &fakeEngine{
		live:    make(map[api.SessionID]string),
		peers:   make(map[api.SessionID]api.Offer),
		streams: make(map[string]api.Stream),
		rungs:   make(map[api.SessionID]int),
		causes:  make(map[api.SessionID]string),
		chosen:  make(map[api.SessionID]string),
		candidates: []netip.AddrPort{
			netip.MustParseAddrPort("192.0.2.1:8189"), netip.MustParseAddrPort("[2001:db8::1]:8190"),
		},
	}
}

const (
	localUfrag       = "LocalUfrag"
	localPassword    = "LocalPasswordLocalPassword"
	localFingerprint = "00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F"
)

func (e *fakeEngine) open(stream string, p api.Offer) (api.Local, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return api.Local{}, e.err
	}
	e.last++
	e.live[e.last] = stream
	e.peers[e.last] = p
	return api.Local{
		ID:          e.last,
		ICE:         api.Credentials{Ufrag: localUfrag, Password: localPassword},
		Fingerprint: api.Fingerprint{Algorithm: "sha-256", Value: localFingerprint},
		Candidates:  e.candidates,
		Tracks:      slices.Clone(p.Tracks),
		CNAME:       "cname",
		Bitrate:     e.bitrate,
	}, nil
}

func (e *fakeEngine) Publish(_ context.Context, stream string, p api.Offer) (api.Local, error) {
	l, err := e.open(stream, p)
	if err == nil {
		e.mu.Lock()
		e.streams[stream] = api.Stream{Name: stream, Tracks: p.Tracks, Active: []int{-1, -1}[:len(p.Tracks)]}
		e.mu.Unlock()
		e.afterOpening(l.ID)
	}
	return l, err
}

func (e *fakeEngine) Subscribe(_ context.Context, stream string, p api.Offer) (api.Local, error) {
	l, err := e.open(stream, p)
	if err == nil {
		for i := range l.Tracks {
			t := &l.Tracks[i]
			t.SSRC = uint32(1000 + i)
			if slices.ContainsFunc(t.Formats, func(f rtp.Format) bool { return f.RTX != 0 }) {
				t.RTXSSRC = uint32(2000 + i)
			}
		}
		e.afterOpening(l.ID)
	}
	return l, err
}

func (e *fakeEngine) afterOpening(id api.SessionID) {
	if e.opened != nil {
		e.opened(id)
	}
}

// Restart is like the engine's: it fills in only the new fields of Local.
func (e *fakeEngine) Restart(
	_ context.Context, id api.SessionID, remote api.Credentials, source netip.Addr,
) (api.Local, error) {
	if e.restarting != nil {
		e.restarting(id)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return api.Local{}, e.err
	}
	if _, ok := e.live[id]; !ok {
		return api.Local{}, fmt.Errorf("restart: %w", api.ErrNoSession)
	}
	e.restarts, e.restartSource = append(e.restarts, remote), source
	n := strconv.Itoa(len(e.restarts))
	return api.Local{
		ID: id, ICE: api.Credentials{Ufrag: localUfrag + n, Password: localPassword + n}, Candidates: e.candidates,
	}, nil
}

// Choose is like the engine's.
func (e *fakeEngine) Choose(_ context.Context, id api.SessionID, rid string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return e.err
	}
	if _, ok := e.live[id]; !ok {
		return api.ErrNoSession
	}
	e.chosen[id] = rid
	return nil
}

func (e *fakeEngine) View(id api.SessionID) (v api.View, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	stream, ok := e.live[id]
	v.Rung = api.NoRung
	if rung, sent := e.rungs[id]; sent {
		v.Rung = rung
	}
	v.Stream, v.Cause = e.streams[stream], e.causes[id]
	return v, ok
}

// change changes the facts that events report.
func (e *fakeEngine) change(f func(e *fakeEngine)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

func (e *fakeEngine) Close(id api.SessionID) { e.end(id, api.ReasonClosed) }

func (e *fakeEngine) End(id api.SessionID, why api.Reason) bool { return e.end(id, why) }

func (e *fakeEngine) end(id api.SessionID, why api.Reason) (ended bool) {
	e.mu.Lock()
	_, ok := e.live[id]
	delete(e.live, id)
	e.mu.Unlock()
	if ok {
		e.onEnd(id, why)
	}
	return ok
}

func (e *fakeEngine) Stream(name string) (api.Stream, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, ok := e.streams[name]
	return s, ok
}

func (e *fakeEngine) Streams() []api.Stream {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Collect(maps.Values(e.streams))
}

func (e *fakeEngine) OnEnded(f func(api.SessionID, api.Reason)) { e.onEnd = f }

func (e *fakeEngine) liveSessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.live)
}

// lastPeer returns the engine's description of the session opened last.
func (e *fakeEngine) lastPeer() api.Offer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[e.last]
}

// bench is a Server on a fakeEngine, called without a network.
type bench struct {
	t      testing.TB
	engine *fakeEngine
	server *Server
	http   http.Handler
}

func newBench(t testing.TB, cfg Config) *bench {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	e := newFakeEngine()
	s := New(cfg, e)
	return &bench{t, e, s, s.Handler()}
}

// do makes one request; headers come as name and value in turn.
func (b *bench) do(method, url, body string, headers ...string) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(method, url, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.http.ServeHTTP(w, r)
	return w
}

func (b *bench) post(url, offer string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(http.MethodPost, url, offer, "Content-Type", "application/sdp")
}

// mustPost posts an offer that must be answered, and returns its session's URL and the answer.
func (b *bench) mustPost(url, offer string) (location, answer string) {
	b.t.Helper()
	w := b.post(url, offer)
	if w.Code != http.StatusCreated {
		b.t.Fatalf("POST %s: status %d, want 201: %s", url, w.Code, w.Body)
	}
	return w.Header().Get("Location"), w.Body.String()
}

const fixtures = "testdata"

// fixture is a captured offer.
func fixture(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(fixtures, name+".sdp"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// fixtureNames are all captured offers.
func fixtureNames(t testing.TB) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(fixtures, "*.sdp"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	var names []string
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(p), ".sdp"))
	}
	return names
}

// replace changes one part of a text that must have it.
func replace(t testing.TB, text, part, by string) string {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Fatalf("the text has no %q", part)
	}
	return strings.ReplaceAll(text, part, by)
}
