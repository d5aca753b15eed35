package host

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// tuned is a machine of two nodes, set up well; each row of the table changes something.
func tuned() Tuning {
	return Tuning{
		CPUs: 16, Nodes: map[int]string{0: "0-7", 1: "8-15"}, Node: 1, HugePages: 6, Transparent: "never",
		Interrupts: []string{"8", "9"}, UDPHash: &Hash{Ports: true}, DeferHardIRQs: 2,
		GROFlushTimeout: 200 * time.Microsecond,
	}
}

func TestAdvise(t *testing.T) {
	well := with(func(c *Config) { c.CPUs = []int{8, 9}; c.BusyPoll = true })
	for _, row := range []struct {
		name   string
		cfg    Config
		change func(*Tuning, *Decision)
		want   []string
	}{
		{name: "set up well", cfg: well},
		{name: "nothing is known", cfg: DefaultConfig(), change: func(t *Tuning, _ *Decision) { *t = noTuning() }},
		{
			name: "sockets", cfg: DefaultConfig(),
			change: func(t *Tuning, d *Decision) { d.Rungs = []Rung{Sockets}; t.IRQBalance = true },
		},
		{
			name: "workers on any node", cfg: DefaultConfig(),
			want: []string{"eth0 is on NUMA node 1: `--cpus` with some of 8-15 keeps workers and packet memory on " +
				"that node"},
		},
		{
			name: "a worker on the other node", cfg: with(func(c *Config) { c.CPUs = []int{7, 8} }),
			want: []string{"eth0 is on NUMA node 1 (CPUs 8-15), and --cpus names 7 on another node"},
		},
		{
			name: "one node", cfg: DefaultConfig(),
			change: func(t *Tuning, _ *Decision) { t.Node, t.Nodes = 0, map[int]string{0: "0-15"} },
		},
		{name: "an interface of no node", cfg: DefaultConfig(), change: func(t *Tuning, _ *Decision) { t.Node = -1 }},
		{
			name: "too few huge pages", cfg: well, change: func(t *Tuning, _ *Decision) { t.HugePages = 5 },
			want: []string{
				"packet memory gets no huge pages: 5 of 2 MiB are free, it takes 6, and transparent ones are off; " +
					"`sysctl vm.nr_hugepages` reserves some",
			},
		},
		{
			name: "transparent huge pages", cfg: well,
			change: func(t *Tuning, _ *Decision) { t.HugePages, t.Transparent = 0, "madvise" },
		},
		{
			name: "one core takes all interrupts", cfg: well,
			change: func(t *Tuning, _ *Decision) { t.Interrupts = []string{"0", "0", "0"} },
			want: []string{"all interrupts of eth0 go to CPU 0: irqbalance or /proc/irq/N/smp_affinity_list " +
				"spreads them"},
		},
		{
			name: "interrupts that may go anywhere", cfg: well,
			change: func(t *Tuning, _ *Decision) { t.Interrupts = []string{"0-15", "0-15"} },
		},
		{
			name: "irqbalance and pinned workers", cfg: well,
			change: func(t *Tuning, _ *Decision) { t.IRQBalance = true },
			want: []string{"irqbalance may put interrupts on the workers' cores: IRQBALANCE_BANNED_CPULIST=8,9 " +
				"keeps them off"},
		},
		{
			name: "irqbalance, and workers on every core", cfg: with(func(c *Config) { c.CPUs = []int{8, 9} }),
			change: func(t *Tuning, _ *Decision) { t.IRQBalance, t.CPUs = true, 2 },
		},
		{
			name: "UDP by addresses", cfg: well, change: func(t *Tuning, _ *Decision) { t.UDPHash.Ports = false },
			want: []string{
				"eth0 spreads UDP to queues by addresses only: `ethtool -N eth0 rx-flow-hash udp4 sdfn` also " +
					"spreads viewers that share a NAT",
			},
		},
		{
			name: "UDP by addresses, to one queue", cfg: well,
			change: func(t *Tuning, d *Decision) { t.UDPHash.Ports, d.Queues = false, 1 },
		},
		{
			name: "busy polling with interrupts", cfg: well,
			change: func(t *Tuning, _ *Decision) { t.DeferHardIRQs, t.GROFlushTimeout = 0, 0 },
			want: []string{
				"--busy-poll works best with deferred interrupts: set napi_defer_hard_irqs to 2 and " +
					"gro_flush_timeout to 200000 in /sys/class/net/eth0",
			},
		},
		{
			name: "no busy polling", cfg: with(func(c *Config) { c.CPUs = []int{8, 9} }),
			change: func(t *Tuning, _ *Decision) { t.DeferHardIRQs, t.GROFlushTimeout = 0, 0 },
		},
	} {
		tuning, d := tuned(), Decision{Interface: "eth0", Queues: 2, Rungs: []Rung{Copy, Sockets}}
		if row.change != nil {
			row.change(&tuning, &d)
		}
		if got := tuning.Advise(row.cfg, &d); !slices.Equal(got, append([]string{}, row.want...)) {
			t.Errorf("%s: got\n%s\nwant\n%s", row.name, strings.Join(got, "\n"), strings.Join(row.want, "\n"))
		}
	}
}

func TestCPUList(t *testing.T) {
	for text, want := range map[string][]int{
		"": nil, "3": {3}, "0-2,8\n": {0, 1, 2, 8}, "5-5": {5}, "x,1-,2-y,4": {4}, "9-7": nil, "-1": nil,
	} {
		if got := cpuList(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := len(cpuList("0-4000000000")); got > maxCPUs {
		t.Errorf("%d CPUs", got)
	}
}
