package nexthop

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/xsk/frame"
)

// hasten makes the kernel's neighbours age in fractions of a second instead of half a minute.
func (h *host) hasten(name string) {
	h.t.Helper()
	for _, family := range []string{"ipv4", "ipv6"} {
		p := "net/" + family + "/neigh/" + name + "/"
		h.set(p+"base_reachable_time_ms=200", p+"delay_first_probe_time=0", p+"retrans_time_ms=50", p+"gc_stale_time=1")
	}
}

// neighbourNews subscribes to the kernel's neighbours of a host until the test ends.
func (h *host) neighbourNews() <-chan netlink.NeighUpdate {
	h.t.Helper()
	news, done := make(chan netlink.NeighUpdate, 1024), make(chan struct{})
	h.inside(func() error { return netlink.NeighSubscribe(news, done) })
	h.t.Cleanup(func() {
		close(done)
		for range news { // until it is closed
		}
	})
	return news
}

// A wire sends whole frames past the kernel's routes and neighbours, as AF_XDP does.
type wire struct {
	fd      int
	address unix.SockaddrLinklayer
	chunk   [frame.Headroom + 4]byte
}

func (h *host) wire(index int) *wire {
	h.t.Helper()
	w := &wire{address: unix.SockaddrLinklayer{Ifindex: index}}
	h.inside(func() (err error) {
		w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
		return err
	})
	h.t.Cleanup(func() { unix.Close(w.fd) })
	return w
}

func (w *wire) send(p port.Path, hop Hop) error {
	t := frame.Make(hop.Source, hop.Destination, p, 7000, frame.Options{})
	start := t.Put(w.chunk[:], 4, 0)
	return unix.Sendto(w.fd, w.chunk[start:], 0, &w.address)
}

// knows reports whether the table has a neighbour, without being a user of it.
func (w *watcher) knows(addr string) bool {
	return w.current.Load().neighbours[netip.MustParseAddr(addr).As16()] != nil
}

// crowd adds so many neighbours that the kernel throws out unused ones.
func (h *host) crowd() {
	var commands []string
	for i := range 200 {
		commands = append(commands,
			fmt.Sprintf("neigh add 198.18.0.%d lladdr 02:00:00:00:01:%02x dev v nud permanent", 50+i, i))
	}
	h.batch(commands)
}

// A neighbour that only AF_XDP sends to stays, is verified again and again, and makes no generation. The kernel throws
// out one that nobody uses. It looks for those every 15 seconds at most, and only where it has more than 128.
func TestUsedNeighbourStays(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.hasten("v")
	b.address("v", "198.18.0.3/24")
	a.crowd()
	news := a.neighbourNews()
	w := a.watch("v", Config{Refresh: 100 * time.Millisecond})
	a.send("198.18.0.2:1")
	a.send("198.18.0.3:1")
	w.awaitHop(pathOnLink4, mac(0xb))
	w.await("the unused one", func() bool { return w.knows("198.18.0.3") })
	before := w.Generation()
	wire := a.wire(w.Link().Index)

	verified, began := 0, time.Now()
	giveUp := time.NewTimer(2 * patience)
	defer giveUp.Stop()
	for gone := false; !gone; {
		select {
		case n := <-news:
			hop, got := w.resolve(pathOnLink4)
			if got != Usable {
				t.Fatalf("after %v the neighbour in use is %v", time.Since(began), got)
			}
			if err := wire.send(pathOnLink4, hop); err != nil {
				t.Fatal(err)
			}
			switch n.IP.String() {
			case "198.18.0.2":
				if n.Type == unix.RTM_DELNEIGH {
					t.Fatal("the kernel threw it out")
				}
				if n.State == netlink.NUD_REACHABLE {
					verified++
				}
			case "198.18.0.3":
				gone = n.Type == unix.RTM_DELNEIGH
				if n.State == netlink.NUD_REACHABLE && time.Since(began) > time.Second {
					t.Error("the unused one was verified")
				}
			}
		case <-giveUp.C:
			t.Fatal("the kernel does not throw unused neighbours out")
		}
	}
	t.Logf("the unused one was thrown out after %v, the used one verified %d times",
		time.Since(began).Round(time.Millisecond), verified)
	if verified < 3 {
		t.Errorf("verified %d times", verified)
	}
	w.await("the unused one is gone", func() bool { return !w.knows("198.18.0.3") })
	w.expect(pathOnLink4, Usable)
	if now := w.Generation(); now != before+1 {
		t.Errorf("%d generations for one neighbour that went", now-before)
	}
}

// A peer in use that does not answer any more is found out, though the kernel sees no traffic to it. One
// that is not in use is not asked; a permanent one stays permanent.
func TestSilentNeighbourIsFoundOut(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.hasten("v")
	b.address("v", "198.18.0.3/24")
	a.ip("neigh", "add", "198.18.0.4", "lladdr", mac(4).String(), "dev", "v", "nud", "permanent")
	w := a.watch("v", Config{Refresh: 50 * time.Millisecond})
	for _, to := range []string{"198.18.0.2:1", "198.18.0.3:1", "[fd00::2]:1"} {
		a.send(to)
	}
	w.awaitHop(pathOnLink4, mac(0xb))
	w.awaitHop(pathOnLink6, mac(0xb))
	w.awaitHop(path("198.18.0.1", "198.18.0.4:1"), mac(4))
	w.await("the unused one", func() bool { return w.knows("198.18.0.3") })

	b.ip("addr", "flush", "dev", "v")
	w.awaitVerdict(pathOnLink4, Unresolved)
	w.awaitVerdict(pathOnLink6, Unresolved)
	if !w.knows("198.18.0.3") {
		t.Error("the unused one was asked, too")
	}
	if out := a.ip("neigh", "show", "198.18.0.4"); !strings.Contains(out, "PERMANENT") {
		t.Errorf("a permanent neighbour became %s", out)
	}

	// Another host takes the address over: the kernel's own datagram finds it, and we with it.
	b.ip("link", "set", "v", "address", mac(0xe).String())
	b.address("v", "198.18.0.2/24")
	a.send("198.18.0.2:1")
	w.awaitHop(pathOnLink4, mac(0xe))
}

// The kernel hears of each next hop once, and only of those that it does not know or that are stale.
func TestOverlookedNeighbours(t *testing.T) {
	const index = 3
	next := func(number byte) address { return address{15: number} }
	f := follower{link: Link{Index: index, Up: true}, neighbours: map[address]*neighbour{
		next(1): {state: netlink.NUD_STALE}, next(2): {state: netlink.NUD_REACHABLE},
		next(3): {state: netlink.NUD_PERMANENT},
		next(9): {state: netlink.NUD_STALE}, // nobody's
	}}
	follow := func(a *answer, gone bool) {
		w := &way{}
		w.answer.Store(a)
		w.gone.Store(gone)
		f.ways.all = append(f.ways.all, w)
	}
	for number := range byte(5) {
		for range 10 {
			follow(&answer{reach: byLink, index: index, next: next(number)}, false)
		}
	}
	follow(nil, false)
	follow(&answer{reach: byLink, index: index, next: next(5)}, true)
	follow(&answer{reach: byLink, index: 7, next: next(6)}, false)
	follow(&answer{reach: thisHost, next: next(7)}, false)
	follow(&answer{next: next(8)}, false)
	if got, want := f.overlooked(), map[address]struct{}{
		next(0): {}, next(1): {}, next(4): {},
	}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	f.link.Up = false
	if got := f.overlooked(); len(got) > 0 {
		t.Errorf("%v while the link is down, want none", got)
	}
}
