package attack

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"ringcast/engine"
	"ringcast/engine/api"
	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/peer"
	"ringcast/testenv/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mainOf{m}) }

// mainOf also removes the server that the stampede had built.
type mainOf struct{ *testing.M }

func (m mainOf) Run() int { return testenv.Main(m.M) }

var loopback = netip.MustParseAddr("127.0.0.1")

// patience bounds every wait for something that must come, on a machine that others use too.
const patience = time.Minute

// until waits for ok.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// A progress fails the test if a count stands still for longer than patience, however large the count must get.
type progress struct {
	t     *testing.T
	count int
	since time.Time
}

func newProgress(t *testing.T) *progress { return &progress{t: t, since: time.Now()} }

// to says where the count is.
func (p *progress) to(count int) {
	p.t.Helper()
	switch {
	case count != p.count:
		p.count, p.since = count, time.Now()
	case time.Since(p.since) > patience:
		p.t.Fatalf("the count stays %d for %v", count, patience)
	}
}

// An arena is an engine with its metrics and the list of the sessions that ended.
type arena struct {
	*engine.Engine
	t       *testing.T
	address netip.AddrPort
	metrics *prometheus.Registry

	mu   sync.Mutex
	ends map[api.SessionID]api.Reason
}

func newArena(t *testing.T, cfg engine.Config) *arena {
	t.Helper()
	cfg.Listen = netip.AddrPortFrom(loopback, 0)
	e, err := engine.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := e.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	a := &arena{Engine: e, t: t, metrics: prometheus.NewRegistry(), ends: make(map[api.SessionID]api.Reason)}
	a.metrics.MustRegister(e)
	e.OnEnded(func(id api.SessionID, why api.Reason) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ends[id] = why
	})
	// A session tells the address; it is closed before anybody could use it.
	local, err := e.Publish(t.Context(), "address", api.Offer{ICE: api.Credentials{Ufrag: "none", Password: "none"}})
	if err != nil {
		t.Fatal(err)
	}
	a.address = local.Candidates[0]
	e.Close(local.ID)
	return a
}

// ended reports whether and why a session ended.
func (a *arena) ended(id api.SessionID) (api.Reason, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	why, ok := a.ends[id]
	return why, ok
}

// forget frees the list of the sessions that ended, which grows with each.
func (a *arena) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ends = make(map[api.SessionID]api.Reason)
}

// scrape is the engine's metrics as they are now.
func (a *arena) scrape() testenv.Metrics {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	m, err := server.ParseMetrics(w.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return m
}

// drops is how often the workers dropped something for a reason.
func (a *arena) drops(reason string) int {
	return int(a.scrape()[`ringcast_packets_dropped_total{reason="`+reason+`"}`])
}

// awaitDrops waits until a reason was counted n times more than before.
func (a *arena) awaitDrops(reason string, before, n int) {
	a.t.Helper()
	until(a.t, "drops for "+reason, func() bool { return a.drops(reason)-before >= n })
}

// refusals is how many checks by a genuine ufrag were refused: for a wrong password, or, when there were many over
// unknown paths, unverified.
func (a *arena) refusals() int { return a.drops("stun_unauthenticated") + a.drops("stun_ufrag_flood") }

// awaitRefusals waits until so many more were refused than before.
func (a *arena) awaitRefusals(before, n int) {
	a.t.Helper()
	until(a.t, "refused checks", func() bool { return a.refusals()-before >= n })
}

// sane ends an attack: no worker panicked, and none is stuck.
func (a *arena) sane() {
	a.t.Helper()
	if err := a.Ready(); err != nil {
		a.t.Error(err)
	}
	if n := a.scrape()["ringcast_faults_total"]; n != 0 {
		a.t.Errorf("%v sessions made a worker panic", n)
	}
}

func connect(t *testing.T, p *peer.Peer, local api.Local) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Connect(ctx, local); err != nil {
		t.Fatal(err)
	}
}

// ping waits until the server has handled a peer's packets.
func ping(t *testing.T, p *peer.Peer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := p.Ping(ctx); err != nil {
		t.Fatal(err)
	}
}

// join makes and connects a publisher's peer.
func (a *arena) join(stream string, cfg peer.Config, tracks ...rtp.Track) *peer.Peer {
	a.t.Helper()
	p, err := peer.New(cfg, loopback)
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(p.Close)
	if len(tracks) == 0 {
		tracks = []rtp.Track{peer.Video()}
	}
	local, err := a.Publish(a.t.Context(), stream, p.Offer(tracks...))
	if err != nil {
		a.t.Fatal(err)
	}
	connect(a.t, p, local)
	until(a.t, "stream", func() bool { _, ok := a.Stream(stream); return ok })
	return p
}

// A feed is a publisher that sends a packet every 5 ms.
type feed struct {
	*peer.Peer
	next uint64 // the feed's while it runs
	sent atomic.Int64
	quit chan struct{}
	done chan struct{}
}

func (a *arena) feed(stream string) *feed {
	a.t.Helper()
	f := &feed{Peer: a.join(stream, peer.Config{}), next: 30}
	f.start(a.t)
	a.t.Cleanup(f.stop)
	return f
}

func (f *feed) start(t *testing.T) {
	f.quit, f.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(f.done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := f.send(); err != nil {
					t.Error(err)
					return
				}
			case <-f.quit:
				return
			}
		}
	}()
}

func (f *feed) send() error {
	err := f.SendRTP(peer.Packet(f.next, 500), rtp.HeaderLen, f.next)
	f.next++
	f.sent.Add(1)
	return err
}

func (f *feed) stop() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	<-f.done
}

// A viewer notes what it is sent.
type viewer struct {
	*peer.Peer
	mu       sync.Mutex
	media    uint32 // SSRC
	rtx      uint32
	seen     map[uint64]bool // by extended sequence number
	first    uint64
	highest  uint64
	copies   int
	resent   int // bytes
	bytes    int // of media
	last     time.Time
	gaps     []time.Duration
	payloads func([]byte)
}

func newViewer(t *testing.T) *viewer {
	t.Helper()
	v := &viewer{seen: make(map[uint64]bool)}
	p, err := peer.New(peer.Config{OnRTP: v.take}, loopback)
	if err != nil {
		t.Fatal(err)
	}
	// Slow reading by a busy test process must not look like loss.
	if err := p.Socket().SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	v.Peer = p
	return v
}

// expect tells the viewer what it will be sent.
func (v *viewer) expect(local api.Local) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, track := range local.Tracks {
		if track.Kind == rtp.Video {
			v.media, v.rtx = track.SSRC, track.RTXSSRC
		}
	}
}

// watch connects a viewer of a stream.
func (a *arena) watch(stream string) *viewer { return a.watchWith(stream, nil) }

// watchWith connects a viewer that shows the payloads to a function.
func (a *arena) watchWith(stream string, payloads func([]byte)) *viewer {
	a.t.Helper()
	v := newViewer(a.t)
	v.payloads = payloads
	a.t.Cleanup(v.Close)
	local, err := a.Subscribe(a.t.Context(), stream, v.Offer(peer.Video()))
	if err != nil {
		a.t.Fatal(err)
	}
	v.expect(local)
	connect(a.t, v.Peer, local)
	v.keepConsent(a.t)
	return v
}

// keepConsent checks as browsers do, until the test ends: an attack may last longer than consent (RFC 7675, 30 s).
func (v *viewer) keepConsent(t *testing.T) {
	quit, done := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() {
		close(quit)
		<-done
	})
	go func() {
		defer close(done)
		tick := time.NewTicker(2500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = v.Check() // the next one makes up for a lost one
			case <-quit:
				return
			}
		}
	}()
}

func (v *viewer) take(_ *peer.Peer, packet []byte) {
	var h rtp.Header
	if !h.Parse(packet, nil) {
		return
	}
	now := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case h.SSRC == v.rtx && v.rtx != 0:
		v.resent += len(packet)
		return
	case h.SSRC != v.media && v.media != 0:
		return
	}
	v.bytes += len(packet)
	ext := uint64(h.Sequence) + 1<<16
	if len(v.seen) == 0 {
		v.first, v.highest = ext, ext
	} else {
		ext = v.highest + uint64(int64(int16(h.Sequence-uint16(v.highest))))
		v.gaps = append(v.gaps, now.Sub(v.last))
	}
	v.last = now
	if v.seen[ext] {
		v.copies++
	}
	v.seen[ext] = true
	v.first, v.highest = min(v.first, ext), max(v.highest, ext)
	if v.payloads != nil {
		v.payloads(packet[h.HeaderLen:])
	}
}

// count is how many different packets came.
func (v *viewer) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.seen)
}

// flows waits for n packets more.
func (v *viewer) flows(t *testing.T, n int) {
	t.Helper()
	start := v.count()
	until(t, "media at a viewer", func() bool { return v.count() >= start+n })
}

// lost is how many packets did not come, copies how many came twice.
func (v *viewer) lost() (lost, copies int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.seen) == 0 {
		return 0, 0
	}
	return int(v.highest-v.first) + 1 - len(v.seen), v.copies
}

// whole fails the test if the viewer missed anything.
func (v *viewer) whole(t *testing.T, who string) {
	t.Helper()
	if lost, copies := v.lost(); lost != 0 || copies != 0 {
		t.Errorf("%s lost %d packets of %d and got %d twice", who, lost, v.count(), copies)
	}
}

// pauses are the quantiles of the time between two packets.
func (v *viewer) pauses() (p50, p99, most time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return quantiles(v.gaps)
}

// quantiles are the median, the 99th percentile and the largest.
func quantiles(all []time.Duration) (p50, p99, most time.Duration) {
	if len(all) == 0 {
		return 0, 0, 0
	}
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2], s[len(s)*99/100], s[len(s)-1]
}

// A tuple is a bare socket of somebody who wants no good.
type tuple struct {
	*net.UDPConn
	t  *testing.T
	to netip.AddrPort
}

func (a *arena) tuple() *tuple {
	a.t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(func() { _ = conn.Close() })
	return &tuple{conn, a.t, a.address}
}

func (x *tuple) send(b []byte) {
	if _, err := x.WriteToUDPAddrPort(b, x.to); err != nil {
		x.t.Errorf("send: %v", err)
	}
}

// received empties the socket and returns the number of its datagrams and bytes. It waits for no more to arrive.
func (x *tuple) received() (datagrams, bytes int) {
	b := make([]byte, 2048)
	for {
		n, ok := x.read(b, time.Millisecond)
		if !ok {
			return datagrams, bytes
		}
		datagrams++
		bytes += n
	}
}

// read waits for one datagram.
func (x *tuple) read(b []byte, wait time.Duration) (int, bool) {
	if err := x.SetReadDeadline(time.Now().Add(wait)); err != nil {
		x.t.Fatal(err)
	}
	n, _, err := x.ReadFromUDPAddrPort(b)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		x.t.Fatal(err)
	}
	return n, err == nil
}

// silent fails the test if anything came back.
func (x *tuple) silent(who string) {
	x.t.Helper()
	if n, bytes := x.received(); n != 0 {
		x.t.Errorf("%s was sent %d datagrams, %d bytes", who, n, bytes)
	}
}

// heap is the live heap of this process, engine and peers.
func heap() int {
	var m runtime.MemStats
	for range 3 { // pools take two to be emptied
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// stack is the memory of all goroutines' stacks.
func stack() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.StackInuse)
}

// seeded is randomness that a failing test can be given again.
func seeded(t *testing.T) *rand.Rand {
	const seed = 1
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, seed))
}
