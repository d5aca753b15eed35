package nexthop

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ringcast/engine/port"
	"ringcast/testenv"
	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host is one of testenv/lab, set up further by the ip command.
type host struct {
	*lab.Host
	lab *lab.Lab
	t   testing.TB
}

// hosts makes hosts that are there until the test ends.
func hosts(t testing.TB, names ...string) (out []*host) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Program("ip"))
	l := testenv.NewLab(t)
	for _, name := range names {
		h, err := l.AddHost(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &host{h, l, t})
	}
	return out
}

// ip runs one ip command, and returns its output.
func (h *host) ip(args ...string) string {
	h.t.Helper()
	return h.run("", args...)
}

// batch runs many ip commands.
func (h *host) batch(lines []string) {
	h.t.Helper()
	h.run(strings.Join(lines, "\n"), "-batch", "-")
}

func (h *host) run(input string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command("ip", append([]string{"-n", h.Name}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		h.t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out)
}

// set sets sysctls, each as "name=value".
func (h *host) set(values ...string) {
	h.t.Helper()
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		if err := h.Sysctl(name, value); err != nil {
			h.t.Fatal(err)
		}
	}
}

// inside runs f on a thread that is on the host.
func (h *host) inside(f func() error) {
	h.t.Helper()
	if err := h.Enter(f); err != nil {
		h.t.Fatalf("on %s: %v", h.Name, err)
	}
}

// send sends a datagram through a socket of the kernel's, as the engine does when there is no next hop.
func (h *host) send(to string) {
	h.t.Helper()
	h.sendLong(to, 1)
}

// sendLong sends one of so many bytes.
func (h *host) sendLong(to string, size int) {
	h.t.Helper()
	h.inside(func() error {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(make([]byte, size))
		return err
	})
}

// cable connects two hosts by interfaces of the given names, without addresses. Their hardware addresses
// end in the numbers.
func cable(a *host, nameA string, numberA byte, b *host, nameB string, numberB byte) {
	a.t.Helper()
	macA, macB := mac(numberA), mac(numberB)
	ends := [2]lab.End{{Host: a.Host, Name: nameA, MAC: macA[:]}, {Host: b.Host, Name: nameB, MAC: macB[:]}}
	if _, err := a.lab.Connect(ends[0], ends[1], lab.Link{}); err != nil {
		a.t.Fatal(err)
	}
	a.believing(nameA)
	b.believing(nameB)
}

// believing makes the host announce changes of an interface at once, and believe those of its neighbours.
func (h *host) believing(name string) {
	h.t.Helper()
	h.set("net/ipv4/neigh/"+name+"/locktime=0", "net/ipv4/conf/"+name+"/arp_notify=1",
		"net/ipv6/conf/"+name+"/ndisc_notify=1")
}

type hardware [6]byte

func mac(number byte) hardware { return hardware{2, 0, 0, 0, 0, number} }

func (m hardware) String() string { return net.HardwareAddr(m[:]).String() }

// linkLocal is the address that an interface with mac(number) gives itself.
func linkLocal(number byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe, 15: number})
}

// A watcher is a table, the news of its turns, and the paths that the test follows.
type watcher struct {
	*Table
	t    testing.TB
	news chan struct{}
	ways map[port.Path]Way
}

// watch follows an interface of the host's until the test ends.
func (h *host) watch(name string, cfg Config) *watcher {
	h.t.Helper()
	w := &watcher{t: h.t, news: make(chan struct{}, 1), ways: make(map[port.Path]Way)}
	cfg.Interface = name
	also := cfg.renewed
	cfg.renewed = func(f *follower) {
		if also != nil {
			also(f)
		}
		select {
		case w.news <- struct{}{}:
		default:
		}
	}
	h.inside(func() (err error) {
		w.Table, err = Watch(cfg)
		return err
	})
	h.t.Cleanup(func() {
		if err := w.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return w
}

// follow follows a path, and returns when the kernel has said something about it.
func (w *watcher) follow(p port.Path) *way {
	w.t.Helper()
	if w.ways[p] == nil {
		w.ways[p] = w.Follow(p)
		w.await(fmt.Sprintf("an answer about %v", p.Remote), func() bool {
			return w.ways[p].(*way).answer.Load() != nil
		})
	}
	return w.ways[p].(*way)
}

// resolve says how a path leaves now.
func (w *watcher) resolve(p port.Path) (Hop, Verdict) {
	w.t.Helper()
	return w.follow(p).Resolve()
}

// patience bounds how long a change takes to be seen, which is some milliseconds.
const patience = time.Minute

// await waits for a condition, which is looked at with each snapshot, and logs how long it took.
func (w *watcher) await(what string, condition func() bool) {
	w.t.Helper()
	began := time.Now()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for !condition() {
		select {
		case <-w.news:
		case <-giveUp.C:
			w.t.Fatalf("not within %v: %s", patience, what)
		}
	}
	w.t.Logf("%s: after %v", what, time.Since(began).Round(100*time.Microsecond))
}

// path is one to remote from local.
func path(local, remote string) port.Path {
	return port.Path{Remote: netip.MustParseAddrPort(remote), Local: netip.MustParseAddr(local)}
}

// awaitHop waits until a path leads to the hardware address.
func (w *watcher) awaitHop(p port.Path, to hardware) Hop {
	w.t.Helper()
	var hop Hop
	w.await(fmt.Sprintf("%v by %v", p.Remote, to), func() bool {
		var verdict Verdict
		hop, verdict = w.resolve(p)
		return verdict == Usable && hop.Destination == to
	})
	return hop
}

// awaitVerdict waits until a path has no next hop, for a reason.
func (w *watcher) awaitVerdict(p port.Path, want Verdict) {
	w.t.Helper()
	w.await(fmt.Sprintf("%v %v", p.Remote, want), func() bool {
		_, got := w.resolve(p)
		return got == want
	})
}

// expect waits for the verdict on a path that is new.
func (w *watcher) expect(p port.Path, want Verdict) {
	w.t.Helper()
	if hop, got := w.resolve(p); got != want {
		w.t.Errorf("%v from %v is %v by %+v, want %v", p.Remote, p.Local, got, hop, want)
	}
}

// awaitEvents waits for these events, in order. A link that goes away may be seen down first, or not.
func (w *watcher) awaitEvents(changes ...LinkChange) (last LinkEvent) {
	w.t.Helper()
	giveUp := time.NewTimer(patience)
	defer giveUp.Stop()
	for _, want := range changes {
		last = LinkEvent{}
		for last.Change == 0 || last.Change == LinkDown && want == LinkGone {
			select {
			case last = <-w.Events():
			case <-giveUp.C:
				w.t.Fatalf("no %v within %v", want, patience)
			}
		}
		if last.Change != want {
			w.t.Fatalf("%v of %d instead of %v of %v", last.Change, last.Index, want, changes)
		}
	}
	return last
}
