package xdp

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/testenv"
	"ringcast/testenv/lab"
	"ringcast/testenv/peer"
)

func TestMain(m *testing.M) {
	lab.Child()
	os.Exit(testenv.Main(m))
}

// patience bounds every wait for something that must come, on a machine that others use too.
const patience = time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deadline gives one step of a test its time.
func deadline(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// until waits for ok.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	giveUp := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-giveUp:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// let lets a fault last, or media flow, for a while.
func let(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

var (
	loopback  = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// A stage is a server on a host and the peers that this process plays.
type stage struct {
	t      *testing.T
	here   *lab.Host
	server *testenv.Server

	// noise is how long this machine kept a packet on the loopback from being read, at worst, during the present fault.
	noise time.Duration
	// left and back are when the present fault took the way of packets down and gave it back.
	left, back time.Duration

	mu    sync.Mutex
	peers []*peer.Peer
	quit  chan struct{}
	alive sync.WaitGroup
}

// newStage runs a server on a host.
func newStage(t *testing.T, here *lab.Host, command func(program string) *exec.Cmd) *stage {
	t.Helper()
	program, err := testenv.Binary()
	must(t, err)
	s, err := testenv.StartCommandOn(t.Context(), here, nil, command(program))
	must(t, err)
	s.EndWith(t)
	return stageOf(t, here, s)
}

// stageOf plays peers for a server.
func stageOf(t *testing.T, here *lab.Host, s *testenv.Server) *stage {
	g := &stage{t: t, here: here, server: s, quit: make(chan struct{})}
	g.alive.Go(g.keepAlive)
	t.Cleanup(func() {
		close(g.quit)
		g.alive.Wait()
	})
	return g
}

// Chromium reports each second and checks each 2.5 s.
const (
	reportInterval = time.Second
	checkInterval  = 2500 * time.Millisecond
)

// keepAlive does for all peers what clients do all the time: it reports, and checks so that consent lasts. Each peer
// has moments of its own, as strangers have.
func (g *stage) keepAlive() {
	report := rtcp.AppendReceiverReport(nil, 1, nil)
	turn := func(interval time.Duration, do func(*peer.Peer)) {
		for n := 0; ; n++ {
			g.mu.Lock()
			all := len(g.peers)
			var p *peer.Peer
			if all > 0 {
				p = g.peers[n%all]
			}
			g.mu.Unlock()
			if p != nil {
				do(p)
			}
			select {
			case <-time.After(interval / time.Duration(max(all, 1))):
			case <-g.quit:
				return
			}
		}
	}
	// While there is no link, both fail.
	g.alive.Go(func() { turn(reportInterval, func(p *peer.Peer) { _ = p.SendRTCP(report) }) })
	turn(checkInterval, func(p *peer.Peer) { _ = p.Check() })
}

// The offers are Chromium's, with the light peer's SSRC in place of the camera's.
var offers = sync.OnceValues(func() (map[string]string, error) {
	read := map[string]string{}
	for role, file := range map[string]string{"whip": "sendonly", "whep": "recvonly"} {
		b, err := os.ReadFile("../../signaling/testdata/chromium-offer-" + file + ".sdp")
		if err != nil {
			return nil, err
		}
		read[role] = strings.ReplaceAll(string(b), "2884703695", fmt.Sprint(peer.VideoSSRC))
	}
	return read, nil
})

// join connects a peer on a host, with one of the host's addresses, to one of the server's.
func (g *stage) join(
	ctx context.Context, h *lab.Host, own, at netip.Addr, role, stream string, onRTP func([]byte)) (*peer.Peer, error,
) {
	offers, err := offers()
	if err != nil {
		return nil, err
	}
	socket, err := h.ListenUDP(netip.AddrPortFrom(own, 0))
	if err != nil {
		return nil, err
	}
	// Slow reading by a busy test process must not look like loss.
	if err := socket.SetReadBuffer(4 << 20); err != nil {
		return nil, err
	}
	cfg := peer.Config{Socket: socket}
	if onRTP != nil {
		cfg.OnRTP = func(_ *peer.Peer, packet []byte) { onRTP(packet) }
	}
	p, err := peer.New(cfg, own)
	if err != nil {
		return nil, err
	}
	g.t.Cleanup(p.Close)
	client := h.Client()
	defer client.CloseIdleConnections()
	local, _, err := p.Post(ctx, client, g.server.URL+"/"+role+"/"+stream, offers[role])
	if err != nil {
		return nil, err
	}
	local.Candidates = slices.DeleteFunc(local.Candidates, func(c netip.AddrPort) bool { return c.Addr() != at })
	if len(local.Candidates) == 0 {
		return nil, fmt.Errorf("the server does not offer %s", at)
	}
	if err := p.Connect(ctx, local); err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.peers = append(g.peers, p)
	g.mu.Unlock()
	return p, nil
}

// publish connects a publisher and waits until its stream is live.
func (g *stage) publish(h *lab.Host, own, at netip.Addr, stream string) *peer.Peer {
	g.t.Helper()
	before := g.server.Metrics(g.t)["ringcast_streams"]
	p, err := g.join(deadline(g.t, patience), h, own, at, "whip", stream, nil)
	if err != nil {
		g.t.Fatalf("publish %s: %v", stream, err)
	}
	until(g.t, "stream "+stream, func() bool { return g.server.Metrics(g.t)["ringcast_streams"] > before })
	return p
}

// interval is the time between two packets of a flow.
const interval = 4 * time.Millisecond

// A feed publishes numbered packets. The numbers begin at 30, a keyframe's.
type feed struct {
	*peer.Peer
	size       int // of the payloads
	quit, done chan struct{}

	mu   sync.Mutex
	next uint64
}

// epoch is the origin of times in packets.
var epoch = time.Now()

const (
	payloadSize = 1000
	// The number and the time follow the VP8 payload descriptor and the frame's header.
	stamps = 16
)

func (g *stage) feed(p *peer.Peer) *feed { return g.feedOf(p, payloadSize) }

func (g *stage) feedOf(p *peer.Peer, size int) *feed {
	f := &feed{Peer: p, size: size, quit: make(chan struct{}), done: make(chan struct{}), next: 30}
	go f.run()
	g.t.Cleanup(f.stop)
	return f
}

func (f *feed) run() {
	defer close(f.done)
	begun := time.Now()
	for n := uint64(30); ; n++ {
		select {
		case <-time.After(time.Until(begun.Add(time.Duration(n-30) * interval))):
		case <-f.quit:
			return
		}
		packet := peer.Packet(n, f.size)
		binary.BigEndian.PutUint64(packet[rtp.HeaderLen+stamps:], n)
		f.mu.Lock()
		f.next = n + 1
		f.mu.Unlock()
		binary.BigEndian.PutUint64(packet[rtp.HeaderLen+stamps+8:], uint64(time.Since(epoch)))
		_ = f.SendRTP(packet, rtp.HeaderLen, n) // without a link it cannot, which shows as loss
	}
}

func (f *feed) stop() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	<-f.done
}

func (f *feed) number() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// A viewer notes what arrives.
type viewer struct {
	*peer.Peer

	mu      sync.Mutex
	first   uint64
	newest  uint64
	seen    map[uint64]time.Duration // when it was sent
	last    time.Duration            // when the latest arrived
	silence time.Duration            // the longest since mark
	oldest  time.Duration            // the greatest age since mark
	old     int                      // those since mark that came more than 100 ms late
}

func (g *stage) watch(ctx context.Context, h *lab.Host, own, at netip.Addr, stream string) (*viewer, error) {
	v := &viewer{seen: map[uint64]time.Duration{}}
	p, err := g.join(ctx, h, own, at, "whep", stream, v.take)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", stream, err)
	}
	v.Peer = p
	return v, nil
}

func (v *viewer) take(packet []byte) {
	now := time.Since(epoch)
	var h rtp.Header
	if !h.Parse(packet, nil) || len(packet) < h.HeaderLen+stamps+16 {
		return
	}
	stamp := packet[h.HeaderLen+stamps:]
	n, sent := binary.BigEndian.Uint64(stamp), time.Duration(binary.BigEndian.Uint64(stamp[8:]))
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, again := v.seen[n]; again {
		return
	}
	if len(v.seen) == 0 {
		v.first, v.last = n, now
	}
	v.seen[n] = sent
	v.first, v.newest = min(v.first, n), max(v.newest, n)
	v.silence, v.oldest = max(v.silence, now-v.last), max(v.oldest, now-sent)
	if now-sent > 100*time.Millisecond {
		v.old++
	}
	v.last = now
}

// flows waits until something arrives that was sent from now on.
func (v *viewer) flows(t testing.TB, from *feed) {
	t.Helper()
	n := from.number()
	until(t, "media at a viewer", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.newest >= n
	})
}

// mark begins to measure.
func (v *viewer) mark() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.silence, v.oldest, v.old = 0, 0, 0
}

// lost are the packets from one number to before another that did not arrive.
func (v *viewer) lost(from, to uint64) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := max(from, v.first); i < to; i++ {
		if _, ok := v.seen[i]; !ok {
			n++
		}
	}
	return n
}

// between are the packets that arrived, whenever, of those that were sent in a time.
func (v *viewer) between(from, to time.Duration) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, sent := range v.seen {
		if sent >= from && sent <= to {
			n++
		}
	}
	return n
}

// A flow is a stream from one publisher to one viewer.
type flow struct {
	name string
	feed *feed
	view *viewer

	begun uint64
	cost  cost
}

// A cost is the effect of a fault on a flow.
type cost struct {
	outage time.Duration // the longest time in which nothing arrived
	lost   int           // packets
	oldest time.Duration // how late the latest of those that arrived came
	old    int           // how many of them came more than 100 ms late
}

func (c cost) String() string {
	return fmt.Sprintf("%4d ms without a packet, %3d lost, %d late, the oldest by %d ms", c.outage.Milliseconds(),
		c.lost, c.old, c.oldest.Milliseconds())
}

func (g *stage) flow(name string, pub *peer.Peer, view *viewer, err error) *flow {
	g.t.Helper()
	must(g.t, err)
	f := &flow{name: name, feed: g.feed(pub), view: view}
	view.flows(g.t, f.feed)
	return f
}

// down and up name the flows across a cable, and their streams.
const down, up = "down", "up"

// flows are the two across the cable, by the addresses of its ends.
func (g *stage) flows(there *lab.Host, server, client netip.Addr) []*flow {
	g.t.Helper()
	home := loopback
	if server.Is6() {
		home = loopback6
	}
	ctx := deadline(g.t, 2*patience)
	pub := g.publish(g.here, home, home, down)
	view, err := g.watch(ctx, there, client, server, down)
	first := g.flow(down, pub, view, err)
	pub = g.publish(there, client, server, up)
	view, err = g.watch(ctx, g.here, home, home, up)
	return []*flow{first, g.flow(up, pub, view, err)}
}

// slack is the largest multiple of the noise in a measurement. Publisher, server and viewer may all have waited for a
// processor, at both ends of an outage.
const slack = 10

// noticed is the time in which an outage is noticed: the kernel announces it, and we look each 10 ms. Packets that the
// kernel got before that may wait there. Likewise packets that are under way when the fault ends arrive.
const noticed = 100 * time.Millisecond

// gone marks that a fault is about to take the way of packets away; home that it is about to be given back.
func (g *stage) gone() { g.left = time.Since(epoch) }
func (g *stage) home() { g.back = time.Since(epoch) }

// measure does a fault and prints what it has cost. No flow may be silent for longer than allowed, or lose more than
// was sent in that time. The fault and the kernel's timers allow a time, and some of
// the noise that a flow past the fault meets is added. Packets that were due between gone and home must not
// come later, and the server counts them.
func (g *stage) measure(name string, flows []*flow, allowed time.Duration, fault func()) {
	t := g.t
	t.Helper()
	before := g.server.Metrics(t)
	g.left, g.back = 0, 0
	for _, f := range flows {
		f.begun = f.feed.number()
		f.view.mark()
	}
	quiet := g.listen()
	fault()
	for _, f := range flows {
		f.view.flows(t, f.feed)
	}
	let(t, 300*time.Millisecond) // late packets arrive
	for _, f := range flows {
		f.settle(t)
	}
	g.noise = quiet()
	allowed += slack * g.noise
	noticed := noticed + slack*g.noise
	// The kernel has lost the packets beyond the outage itself, for want of a neighbour, and does not report it.
	uncounted := func(f *flow, counted int) bool {
		beyond := f.cost.outage - (g.back - g.left) + noticed
		return f.name == down && g.back != 0 && f.cost.lost-counted > int(beyond/interval)+1
	}
	var grown testenv.Metrics
	counted := 0
	until(t, "counts of the losses", func() bool {
		grown = g.server.Metrics(t).Sub(before)
		counted = int(grown.Sum("ringcast_port_unsent"))
		return !slices.ContainsFunc(flows, func(f *flow) bool { return uncounted(f, counted) })
	})
	for _, f := range flows {
		t.Logf("%s, %s: %v", name, f.name, f.cost)
		if f.cost.outage > allowed {
			t.Errorf("%s, %s: nothing for %v, allowed %v", name, f.name, f.cost.outage, allowed)
		}
		if most := int(allowed/interval) + 1; f.cost.lost > most {
			t.Errorf("%s, %s: %d packets lost, allowed %d", name, f.name, f.cost.lost, most)
		}
		if f.name != down || g.back == 0 {
			continue
		}
		if n := f.view.between(g.left+noticed, g.back-noticed); n > 0 {
			t.Errorf("%s, %s: %d packets of the outage came after it", name, f.name, n)
		}
	}
	t.Logf("%s: noise of %v, server's counts:\n%s", name, g.noise, grown.List(
		"ringcast_port_unsent", "ringcast_xdp_queue_lost", "ringcast_xdp_outages", "ringcast_companion",
		"ringcast_xdp_detour", "ringcast_packets_dropped"))
}

// listen sends packets through the loopback of the server's host, as often as a flow does, until the result is called.
// That is the longest time between the arrivals of two.
func (g *stage) listen() (longest func() time.Duration) {
	g.t.Helper()
	home, err := g.here.ListenUDP(netip.AddrPortFrom(loopback, 0))
	must(g.t, err)
	var worst time.Duration
	var both sync.WaitGroup
	quit := make(chan struct{})
	both.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		to := home.LocalAddr().(*net.UDPAddr).AddrPort()
		for {
			select {
			case <-tick.C:
				_, _ = home.WriteToUDPAddrPort([]byte{0}, to) // an error shows as a pause
			case <-quit:
				home.Close()
				return
			}
		}
	})
	both.Go(func() {
		var b [1]byte
		for last := time.Now(); ; {
			if _, err := home.Read(b[:]); err != nil {
				return
			}
			now := time.Now()
			worst, last = max(worst, now.Sub(last)), now
		}
	})
	return func() time.Duration {
		close(quit)
		both.Wait()
		return worst
	}
}

// settle waits until all that was sent so far has arrived or is lost, and reckons.
func (f *flow) settle(t testing.TB) {
	t.Helper()
	end := f.feed.number()
	f.view.flows(t, f.feed)
	lost := f.view.lost(f.begun, end)
	f.view.mu.Lock()
	defer f.view.mu.Unlock()
	f.cost = cost{f.view.silence, lost, f.view.oldest, f.view.old}
}
