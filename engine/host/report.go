package host

import (
	"math"
	"net/netip"
)

// A Report is what Inspect found out.
type Report struct {
	// OS is runtime.GOOS. Where it is not linux, nothing else is filled in.
	OS      string  `json:"os"`
	Kernel  Kernel  `json:"kernel"`
	Process Process `json:"process"`
	// Links are all interfaces, as this network namespace numbers them.
	Links []Link `json:"links"`
	// NIC is the interface that was asked for, nil if there is none of that name.
	NIC *NIC `json:"nic"`
	// Failure is what kept the interfaces from being looked at.
	Failure string `json:"failure,omitempty"`
}

// A Kernel is what AF_XDP needs of the kernel, and whether this process gets it.
type Kernel struct {
	Release  string `json:"release"`
	PageSize int    `json:"page_size"` // in bytes
	// NoAFXDP says why no AF_XDP socket could be opened.
	NoAFXDP string `json:"no_af_xdp,omitempty"`
	// NoBPF says why the smallest XDP program could not be loaded.
	NoBPF string `json:"no_bpf,omitempty"`
	// Frags tells whether XDP programs may take frames in several pieces, as from Linux 5.18. It is true where
	// this process may not ask.
	Frags bool `json:"frags"`
	// BTF tells whether the kernel describes its own types.
	BTF bool `json:"btf"`
	// UnprivilegedBPF is kernel.unprivileged_bpf_disabled turned around. XDP programs take
	// privileges in any case.
	UnprivilegedBPF bool `json:"unprivileged_bpf"`
}

// A Process is what this process may do.
type Process struct {
	UID int `json:"uid"`
	// Capabilities are those of Relevant that are effective.
	Capabilities []string `json:"capabilities"`
	// Memlock and MemlockHard are RLIMIT_MEMLOCK in bytes; Unlimited is no limit.
	Memlock     uint64 `json:"memlock"`
	MemlockHard uint64 `json:"memlock_hard"`
}

// Unlimited is the value of a limit that does not limit.
const Unlimited = math.MaxUint64

// The capabilities that decide anything here.
const (
	netRaw      = "CAP_NET_RAW"      // opens AF_XDP sockets
	netAdmin    = "CAP_NET_ADMIN"    // attaches programs, asks for busy polling
	bpf         = "CAP_BPF"          // loads programs
	sysAdmin    = "CAP_SYS_ADMIN"    // does for CAP_BPF, and did before there was one (Linux 5.8)
	ipcLock     = "CAP_IPC_LOCK"     // frees packet memory of RLIMIT_MEMLOCK
	sysResource = "CAP_SYS_RESOURCE" // raises RLIMIT_MEMLOCK
)

// Relevant are the capabilities that a Report lists.
var Relevant = []string{netRaw, netAdmin, bpf, sysAdmin, ipcLock, sysResource}

// A Link is what is known of every interface.
type Link struct {
	Name      string         `json:"name"`
	Loopback  bool           `json:"loopback,omitempty"`
	Up        bool           `json:"up"`
	Carrier   bool           `json:"carrier"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
	// Kind is the kernel's name for a kind of software, as ip -d link prints it; empty for hardware.
	Kind string `json:"kind,omitempty"`
	// Master is the interface that this one belongs to, as a port of a bridge does.
	Master string `json:"master,omitempty"`
	// Lower are the interfaces below: the ports of a bond, the one that a VLAN is on. Those in other network
	// namespaces are missing.
	Lower []string `json:"lower,omitempty"`
	// NoEthernet is set where packets have no Ethernet header, as in most tunnels.
	NoEthernet bool `json:"no_ethernet,omitempty"`
}

// A NIC is a Link and what its driver tells.
type NIC struct {
	Link
	Driver  string `json:"driver"`
	Version string `json:"version,omitempty"` // of the driver
	Queues  Queues `json:"queues"`
	Rings   Rings  `json:"rings"`
	// Features is what the kernel says that the driver's XDP can do, nil before Linux 6.3.
	Features *Features `json:"xdp_features"`
	// Program is the XDP program that is attached, nil if there is none.
	Program *Program `json:"program"`
	// Peer is the other end of a veth, nil if it is in another network namespace.
	Peer *Peer `json:"peer,omitempty"`
	// Gateways are the next hops of the default routes through this interface.
	Gateways []Gateway `json:"gateways"`
}

// Queues count hardware queues in use, and at most; combined ones as both. A maximum of 0 is unknown.
type Queues struct {
	RX    int `json:"rx"`
	TX    int `json:"tx"`
	MaxRX int `json:"max_rx"`
	MaxTX int `json:"max_tx"`
}

// Rings count the descriptors of the hardware's rings; all 0 where the driver has none.
type Rings struct {
	RX    int `json:"rx"`
	TX    int `json:"tx"`
	MaxRX int `json:"max_rx"`
	MaxTX int `json:"max_tx"`
}

// Features are bits of enum netdev_xdp_act (include/uapi/linux/netdev.h).
type Features struct {
	Basic    bool `json:"basic"`    // the driver runs programs
	Redirect bool `json:"redirect"` // they may redirect, which is how packets reach AF_XDP
	ZeroCopy bool `json:"zerocopy"` // AF_XDP without copies
}

// native tells whether AF_XDP works on the driver's own XDP.
func (f *Features) native() bool { return f.Basic && f.Redirect }

// A Program is an XDP program that somebody attached.
type Program struct {
	ID   uint32 `json:"id"`
	Mode string `json:"mode"` // native, generic or offloaded
	// Name is the program's own, empty where we may not ask (CAP_SYS_ADMIN).
	Name string `json:"name,omitempty"`
}

// A Peer is the other end of a veth.
type Peer struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"`
	TX   int    `json:"tx"` // queues that it sends on
}

// A Gateway is the next hop of a default route.
type Gateway struct {
	Address netip.Addr `json:"address"`
	// State is the neighbour's, as ip neigh prints it; none if the kernel has no entry.
	State string `json:"state"`
	MAC   string `json:"mac,omitempty"`
}

// Resolved tells whether frames can be addressed to the gateway now.
func (g *Gateway) Resolved() bool {
	switch g.State {
	case "reachable", "stale", "delay", "probe", "permanent", "noarp":
		return g.MAC != ""
	}
	return false
}
