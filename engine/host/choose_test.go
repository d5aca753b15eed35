package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// machine returns a report on a machine where AF_XDP copies, on two queues, by a process with the three capabilities.
// Each row of a table changes something.
func machine() Report {
	link := Link{
		Name: "eth0", Up: true, Carrier: true, MAC: "02:00:00:00:00:01", MTU: 1500,
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("fd00::2/64")},
	}
	other := Link{Name: "eth1", Up: true, MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.1.2/24")}}
	return Report{
		OS: "linux", Kernel: Kernel{Release: "6.18.0", PageSize: 4096, Frags: true, BTF: true},
		Process: Process{
			UID: 1000, Capabilities: []string{netRaw, netAdmin, bpf}, Memlock: Unlimited,
			MemlockHard: Unlimited,
		},
		Links: []Link{{
			Name: "lo", Loopback: true, Up: true, Carrier: true,
			Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")},
		}, link, other},
		NIC: &NIC{
			Link: link, Driver: "nic", Version: "1.0", Queues: Queues{RX: 2, TX: 2, MaxRX: 8, MaxTX: 8},
			Features: &Features{Basic: true, Redirect: true},
			Gateways: []Gateway{{netip.MustParseAddr("198.18.0.1"), "reachable", "02:00:00:00:00:fe"}},
		},
	}
}

// ena is an EC2 instance that fulfils every rule for copying with the kernel's own driver.
func ena(r *Report) {
	r.Kernel.Release = "6.1.0-18-cloud-amd64"
	r.NIC.Driver, r.NIC.Version, r.NIC.Features = "ena", r.Kernel.Release, nil
	r.NIC.Queues = Queues{RX: 2, TX: 2, MaxRX: 4, MaxTX: 4}
	r.NIC.Rings = Rings{RX: 1024, TX: 1024, MaxRX: 8192, MaxTX: 1024}
}

// with returns the default settings with one change.
func with(change func(*Config)) Config {
	cfg := DefaultConfig()
	change(&cfg)
	return cfg
}

func TestChoose(t *testing.T) {
	const noZeroCopy = "xdp-zerocopy: the driver (nic 1.0) has no zerocopy; packets are copied once more"
	for _, row := range []struct {
		name   string
		set    func(*Config) // changes the default settings
		change func(*Report)
		rungs  string
		// refused are the refusals: the rungs, reason and remedy.
		refused []string
		notes   []string
	}{
		{name: "copy", rungs: "xdp-copy udp", refused: []string{noZeroCopy}},
		{
			name: "copy, nothing else", set: func(c *Config) { c.IO = OnlyXDP }, rungs: "xdp-copy",
			refused: []string{noZeroCopy},
		},
		{name: "sockets are wanted", set: func(c *Config) { c.IO = OnlySockets }, rungs: "udp"},
		{
			name: "zerocopy", change: func(r *Report) { r.NIC.Features.ZeroCopy = true },
			rungs: "xdp-zerocopy xdp-copy udp",
		},
		{
			name: "zerocopy off", set: func(c *Config) { c.Zerocopy = false },
			change: func(r *Report) { r.NIC.Features.ZeroCopy = true },
			rungs:  "xdp-copy udp", refused: []string{"xdp-zerocopy: zerocopy is switched off; --zerocopy auto"},
		},
		{
			name: "a kernel that does not tell", change: func(r *Report) { r.NIC.Features = nil },
			rungs: "xdp-zerocopy xdp-copy udp",
		},
		{
			name: "generic as the last resort", set: func(c *Config) { c.Generic = true },
			rungs: "xdp-copy xdp-generic udp", refused: []string{noZeroCopy},
		},
		{
			name: "no XDP of its own", change: func(r *Report) { r.NIC.Features = &Features{} }, rungs: "udp",
			refused: []string{
				"xdp-zerocopy xdp-copy: the driver (nic 1.0) has no XDP that redirects; name a physical interface; " +
					"--generic runs AF_XDP on the kernel's generic XDP, to try it",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "generic instead", set: func(c *Config) { c.Generic = true; c.IO = OnlyXDP },
			change: func(r *Report) { r.NIC.Features = &Features{Basic: true} },
			rungs:  "xdp-generic",
			refused: []string{
				"xdp-zerocopy xdp-copy: the driver (nic 1.0) has no XDP that redirects; name a physical interface; " +
					"--generic runs AF_XDP on the kernel's generic XDP, to try it",
			},
		},
		{
			name: "another system", change: func(r *Report) { *r = Report{OS: "darwin"} }, rungs: "udp",
			refused: []string{"xdp-zerocopy xdp-copy xdp-generic: AF_XDP needs Linux, this is darwin; sockets " +
				"serve on this one"},
		},
		{
			name: "netlink fails", change: func(r *Report) {
				r.NIC, r.Failure = nil,
					"open netlink: permission denied"
			}, rungs: "udp",
			refused: []string{"xdp-zerocopy xdp-copy xdp-generic: the network interfaces cannot be listed: open " +
				"netlink: permission denied; see whether `ip link` works here"},
		},
		{
			name: "no such interface", set: func(c *Config) { c.Interfaces = []string{"eth9"} },
			change: func(r *Report) { r.NIC = nil }, rungs: "udp",
			refused: []string{"xdp-zerocopy xdp-copy xdp-generic: interface eth9 not found; `ip link` lists those " +
				"there are"},
		},
		{
			name: "loopback", set: func(c *Config) { c.Interfaces = []string{"lo"}; c.Generic = true }, rungs: "udp",
			change: func(r *Report) { r.NIC = &NIC{Link: r.Links[0], Queues: Queues{RX: 1, TX: 1}} },
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: lo is the loopback and has no wire; name the interface of a " +
					"network; sockets serve this machine's own peers",
			},
		},
		{
			name: "down", change: func(r *Report) { r.NIC.Up, r.NIC.Carrier, r.NIC.Gateways = false, false, nil },
			rungs:   "udp",
			refused: []string{"xdp-zerocopy xdp-copy xdp-generic: eth0 is down; `ip link set dev eth0 up`", noZeroCopy},
		},
		{
			name: "no carrier", change: func(r *Report) { r.NIC.Carrier = false }, rungs: "xdp-copy udp",
			refused: []string{noZeroCopy},
			notes:   []string{"eth0 has no carrier: nothing is sent or received until it has one"},
		},
		{
			name: "a program is there", set: func(c *Config) { c.Generic = true }, rungs: "udp",
			change: func(r *Report) { r.NIC.Program = &Program{ID: 12, Mode: "native"} },
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: another XDP program (id 12, native) is attached to eth0; " +
					"stop what attached it (`bpftool prog show id 12` shows it), or name another interface",
				noZeroCopy,
			},
		},
		{
			name: "the dispatcher of libxdp", rungs: "udp",
			change: func(r *Report) { r.NIC.Program = &Program{ID: 12, Mode: "native", Name: "xdp_dispatcher"} },
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: another XDP program (id 12, native, xdp_dispatcher) is " +
					"attached to eth0; " +
					"libxdp put it there: `xdp-loader status eth0` lists whose programs it calls, `xdp-loader " +
					"unload eth0 --all` ends them",
				noZeroCopy,
			},
		},
		{
			name: "Cilium", rungs: "udp",
			change: func(r *Report) { r.NIC.Program = &Program{ID: 12, Mode: "native", Name: "cil_xdp_entry"} },
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: another XDP program (id 12, native, cil_xdp_entry) is attached " +
					"to eth0; " +
					"it is Cilium's: loadBalancer.acceleration=disabled ends it",
				noZeroCopy,
			},
		},
		{
			name: "no privileges", rungs: "udp",
			change: func(r *Report) {
				r.Process.Capabilities = nil
				r.Kernel.NoAFXDP, r.Kernel.NoBPF = "operation not permitted", "operation not permitted"
			},
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF missing; " +
					"run as root or `setcap cap_net_raw,cap_net_admin,cap_bpf+ep` the program",
				noZeroCopy,
			},
		},
		{
			name:   "CAP_SYS_ADMIN does for CAP_BPF",
			change: func(r *Report) { r.Process.Capabilities = []string{netRaw, netAdmin, sysAdmin} },
			rungs:  "xdp-copy udp", refused: []string{noZeroCopy},
		},
		{
			name:   "CAP_SYS_ADMIN does not do for CAP_NET_ADMIN",
			change: func(r *Report) { r.Process.Capabilities = []string{netRaw, sysAdmin} },
			rungs:  "udp",
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: CAP_NET_ADMIN missing; run as root or `setcap " +
					"cap_net_raw,cap_net_admin,cap_bpf+ep` the program",
				noZeroCopy,
			},
		},
		{
			name: "confined", rungs: "udp",
			change: func(r *Report) {
				r.Kernel.NoAFXDP, r.Kernel.NoBPF = "address family not supported by protocol", "operation not permitted"
			},
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: no AF_XDP socket can be opened: address family not supported " +
					"by protocol; " +
					"the kernel needs CONFIG_XDP_SOCKETS, the container a profile that lets AF_XDP pass",
				"xdp-zerocopy xdp-copy xdp-generic: no XDP program can be loaded: operation not permitted; " +
					"capabilities of a user namespace do not count, and seccomp must let bpf(2) pass",
				noZeroCopy,
			},
		},
		{
			name: "little memlock", change: func(r *Report) {
				r.Process.Memlock, r.Process.MemlockHard = 64<<10,
					8<<20
			}, rungs: "udp",
			refused: []string{
				noZeroCopy,
				"xdp-zerocopy xdp-copy xdp-generic: RLIMIT_MEMLOCK is 8 MiB and packet memory takes 12 MiB; " +
					"`ulimit -l unlimited`, in a systemd unit LimitMEMLOCK=infinity",
			},
		},
		{
			name: "memlock that suffices for copying only", rungs: "xdp-copy udp",
			change: func(r *Report) {
				r.NIC.Features.ZeroCopy = true
				r.Process.Memlock, r.Process.MemlockHard = 64<<10, 24<<20-1
			},
			refused: []string{
				"xdp-zerocopy: RLIMIT_MEMLOCK is 23 MiB and packet memory for zerocopy takes 24 MiB; " +
					"`ulimit -l unlimited`, in a systemd unit LimitMEMLOCK=infinity",
			},
		},
		{
			name: "memlock that just suffices for zerocopy", rungs: "xdp-zerocopy xdp-copy udp",
			change: func(r *Report) {
				r.NIC.Features.ZeroCopy = true
				r.Process.Memlock, r.Process.MemlockHard = 64<<10, 24<<20
			},
		},
		{
			name: "memlock that just suffices", set: func(c *Config) { c.QueueMemory = 4 << 20 },
			rungs: "xdp-copy udp", refused: []string{noZeroCopy},
			change: func(r *Report) { r.Process.Memlock, r.Process.MemlockHard = 64<<10, 8<<20 },
		},
		{
			name: "memlock does not count", rungs: "xdp-copy udp", refused: []string{noZeroCopy},
			change: func(r *Report) {
				r.Process.MemlockHard = 64 << 10
				r.Process.Capabilities = append(r.Process.Capabilities, ipcLock)
			},
		},
		{
			name: "memlock can be raised", rungs: "xdp-copy udp", refused: []string{noZeroCopy},
			change: func(r *Report) {
				r.Process.MemlockHard = 64 << 10
				r.Process.Capabilities = append(r.Process.Capabilities, sysResource)
			},
		},
		{
			name: "no queues", change: func(r *Report) { r.NIC.Queues = Queues{} }, rungs: "udp",
			refused: []string{
				"xdp-zerocopy xdp-copy xdp-generic: eth0 has no queue that can be served (0 receive, 0 send); see " +
					"`ethtool -l eth0`",
				noZeroCopy,
			},
		},
		{
			name: "fewer queues to send", change: func(r *Report) { r.NIC.Queues = Queues{RX: 4, TX: 1} },
			rungs:   "xdp-copy udp",
			refused: []string{noZeroCopy},
			notes: []string{"1 of 4 receive queues can be served, as many as send: packets on the others go " +
				"through the kernel"},
		},
		{
			name: "a gateway that does not answer", rungs: "xdp-copy udp", refused: []string{noZeroCopy},
			change: func(r *Report) {
				r.NIC.Gateways = append(r.NIC.Gateways, Gateway{netip.MustParseAddr("fd00::1"), "failed", ""})
			},
			notes: []string{"the MAC address of gateway fd00::1 is not known (failed): packets to it go through " +
				"the kernel until it is"},
		},
		{
			name: "no default route", rungs: "xdp-copy udp", refused: []string{noZeroCopy},
			change: func(r *Report) { r.NIC.Gateways = nil },
			notes: []string{"no default route leads through eth0: AF_XDP reaches its own networks and those that " +
				"routes name"},
		},
		{
			name: "ENA", change: ena, rungs: "xdp-copy udp",
			refused: []string{
				"xdp-zerocopy: the driver (ena 6.1.0-18-cloud-amd64) has no zerocopy; Amazon's own driver can from " +
					"2.13 on; until then packets are copied once more",
			},
		},
		{
			name: "ENA of Amazon", change: func(r *Report) { ena(r); r.NIC.Version = "2.13.0g" },
			rungs: "xdp-zerocopy xdp-copy udp",
		},
		{
			name:   "ENA of Amazon, too old for zerocopy",
			change: func(r *Report) { ena(r); r.NIC.Version = "2.12.3g" }, rungs: "xdp-copy udp",
			refused: []string{
				"xdp-zerocopy: the driver (ena 2.12.3g) has no zerocopy; Amazon's own driver can from 2.13 on; " +
					"until then packets are copied once more",
			},
		},
		{
			name: "ENA with the MTU of EC2 and all its channels", rungs: "udp",
			change: func(r *Report) { ena(r); r.NIC.MTU = 9001; r.NIC.Queues.RX, r.NIC.Queues.TX = 4, 4 },
			refused: []string{
				"xdp-zerocopy xdp-copy: MTU 9001 is too large for XDP on ena; `ip link set dev eth0 mtu 1500`, at " +
					"most 3498, or Amazon's own driver from 2.14 on",
				"xdp-zerocopy xdp-copy: 4 of 4 channels are in use, XDP on ena takes at most half; `ethtool -L " +
					"eth0 combined 2`",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "ENA of Amazon with the MTU of EC2", rungs: "xdp-copy udp",
			change: func(r *Report) { ena(r); r.NIC.MTU, r.NIC.Version = 9001, "2.14.0g" },
			refused: []string{
				"xdp-zerocopy: MTU 9001 is too large for zerocopy, which wants packets in one piece; " +
					"`ip link set dev eth0 mtu 1500`, at most 3498; until then packets are copied once more",
			},
			notes: []string{"if the driver refuses XDP for the MTU of 9001: it was built without XDP in several " +
				"pieces, and accepts at most 3498"},
		},
		{
			name: "ENA of Amazon with the MTU of EC2, before 2.14", rungs: "udp",
			change: func(r *Report) { ena(r); r.NIC.MTU, r.NIC.Version = 9001, "2.13.2g" },
			refused: []string{
				"xdp-zerocopy xdp-copy: MTU 9001 is too large for XDP on ena; `ip link set dev eth0 mtu 1500`, at " +
					"most 3498, or Amazon's own driver from 2.14 on",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "ENA of Amazon with the MTU of EC2, before Linux 5.18", rungs: "udp",
			change: func(r *Report) { ena(r); r.Kernel.Frags, r.NIC.MTU, r.NIC.Version = false, 9001, "2.14.0g" },
			refused: []string{
				"xdp-zerocopy xdp-copy: MTU 9001 is too large for XDP on ena; `ip link set dev eth0 mtu 1500`, at " +
					"most 3498",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "ENA of Amazon with the largest MTU of zerocopy", rungs: "xdp-zerocopy xdp-copy udp",
			change: func(r *Report) { ena(r); r.NIC.MTU, r.NIC.Version = 3498, "2.14.0g" },
		},
		{
			name: "largest MTU of zerocopy", rungs: "xdp-zerocopy xdp-copy udp",
			change: func(r *Report) { r.NIC.Features.ZeroCopy, r.NIC.MTU = true, 3050 },
		},
		{
			name: "MTU too large for zerocopy", rungs: "xdp-copy udp",
			change: func(r *Report) { r.NIC.Features.ZeroCopy, r.NIC.MTU = true, 3051 },
			refused: []string{
				"xdp-zerocopy: MTU 3051 is too large for zerocopy, which wants packets in one piece; " +
					"`ip link set dev eth0 mtu 1500`, at most 3050; until then packets are copied once more",
			},
		},
		{
			name:   "ENA on a kernel of large pages",
			change: func(r *Report) { ena(r); r.Kernel.PageSize, r.NIC.MTU = 64<<10, 9001 }, rungs: "xdp-copy udp",
			refused: []string{
				"xdp-zerocopy: the driver (ena 6.1.0-18-cloud-amd64) has no zerocopy; Amazon's own driver can from " +
					"2.13 on; until then packets are copied once more",
			},
		},
		{
			// It offers no XDP while it has too many channels; that is not another refusal.
			name: "ENA with too many channels, generic", set: func(c *Config) { c.Generic = true },
			rungs:  "xdp-generic udp",
			change: func(r *Report) { ena(r); r.NIC.Queues.RX, r.NIC.Queues.TX, r.NIC.Features = 3, 3, &Features{} },
			refused: []string{
				"xdp-zerocopy xdp-copy: 3 of 4 channels are in use, XDP on ena takes at most half; `ethtool -L " +
					"eth0 combined 2`",
			},
		},
		{
			name: "ENA of Amazon may use them all", rungs: "xdp-zerocopy xdp-copy udp",
			change: func(r *Report) { ena(r); r.NIC.Version, r.NIC.Queues.RX, r.NIC.Queues.TX = "2.17.0g", 4, 4 },
		},
		{
			name: "ENA with one channel in all", rungs: "udp",
			change: func(r *Report) { ena(r); r.NIC.Queues = Queues{1, 1, 1, 1} },
			refused: []string{
				"xdp-zerocopy xdp-copy: 1 of 1 channels are in use, XDP on ena takes at most half; an instance " +
					"type with more queues",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "ENA with a large ring", rungs: "xdp-copy udp",
			change: func(r *Report) { ena(r); r.NIC.Version, r.NIC.Rings.TX = "2.13.1g", 2048 },
			refused: []string{
				"xdp-zerocopy: a send ring of 2048 is too large for zerocopy on ena; `ethtool -G eth0 tx 1024`",
			},
		},
		{
			name: "veth with jumbo frames", rungs: "xdp-copy udp",
			change:  func(r *Report) { r.NIC.Driver = "veth"; r.NIC.MTU = 9000; r.NIC.Peer = &Peer{"eth1", 9000, 2} },
			refused: []string{"xdp-zerocopy: the driver (veth 1.0) has no zerocopy; packets are copied once more"},
		},
		{
			name: "veth before Linux 5.18", rungs: "xdp-copy udp",
			change: func(r *Report) {
				r.NIC.Driver, r.Kernel.Frags = "veth", false
				r.NIC.MTU, r.NIC.Peer = 9000, &Peer{"eth1", 3506, 2}
			},
			refused: []string{"xdp-zerocopy: the driver (veth 1.0) has no zerocopy; packets are copied once more"},
		},
		{
			name: "veth on a kernel that does not tell", rungs: "xdp-copy udp",
			change:  func(r *Report) { r.NIC.Driver, r.NIC.Features = "veth", nil },
			refused: []string{"xdp-zerocopy: the driver (veth 1.0) has no zerocopy; packets are copied once more"},
		},
		{
			name: "veth whose peer has too much", rungs: "udp",
			change: func(r *Report) {
				r.NIC.Driver, r.Kernel.Frags, r.NIC.Peer = "veth", false,
					&Peer{"eth1", 3507, 3}
			},
			refused: []string{
				"xdp-zerocopy xdp-copy: MTU 3507 of its peer eth1 is too large for XDP on veth; `ip link set dev " +
					"eth1 mtu 1500`, at most 3506",
				"xdp-zerocopy xdp-copy: eth0 receives on 2 queues and its peer eth1 sends on 3; make the pair " +
					"again with as many queues at both ends (numrxqueues, numtxqueues)",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "veth whose peer is out of sight and sends on more queues", rungs: "udp",
			change: func(r *Report) { r.NIC.Driver, r.NIC.Features, r.NIC.Queues.RX = "veth", &Features{}, 1 },
			refused: []string{
				"xdp-zerocopy xdp-copy: eth0 receives on 1 queue and its peer sends on more; make the pair again " +
					"with as many queues at both ends (numrxqueues, numtxqueues)",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
		},
		{
			name: "virtio_net", change: func(r *Report) { r.NIC.Driver, r.NIC.MTU = "virtio_net", 9000 },
			rungs: "xdp-copy udp",
			refused: []string{"xdp-zerocopy: the driver (virtio_net 1.0) has no zerocopy; packets are copied once " +
				"more"},
			notes: []string{"if the driver refuses XDP: `ethtool -K eth0 gro off lro off` stops the merging of " +
				"packets that the host may have begun"},
		},
		{
			name: "virtio_net before Linux 6.3", rungs: "udp",
			change: func(r *Report) { r.NIC.Driver, r.NIC.MTU, r.NIC.Features = "virtio_net", 3507, nil },
			refused: []string{
				"xdp-zerocopy xdp-copy: MTU 3507 is too large for XDP on virtio_net; `ip link set dev eth0 mtu " +
					"1500`, at most 3506",
				"xdp-generic: generic XDP was not requested; --generic, to try AF_XDP without its speed",
			},
			notes: []string{"if the driver refuses XDP: `ethtool -K eth0 gro off lro off` stops the merging of " +
				"packets that the host may have begun"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := machine()
			if row.change != nil {
				row.change(&r)
			}
			cfg, name := DefaultConfig(), "eth0"
			if row.set != nil {
				row.set(&cfg)
			}
			if len(cfg.Interfaces) > 0 {
				name = cfg.Interfaces[0]
			}
			d := Choose(cfg, name, r)
			if got := join(d.Rungs); got != row.rungs {
				t.Errorf("rungs %q, want %q", got, row.rungs)
			}
			var refused []string
			for _, r := range d.Refused {
				refused = append(refused, fmt.Sprintf("%s: %s", join(r.Rungs), r.String()))
			}
			if !slices.Equal(refused, row.refused) {
				t.Errorf("refused\n%s\nwant\n%s", strings.Join(refused, "\n"), strings.Join(row.refused, "\n"))
			}
			if !slices.Equal(d.Notes, append([]string{}, row.notes...)) {
				t.Errorf("notes %q, want %q", d.Notes, row.notes)
			}
			for _, r := range d.Refused {
				if text := r.String(); strings.Contains(text, "\n") || r.Reason == "" || r.Remedy == "" {
					t.Errorf("not one clear line: %q", text)
				}
			}
			// A refusal of AF_XDP is an error where AF_XDP is demanded.
			cfg.IO = OnlyXDP
			if strict := Choose(cfg, name, r); (strict.Err() != nil) != (len(strict.Rungs) == 0) {
				t.Errorf("%v with %v", strict.Err(), strict.Rungs)
			} else if err := strict.Err(); err != nil && (!errors.Is(err, ErrRefused) || strings.Contains(err.Error(),
				"\n")) {
				t.Errorf("%q", err)
			}
		})
	}
}

func join(rungs []Rung) string { return strings.Trim(fmt.Sprint(rungs), "[]") }

// Without an interface, the addresses tell.
func TestChooseByAddress(t *testing.T) {
	for _, row := range []struct {
		addresses string
		names     string
		reason    string
	}{
		{"198.18.0.2", "eth0", ""},
		{"fd00::2 198.18.0.2", "eth0", ""},
		{"::ffff:198.18.0.2", "eth0", ""},
		{"0.0.0.0 198.18.0.2", "eth0", ""},
		{"203.0.113.1 198.18.0.2", "eth0", ""}, // the former may be that of a NAT
		{"198.18.0.2 198.18.1.2", "eth0 eth1", ""},
		{"127.0.0.1 198.18.1.2", "eth1", ""},
		{"127.0.0.1", "lo", ""},
		{"", "", "no interface is named, nor an address that identifies one"},
		{"::", "", "no interface is named, nor an address that identifies one"},
		{"203.0.113.1", "", "no interface carries 203.0.113.1"},
		{"203.0.113.1 2001:db8::1", "", "no interface carries 203.0.113.1 or 2001:db8::1"},
	} {
		cfg := DefaultConfig()
		for a := range strings.FieldsSeq(row.addresses) {
			cfg.Addresses = append(cfg.Addresses, netip.MustParseAddr(a))
		}
		names, reason := pick(cfg, machine().Links)
		if got := strings.Join(names, " "); got != row.names || reason != row.reason {
			t.Errorf("%q: %q, %q; want %q, %q", row.addresses, got, reason, row.names, row.reason)
		}
		if d := Choose(cfg, "", machine()); len(names) == 0 && (d.Taken() != Sockets ||
			d.refusal(Copy).Reason != row.reason) {
			t.Errorf("%q: took %s for %v", row.addresses, d.Taken(), d.Refused)
		}
	}
}

func TestErrorNamesTheRefusal(t *testing.T) {
	r := machine()
	r.NIC.MTU, r.NIC.Driver = 9001, "ena"
	d := Choose(with(func(c *Config) { c.IO = OnlyXDP }), "eth0", r)
	const want = "AF_XDP cannot be used: MTU 9001 is too large for XDP on ena; `ip link set dev eth0 mtu 1500`, at " +
		"most 3498, or Amazon's own driver from 2.14 on"
	if err := d.Err(); err == nil || err.Error() != want || !errors.Is(err, ErrRefused) || d.Taken().XDP() {
		t.Errorf("%v, taken %q", err, d.Taken())
	}
}

// One queue less than either side has cannot be served; how many workers serve them is not asked.
func TestQueues(t *testing.T) {
	for _, row := range []struct{ rx, tx, want int }{{4, 4, 4}, {4, 2, 2}, {1, 8, 1}} {
		r := machine()
		r.NIC.Queues = Queues{RX: row.rx, TX: row.tx}
		if d := Choose(DefaultConfig(), "eth0", r); d.Queues != row.want || d.Taken() != Copy {
			t.Errorf("%+v: %d queues, %s", row, d.Queues, d.Taken())
		}
	}
}

func TestAmazonsVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"2.13.0g": true, "2.13g": true, "2.17.1g": true, "3.0.0g": true, "10.1.0g": true,
		"2.12.3g": false, "1.99.0g": false, "2.13.0": false, "6.1.0-18-cloud-amd64": false,
		"": false, "g": false, "2g": false, "x.13g": false, "2.xg": false,
	} {
		if got := amazons(version, 2, 13); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}
