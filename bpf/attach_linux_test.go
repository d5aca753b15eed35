package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"ringcast/testenv"
)

// Variables that make this test's binary a child that attaches to a device of its parent's namespace.
const (
	childDevice = "BPF_TEST_DEVICE"
	childCaps   = "BPF_TEST_CAPS" // the capabilities that it keeps, with commas between; "none" for none
)

func TestMain(m *testing.M) {
	if device := os.Getenv(childDevice); device != "" {
		attachAsChild(device, os.Getenv(childCaps))
		return
	}
	os.Exit(m.Run())
}

// attachAsChild prints the result of attaching and stays attached until its input ends.
func attachAsChild(device, keep string) {
	if keep != "" {
		if err := confine(keep); err != nil {
			fmt.Println("confine:", err)
			return
		}
	}
	p, err := Attach(configured(func(c *Config) { c.Interface = device; c.Port = mediaPort }))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("attached")
	_, _ = io.Copy(io.Discard, os.Stdin)
	fmt.Println("closed:", p.Close())
}

// confine makes this process nobody's, with only these capabilities.
func confine(keep string) error {
	if err := cap.SetUID(65534); err != nil {
		return err
	}
	set := cap.NewSet()
	for name := range strings.SplitSeq(keep, ",") {
		if name == "none" {
			continue
		}
		c, err := cap.FromName(name)
		if err != nil {
			return err
		}
		if err := errors.Join(set.SetFlag(cap.Permitted, true, c), set.SetFlag(cap.Effective, true, c)); err != nil {
			return err
		}
	}
	return set.SetProc()
}

// A child is a process in the test's namespace.
type child struct {
	*exec.Cmd
	input io.Closer
	lines *bufio.Scanner
}

func startChild(t *testing.T, device, keep string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = append(os.Environ(), childDevice+"="+device, childCaps+"="+keep)
	c.Stderr = os.Stderr
	input, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.input, c.lines = input, bufio.NewScanner(output)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()         // and been waited for
	})
	return c
}

func (c *child) line() string {
	c.lines.Scan()
	return c.lines.Text()
}

// inNamespace moves the test to a network namespace of its own, which ends with it. Its thread is never
// used again.
func inNamespace(t *testing.T) {
	t.Helper()
	testenv.Need(t, testenv.XDP, testenv.NetworkNamespaces)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	// The kernel's own packets, of neighbour discovery, would be counted beside the tests'.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
}

// cable adds a pair of veths, a and b, that are up and have two queues each way unless change says
// otherwise.
func cable(t *testing.T, change func(*netlink.Veth)) {
	t.Helper()
	pair := netlink.NewVeth(netlink.LinkAttrs{
		Name: "a", MTU: 1500, NumRxQueues: 2, NumTxQueues: 2, HardwareAddr: serverMAC[:],
	})
	pair.PeerName, pair.PeerMTU, pair.PeerNumRxQueues, pair.PeerNumTxQueues = "b", 1500, 2, 2
	if change != nil {
		change(pair)
	}
	if err := netlink.LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := netlink.LinkSetUp(device(t, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func device(t *testing.T, name string) netlink.Link {
	t.Helper()
	dev, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// attachedTo is the program on a device, 0 if none is.
func attachedTo(t *testing.T, name string) ebpf.ProgramID {
	t.Helper()
	xdp := device(t, name).Attrs().Xdp
	if xdp == nil || !xdp.Attached {
		return 0
	}
	return ebpf.ProgramID(xdp.ProgId)
}

func mustAttach(t *testing.T, cfg Config) *Program {
	t.Helper()
	cfg.Port = mediaPort
	p, err := Attach(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if err := p.SetUfragKeys(testUfrags); err != nil {
		t.Fatal(err)
	}
	return p
}

// refused checks that Attach gives the reason and the remedy.
func refused(t *testing.T, cfg Config, reason error, says ...string) *Refusal {
	t.Helper()
	cfg.Port = mediaPort
	p, err := Attach(cfg)
	if err == nil {
		p.Close()
		t.Fatalf("attached, want %v", reason)
	}
	var refusal *Refusal
	if !errors.As(err, &refusal) || !errors.Is(err, reason) || refusal.Remedy == "" {
		t.Fatalf("%v, want a refusal for %v", err, reason)
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	t.Log(err)
	return refusal
}

// deliver sends frames from b and returns when a has counted each of them for the reason.
func deliver(t *testing.T, p *Program, frame []byte, frames uint64, reason Reason) {
	t.Helper()
	count := func() uint64 {
		counters, err := p.Counters()
		if err != nil {
			t.Fatal(err)
		}
		return counters[reason]
	}
	before := count()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Ifindex: device(t, "b").Attrs().Index}
	for range frames {
		if err := unix.Sendto(fd, frame, 0, to); err != nil {
			t.Fatal(err)
		}
	}
	for giveUp := time.Now().Add(time.Minute); count() != before+frames; runtime.Gosched() {
		if time.Now().After(giveUp) {
			t.Fatalf("%v grew by %d, want %d", reason, count()-before, frames)
		}
	}
}

func TestAttach(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a"; c.Queues = 2 }))
	if on, err := p.Attached(); !on || err != nil {
		t.Errorf("attached: %v, %v", on, err)
	}
	if p.Generic() || p.NativeRefusal() != nil {
		t.Errorf("generic, because %v", p.NativeRefusal())
	}
	if attachedTo(t, "a") == 0 || attachedTo(t, "b") != 0 {
		t.Errorf("programs %d on a and %d on b, want one on a", attachedTo(t, "a"), attachedTo(t, "b"))
	}
	deliver(t, p, datagram(peer4, server4, first(media)...), 10, DropMedia)
	deliver(t, p, datagram(peer4, server4, newcomer()...), 10, PassNoSocket)

	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if id := attachedTo(t, "a"); id != 0 {
		t.Errorf("program %d still attached after Close", id)
	}
}

// Each queue has a socket of its own, or none.
func TestQueues(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a"; c.Queues = 2 }))
	narrow := loaded(t, configured(func(c *Config) { c.Queues = 1 }), path4)
	if err := errors.Join(p.Allow(path4, testRate), p.SetSockets(1, xdpSocket(t), xdpSocket(t))); err != nil {
		t.Fatal(err)
	}
	frame := mediaOn(path4)
	onQueue := func(p *Program, queue uint32) (verdict uint32, grown []uint64) {
		// struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
		ctx := [6]uint32{0, uint32(len(frame)), 0, uint32(device(t, "a").Attrs().Index), queue, 0}
		return runOn(t, p, ebpf.RunOptions{Data: frame, Context: ctx})
	}
	expectOn := func(p *Program, queue, verdict uint32, reason Reason) {
		t.Helper()
		got, grown := onQueue(p, queue)
		check(t, got, grown, verdict, reason)
	}
	expectOn(p, 0, xdpPass, PassNoSocket)
	expectOn(p, 1, xdpRedirect, RedirectMedia)
	expectOn(narrow, 0, xdpRedirect, RedirectMedia)
	expectOn(narrow, 1, xdpPass, PassNoSocket) // a queue beyond the map

	if err := errors.Join(p.SetSockets(0, xdpSocket(t), xdpSocket(t)),
		p.SetSockets(0, xdpSocket(t), xdpSocket(t)), p.ClearSockets(1), p.ClearSockets(1)); err != nil {
		t.Fatal(err)
	}
	expectOn(p, 0, xdpRedirect, RedirectMedia)
	expectOn(p, 1, xdpPass, PassNoSocket)

	for name, err := range map[string]error{
		"queue too large":  p.SetSockets(2, xdpSocket(t), xdpSocket(t)),
		"negative queue":   p.SetSockets(-1, xdpSocket(t), xdpSocket(t)),
		"no such file":     p.SetSockets(0, 1<<20, 1<<20),
		"no AF_XDP socket": p.SetSockets(0, int(os.Stdin.Fd()), int(os.Stdin.Fd())),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	expectOn(p, 0, xdpRedirect, RedirectMedia)
}

// The second on a device is refused, and the first works on.
func TestAttachSecond(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	id := attachedTo(t, "a")
	for _, generic := range []bool{false, true} {
		refusal := refused(t, configured(func(c *Config) { c.Interface = "a"; c.Generic = generic }), ErrAttached,
			fmt.Sprint("program ", id), "left alone")
		if refusal.Other != id {
			t.Errorf("names program %d, want %d", refusal.Other, id)
		}
	}
	if got := attachedTo(t, "a"); got != id {
		t.Errorf("program %d attached now, want %d", got, id)
	}
	deliver(t, p, datagram(peer4, server4, first(media)...), 10, DropMedia)
}

// The same where the first program was attached by a process that uses no link, natively or generically.
func TestAttachBehindForeign(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	foreign, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "MIT",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	for _, flags := range []int{unix.XDP_FLAGS_DRV_MODE, unix.XDP_FLAGS_SKB_MODE} {
		if err := netlink.LinkSetXdpFdWithFlags(device(t, "a"), foreign.FD(), flags); err != nil {
			t.Fatal(err)
		}
		id := attachedTo(t, "a")
		for _, generic := range []bool{false, true} {
			if refusal := refused(t, configured(func(c *Config) { c.Interface = "a"; c.Generic = generic }),
				ErrAttached); refusal.Other != id {
				t.Errorf("names program %d, want %d", refusal.Other, id)
			}
		}
		if got := attachedTo(t, "a"); got != id || id == 0 {
			t.Errorf("program %d attached now, want %d", got, id)
		}
		if err := netlink.LinkSetXdpFdWithFlags(device(t, "a"), -1, flags); err != nil {
			t.Fatal(err)
		}
	}
	mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
}

func TestAttachNowhere(t *testing.T) {
	inNamespace(t)
	refused(t, configured(func(c *Config) { c.Interface = "missing0" }), ErrNoInterface, "missing0", "ip link")
	refused(t, configured(func(c *Config) { c.Interface = "missing0"; c.Generic = true }), ErrNoInterface)
}

// lo has no native XDP; the emulation runs on request.
func TestAttachLoopback(t *testing.T) {
	inNamespace(t)
	refused(t, configured(func(c *Config) { c.Interface = "lo" }), ErrNoNative, "lo", "sockets")
	if id := attachedTo(t, "lo"); id != 0 {
		t.Errorf("program %d attached", id)
	}
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "lo"; c.Generic = true }))
	if !p.Generic() || !errors.Is(p.NativeRefusal(), ErrNoNative) {
		t.Errorf("generic: %v, because %v", p.Generic(), p.NativeRefusal())
	}
	if on, err := p.Attached(); !on || err != nil {
		t.Errorf("attached: %v, %v", on, err)
	}
	refused(t, configured(func(c *Config) { c.Interface = "lo"; c.Generic = true }), ErrAttached)
}

// Where the kernel hands over frames in several pieces, an MTU of jumbo frames is none too large.
func TestAttachLargeMTU(t *testing.T) {
	testenv.Need(t, testenv.XDPFrags)
	inNamespace(t)
	cable(t, func(v *netlink.Veth) { v.MTU, v.PeerMTU = 9000, 9000 })
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	if p.Generic() {
		t.Errorf("generic, because %v", p.NativeRefusal())
	}
	other := netip.AddrPortFrom(server4.Addr(), mediaPort+1)
	for _, c := range []struct {
		size   int
		to     netip.AddrPort
		reason Reason
	}{
		{1472, server4, DropMedia},
		{1473, server4, DropTooLong},
		{3500, server4, DropTooLong},
		{8972, server4, DropTooLong},
		{8972, other, PassOtherPort},
	} {
		deliver(t, p, datagram(peer4, c.to, sized(c.size)...), 5, c.reason)
	}
}

// Before Linux 5.18 it is, and lowering it is the remedy.
func TestAttachLargeMTUOnOldKernels(t *testing.T) {
	inNamespace(t)
	cable(t, func(v *netlink.Veth) { v.MTU, v.PeerMTU = 9000, 9000 })
	p := loadedInto(t, false, DefaultConfig())
	err := p.attach(device(t, "a"))
	if !errors.Is(err, ErrMTU) {
		t.Fatalf("%v, want a refusal for %v", err, ErrMTU)
	}
	for _, part := range []string{"9000", fmt.Sprint(pageMTU), "ip link set"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	for _, name := range []string{"a", "b"} {
		if err := netlink.LinkSetMTU(device(t, name), pageMTU); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.attach(device(t, "a")); err != nil {
		t.Error(err)
	}
}

// The program takes frames to the interface's address, whichever that is, and leaves the kernel the rest.
func TestHardwareAddress(t *testing.T) {
	inNamespace(t)
	cable(t, func(v *netlink.Veth) { v.HardwareAddr = []byte{2, 9, 8, 7, 6, 5} })
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	frame := mediaOn(path4)
	was := with(frame, 0, 2, 9, 8, 7, 6, 5)
	deliver(t, p, was, 3, DropMedia)
	deliver(t, p, frame, 3, PassOtherMAC)

	if err := netlink.LinkSetHardwareAddr(device(t, "a"), serverMAC[:]); err != nil {
		t.Fatal(err)
	}
	deliver(t, p, frame, 3, PassOtherMAC) // as before, until it is told
	if err := p.SetAddress(serverMAC); err != nil {
		t.Fatal(err)
	}
	deliver(t, p, frame, 3, DropMedia)
	deliver(t, p, was, 3, PassOtherMAC)

	// A device of the same name and another address.
	if err := netlink.LinkDel(device(t, "a")); err != nil {
		t.Fatal(err)
	}
	cable(t, func(v *netlink.Veth) { v.HardwareAddr = []byte{2, 9, 8, 7, 6, 5} })
	if err := p.Reattach(); err != nil {
		t.Fatal(err)
	}
	deliver(t, p, was, 3, DropMedia)
	deliver(t, p, frame, 3, PassOtherMAC)
}

// A device whose name another one has taken keeps the program, and Attached reports it. Reattach moves the program.
func TestNameTaken(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	was := attachedTo(t, "a")
	for from, to := range map[string]string{"a": "c", "b": "d"} {
		if err := netlink.LinkSetName(device(t, from), to); err != nil {
			t.Fatal(err)
		}
	}
	if on, err := p.Attached(); on || err != nil {
		t.Errorf("nothing has the name: attached %v, %v, want false, nil", on, err)
	}
	cable(t, nil)
	if on, err := p.Attached(); on || err != nil {
		t.Errorf("another device has the name: attached %v, %v, want false, nil", on, err)
	}
	if err := p.Reattach(); err != nil {
		t.Fatal(err)
	}
	if old, now := attachedTo(t, "c"), attachedTo(t, "a"); old != 0 || now != was {
		t.Errorf("programs %d on the old device and %d on the new one, want 0 and %d", old, now, was)
	}
	if on, err := p.Attached(); !on || err != nil {
		t.Errorf("attached again: %v, %v, want true, nil", on, err)
	}
}

// A device that carries IP without Ethernet is refused, and nothing is attached.
func TestAttachWithoutEthernet(t *testing.T) {
	inNamespace(t)
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Fatal(err)
	}
	for _, generic := range []bool{false, true} {
		refused(t, configured(func(c *Config) { c.Interface = "tun0"; c.Generic = generic }), ErrNoEthernet, "tun0",
			"sockets")
	}
	if id := attachedTo(t, "tun0"); id != 0 {
		t.Errorf("program %d attached", id)
	}
}

func TestAttachFewQueues(t *testing.T) {
	inNamespace(t)
	cable(t, func(v *netlink.Veth) { v.NumRxQueues = 1 })
	refused(t, configured(func(c *Config) { c.Interface = "a" }), ErrQueues, "queues")
}

// A device that is deleted takes the program along, and Attached reports it. Another of the name gets it by Reattach,
// with everything that was allowed.
func TestDeviceDeleted(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	p := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	if err := p.Allow(path4, testRate); err != nil {
		t.Fatal(err)
	}
	expectAttached := func(want bool) {
		t.Helper()
		if on, err := p.Attached(); on != want || err != nil {
			t.Errorf("attached: %v, %v; want %v", on, err, want)
		}
	}
	if err := netlink.LinkDel(device(t, "a")); err != nil {
		t.Fatal(err)
	}
	expectAttached(false)
	if err := p.Reattach(); !errors.Is(err, ErrNoInterface) {
		t.Errorf("reattach to nothing: %v", err)
	}
	cable(t, nil)
	expectAttached(false)

	other := mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
	if err := p.Reattach(); !errors.Is(err, ErrAttached) {
		t.Errorf("reattach where another is: %v", err)
	}
	expectAttached(false)
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Reattach(); err != nil {
		t.Fatal(err)
	}
	expectAttached(true)
	deliver(t, p, mediaOn(path4), 10, PassNoSocket)
	deliver(t, p, mediaOn(path6), 10, DropMedia)
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Reattach(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reattach after Close: %v", err)
	}
}

// However the process ends, its program goes.
func TestKilledProcessDetaches(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	c := startChild(t, "a", "")
	if line := c.line(); line != "attached" {
		t.Fatal(line)
	}
	if attachedTo(t, "a") == 0 {
		t.Fatal("not attached")
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if id := attachedTo(t, "a"); id != 0 {
		t.Errorf("program %d outlived its process", id)
	}
	mustAttach(t, configured(func(c *Config) { c.Interface = "a" }))
}

// An ordinary user needs two capabilities, and is told which are missing.
func TestCapabilities(t *testing.T) {
	inNamespace(t)
	cable(t, nil)
	for _, c := range []struct {
		keep, says string
		missing    []string
	}{
		{"none", "missing privileges", []string{"CAP_BPF", "CAP_NET_ADMIN"}},
		{"cap_bpf", "missing privileges", []string{"CAP_NET_ADMIN"}},
		{"cap_net_admin", "missing privileges", []string{"CAP_BPF"}},
		{"cap_bpf,cap_net_admin", "attached", nil},
	} {
		child := startChild(t, "a", c.keep)
		line := child.line()
		t.Logf("with %s: %s", c.keep, line)
		if !strings.Contains(line, c.says) {
			t.Errorf("with %s: %q, want %q", c.keep, line, c.says)
		}
		for _, name := range []string{"CAP_BPF", "CAP_NET_ADMIN"} {
			if strings.Contains(line, name) != slices.Contains(c.missing, name) {
				t.Errorf("with %s: %q; missing are %v", c.keep, line, c.missing)
			}
		}
		child.input.Close()
		if c.missing == nil {
			if line := child.line(); line != "closed: <nil>" {
				t.Error(line)
			}
		}
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// The meaning of each errno for which this machine has no device.
func TestExplain(t *testing.T) {
	nic := func(mtu int) netlink.Link {
		return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth9", Index: 1 << 30, MTU: mtu}}
	}
	for _, c := range []struct {
		name   string
		dev    netlink.Link
		errno  error
		reason error
	}{
		{"a driver's EINVAL with jumbo frames, as ENA", nic(9001), unix.EINVAL, ErrMTU},
		{"the same with a small MTU: channels, or something else", nic(1500), unix.EINVAL, ErrKernel},
		{"no native XDP, jumbo frames or not", nic(9001), unix.EOPNOTSUPP, ErrNoNative},
		{"veth: peer's MTU", nic(1500), unix.ERANGE, ErrMTU},
		{"veth: no peer", nic(1500), unix.ENOTCONN, ErrNoInterface},
		{"removed meanwhile", nic(1500), unix.ENODEV, ErrNoInterface},
		{"too few queues", nic(1500), unix.ENOSPC, ErrQueues},
		{"another link, native", nic(9001), unix.EBUSY, ErrAttached},
		{"another link, generic", nic(9001), unix.EEXIST, ErrAttached},
		{"out of memory", nic(1500), unix.ENOMEM, ErrKernel},
		{"the verifier", nic(1500), &ebpf.VerifierError{Cause: unix.EACCES}, ErrKernel},
	} {
		r := explain(c.dev, fmt.Errorf("attach: %w", c.errno))
		if r.Reason != c.reason || !errors.Is(r, c.errno) || r.Remedy == "" || !strings.Contains(r.Error(), "eth9") {
			t.Errorf("%s: %v, want %v", c.name, r, c.reason)
		}
	}
}

func TestConfig(t *testing.T) {
	good := configured(func(c *Config) { c.Interface = "a"; c.Port = mediaPort })
	if err := good.validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for name, change := range map[string]func(*Config){
		"Interface":      func(c *Config) { c.Interface = "" },
		"Port":           func(c *Config) { c.Port = 0 },
		"Queues":         func(c *Config) { c.Queues = 0 },
		"Tuples":         func(c *Config) { c.Tuples = 1 << 25 },
		"STUNRate":       func(c *Config) { c.STUNRate = maxRate + 1 },
		"GlobalSTUNRate": func(c *Config) { c.GlobalSTUNRate = -5 },
		"Addresses":      func(c *Config) { c.Addresses = []netip.Addr{peer4.Addr(), {}} },
	} {
		bad := good
		change(&bad)
		if _, err := Attach(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
