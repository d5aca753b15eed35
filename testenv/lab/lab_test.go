//go:build linux

package lab_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

func TestMain(m *testing.M) {
	lab.Child()
	os.Exit(testenv.Main(m))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deadline gives one step of a test its time.
func deadline(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for something that the kernel does later.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(lab.Patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("not within %v: %s", lab.Patience, what)
		}
	}
}

// udp sends a datagram from one host to another's address and checks that it arrives, from where it should.
func udp(t testing.TB, from, to *lab.Host, source, destination netip.Addr) {
	t.Helper()
	in, err := to.ListenUDP(netip.AddrPortFrom(destination, 0))
	must(t, err)
	defer in.Close()
	out, err := from.ListenUDP(netip.AddrPortFrom(source, 0))
	must(t, err)
	defer out.Close()
	_, err = out.WriteToUDPAddrPort([]byte("hello"), in.LocalAddr().(*net.UDPAddr).AddrPort())
	must(t, err)
	must(t, in.SetReadDeadline(time.Now().Add(lab.Patience)))
	b := make([]byte, 100)
	n, got, err := in.ReadFromUDPAddrPort(b)
	if err != nil {
		t.Fatalf("from %s to %s: %v", source, destination, err)
	}
	if string(b[:n]) != "hello" || got != out.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Fatalf("from %s to %s: got %q from %s", source, destination, b[:n], got)
	}
}

func TestPair(t *testing.T) {
	server, client := testenv.Pair(t, lab.Link{Queues: 2, MTU: 1400})
	udp(t, client, server, client.IPv4(), server.IPv4())
	udp(t, client, server, client.IPv6(), server.IPv6())
	for _, h := range []*lab.Host{server, client} {
		link, err := h.Netlink().LinkByName("eth0")
		must(t, err)
		if a := link.Attrs(); a.NumRxQueues != 2 || a.NumTxQueues != 2 || a.MTU != 1400 ||
			a.Index != h.Device("eth0").Index {
			t.Errorf("%s: %+v", h.Name, a)
		}
		// The host's own /sys, and no way to the machine's network.
		out, err := h.Run(deadline(t), nil, "ls", "/sys/class/net", "/sys/class/net/eth0/queues")
		must(t, err)
		want := []string{"/sys/class/net:", "eth0", "lo", "/sys/class/net/eth0/queues:", "rx-0", "rx-1", "tx-0", "tx-1"}
		if got := strings.Fields(string(out)); !slices.Equal(got, want) {
			t.Errorf("%s: %q", h.Name, got)
		}
	}
}

func TestRouter(t *testing.T) {
	server, router, client := testenv.Routed(t, lab.Link{})
	udp(t, client, server, client.IPv4(), server.IPv4())
	udp(t, server, client, server.IPv6(), client.IPv6())

	// A link-local next hop does as well.
	ll, err := router.Device("south").LinkLocal()
	must(t, err)
	must(t, server.Device("eth0").SetGateway(ll))
	routes, err := server.Netlink().RouteGet(client.IPv6().AsSlice())
	must(t, err)
	if len(routes) != 1 || !routes[0].Gw.Equal(ll.AsSlice()) {
		t.Errorf("routes %v", routes)
	}
	udp(t, server, client, server.IPv6(), client.IPv6())

	out, err := client.Run(deadline(t), nil, "ls", "/proc/sys/net/ipv4/ip_forward")
	must(t, err)
	own, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	must(t, err)
	var there []byte
	must(t, router.Enter(func() (err error) {
		there, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		return err
	}))
	t.Logf("ip_forward: %s here, %s on the router (%s)",
		strings.TrimSpace(string(own)), strings.TrimSpace(string(there)), out)
	if string(there) != "1\n" {
		t.Errorf("the router does not forward")
	}
}

// Cables and addresses change in several ways, and the network works again after each.
func TestLinkFaults(t *testing.T) {
	server, router, client := testenv.Routed(t, lab.Link{Queues: 2})
	both := func() {
		t.Helper()
		udp(t, server, client, server.IPv4(), client.IPv4())
		udp(t, server, client, server.IPv6(), client.IPv6())
	}
	carrier := func() bool {
		link, err := server.Netlink().LinkByName("eth0")
		must(t, err)
		return link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	}
	eth0, south := server.Device("eth0"), router.Device("south")
	both()

	must(t, eth0.Down())
	if link, err := server.Netlink().LinkByName("eth0"); err != nil || link.Attrs().RawFlags&unix.IFF_UP != 0 {
		t.Errorf("down: %v, %v", link, err)
	}
	must(t, eth0.Up())
	both()

	must(t, south.Down())
	eventually(t, "no carrier", func() bool { return !carrier() })
	must(t, south.Up())
	eventually(t, "a carrier", carrier)
	both()

	mac := net.HardwareAddr{2, 0, 0, 0, 0, 7}
	must(t, south.SetMAC(mac))
	learned := func() bool {
		neighbours, err := server.Netlink().NeighList(eth0.Index, netlink.FAMILY_V4)
		must(t, err)
		return slices.ContainsFunc(neighbours, func(n netlink.Neigh) bool { return slices.Equal(n.HardwareAddr, mac) })
	}
	// The server sends to the old address until it asks again; here it is made to ask.
	for _, n := range []string{"198.18.1.1", "fd00:1::1"} {
		_ = server.Netlink().NeighDel(&netlink.Neigh{LinkIndex: eth0.Index, IP: net.ParseIP(n)})
	}
	both()
	eventually(t, "the new MAC", learned)

	must(t, south.AddAddr(netip.MustParsePrefix("198.18.1.254/24")))
	must(t, eth0.SetGateway(netip.MustParseAddr("198.18.1.254")))
	both()
}

// A throttle has room for some of many packets and drops the others. A higher rate lets the waiting ones out in order.
func TestThrottle(t *testing.T) {
	_, router, client := testenv.Routed(t, lab.Link{})
	in, err := client.ListenUDP(netip.AddrPortFrom(client.IPv4(), 0))
	must(t, err)
	defer in.Close()
	out, err := router.ListenUDP(netip.AddrPortFrom(netip.MustParseAddr("198.18.2.1"), 0))
	must(t, err)
	defer out.Close()
	send := func(first byte) {
		t.Helper()
		_, err := out.WriteToUDPAddrPort(append([]byte{first}, make([]byte, 999)...),
			in.LocalAddr().(*net.UDPAddr).AddrPort())
		must(t, err)
	}
	north := router.Device("north")
	// A packet a second; the bucket and the queue hold 17 together.
	must(t, north.Throttle(8000, 10*time.Second))
	for range 200 {
		send(0)
	}
	must(t, north.Throttle(10_000_000, 300*time.Millisecond))
	send(1)
	must(t, in.SetReadDeadline(time.Now().Add(lab.Patience)))
	packet := make([]byte, 2000)
	for got := 0; ; got++ {
		_, _, err := in.ReadFromUDPAddrPort(packet)
		must(t, err)
		if packet[0] == 1 {
			if got < 10 || got > 150 {
				t.Errorf("%d of 200 packets came, want about 17", got)
			}
			return
		}
	}
}

func TestReplaceCable(t *testing.T) {
	l := testenv.NewLab(t)
	a, err := l.AddHost("a")
	must(t, err)
	b, err := l.AddHost("b")
	must(t, err)
	c, err := l.Connect(
		lab.End{
			Host: a, Name: "wan", MAC: net.HardwareAddr{2, 1, 2, 3, 4, 5},
			Addrs: lab.Prefixes("198.18.7.1/24", "fd00:7::1/64"), Gateways: lab.Addrs("198.18.7.2"),
		},
		lab.End{Host: b, Name: "lan", Addrs: lab.Prefixes("198.18.7.2/24", "fd00:7::2/64")}, lab.Link{Queues: 3})
	must(t, err)
	was, mac := c.A.Index, c.B.MAC
	must(t, c.Remove())
	if _, err := a.Netlink().LinkByName("wan"); !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Errorf("removed: %v", err)
	}
	must(t, c.Insert())
	if c.A.Index == was || !slices.Equal(c.B.MAC, mac) || c.A.MAC.String() != "02:01:02:03:04:05" {
		t.Errorf("index %d, MACs %s %s; before %d, %s", c.A.Index, c.A.MAC, c.B.MAC, was, mac)
	}
	udp(t, a, b, a.IPv4(), b.IPv4())
	udp(t, a, b, a.IPv6(), b.IPv6())
}

// Commands are killed with their context, and errors are those of exec.
func TestRun(t *testing.T) {
	server, _ := testenv.Pair(t, lab.Link{})
	out, err := server.Run(t.Context(), []string{"GREETING=hello"}, "sh", "-c", "echo $GREETING; exit 3")
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 || string(out) != "hello\n" {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := server.Run(t.Context(), nil, "/no/such/command"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no command: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := server.Start(ctx, exec.Command("sleep", "1000"), 0)
	must(t, err)
	var set unix.CPUSet
	must(t, unix.SchedGetaffinity(p.PID, &set))
	if set.Count() != 1 || !set.IsSet(0) {
		t.Errorf("runs on %d CPUs", set.Count())
	}
	cancel()
	if err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("killed: %v", err)
	}
	if _, err := server.Start(ctx, exec.Command("sleep", "1000")); !errors.Is(err, context.Canceled) {
		t.Errorf("started after the end: %v", err)
	}
}

// sum is a Func that computes, waits or fails.
var sum = lab.Register("sum", func(ctx context.Context, in []int, ready func()) (total int, err error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return 0, err
	}
	fmt.Println("interfaces:", len(interfaces))
	for _, n := range in {
		switch {
		case n == wait:
			ready()
			<-ctx.Done()
		case n == die:
			os.Exit(7)
		case n < 0:
			return 0, fmt.Errorf("%d is negative", n)
		default:
			total += n
		}
	}
	return total, nil
})

const (
	wait = 1_000_000 // until the context ends
	die  = 2_000_000
)

func TestFunc(t *testing.T) {
	server, _ := testenv.Pair(t, lab.Link{})
	if got, err := sum.Run(deadline(t), server, []int{1, 2, 3}); err != nil || got != 6 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := sum.Run(deadline(t), server, []int{1, -2}); err == nil || err.Error() != "sum: -2 is negative" {
		t.Errorf("failed: %v", err)
	}
	if _, err := sum.Run(deadline(t), server, []int{die}); !errors.As(err, new(*exec.ExitError)) {
		t.Errorf("died: %v", err)
	}
	c, err := sum.Start(deadline(t), server, []int{4, wait, 5}, 1)
	must(t, err)
	if got, err := c.Stop(); err != nil || got != 9 {
		t.Errorf("stopped: %d, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, err = sum.Start(ctx, server, []int{wait})
	must(t, err)
	cancel()
	if _, err := c.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("killed: %v", err)
	}
}

// owner builds a lab, leaves a process in it that nobody waits for, and waits to be killed.
var owner = lab.Register("owner", func(ctx context.Context, in struct{}, ready func()) (struct{}, error) {
	l, err := lab.Open(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	if err != nil {
		return in, err
	}
	server, _, err := l.Pair(lab.Link{})
	if err != nil {
		return in, err
	}
	if _, err := server.Run(ctx, nil, "sh", "-c", "sleep 1000 >/dev/null 2>&1 &"); err != nil {
		return in, err
	}
	ready()
	select {}
})

// A process that is killed in the middle of its work leaves namespaces and processes. The next one removes them, but
// not those of a living process.
func TestSweep(t *testing.T) {
	ours, _ := testenv.Pair(t, lab.Link{})
	// Not on a host, where it would have mounts of its own.
	self, err := os.Executable()
	must(t, err)
	results, theirs, err := os.Pipe()
	must(t, err)
	defer results.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), lab.ChildVariable+"="+owner.Name())
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("{}"), t.Output(), t.Output()
	cmd.ExtraFiles = []*os.File{theirs}
	must(t, cmd.Start())
	theirs.Close()
	killed := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	defer killed()
	must(t, results.SetReadDeadline(time.Now().Add(lab.Patience)))
	var m lab.Message
	if err := json.NewDecoder(results).Decode(&m); err != nil || !m.Ready {
		t.Fatalf("the child is not ready: %+v, %v", m, err)
	}
	pattern := fmt.Sprintf("%s/%s%d-*", lab.NetnsDir, lab.Prefix, cmd.Process.Pid)
	names, err := filepath.Glob(pattern)
	must(t, err)
	if len(names) != 2 {
		t.Fatalf("the child has made %q", names)
	}
	var running []int
	eventually(t, "a process that was left", func() bool {
		running = nil
		for _, name := range names {
			pids, err := lab.ProcessesIn(name)
			must(t, err)
			running = append(running, pids...)
		}
		return len(running) == 1
	})
	must(t, lab.Sweep(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if got, _ := filepath.Glob(pattern); len(got) != 2 {
		t.Fatalf("swept while the owner lived: %q", got)
	}
	killed()
	must(t, lab.Sweep(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if got, _ := filepath.Glob(pattern); len(got) > 0 {
		t.Errorf("not swept: %q", got)
	}
	eventually(t, "the end of the process that was left", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", running[0]))
		return err != nil || strings.Contains(string(state), ") Z ")
	})
	if _, err := os.Stat(filepath.Join(lab.NetnsDir, ours.Name)); err != nil {
		t.Errorf("ours was swept: %v", err)
	}
}

// Close reports the processes that it had to kill.
func TestLeftRunning(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces)
	l, err := lab.Open(slog.New(slog.NewTextHandler(t.Output(), nil)))
	must(t, err)
	server, _, err := l.Pair(lab.Link{})
	must(t, err)
	p, err := server.Start(context.Background(), exec.Command("sleep", "1234"))
	must(t, err)
	l.SetPatience(0)
	if err := l.Close(); !errors.Is(err, lab.ErrLeft) || !strings.Contains(err.Error(), "sleep 1234") {
		t.Errorf("closed: %v", err)
	}
	if err := p.Wait(); err == nil {
		t.Errorf("it was not killed")
	}
	if _, err := os.Stat(filepath.Join(lab.NetnsDir, server.Name)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace is there: %v", err)
	}
}
