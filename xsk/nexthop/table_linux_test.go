package nexthop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringcast/engine/port"
)

// pair is two hosts on one link: a with 198.18.0.1 and fd00::1, b with .2 and ::2.
func pair(t testing.TB) (a, b *host) {
	t.Helper()
	two := hosts(t, "a", "b")
	a, b = two[0], two[1]
	cable(a, "v", 0xa, b, "v", 0xb)
	a.address("v", "198.18.0.1/24", "fd00::1/64")
	b.address("v", "198.18.0.2/24", "fd00::2/64")
	return a, b
}

func (h *host) address(name string, addresses ...string) {
	h.t.Helper()
	for _, a := range addresses {
		h.ip("addr", "add", a, "dev", name)
	}
}

var (
	pathOnLink4 = path("198.18.0.1", "198.18.0.2:50000")
	pathOnLink6 = path("fd00::1", "[fd00::2]:50000")
)

// A peer on the link has no next hop until the kernel has sent to it; then it has within moments.
func TestOnLink(t *testing.T) {
	a, _ := pair(t)
	w := a.watch("v", Config{})
	for _, p := range []port.Path{pathOnLink4, pathOnLink6} {
		if hop, got := w.resolve(p); got != Unresolved {
			t.Fatalf("%v is %v by %+v, before anybody asked; want %v", p, got, hop, Unresolved)
		}
		before := w.Generation()
		a.send(p.Remote.String())
		if hop := w.awaitHop(p, mac(0xb)); hop != (Hop{
			Source: mac(0xa), Destination: mac(0xb), MTU: 1500, HopLimit: 64,
		}) {
			t.Errorf("%v: %+v", p, hop)
		}
		if w.Generation() == before {
			t.Error("the same generation answers differently")
		}
	}
}

// A neighbour's new hardware address is a new generation, from any source.
func TestNeighbourChanges(t *testing.T) {
	a, b := pair(t)
	w := a.watch("v", Config{})
	a.send("198.18.0.2:50000")
	a.send("[fd00::2]:50000")
	w.awaitHop(pathOnLink4, mac(0xb))
	w.awaitHop(pathOnLink6, mac(0xb))

	before := w.Generation()
	b.ip("link", "set", "v", "down")
	b.ip("link", "set", "v", "address", mac(0xc).String())
	b.ip("link", "set", "v", "up") // which it announces
	w.await("carrier", func() bool { return w.Link().Up })
	a.send("198.18.0.2:50000")
	a.send("[fd00::2]:50000")
	w.awaitHop(pathOnLink4, mac(0xc))
	w.awaitHop(pathOnLink6, mac(0xc))
	if w.Generation() == before {
		t.Error("the same generation")
	}

	a.ip("neigh", "replace", "198.18.0.2", "lladdr", mac(0xd).String(), "dev", "v", "nud", "permanent")
	w.awaitHop(pathOnLink4, mac(0xd))
	a.ip("neigh", "replace", "198.18.0.2", "dev", "v", "nud", "failed")
	w.awaitVerdict(pathOnLink4, Unresolved)
	a.ip("neigh", "del", "fd00::2", "dev", "v")
	w.awaitVerdict(pathOnLink6, Unresolved)
}

// Only another answer of Resolve makes a generation.
func TestStatesMakeNoGeneration(t *testing.T) {
	a, _ := pair(t)
	a.ip("neigh", "replace", "198.18.0.2", "lladdr", mac(0xb).String(), "dev", "v", "nud", "reachable")
	w := a.watch("v", Config{})
	w.awaitHop(pathOnLink4, mac(0xb))
	before := w.Generation()
	for _, state := range []string{"stale", "delay", "probe", "reachable", "noarp", "stale", "permanent"} {
		a.ip("neigh", "replace", "198.18.0.2", "lladdr", mac(0xb).String(), "dev", "v", "nud", state)
		if _, got := w.resolve(pathOnLink4); got != Usable {
			t.Errorf("%s: %v, want %v", state, got, Usable)
		}
	}
	a.ip("link", "set", "lo", "down") // listed again, and nothing of ours has changed
	a.ip("link", "set", "lo", "up")
	// Notifications come in order: with the one for this, all before have been seen.
	a.ip("neigh", "add", "198.18.0.3", "lladdr", mac(3).String(), "dev", "v", "nud", "permanent")
	w.awaitHop(path("198.18.0.1", "198.18.0.3:1"), mac(3))
	// The loopback's addresses came and went, which are our own.
	if now := w.Generation(); now > before+3 {
		t.Errorf("%d generations, want at most 3", now-before)
	}
}

// routers is a host a on one link with the routers b and c, and a peer d beyond both.
func routers(t testing.TB) (a, b, c *host) {
	t.Helper()
	four := hosts(t, "a", "b", "c", "d", "s")
	a, b, c = four[0], four[1], four[2]
	d, s := four[3], four[4]
	// The link is a switch on a host of its own.
	s.ip("link", "add", "switch", "type", "bridge")
	s.ip("link", "set", "switch", "up")
	for i, h := range []*host{a, b, c} {
		number := byte(0xa + i)
		cable(h, "v", number, s, fmt.Sprintf("p%d", i), 0xf0+number)
		s.ip("link", "set", fmt.Sprintf("p%d", i), "master", "switch")
		h.address("v", fmt.Sprintf("198.18.0.%d/24", i+1), fmt.Sprintf("fd00::%d/64", i+1))
	}
	for i, h := range []*host{b, c} {
		up, down := fmt.Sprintf("198.18.1%d.1", i), fmt.Sprintf("198.18.1%d.2", i)
		cable(h, "w", byte(0x1b+i), d, fmt.Sprintf("w%d", i), byte(0x2b+i))
		h.address("w", up+"/24", fmt.Sprintf("fd00:1%d::1/64", i))
		d.address(fmt.Sprintf("w%d", i), down+"/24", fmt.Sprintf("fd00:1%d::2/64", i))
		h.set("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1")
	}
	return a, b, c
}

// Through routers, the next hop is the router that the best route names.
func TestGateways(t *testing.T) {
	a, _, _ := routers(t)
	w := a.watch("v", Config{})
	far4, far6 := path("198.18.0.1", "198.18.10.2:50000"), path("fd00::1", "[fd00:10::2]:50000")
	w.awaitVerdict(far4, Unresolved)

	a.ip("route", "add", "default", "via", "198.18.0.2")
	a.ip("route", "add", "default", "via", "fd00::2")
	a.send("198.18.10.2:50000")
	a.send("[fd00:10::2]:50000")
	w.awaitHop(far4, mac(0xb))
	w.awaitHop(far6, mac(0xb))
	// The router itself is a peer like others.
	w.awaitHop(path("198.18.0.1", "198.18.0.2:50000"), mac(0xb))

	// Another gateway, not yet resolved, and then resolved.
	a.ip("route", "replace", "default", "via", "198.18.0.3")
	w.awaitVerdict(far4, Unresolved)
	a.send("198.18.10.2:50000")
	w.awaitHop(far4, mac(0xc))
	w.awaitHop(far6, mac(0xb))

	// A better metric, a longer prefix.
	a.ip("route", "replace", "default", "via", "fd00::3", "metric", "10")
	a.send("[fd00:10::2]:50000")
	w.awaitHop(far6, mac(0xc))
	a.ip("route", "add", "198.18.10.0/24", "via", "198.18.0.2", "mtu", "1400")
	if hop := w.awaitHop(far4, mac(0xb)); hop.MTU != 1400 {
		t.Errorf("MTU %d", hop.MTU)
	}
	w.awaitHop(path("198.18.0.1", "198.18.11.2:50000"), mac(0xc))

	// Routes that refuse.
	for _, kind := range []string{"blackhole", "unreachable", "prohibit", "throw"} {
		a.ip("route", "add", kind, "198.18.10.2/32")
		w.awaitVerdict(far4, Unresolved)
		a.ip("route", "del", kind, "198.18.10.2/32")
		w.awaitHop(far4, mac(0xb))
	}

	// Onlink gateways, outside of any prefix of the link.
	a.ip("route", "add", "198.18.20.0/24", "via", "198.18.99.1", "dev", "v", "onlink")
	a.ip("neigh", "add", "198.18.99.1", "lladdr", mac(0x99).String(), "dev", "v", "nud", "permanent")
	w.awaitHop(path("198.18.0.1", "198.18.20.1:1"), mac(0x99))

	// A next hop as an object of its own, changed under the route.
	a.ip("nexthop", "add", "id", "7", "via", "198.18.0.2", "dev", "v")
	a.ip("route", "replace", "198.18.10.0/24", "nhid", "7")
	w.awaitHop(far4, mac(0xb))
	a.ip("nexthop", "replace", "id", "7", "via", "198.18.0.3", "dev", "v")
	w.awaitHop(far4, mac(0xc))
}

// Link-local routers, for both families, and link-local peers.
func TestLinkLocalHops(t *testing.T) {
	a, _, _ := routers(t)
	w := a.watch("v", Config{})
	router := linkLocal(0xb)
	far6 := path("fd00::1", "[fd00:10::2]:50000")
	a.ip("-6", "route", "add", "default", "via", router.String(), "dev", "v")
	a.send("[fd00:10::2]:50000")
	w.awaitHop(far6, mac(0xb))

	far4 := path("198.18.0.1", "198.18.10.2:50000")
	a.ip("-4", "route", "add", "default", "via", "inet6", linkLocal(0xc).String(), "dev", "v")
	a.send("198.18.10.2:50000")
	w.awaitHop(far4, mac(0xc))
	a.ip("-4", "route", "replace", "default", "nexthop", "via", "inet6", router.String(), "dev", "v")
	w.awaitHop(far4, mac(0xb))

	for _, zone := range []string{"v", fmt.Sprint(w.Link().Index)} {
		w.awaitHop(path(linkLocal(0xa).String()+"%"+zone, fmt.Sprintf("[%v%%%s]:50000", router, zone)), mac(0xb))
	}
	for _, zone := range []string{"lo", "nosuch", "77"} {
		if _, got := w.resolve(
			path(linkLocal(0xa).String(), fmt.Sprintf("[%v%%%s]:50000", router, zone)),
		); got == Usable {
			t.Errorf("in zone %s: %v", zone, got)
		}
	}
}

// Datagrams that leave by another interface are none of ours, and neither are those to ourselves.
func TestOtherInterfaces(t *testing.T) {
	a, b := pair(t)
	cable(a, "x", 0x1a, b, "x", 0x1b)
	a.address("x", "198.19.0.1/24")
	w := a.watch("v", Config{})
	known := func(addr string) {
		a.ip("neigh", "add", addr, "lladdr", mac(0xe).String(), "dev", "v", "nud", "permanent")
	}
	known("198.18.0.2")
	known("198.19.0.2")
	known("198.18.0.130")
	w.awaitHop(pathOnLink4, mac(0xe))
	w.awaitHop(path("198.19.0.1", "198.18.0.2:1"), mac(0xe)) // the other interface's address serves, too
	w.expect(path("198.19.0.1", "198.19.0.2:1"), Elsewhere)
	w.awaitHop(path("198.18.0.1", "198.18.0.130:1"), mac(0xe))
	a.ip("route", "add", "198.18.0.128/25", "via", "198.19.0.2", "dev", "x")
	w.awaitVerdict(path("198.18.0.1", "198.18.0.130:1"), Elsewhere)
	w.expect(path("198.18.0.1", "198.18.0.1:1"), Ourselves)
	w.expect(path("fd00::1", "[fd00::1]:1"), Ourselves)
	w.expect(path("198.18.0.1", "198.19.0.1:1"), Ourselves)
	w.expect(path("198.18.0.1", "127.3.4.5:1"), Ourselves)
	w.expect(path("198.18.0.1", "198.18.0.255:1"), Unresolved) // a broadcast address
	w.expect(path("fd00::77", "[fd00::2]:1"), Unresolved)      // not from an address of ours

	// Several addresses on the interface: each is a source while it is there.
	second := path("198.18.5.1", "198.18.5.2:1")
	a.address("v", "198.18.5.1/24")
	known("198.18.5.2")
	w.awaitHop(second, mac(0xe))
	a.ip("addr", "del", "198.18.5.1/24", "dev", "v")
	w.awaitVerdict(second, Unresolved)
	w.awaitHop(pathOnLink4, mac(0xe))
}

func TestLinkState(t *testing.T) {
	a, b := pair(t)
	w := a.watch("v", Config{})
	known := func() {
		a.ip("neigh", "replace", "198.18.0.2", "lladdr", mac(0xb).String(), "dev", "v", "nud", "permanent")
	}
	known()
	w.awaitHop(pathOnLink4, mac(0xb))
	index := w.Link().Index

	b.ip("link", "set", "v", "down") // carrier lost
	if e := w.awaitEvents(LinkDown); e.Index != index {
		t.Errorf("%+v", e)
	}
	w.awaitVerdict(pathOnLink4, Down)
	elsewhere := pathOnLink4
	elsewhere.Local = elsewhere.Remote.Addr() // not ours
	w.expect(elsewhere, Unresolved)
	b.ip("link", "set", "v", "up")
	w.awaitEvents(LinkUp)
	w.awaitHop(pathOnLink4, mac(0xb)) // permanent ones survive the loss of the carrier

	a.ip("link", "set", "v", "down")
	w.awaitEvents(LinkDown)
	w.awaitVerdict(pathOnLink4, Unresolved)
	a.ip("link", "set", "v", "up")
	w.awaitEvents(LinkUp)
	known()
	w.awaitHop(pathOnLink4, mac(0xb))

	a.ip("link", "set", "v", "mtu", "1400")
	w.await("MTU", func() bool {
		hop, got := w.resolve(pathOnLink4)
		return got == Usable && hop.MTU == 1400
	})
	a.ip("link", "set", "v", "address", mac(0x3a).String())
	a.send("198.18.0.2:1") // the neighbours went with the address
	w.await("our address", func() bool {
		hop, got := w.resolve(pathOnLink4)
		return got == Usable && hop.Source == mac(0x3a)
	})
	if e := w.awaitEvents(LinkAddress); e.Index != index || w.Link().Address != mac(0x3a) {
		t.Errorf("%+v, address %v, want index %d and %v", e, hardware(w.Link().Address), index, mac(0x3a))
	}

	// Told of both where both change at once.
	a.ip("link", "set", "v", "down")
	a.ip("link", "set", "v", "address", mac(0x3b).String())
	w.await("another address", func() bool { return w.Link().Address == mac(0x3b) && !w.Link().Up })
	for seen := []LinkChange{}; len(seen) < 2; {
		e := <-w.Events()
		if e.Change != LinkDown && e.Change != LinkAddress || slices.Contains(seen, e.Change) {
			t.Fatalf("%v after %v, want down and address, each once", e.Change, seen)
		}
		seen = append(seen, e.Change)
	}
}

// The interface is followed by name through deletion and another index.
func TestRecreation(t *testing.T) {
	a, b := pair(t)
	w := a.watch("v", Config{})
	first := w.Link()
	a.ip("link", "del", "v")
	if e := w.awaitEvents(LinkGone); e.Index != first.Index {
		t.Errorf("%+v", e)
	}
	w.awaitVerdict(pathOnLink4, Unresolved)

	cable(a, "other", 1, b, "other", 2) // so that the index is not the next
	cable(a, "v", 0x4a, b, "v", 0x4b)
	a.address("v", "198.18.0.1/24")
	b.address("v", "198.18.0.2/24")
	back := w.awaitEvents(LinkBack)
	if back.Index == first.Index {
		t.Fatalf("the index is the same, %d", back.Index)
	}
	w.awaitEvents(LinkUp)
	a.send("198.18.0.2:1")
	hop := w.awaitHop(pathOnLink4, mac(0x4b))
	if hop.Source != mac(0x4a) || w.Link().Index != back.Index {
		t.Errorf("%+v by %+v", hop, w.Link())
	}

	// Away to another namespace and back, where it gets its old index again: sockets bound to it are dead nevertheless.
	c := hosts(t, "c")[0]
	a.ip("link", "set", "v", "netns", c.Name)
	c.ip("link", "set", "v", "netns", a.Name)
	if e := w.awaitEvents(LinkGone, LinkBack); e.Index != back.Index {
		t.Errorf("index %d instead of %d: this was to show the same", e.Index, back.Index)
	}
}

// 5,000 neighbours and 1,000 routes, with so little room for notifications that most are lost.
func TestManyNeighboursWithLoss(t *testing.T) {
	a, _ := pair(t)
	var log bytes.Buffer
	var mu sync.Mutex
	w := a.watch("v", Config{
		Log:    slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		buffer: 4096,
	})
	a.ip("addr", "add", "198.18.128.1/17", "dev", "v")
	const neighbours, routes = 5000, 1000
	var lines []string
	peer := func(i int) string { return fmt.Sprintf("198.18.%d.%d", 128+(i+2)/256, (i+2)%256) }
	for i := range neighbours {
		lines = append(lines,
			fmt.Sprintf("neigh add %s lladdr 02:00:00:01:%02x:%02x dev v nud permanent", peer(i), i>>8, i&0xff))
	}
	for i := range routes {
		lines = append(lines, fmt.Sprintf("route add 10.%d.%d.0/24 via %s dev v", i/256, i%256, peer(i)))
	}
	began := time.Now()
	a.batch(lines)
	t.Logf("made in %v", time.Since(began))
	w.await("all of them", func() bool { return len(w.current.Load().neighbours) >= neighbours })
	var far []port.Path
	for i := range neighbours {
		far = append(far, path("198.18.128.1", peer(i)+":1"))
	}
	for i := range routes {
		far = append(far, path("198.18.128.1", fmt.Sprintf("10.%d.%d.77:1", i/256, i%256)))
	}
	for _, p := range far {
		w.ways[p] = w.Follow(p)
	}
	w.await("all answers", func() bool {
		return !slices.ContainsFunc(far, func(p port.Path) bool { return w.ways[p].(*way).answer.Load() == nil })
	})
	for i, p := range far {
		i %= neighbours
		hop, got := w.ways[p].Resolve()
		if want := [6]byte{2, 0, 0, 1, byte(i >> 8), byte(i)}; got != Usable || hop.Destination != want {
			t.Fatalf("%v: %v by %x, want %x", p.Remote, got, hop.Destination, want)
		}
	}
	t.Logf("%d generations for %d changes", w.Generation(), len(lines))
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(log.String(), "lost") {
		t.Error("no notification was lost, so this test shows less than it should")
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// Workers resolve while everything changes; for the race detector.
func TestResolveWhileChanging(t *testing.T) {
	a, _ := pair(t)
	w := a.watch("v", Config{Settle: time.Millisecond, Refresh: time.Millisecond})
	ctx, stop := context.WithCancel(context.Background())
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for ctx.Err() == nil {
				way := w.Follow(pathOnLink4)
				for range 1000 {
					way.Resolve()
					w.Generation()
					w.Own(pathOnLink4.Local)
					w.Link()
				}
				way.Forget()
			}
		})
	}
	for i := range byte(20) {
		a.ip("neigh", "replace", "198.18.0.2", "lladdr", mac(i+1).String(), "dev", "v", "nud", "stale")
		a.ip("route", "replace", fmt.Sprintf("10.%d.0.0/16", i), "via", "198.18.0.2")
	}
	w.awaitHop(path("198.18.0.1", "10.19.0.1:1"), mac(20))
	stop()
	workers.Wait()
}

func TestWatchErrors(t *testing.T) {
	a := hosts(t, "a")[0]
	a.inside(func() error {
		if _, err := Watch(Config{Interface: "missing"}); !errors.Is(err, ErrNoInterface) {
			t.Errorf("missing interface: %v", err)
		}
		if _, err := Watch(Config{Interface: "lo", Refresh: -1}); err == nil {
			t.Error("a negative interval is accepted")
		}
		return nil
	})
}

// Close gives everything back, and may be called twice.
func TestClose(t *testing.T) {
	a, _ := pair(t)
	first := a.watch("v", Config{}) // descriptors that are opened once stay open after it
	a.send("198.18.0.2:1")
	first.awaitHop(pathOnLink4, mac(0xb))
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	w := a.watch("v", Config{})
	a.send("198.18.0.2:1")
	w.awaitHop(pathOnLink4, mac(0xb))
	for range 2 {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, open := <-w.Events(); open {
		t.Error("an event after Close")
	}
	if _, got := w.resolve(pathOnLink4); got != Usable {
		t.Errorf("after Close: %v, want what was known last", got)
	}
	if way := w.Follow(pathOnLink6); way == nil {
		t.Error("no Way after Close")
	}
	after := descriptors(t)
	for until := time.Now().Add(time.Minute); len(after) > len(before) &&
		time.Now().Before(until); after = descriptors(t) {
		runtime.Gosched() // another test's may still be closing
	}
	if len(after) > len(before) {
		t.Errorf("descriptors: %v; before: %v", after, before)
	}
}

// descriptors are the process's open descriptors.
func descriptors(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, _ := os.Readlink("/proc/self/fd/" + e.Name()) // the directory's own is closed by now
		names = append(names, e.Name()+" "+name)
	}
	return names
}
