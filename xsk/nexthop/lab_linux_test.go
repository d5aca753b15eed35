package nexthop

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// labPrefix begins the names of our namespaces, followed by the process's number.
const labPrefix = "rchop-"

// made numbers our namespaces.
var made atomic.Int32

// A host is a network namespace.
type host struct {
	t    testing.TB
	name string
}

// hosts makes namespaces until the test ends.
func hosts(t testing.TB, names ...string) (out []*host) {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces)
	sweep(t)
	for _, name := range names {
		h := &host{t, fmt.Sprintf("%s%d-%d%s", labPrefix, os.Getpid(), made.Add(1), name)}
		run(t, "", "ip", "netns", "add", h.name)
		t.Cleanup(func() { run(t, "", "ip", "netns", "del", h.name) })
		h.ip("link", "set", "lo", "up")
		out = append(out, h)
	}
	return out
}

// sweep removes namespaces of test processes that are gone.
func sweep(t testing.TB) {
	names, err := filepath.Glob("/run/netns/" + labPrefix + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = filepath.Base(name)
		owner, _, _ := strings.Cut(strings.TrimPrefix(name, labPrefix), "-")
		if pid, err := strconv.Atoi(owner); err == nil && pid != os.Getpid() && syscall.Kill(pid, 0) != nil {
			run(t, "", "ip", "netns", "del", name)
		}
	}
}

func run(t testing.TB, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return string(out)
}

func (h *host) ip(args ...string) {
	h.t.Helper()
	run(h.t, "", "ip", append([]string{"-n", h.name}, args...)...)
}

// batch runs many ip commands.
func (h *host) batch(lines []string) {
	h.t.Helper()
	run(h.t, strings.Join(lines, "\n"), "ip", "-n", h.name, "-batch", "-")
}

// set sets sysctls, each as "name=value".
func (h *host) set(values ...string) {
	h.t.Helper()
	run(h.t, "", "ip", append([]string{"netns", "exec", h.name, "sysctl", "-qw"}, values...)...)
}

// inside runs f on a thread that is in the namespace.
func (h *host) inside(f func() error) {
	h.t.Helper()
	failed := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with this goroutine, and nobody else gets to use it.
		runtime.LockOSThread()
		ns, err := os.Open("/run/netns/" + h.name)
		if err != nil {
			failed <- err
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		failed <- f()
	}()
	if err := <-failed; err != nil {
		h.t.Fatalf("on %s: %v", h.name, err)
	}
}

// send sends a datagram through a socket of the kernel's, as the engine does when there is no next hop.
func (h *host) send(to string) {
	h.t.Helper()
	h.inside(func() error {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("x"))
		return err
	})
}

// cable connects two hosts by interfaces of the given names, without addresses. Their hardware addresses
// end in the numbers.
func cable(a *host, nameA string, numberA byte, b *host, nameB string, numberB byte) {
	a.t.Helper()
	run(a.t, "", "ip", "link", "add", nameA, "address", mac(numberA).String(), "netns", a.name, "type", "veth",
		"peer", "name", nameB, "address", mac(numberB).String(), "netns", b.name)
	for _, end := range []struct {
		h    *host
		name string
	}{{a, nameA}, {b, nameB}} {
		// Addresses are ready at once, and changes are believed and told at once.
		end.h.set("net.ipv6.conf."+end.name+".accept_dad=0", "net.ipv4.neigh."+end.name+".locktime=0",
			"net.ipv4.conf."+end.name+".arp_notify=1", "net.ipv6.conf."+end.name+".ndisc_notify=1")
		end.h.ip("link", "set", end.name, "up")
	}
}

type hardware [6]byte

func mac(number byte) hardware { return hardware{2, 0, 0, 0, 0, number} }

func (m hardware) String() string { return net.HardwareAddr(m[:]).String() }

// linkLocal is the address that an interface with mac(number) gives itself.
func linkLocal(number byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 11: 0xff, 12: 0xfe, 15: number})
}

// A watcher is a table and the news of its snapshots.
type watcher struct {
	*Table
	t    testing.TB
	news chan struct{}
}

// watch follows an interface of the host's until the test ends.
func (h *host) watch(name string, cfg Config) *watcher {
	h.t.Helper()
	w := &watcher{t: h.t, news: make(chan struct{}, 1)}
	cfg.Interface = name
	cfg.published = func(*snapshot) {
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

// patience bounds how long a change takes to be seen, which is some milliseconds.
const patience = 10 * time.Second

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
		var ok bool
		hop, ok = w.Resolve(p)
		return ok && hop.Destination == to
	})
	return hop
}

// awaitNone waits until a path leads nowhere.
func (w *watcher) awaitNone(p port.Path) {
	w.t.Helper()
	w.await(fmt.Sprintf("%v by none", p.Remote), func() bool {
		_, ok := w.Resolve(p)
		return !ok
	})
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
