package dtls

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"ringcast/engine/api"
	"ringcast/engine/srtp"
)

// A lab is an Endpoint whose sessions each have a pion peer, joined by links in memory. It runs in a
// synctest bubble, where time passes only while everybody waits.
type lab struct {
	t        testing.TB
	endpoint *Endpoint

	mu     sync.Mutex
	events []Event // but Sends
	sent   map[api.SessionID][][]byte
	links  map[api.SessionID]func([]byte) // where Sends go
	peers  []*peer
}

// with returns the default configuration with one change.
func with(change func(*Config)) Config {
	cfg := DefaultConfig()
	change(&cfg)
	return cfg
}

func newLab(t testing.TB, cfg Config) *lab {
	l := &lab{t: t, sent: map[api.SessionID][][]byte{}, links: map[api.SessionID]func([]byte){}}
	e, err := New(cfg, l.take)
	if err != nil {
		t.Fatal(err)
	}
	l.endpoint = e
	return l
}

// inLab runs a test in a bubble. When everything is over it checks the invariants.
func inLab(t *testing.T, cfg Config, test func(t *testing.T, l *lab)) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, cfg)
		defer l.clear()
		test(t, l)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := l.endpoint.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		stats := l.endpoint.Stats()
		if stats.InFlight != 0 || stats.Computing != 0 || len(l.endpoint.sources) != 0 {
			t.Errorf("left over: %d in flight, %d computing, %d sources", stats.InFlight, stats.Computing,
				len(l.endpoint.sources))
		}
		failed := uint64(0)
		for _, n := range stats.Failed {
			failed += n
		}
		if stats.Started != stats.Completed+stats.Cancelled+failed {
			t.Errorf("started %d, but completed %d, cancelled %d, failed %d", stats.Started, stats.Completed,
				stats.Cancelled, failed)
		}
	})
}

// clear ends the sessions that a test has left, so that a failing one ends too.
func (l *lab) clear() {
	_ = l.endpoint.Shutdown(context.Background())
	l.mu.Lock()
	peers := l.peers
	l.mu.Unlock()
	for _, p := range peers {
		p.leave()
	}
}

func (l *lab) take(ev Event) {
	l.mu.Lock()
	if ev.Kind != Send {
		l.events = append(l.events, ev)
		l.mu.Unlock()
		return
	}
	if len(ev.Datagram) > maxTransmission {
		l.t.Errorf("a datagram of %d bytes", len(ev.Datagram))
	}
	l.sent[ev.ID] = append(l.sent[ev.ID], ev.Datagram)
	link := l.links[ev.ID]
	l.mu.Unlock()
	if link != nil {
		link(bytes.Clone(ev.Datagram))
	}
}

// happened returns the events of a session but Sends.
func (l *lab) happened(id api.SessionID) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var events []Event
	for _, ev := range l.events {
		if ev.ID == id {
			events = append(events, ev)
		}
	}
	return events
}

func (l *lab) kinds(id api.SessionID) []EventKind {
	var kinds []EventKind
	for _, ev := range l.happened(id) {
		kinds = append(kinds, ev.Kind)
	}
	return kinds
}

func (l *lab) wantKinds(id api.SessionID, want ...EventKind) {
	l.t.Helper()
	if got := l.kinds(id); !slices.Equal(got, want) {
		for _, ev := range l.happened(id) {
			l.t.Logf("%v: %v", ev.Kind, ev.Err)
		}
		l.t.Fatalf("session %d: events %v, want %v", id, got, want)
	}
}

// sends returns how many datagrams were sent to the peer of a session.
func (l *lab) sends(id api.SessionID) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sent[id])
}

// failure returns the error of the session's Failed event, waiting for it.
func (l *lab) failure(id api.SessionID) error {
	l.t.Helper()
	time.Sleep(time.Minute)
	l.wantKinds(id, Failed)
	return l.happened(id)[0].Err
}

// A peer is the browser's side of a session.
type peer struct {
	l    *lab
	id   api.SessionID
	wire *wire
	conn *dtls.Conn
	done chan error
}

// A scenario says how a peer is to be, where it matters.
type scenario struct {
	id           api.SessionID // 1 if not set
	source       string
	passive      bool // the Endpoint is the client
	noSRTP       bool
	options      []dtls.Option
	fingerprints []api.Fingerprint
	// toPeer and toEndpoint are the links; nil delivers everything.
	toPeer, toEndpoint func(deliver func([]byte)) func([]byte)
}

var peerCertificate = sync.OnceValue(func() tls.Certificate {
	c, err := newCertificate(rand.Reader)
	if err != nil {
		panic(err)
	}
	return c
})

func peerFingerprint() []api.Fingerprint {
	return []api.Fingerprint{{Algorithm: "sha-256", Value: fingerprintOf(peerCertificate().Certificate[0])}}
}

// join starts a session and its peer.
func (l *lab) join(s scenario) *peer {
	l.t.Helper()
	p, err := l.tryJoin(s)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

func (l *lab) tryJoin(s scenario) (*peer, error) {
	if s.id == 0 {
		s.id = 1
	}
	if s.fingerprints == nil {
		s.fingerprints = peerFingerprint()
	}
	if s.source == "" {
		s.source = "192.0.2.1"
	}
	p := &peer{l: l, id: s.id, wire: newWire(), done: make(chan error, 1)}
	deliver := func(d []byte) { l.endpoint.Receive(p.id, d) }
	if s.toEndpoint != nil {
		deliver = s.toEndpoint(deliver)
	}
	p.wire.out = deliver
	arrive := p.wire.arrive
	if s.toPeer != nil {
		arrive = s.toPeer(arrive)
	}
	l.mu.Lock()
	l.links[p.id] = arrive
	l.mu.Unlock()

	base := []dtls.Option{
		dtls.WithCertificates(peerCertificate()),
		dtls.WithInsecureSkipVerify(true),
		dtls.WithFlightInterval(50 * time.Millisecond),
		dtls.WithLoggerFactory(silence{}),
	}
	if !s.noSRTP {
		// Chromium's order.
		base = append(base,
			dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80, dtls.SRTP_AEAD_AES_128_GCM))
	}
	var err error
	if s.passive {
		options := []dtls.ServerOption{
			dtls.WithInsecureSkipVerifyHello(true), dtls.WithClientAuth(dtls.RequireAnyClientCert),
		}
		for _, o := range append(base, s.options...) {
			options = append(options, o)
		}
		p.conn, err = dtls.ServerWithOptions(p.wire, peerAddr{}, options...)
	} else {
		var options []dtls.ClientOption
		for _, o := range append(base, s.options...) {
			options = append(options, o)
		}
		p.conn, err = dtls.ClientWithOptions(p.wire, peerAddr{}, options...)
	}
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.endpoint.Start(Params{
		ID: p.id, Source: netip.MustParseAddr(s.source), Client: s.passive, Fingerprints: s.fingerprints,
	}); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.peers = append(l.peers, p)
	l.mu.Unlock()
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		p.done <- p.conn.HandshakeContext(ctx)
	}()
	return p, nil
}

// ready waits for both sides to be through and compares their keys.
func (p *peer) ready() *srtp.Keys {
	p.l.t.Helper()
	if err := <-p.done; err != nil {
		for _, ev := range p.l.happened(p.id) {
			p.l.t.Logf("%v: %v", ev.Kind, ev.Err)
		}
		p.l.t.Fatalf("the peer's handshake: %v", err)
	}
	synctest.Wait()
	for range 600 { // as client we may be through later
		if len(p.l.happened(p.id)) > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	p.l.wantKinds(p.id, Keyed)
	keys := p.l.happened(p.id)[0].Keys
	p.compare(keys)
	return keys
}

// compare checks that the peer exports the same keys, the other way round.
func (p *peer) compare(keys *srtp.Keys) {
	p.l.t.Helper()
	state, _ := p.conn.ConnectionState()
	profile, _ := p.conn.SelectedSRTPProtectionProfile()
	if srtp.Profile(profile) != keys.Profile {
		p.l.t.Fatalf("profile %v, the peer has %v", keys.Profile, srtp.Profile(profile))
	}
	k, s := keys.Profile.KeyLen(), keys.Profile.SaltLen()
	material, err := state.ExportKeyingMaterial("EXTRACTOR-dtls_srtp", nil, 2*(k+s))
	if err != nil {
		p.l.t.Fatal(err)
	}
	ours := slices.Concat(keys.RemoteKey, keys.LocalKey, keys.RemoteSalt, keys.LocalSalt)
	if p.l.endpoint.sessionIsClient(p) {
		ours = slices.Concat(keys.LocalKey, keys.RemoteKey, keys.LocalSalt, keys.RemoteSalt)
	}
	if !bytes.Equal(material, ours) {
		p.l.t.Fatalf("keys differ:\n%x\n%x", ours, material)
	}
}

// sessionIsClient finds the role from the first datagram that was sent.
func (e *Endpoint) sessionIsClient(p *peer) bool {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	return p.l.sent[p.id][0][recordHeader] == messageClientHello
}

// goodbye ends the connection over a link without faults, and checks that the Endpoint could read that.
func (p *peer) goodbye() {
	p.l.t.Helper()
	synctest.Wait()
	p.wire.out = func(d []byte) { p.l.endpoint.Receive(p.id, d) }
	if err := p.conn.Close(); err != nil {
		p.l.t.Error(err)
	}
	synctest.Wait()
	p.l.wantKinds(p.id, Keyed, Closed)
}

// leave ends the peer without a word.
func (p *peer) leave() {
	p.wire.mute()
	_ = p.conn.Close()
}

// wire is the network connection of a peer.
type wire struct {
	out func([]byte)

	mu      sync.Mutex
	cond    sync.Cond
	queue   [][]byte
	expired bool
	closed  bool
	muted   bool
}

func newWire() *wire {
	w := &wire{}
	w.cond.L = &w.mu
	return w
}

func (w *wire) arrive(d []byte) {
	w.mu.Lock()
	w.queue = append(w.queue, d)
	w.cond.Broadcast()
	w.mu.Unlock()
}

func (w *wire) mute() {
	w.mu.Lock()
	w.muted = true
	w.mu.Unlock()
}

func (w *wire) ReadFrom(p []byte) (int, net.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.closed:
			return 0, nil, net.ErrClosed
		case w.expired:
			return 0, nil, os.ErrDeadlineExceeded
		case len(w.queue) > 0:
			n := copy(p, w.queue[0])
			w.queue = w.queue[1:]
			return n, peerAddr{}, nil
		}
		w.cond.Wait()
	}
}

func (w *wire) WriteTo(p []byte, _ net.Addr) (int, error) {
	w.mu.Lock()
	muted := w.muted
	w.mu.Unlock()
	if !muted {
		w.out(bytes.Clone(p))
	}
	return len(p), nil
}

func (w *wire) Close() error {
	w.mu.Lock()
	w.closed = true
	w.cond.Broadcast()
	w.mu.Unlock()
	return nil
}

func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	w.expired = !t.IsZero()
	w.cond.Broadcast()
	w.mu.Unlock()
	return nil
}

func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) SetDeadline(t time.Time) error    { return w.SetReadDeadline(t) }
func (w *wire) LocalAddr() net.Addr              { return peerAddr{} }

// lossy is a link that drops, doubles and delays (and so reorders) by a seeded generator.
func lossy(seed uint64, drop, double float64, delay time.Duration) func(func([]byte)) func([]byte) {
	return func(deliver func([]byte)) func([]byte) {
		var mu sync.Mutex
		rng := mathrand.New(mathrand.NewPCG(seed, seed))
		return func(d []byte) {
			mu.Lock()
			lost, copies := rng.Float64() < drop, 1
			if rng.Float64() < double {
				copies = 2
			}
			var delays [2]time.Duration
			for i := range delays {
				delays[i] = time.Duration(rng.Int64N(int64(delay) + 1))
			}
			mu.Unlock()
			if lost {
				return
			}
			for _, wait := range delays[:copies] {
				time.AfterFunc(wait, func() { deliver(bytes.Clone(d)) })
			}
		}
	}
}

// losing is a link that loses the datagrams whose bits are set, the lowest for the first datagram.
func losing(pattern uint) func(func([]byte)) func([]byte) {
	return func(deliver func([]byte)) func([]byte) {
		var mu sync.Mutex
		n := 0
		return func(d []byte) {
			mu.Lock()
			lost := n < 64 && pattern>>n&1 == 1
			n++
			mu.Unlock()
			if !lost {
				deliver(d)
			}
		}
	}
}

func isTimeout(err error) bool { return errors.Is(err, ErrTimeout) }
