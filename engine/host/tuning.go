package host

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Tuning is what decides how fast a rung runs, not whether it does. Only the doctor looks at it.
type Tuning struct {
	// CPUs is how many this process may use.
	CPUs int `json:"cpus"`
	// Nodes are the CPUs of each NUMA node, by its number, as in 0-7,16-23.
	Nodes map[int]string `json:"numa_nodes"`
	// Node is the interface's NUMA node, -1 where the machine does not say.
	Node int `json:"numa_node"`
	// HugePages is how many huge pages of 2 MiB are free. Transparent says who gets such pages unasked: always,
	// madvise (we ask) or never; it is empty if the kernel has none.
	HugePages   int    `json:"huge_pages"`
	Transparent string `json:"transparent_huge_pages"`
	// Interrupts are the CPUs that take each of the interface's interrupts; empty where it has none.
	Interrupts []string `json:"interrupts"`
	// IRQBalance tells whether irqbalance runs.
	IRQBalance bool `json:"irqbalance"`
	// UDPHash is by which parts of a header the NIC spreads UDP over IPv4 to queues; nil if the driver does not say.
	UDPHash *Hash `json:"udp_hash"`
	// DeferHardIRQs and GROFlushTimeout are the interface's napi_defer_hard_irqs and gro_flush_timeout.
	DeferHardIRQs   int           `json:"napi_defer_hard_irqs"`
	GROFlushTimeout time.Duration `json:"gro_flush_timeout"`
}

// A Hash is a choice of header fields.
type Hash struct {
	Ports bool `json:"ports"` // beside the addresses
}

// Advise lists what is worth changing on a machine that uses AF_XDP as the Decision says, a line for each. On one
// that is set up well it is empty.
func (t *Tuning) Advise(cfg Config, d *Decision) []string {
	notes := []string{}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if !d.Taken().XDP() {
		return notes
	}
	name := d.Interface
	// Workers of several interfaces may be meant for several nodes.
	if own := t.Nodes[t.Node]; own != "" && len(t.Nodes) > 1 && len(cfg.Interfaces) <= 1 {
		switch far := slices.DeleteFunc(slices.Clone(cfg.CPUs), func(c int) bool { return slices.Contains(cpuList(own), c) }); {
		case len(cfg.CPUs) == 0:
			note("%s is on NUMA node %d: `--cpus` with some of %s keeps workers and packet memory beside it", name, t.Node, own)
		case len(far) > 0:
			note("%s is on NUMA node %d (CPUs %s), and --cpus names %s on another node", name, t.Node, own, joinCPUs(far))
		}
	}
	if need := hugePagesFor(cfg, d); t.Transparent == "never" && t.HugePages < need {
		note("packet memory gets no huge pages: %d of 2 MiB are free, it takes %d, and transparent ones are off; `sysctl vm.nr_hugepages` reserves some", t.HugePages, need)
	}
	if first := slices.Compact(slices.Clone(t.Interrupts)); len(t.Interrupts) > 1 && len(first) == 1 && len(cpuList(first[0])) == 1 && t.CPUs > 1 && d.Queues > 1 {
		note("all interrupts of %s go to CPU %s: irqbalance or /proc/irq/N/smp_affinity_list spreads them", name, first[0])
	}
	if t.IRQBalance && len(cfg.CPUs) > 0 && len(cfg.CPUs) < t.CPUs {
		note("irqbalance may put interrupts on the workers' cores: IRQBALANCE_BANNED_CPULIST=%s keeps them off", joinCPUs(cfg.CPUs))
	}
	if t.UDPHash != nil && !t.UDPHash.Ports && d.Queues > 1 {
		note("%s spreads UDP to queues by addresses only: `ethtool -N %s rx-flow-hash udp4 sdfn` spreads viewers behind one NAT, too", name, name)
	}
	// What has no interrupt has nothing to busy-poll, as a veth.
	if cfg.BusyPoll && len(t.Interrupts) > 0 && (t.DeferHardIRQs == 0 || t.GROFlushTimeout == 0) {
		note("--busy-poll wants interrupts to wait: set napi_defer_hard_irqs to 2 and gro_flush_timeout to 200000 in /sys/class/net/%s", name)
	}
	return notes
}

// hugePagesFor is how many huge pages packet memory takes: each worker has some of its own, and zerocopy twice as much.
func hugePagesFor(cfg Config, d *Decision) int {
	const huge = 2 << 20
	memory := cfg.QueueMemory
	if d.Taken() == ZeroCopy {
		memory *= 2
	}
	return d.Queues * int((memory+huge-1)/huge)
}

// cpuList reads the kernel's lists, as in 0-3,8.
func cpuList(s string) (all []int) {
	for part := range strings.SplitSeq(strings.TrimSpace(s), ",") {
		first, last, ranged := strings.Cut(part, "-")
		a, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		b := a
		if ranged {
			if b, err = strconv.Atoi(last); err != nil {
				continue
			}
		}
		for c := a; c <= b && c-a < maxCPUs; c++ {
			all = append(all, c)
		}
	}
	return all
}

// maxCPUs bounds what a list may name (CONFIG_NR_CPUS is 8,192 at most).
const maxCPUs = 8192

func joinCPUs(cpus []int) string {
	var all []string
	for _, c := range cpus {
		all = append(all, strconv.Itoa(c))
	}
	return strings.Join(all, ",")
}

// noTuning is a Tuning of which nothing is known.
func noTuning() Tuning {
	return Tuning{CPUs: runtime.NumCPU(), Node: -1, Nodes: map[int]string{}, Interrupts: []string{}}
}
