package nodes

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/signaling/client"
	"ringcast/testenv/peer"
)

// epoch is the origin of times in packets.
var epoch = time.Now()

// stamps is where the number and the time of a packet begin in its payload.
const stamps = 16

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

// join connects a client near a node. A refusal is a *client.Refusal.
func (n *node) join(ctx context.Context, t testing.TB, role, stream string, onRTP func([]byte)) (*peer.Peer, error) {
	offers, err := offers()
	if err != nil {
		return nil, err
	}
	own := n.near.IPv4()
	socket, err := n.near.ListenUDP(netip.AddrPortFrom(own, 0))
	if err != nil {
		return nil, err
	}
	// Slow reading by a busy test process must not look like loss.
	if err := socket.SetReadBuffer(4 << 20); err != nil {
		return nil, err
	}
	p, err := peer.New(peer.Config{Socket: socket, OnRTP: func(_ *peer.Peer, b []byte) { onRTP(b) }}, own)
	if err != nil {
		return nil, err
	}
	t.Cleanup(p.Close)
	local, _, err := p.Post(ctx, n.web, n.URL+"/"+role+"/"+stream, offers[role])
	if err != nil {
		return nil, err
	}
	if err := p.Connect(ctx, local); err != nil {
		return nil, err
	}
	quit, quiet := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(quit); <-quiet })
	go func() {
		defer close(quiet)
		keepAlive(p, quit)
	}()
	return p, nil
}

// keepAlive does what clients do all the time: it reports, and checks so that consent lasts.
func keepAlive(p *peer.Peer, quit chan struct{}) {
	report := rtcp.AppendReceiverReport(nil, 1, nil)
	for {
		_, _ = p.SendRTCP(report), p.Check() // a server that is gone takes neither
		select {
		case <-time.After(time.Second):
		case <-quit:
			return
		}
	}
}

// A feed publishes numbered packets: 30 a second, each a frame, and each second a keyframe.
type feed struct {
	*peer.Peer
	// posted is the time before the POST.
	posted     time.Duration
	quit, done chan struct{}

	mu   sync.Mutex
	next uint64
}

// publish publishes a stream near a node. first is the number of the first packet, and a multiple of 30.
func (n *node) publish(t testing.TB, stream string, first uint64) *feed {
	t.Helper()
	f := &feed{posted: time.Since(epoch), quit: make(chan struct{}), done: make(chan struct{}), next: first}
	p, err := n.join(deadline(t), t, "whip", stream, func([]byte) {})
	must(t, err)
	f.Peer = p
	go f.run()
	t.Cleanup(f.stop)
	return f
}

func (f *feed) run() {
	defer close(f.done)
	tick := time.NewTicker(time.Second / 30)
	defer tick.Stop()
	for n := f.next; ; n++ {
		packet := peer.Packet(n, 500)
		binary.BigEndian.PutUint64(packet[rtp.HeaderLen+stamps:], n)
		binary.BigEndian.PutUint64(packet[rtp.HeaderLen+stamps+8:], uint64(time.Since(epoch)))
		f.mu.Lock()
		f.next = n + 1
		f.mu.Unlock()
		_ = f.SendRTP(packet, rtp.HeaderLen, n) // a server that is gone takes nothing
		select {
		case <-tick.C:
		case <-f.quit:
			return
		}
	}
}

// stop ends the packets, and returns the number of the last.
func (f *feed) stop() {
	select {
	case <-f.quit:
	default:
		close(f.quit)
	}
	<-f.done
}

// number is that of the next packet.
func (f *feed) number() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// A viewer notes the packets that arrive.
type viewer struct {
	*peer.Peer
	// posted is the time before the POST.
	posted time.Duration

	mu   sync.Mutex
	came time.Duration // when the first arrived; 0 before
	seen map[uint64]sighting
}

// A sighting is when a packet was sent, and when it arrived.
type sighting struct{ sent, came time.Duration }

// watch opens a session near a node. A refusal is a *client.Refusal.
func (n *node) watch(t testing.TB, stream string) (*viewer, error) {
	v := &viewer{posted: time.Since(epoch), seen: map[uint64]sighting{}}
	p, err := n.join(deadline(t), t, "whep", stream, v.take)
	v.Peer = p
	return v, err
}

// watching opens a session, as soon as the stream is there, and waits for media.
func (n *node) watching(t testing.TB, stream string) *viewer {
	t.Helper()
	var v *viewer
	until(t, "a session of "+stream, func() (ok bool) {
		var err error
		v, err = n.watch(t, stream)
		var refused *client.Refusal
		if errors.As(err, &refused) &&
			(refused.Status == http.StatusConflict || refused.Status == http.StatusServiceUnavailable) {
			let(t, 200*time.Millisecond)
			return false
		}
		must(t, err)
		return true
	})
	v.awaitFirst(t)
	return v
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
	if v.came == 0 {
		v.came = now
	}
	if _, again := v.seen[n]; !again {
		v.seen[n] = sighting{sent, now}
	}
}

// awaitFirst waits for the first packet, and returns the time from the POST to it.
func (v *viewer) awaitFirst(t testing.TB) (took time.Duration) {
	t.Helper()
	until(t, "a first packet", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		took = v.came - v.posted
		return v.came != 0
	})
	return took
}

// await waits for a packet of a number or a later one, and returns its arrival.
func (v *viewer) await(t testing.TB, number uint64) (came time.Duration) {
	t.Helper()
	until(t, fmt.Sprint("packet ", number), func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		came = 0
		for n, s := range v.seen {
			if n >= number && (came == 0 || s.came < came) {
				came = s.came
			}
		}
		return came != 0
	})
	return came
}

// lost returns the numbers that are missing from the first packet that arrived to before another, or from a least
// number.
func (v *viewer) lost(least, before uint64) (missing []uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	first := before
	for n := range v.seen {
		if n >= least {
			first = min(first, n)
		}
	}
	for n := first; n < before; n++ {
		if _, ok := v.seen[n]; !ok {
			missing = append(missing, n)
		}
	}
	return missing
}

// median returns that of some times.
func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// since returns the least number of the packets that arrived from a time on.
func (v *viewer) since(from time.Duration) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	least := uint64(math.MaxUint64)
	for n, s := range v.seen {
		if s.came >= from {
			least = min(least, n)
		}
	}
	return least
}
