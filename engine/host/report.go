package host

import (
	"math"
	"net/netip"
)

// A Report holds the facts that Inspect found.
type Report struct {
	// OS is runtime.GOOS. Where it is not linux, nothing else is filled in.
	OS      string  `json:"os"`
	Kernel  Kernel  `json:"kernel"`
	Process Process `json:"process"`
	// Links are all interfaces, as this network namespace numbers them.
	Links []Link `json:"links"`
	// NIC is the named interface, nil if there is none of that name.
	NIC *NIC `json:"nic"`
	// Failure is the error for which the interfaces could not be listed.
	Failure string `json:"failure,omitempty"`
}

// A Kernel holds the features that AF_XDP needs of the kernel, as far as this process may use them.
type Kernel struct {
	Release  string `json:"release"`
	PageSize int    `json:"page_size"` // in bytes
	// NoAFXDP is the error for which no AF_XDP socket could be opened.
	NoAFXDP string `json:"no_af_xdp,omitempty"`
	// NoBPF is the error for which the smallest XDP program could not be loaded.
	NoBPF string `json:"no_bpf,omitempty"`
	// Frags is set where XDP programs may take frames in several pieces, as from Linux 5.18, and where this process may
	// not ask.
	Frags bool `json:"frags"`
	// BTF is set where the kernel describes its own types.
	BTF bool `json:"btf"`
	// UnprivilegedBPF is the opposite of kernel.unprivileged_bpf_disabled. XDP programs need privileges in any case.
	UnprivilegedBPF bool `json:"unprivileged_bpf"`
}

// A Process holds the privileges of this process.
type Process struct {
	UID int `json:"uid"`
	// Capabilities are the effective ones among Relevant.
	Capabilities []string `json:"capabilities"`
	// Memlock and MemlockHard are RLIMIT_MEMLOCK in bytes; Unlimited is no limit.
	Memlock     uint64 `json:"memlock"`
	MemlockHard uint64 `json:"memlock_hard"`
}

// Unlimited stands for no limit.
const Unlimited = math.MaxUint64

// The capabilities that matter here.
const (
	netRaw      = "CAP_NET_RAW"      // opens AF_XDP sockets
	netAdmin    = "CAP_NET_ADMIN"    // attaches programs, asks for busy polling
	bpf         = "CAP_BPF"          // loads programs
	sysAdmin    = "CAP_SYS_ADMIN"    // includes CAP_BPF, which exists since Linux 5.8
	ipcLock     = "CAP_IPC_LOCK"     // exempts packet memory from RLIMIT_MEMLOCK
	sysResource = "CAP_SYS_RESOURCE" // raises RLIMIT_MEMLOCK
)

// Relevant are the capabilities that a Report lists.
var Relevant = []string{netRaw, netAdmin, bpf, sysAdmin, ipcLock, sysResource}

// A Link holds the facts about an interface that the kernel has for all.
type Link struct {
	Name      string         `json:"name"`
	Loopback  bool           `json:"loopback,omitempty"`
	Up        bool           `json:"up"`
	Carrier   bool           `json:"carrier"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"`
	Addresses []netip.Prefix `json:"addresses"`
	// Kind is the kernel's name for a kind of software interface, as ip -d link prints it. It is empty for hardware.
	Kind string `json:"kind,omitempty"`
	// Master is the interface that this one belongs to, as a port belongs to its bridge.
	Master string `json:"master,omitempty"`
	// Lower are the interfaces below: the ports of a bond, the interface of a VLAN. Interfaces in other network
	// namespaces are missing.
	Lower []string `json:"lower,omitempty"`
	// NoEthernet is set where packets have no Ethernet header, as in most tunnels.
	NoEthernet bool `json:"no_ethernet,omitempty"`
}

// A NIC is a Link with the facts that its driver reports.
type NIC struct {
	Link
	Driver  string `json:"driver"`
	Version string `json:"version,omitempty"` // of the driver
	Queues  Queues `json:"queues"`
	Rings   Rings  `json:"rings"`
	// Features are those of the driver's XDP. It is nil before Linux 6.3, which first reports them.
	Features *Features `json:"xdp_features"`
	// Program is the attached XDP program, nil if there is none.
	Program *Program `json:"program"`
	// Peer is the other end of a veth, nil if it is in another network namespace.
	Peer *Peer `json:"peer,omitempty"`
	// Gateways are the next hops of the default routes through this interface.
	Gateways []Gateway `json:"gateways"`
}

// Queues counts the hardware queues in use, and their maximum. A combined queue counts as both. A maximum of 0 is
// unknown.
type Queues struct {
	RX    int `json:"rx"`
	TX    int `json:"tx"`
	MaxRX int `json:"max_rx"`
	MaxTX int `json:"max_tx"`
}

// Rings counts the descriptors of the hardware's rings. All are 0 where the driver has no rings.
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

// native reports whether AF_XDP works on the driver's own XDP.
func (f *Features) native() bool { return f.Basic && f.Redirect }

// A Program is an XDP program that is attached to an interface.
type Program struct {
	ID   uint32 `json:"id"`
	Mode string `json:"mode"` // native, generic or offloaded
	// Name is the program's name. It is empty where we may not ask (CAP_SYS_ADMIN).
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
	// State is that of the neighbour entry, as ip neigh prints it, or none if the kernel has no entry.
	State string `json:"state"`
	MAC   string `json:"mac,omitempty"`
}

// Resolved reports whether frames can be addressed to the gateway now.
func (g *Gateway) Resolved() bool {
	switch g.State {
	case "reachable", "stale", "delay", "probe", "permanent", "noarp":
		return g.MAC != ""
	}
	return false
}
