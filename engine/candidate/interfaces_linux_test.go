package candidate

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// patience bounds every wait for the kernel, which takes milliseconds.
const patience = 20 * time.Second

// A host is one of testenv/lab with a watcher on it.
type host struct {
	*lab.Host
	*Watcher
	t     *testing.T
	other *host // at the other end of eth0
}

// silence takes the carrier away, by the other end of the cable, or gives it back.
func (h *host) silence(other string) {
	h.t.Helper()
	h.other.ip("link set eth0 " + other)
}

// ip runs ip commands, one a line.
func (h *host) ip(lines ...string) {
	h.t.Helper()
	cmd := exec.Command("ip", "-n", h.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("ip %q: %v\n%s", lines, err, bytes.TrimSpace(out))
	}
}

// await waits until a peer that signals from source is offered these addresses.
func (h *host) await(when, source, want string) {
	h.t.Helper()
	var list []netip.Addr
	for a := range strings.FieldsSeq(want) {
		list = append(list, netip.MustParseAddr(a))
	}
	deadline := time.Now().Add(patience)
	for {
		got := h.For(addr(source))
		if slices.Equal(got, list) {
			return
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s, from %s: got %v, want %v", when, source, got, list)
		}
		time.Sleep(settleSpan / 10)
	}
}

// startHost makes two hosts with a cable, up and without addresses, and watches the first.
func startHost(t *testing.T) *host {
	t.Helper()
	testenv.Need(t, testenv.NetworkNamespaces, testenv.Program("ip"))
	l := testenv.NewLab(t)
	var ends []lab.End
	for _, name := range []string{"server", "other"} {
		h, err := l.AddHost(name)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, lab.End{Host: h, Name: "eth0"})
	}
	if _, err := l.Connect(ends[0], ends[1], lab.Link{}); err != nil {
		t.Fatal(err)
	}
	h := &host{Host: ends[0].Host, t: t, other: &host{Host: ends[1].Host, t: t}}
	if err := h.Enter(func() (err error) {
		h.Watcher, err = Watch(Config{}, netip.IPv6Unspecified(), slog.New(slog.DiscardHandler))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// Each change of the kernel's is seen, in the order in which machines meet them.
func TestKernel(t *testing.T) {
	h := startHost(t)
	const stranger, here, container = "203.0.113.9", "127.0.0.1", "198.18.200.2"
	h.await("before DHCP", here, "127.0.0.1 ::1")
	h.ip("addr add 198.18.0.1/24 dev eth0")
	h.await("DHCP", stranger, "198.18.0.1")
	h.await("DHCP", here, "198.18.0.1 127.0.0.1 ::1")
	h.await("DHCP", "198.18.0.1", "198.18.0.1 127.0.0.1 ::1")
	h.ip("addr add 198.18.0.3/24 dev eth0") // IFA_F_SECONDARY, which is IFA_F_TEMPORARY of IPv6
	h.await("a second address of the network", stranger, "198.18.0.1 198.18.0.3")
	h.ip("addr del 198.18.0.1/24 dev eth0", "addr add 198.18.1.1/24 dev eth0")
	h.await("another lease", stranger, "198.18.1.1")

	h.ip("addr add fd00:1::1/64 dev eth0")
	h.await("a prefix", stranger, "198.18.1.1 fd00:1::1")
	h.ip("addr change fd00:1::1/64 dev eth0 preferred_lft 0", "addr add fd00:2::1/64 dev eth0")
	h.await("a new prefix", stranger, "198.18.1.1 fd00:2::1")

	h.ip("link add tun0 type veth peer name tun1", "link set tun0 up", "link set tun1 up",
		"addr add 198.19.0.1 peer 198.19.0.2 dev tun0")
	h.await("a tunnel", "198.19.0.2", "198.19.0.1 198.18.1.1 fd00:2::1")
	h.ip("link del tun0")
	h.await("no tunnel", stranger, "198.18.1.1 fd00:2::1")

	h.silence("down")
	h.ip("addr add 198.18.1.2/24 dev eth0") // so that there is a change to wait for
	h.await("without a carrier", stranger, "198.18.1.1 198.18.1.2 fd00:2::1")
	h.silence("up")
	h.ip("addr del 198.18.1.2/24 dev eth0")
	h.await("with a carrier again", stranger, "198.18.1.1 fd00:2::1")

	h.ip("link set eth0 down")
	h.await("down", stranger, "127.0.0.1 ::1")
	h.ip("link set eth0 up")
	h.await("up", stranger, "198.18.1.1 fd00:2::1")

	// A bridge of containers, which then gets a port to the outside.
	h.ip("link add name br0 index 9999 type bridge", "addr add 198.18.200.1/24 dev br0", "link set br0 up",
		"link add veth0 type veth peer name veth1", "link set veth0 master br0", "link set veth0 up",
		"link set veth1 up")
	h.await("containers", container, "198.18.200.1 198.18.1.1 fd00:2::1")
	h.await("containers", stranger, "198.18.1.1 fd00:2::1")
	h.ip("route add default via 198.18.200.2 dev br0") // as in a container with a bridge inside
	h.await("a bridge to the default router", stranger, "198.18.1.1 198.18.200.1 fd00:2::1")
	h.ip("route del default")
	h.await("containers again", stranger, "198.18.1.1 fd00:2::1")
	h.ip("link add port0 type vxlan id 5 dstport 4789 dev eth0", "link set port0 master br0", "link set port0 up")
	h.await("a bridge of networks", stranger, "198.18.1.1 198.18.200.1 fd00:2::1")
}

// Until no other host can have it, an address is not offered.
func TestTentative(t *testing.T) {
	h := startHost(t)
	for _, all := range []string{"all", "eth0"} {
		if err := h.Sysctl("net/ipv6/conf/"+all+"/accept_dad", "1"); err != nil {
			t.Fatal(err)
		}
	}
	h.ip("addr add fd00:1::1/64 dev eth0", "addr add 198.18.0.1/24 dev eth0")
	h.await("after the probes", "203.0.113.9", "198.18.0.1 fd00:1::1")
}

// Changes that overflow the kernel's queue are seen all the same.
func TestOverflow(t *testing.T) {
	h := startHost(t)
	r := h.kernel.(*routing)
	if err := r.notices.SetReceiveBufferSize(1, false); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("addr add 198.18.%d.%d/32 dev eth0", i/250, i%250+1))
	}
	for i := range 500 {
		lines = append(lines, fmt.Sprintf("addr del 198.18.%d.%d/32 dev eth0", i/250, i%250+1))
	}
	h.ip(append(lines, "addr add 198.18.9.9/32 dev eth0")...)
	h.await("after a thousand changes", "203.0.113.9", "198.18.9.9")
}
