package host

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Decision is the result of Choose.
type Decision struct {
	// Interface is the network interface that the rungs of AF_XDP use.
	Interface string `json:"interface"`
	// Queues is how many queues of the interface can be served: those that both receive and send.
	Queues int `json:"queues"`
	// Rungs are tried in this order. There is none if AF_XDP was demanded and is refused.
	Rungs []Rung `json:"rungs"`
	// Refused lists everything that stands in the way of a better rung.
	Refused []Refusal `json:"refused"`
	// Notes are worth knowing, but refuse nothing.
	Notes []string `json:"notes"`
}

// A Refusal keeps some rungs from being taken. Log, metrics and doctor show it. Each text is a part of a line.
type Refusal struct {
	// Interface is the one that is refused, empty where none is meant. In JSON the Decision has it.
	Interface string `json:"-"`
	Rungs     []Rung `json:"rungs"`
	// Fact is the part of the Report that the reason refers to.
	Fact   Fact   `json:"fact"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

func (r *Refusal) String() string {
	if r.Remedy == "" {
		return r.Reason
	}
	return r.Reason + "; " + r.Remedy
}

// A Fact names a part of a Report.
type Fact string

const (
	FactSystem       Fact = "system"
	FactInterface    Fact = "interface"
	FactSockets      Fact = "AF_XDP"
	FactBPF          Fact = "BPF"
	FactCapabilities Fact = "capabilities"
	FactMemlock      Fact = "memlock"
	FactKind         Fact = "kind"
	FactMaster       Fact = "master"
	FactLink         Fact = "link"
	FactMTU          Fact = "MTU"
	FactQueues       Fact = "queues"
	FactRings        Fact = "rings"
	FactPeer         Fact = "peer"
	FactProgram      Fact = "XDP program"
	FactFeatures     Fact = "XDP"
	FactSettings     Fact = "settings"
	// FactAttempt is about no part of a Report: the rung was tried.
	FactAttempt Fact = "attempt"
)

// ErrRefused is wrapped by the error of Decision.Err.
var ErrRefused = errors.New("AF_XDP cannot be used")

// Err returns an error if AF_XDP was demanded and is refused.
func (d *Decision) Err() error {
	if len(d.Rungs) > 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, d.refusal(Copy))
}

// Taken returns the rung to try first. It is empty where Err returns an error.
func (d *Decision) Taken() Rung {
	if len(d.Rungs) == 0 {
		return ""
	}
	return d.Rungs[0]
}

// refusal returns the first refusal of a rung, nil if there is none.
func (d *Decision) refusal(rung Rung) *Refusal {
	for i := range d.Refused {
		if slices.Contains(d.Refused[i].Rungs, rung) {
			return &d.Refused[i]
		}
	}
	return nil
}

// Refusals refer to these groups of rungs: all of AF_XDP, those that need the driver's own XDP, a single one.
var (
	allXDP       = []Rung{ZeroCopy, Copy, Generic}
	native       = []Rung{ZeroCopy, Copy}
	onlyZeroCopy = []Rung{ZeroCopy}
	onlyGeneric  = []Rung{Generic}
)

// refuse adds a refusal. The reason is a format.
func (d *Decision) refuse(rungs []Rung, fact Fact, remedy, reason string, args ...any) {
	d.Refused = append(d.Refused, Refusal{d.Interface, rungs, fact, fmt.Sprintf(reason, args...), remedy})
}

func (d *Decision) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// Choose decides from a report which rungs of the ladder remain for an interface. Without a name it gives the reason
// why there is no interface.
func Choose(cfg Config, name string, r Report) Decision {
	d := Decision{Interface: name, Rungs: []Rung{}, Refused: []Refusal{}, Notes: []string{}}
	if cfg.IO == OnlySockets {
		d.Rungs = append(d.Rungs, Sockets)
		return d
	}
	if d.findInterface(cfg, r) {
		d.checkMachine(cfg, r)
		d.checkInterface(r.NIC, r.Links, &r.Kernel)
		d.checkMemory(cfg, r.Process)
	}
	d.checkSettings(cfg)
	for _, rung := range allXDP {
		if d.refusal(rung) == nil && (rung != Generic || cfg.Generic) {
			d.Rungs = append(d.Rungs, rung)
		}
	}
	if cfg.IO != OnlyXDP {
		d.Rungs = append(d.Rungs, Sockets)
	}
	return d
}

// findInterface reports whether there is an interface to check.
func (d *Decision) findInterface(cfg Config, r Report) bool {
	switch {
	case r.OS != "linux":
		d.refuse(allXDP, FactSystem, "sockets serve on this one", "AF_XDP needs Linux, this is %s", r.OS)
		return false
	case r.Failure != "":
		d.refuse(allXDP, FactInterface, "see whether `ip link` works here",
			"the network interfaces cannot be listed: %s", r.Failure)
		return false
	}
	if d.Interface == "" {
		_, why := pick(cfg, r.Links)
		d.refuse(allXDP, FactInterface, "--interface names one", "%s", why)
		return false
	}
	if r.NIC == nil || r.NIC.Name != d.Interface {
		d.refuse(allXDP, FactInterface, "`ip link` lists those there are", "interface %s not found", d.Interface)
		return false
	}
	return true
}

// pick finds the interfaces that carry the addresses at which peers reach us. Where there are none, it gives the
// reason.
func pick(cfg Config, links []Link) (found []string, why string) {
	var sought []string
	for _, a := range cfg.Addresses {
		if !a.IsValid() || a.IsUnspecified() {
			continue
		}
		sought = append(sought, a.String())
		for _, l := range links {
			if l.carries(a) && !slices.Contains(found, l.Name) {
				found = append(found, l.Name)
			}
		}
	}
	// An operator who names the loopback's address beside others means the others.
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(name string) bool {
			return slices.ContainsFunc(links, func(l Link) bool { return l.Name == name && l.Loopback })
		})
	}
	switch {
	case len(sought) == 0:
		return nil, "no interface is named, nor an address that identifies one"
	case len(found) == 0:
		return nil, "no interface carries " + strings.Join(sought, " or ")
	}
	return found, ""
}

func (l *Link) carries(a netip.Addr) bool {
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == a.Unmap().WithZone("") })
}

// checkMachine checks everything that is the same for all interfaces.
func (d *Decision) checkMachine(cfg Config, r Report) {
	can := func(capability string) bool { return slices.Contains(r.Process.Capabilities, capability) }
	var missing []string
	for _, c := range []string{netRaw, netAdmin, bpf} {
		if !can(c) && (c != bpf || !can(sysAdmin)) {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		d.refuse(allXDP, FactCapabilities,
			"run as root or `setcap cap_net_raw,cap_net_admin,cap_bpf+ep` the program", "%s missing",
			strings.Join(missing, ", "))
	}
	if r.Kernel.NoAFXDP != "" && can(netRaw) {
		d.refuse(allXDP, FactSockets, "the kernel needs CONFIG_XDP_SOCKETS, the container a profile that lets "+
			"AF_XDP pass",
			"no AF_XDP socket can be opened: %s", r.Kernel.NoAFXDP)
	}
	if r.Kernel.NoBPF != "" && len(missing) == 0 {
		d.refuse(allXDP, FactBPF, "capabilities of a user namespace do not count, and seccomp must let bpf(2) pass",
			"no XDP program can be loaded: %s", r.Kernel.NoBPF)
	}

	d.Queues = min(r.NIC.Queues.RX, r.NIC.Queues.TX)
}

// checkMemory refuses the rungs whose packet memory exceeds RLIMIT_MEMLOCK. It comes last: where zerocopy is refused
// anyway, its larger memory does not matter.
func (d *Decision) checkMemory(cfg Config, p Process) {
	if slices.Contains(p.Capabilities, ipcLock) || slices.Contains(p.Capabilities, sysResource) {
		return
	}
	const remedy = "`ulimit -l unlimited`, in a systemd unit LimitMEMLOCK=infinity"
	copying := cfg.Locked + d.copying(cfg)
	others := ""
	if cfg.Locked > 0 {
		others = fmt.Sprintf(" (%s of it for other interfaces)", size(cfg.Locked))
	}
	if zeroCopy := copying + d.copying(cfg); p.MemlockHard < copying {
		d.refuse(allXDP, FactMemlock, remedy, "RLIMIT_MEMLOCK is %s and packet memory takes %s%s",
			size(p.MemlockHard), size(copying), others)
	} else if p.MemlockHard < zeroCopy && d.refusal(ZeroCopy) == nil {
		d.refuse(onlyZeroCopy, FactMemlock, remedy,
			"RLIMIT_MEMLOCK is %s and packet memory for zerocopy takes %s%s", size(p.MemlockHard), size(zeroCopy),
			others)
	}
}

// copying returns how many bytes of packet memory the interface's queues take where the kernel copies.
func (d *Decision) copying(cfg Config) uint64 {
	return cfg.QueueMemory * uint64(max(d.Queues, 1))
}

// memory returns how many bytes of packet memory the interface takes on the first of its rungs.
func (d *Decision) memory(cfg Config) uint64 {
	switch {
	case !d.Taken().XDP():
		return 0
	case d.Taken() == ZeroCopy:
		return 2 * d.copying(cfg)
	}
	return d.copying(cfg)
}

// checkInterface checks the interface and its driver.
func (d *Decision) checkInterface(n *NIC, links []Link, k *Kernel) {
	if n.Loopback {
		d.refuse(allXDP, FactInterface, "name the interface of a network; sockets serve this machine's own peers",
			"%s is the loopback and has no wire", n.Name)
		return
	}
	stacked := d.checkStack(n, links)
	if stacked && d.refusal(Generic) != nil {
		return // to mend anything else would not help
	}
	if !n.Up {
		d.refuse(allXDP, FactLink, fmt.Sprintf("`ip link set dev %s up`", n.Name), "%s is down", n.Name)
	} else if !n.Carrier {
		d.note("%s has no carrier: nothing is sent or received until it has one", n.Name)
	}
	if p := n.Program; p != nil {
		d.refuse(allXDP, FactProgram, p.remedy(n.Name), "another XDP program (%s) is attached to %s", p, n.Name)
	}
	switch q := n.Queues; {
	case d.Queues == 0:
		d.refuse(allXDP, FactQueues, fmt.Sprintf("see `ethtool -l %s`", n.Name),
			"%s has no queue that can be served (%d receive, %d send)", n.Name, q.RX, q.TX)
	case q.TX < q.RX:
		d.note("%d of %d receive queues can be served, as many as send: packets on the others go through the kernel",
			q.TX, q.RX)
	}
	if !stacked { // else XDP would not run on this driver
		d.checkDriver(n, k)
	}
	for i := range n.Gateways {
		if g := &n.Gateways[i]; !g.Resolved() {
			d.note("the MAC address of gateway %s is not known (%s): packets to it go through the kernel until it is",
				g.Address, g.State)
		}
	}
	if n.Up && len(n.Gateways) == 0 {
		d.note("no default route leads through %s: AF_XDP reaches its own networks and those that routes name", n.Name)
	}
}

// remedy says how to detach a program, which depends on its owner. An interface has one program: a host with several
// has a dispatcher, which calls them in turn but could not call ours.
func (p *Program) remedy(device string) string {
	switch {
	case p.Name == "xdp_dispatcher":
		return fmt.Sprintf("libxdp put it there: `xdp-loader status %s` lists whose programs it calls, `xdp-loader "+
			"unload %[1]s --all` ends them", device)
	case strings.HasPrefix(p.Name, "cil_xdp"):
		return "it is Cilium's: loadBalancer.acceleration=disabled ends it"
	}
	return fmt.Sprintf("stop what attached it (`bpftool prog show id %d` shows it), or name another interface", p.ID)
}

func (p *Program) String() string {
	if p.Name == "" {
		return fmt.Sprintf("id %d, %s", p.ID, p.Mode)
	}
	return fmt.Sprintf("id %d, %s, %s", p.ID, p.Mode, p.Name)
}

// checkSettings refuses the rungs that were not requested. It does so only where nothing else refuses them.
func (d *Decision) checkSettings(cfg Config) {
	if !cfg.Zerocopy && d.refusal(ZeroCopy) == nil {
		d.refuse(onlyZeroCopy, FactSettings, "--zerocopy auto", "zerocopy is switched off")
	}
	if !cfg.Generic && d.refusal(Copy) != nil && d.refusal(Generic) == nil {
		d.refuse(onlyGeneric, FactSettings, "--generic, to try AF_XDP without its speed",
			"generic XDP was not requested")
	}
}

// size formats a number of bytes for people.
func size(n uint64) string {
	switch {
	case n == Unlimited:
		return "unlimited"
	case n >= 1<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
