package host

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Tuning holds the facts that decide how fast a rung runs, not whether it does. Only the doctor uses it.
type Tuning struct {
	// CPUs is the number of CPUs that this process may use.
	CPUs int `json:"cpus"`
	// Nodes are the CPUs of each NUMA node, by its number, as in 0-7,16-23.
	Nodes map[int]string `json:"numa_nodes"`
	// Node is the interface's NUMA node, -1 where it is unknown.
	Node int `json:"numa_node"`
	// HugePages is how many huge pages of 2 MiB are free. Transparent is the kernel's policy for such pages: always,
	// madvise (for programs that ask, as we do) or never. It is empty if the kernel has none.
	HugePages   int    `json:"huge_pages"`
	Transparent string `json:"transparent_huge_pages"`
	// Interrupts lists, for each interrupt of the interface, the CPUs that handle it.
	Interrupts []string `json:"interrupts"`
	// IRQBalance is set where irqbalance runs.
	IRQBalance bool `json:"irqbalance"`
	// UDPHash are the header fields by which the NIC spreads UDP over IPv4 to queues, nil if the driver does not report
	// them.
	UDPHash *Hash `json:"udp_hash"`
	// DeferHardIRQs and GROFlushTimeout are the interface's napi_defer_hard_irqs and gro_flush_timeout.
	DeferHardIRQs   int           `json:"napi_defer_hard_irqs"`
	GROFlushTimeout time.Duration `json:"gro_flush_timeout"`
}

// A Hash is a choice of header fields.
type Hash struct {
	Ports bool `json:"ports"` // beside the addresses
}

// Advise lists the changes that are worth while on a machine that uses AF_XDP as the Decision says, one line each. The
// list is empty on a machine that is set up well.
func (t *Tuning) Advise(cfg Config, d *Decision) []string {
	notes := []string{}
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if !d.Taken().XDP() {
		return notes
	}
	name := d.Interface
	// With several interfaces, workers may be on several nodes on purpose.
	if own := t.Nodes[t.Node]; own != "" && len(t.Nodes) > 1 && len(cfg.Interfaces) <= 1 {
		switch far := slices.DeleteFunc(slices.Clone(cfg.CPUs),
			func(c int) bool { return slices.Contains(cpuList(own), c) }); {
		case len(cfg.CPUs) == 0:
			note("%s is on NUMA node %d: `--cpus` with some of %s keeps workers and packet memory on that node", name,
				t.Node, own)
		case len(far) > 0:
			note("%s is on NUMA node %d (CPUs %s), and --cpus names %s on another node", name, t.Node, own,
				joinCPUs(far))
		}
	}
	if need := hugePagesFor(cfg, d); t.Transparent == "never" && t.HugePages < need {
		note("packet memory gets no huge pages: %d of 2 MiB are free, it takes %d, and transparent ones are off; "+
			"`sysctl vm.nr_hugepages` reserves some", t.HugePages, need)
	}
	if first := slices.Compact(slices.Clone(t.Interrupts)); len(t.Interrupts) > 1 && len(first) == 1 &&
		len(cpuList(first[0])) == 1 && t.CPUs > 1 && d.Queues > 1 {
		note("all interrupts of %s go to CPU %s: irqbalance or /proc/irq/N/smp_affinity_list spreads them", name,
			first[0])
	}
	if t.IRQBalance && len(cfg.CPUs) > 0 && len(cfg.CPUs) < t.CPUs {
		note("irqbalance may put interrupts on the workers' cores: IRQBALANCE_BANNED_CPULIST=%s keeps them off",
			joinCPUs(cfg.CPUs))
	}
	if t.UDPHash != nil && !t.UDPHash.Ports && d.Queues > 1 {
		note("%s spreads UDP to queues by addresses only: `ethtool -N %s rx-flow-hash udp4 sdfn` also spreads "+
			"viewers that share a NAT", name, name)
	}
	// An interface without interrupts, such as a veth, cannot be busy-polled.
	if cfg.BusyPoll && len(t.Interrupts) > 0 && (t.DeferHardIRQs == 0 || t.GROFlushTimeout == 0) {
		note("--busy-poll works best with deferred interrupts: set napi_defer_hard_irqs to 2 and gro_flush_timeout "+
			"to 200000 in /sys/class/net/%s", name)
	}
	return notes
}

// hugePagesFor returns how many huge pages packet memory takes. Each worker has its own, and zerocopy takes twice as
// many.
func hugePagesFor(cfg Config, d *Decision) int {
	const huge = 2 << 20
	memory := cfg.QueueMemory
	if d.Taken() == ZeroCopy {
		memory *= 2
	}
	return d.Queues * int((memory+huge-1)/huge)
}

// cpuList parses a list as the kernel prints it, such as 0-3,8.
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

// maxCPUs bounds the length of a list (CONFIG_NR_CPUS is at most 8,192).
const maxCPUs = 8192

func joinCPUs(cpus []int) string {
	var all []string
	for _, c := range cpus {
		all = append(all, strconv.Itoa(c))
	}
	return strings.Join(all, ",")
}

// noTuning returns a Tuning of unknown facts.
func noTuning() Tuning {
	return Tuning{CPUs: runtime.NumCPU(), Node: -1, Nodes: map[int]string{}, Interrupts: []string{}}
}
