package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Tune reads the facts that make AF_XDP on an interface faster or slower. Unknown facts keep their zero value, the node
// -1.
func Tune(name string) Tuning {
	t := root("").tuning(name)
	t.UDPHash = udpHash(name)
	return t
}

// A root is the directory that contains sys and proc. It is empty for the machine's own.
type root string

// read returns the first line of a file, or nothing if the file cannot be read. The kernel follows a link before the
// dots after it, which package path would not.
func (r root) read(format string, args ...any) string {
	content, _ := os.ReadFile(string(r) + fmt.Sprintf(format, args...))
	line, _, _ := strings.Cut(string(content), "\n")
	return strings.TrimSpace(line)
}

// number is read for a number. It returns unknown if there is none.
func (r root) number(unknown int, format string, args ...any) int {
	n, err := strconv.Atoi(r.read(format, args...))
	if err != nil {
		return unknown
	}
	return n
}

func (r root) tuning(name string) Tuning {
	t := noTuning()
	nodes, _ := filepath.Glob(string(r) + "/sys/devices/system/node/node[0-9]*")
	for _, dir := range nodes {
		if n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(dir), "node")); err == nil {
			t.Nodes[n] = r.read("/sys/devices/system/node/node%d/cpulist", n)
		}
	}
	t.Node = r.number(-1, "/sys/class/net/%s/device/numa_node", name)
	t.HugePages = r.number(0, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	// As in: always [madvise] never.
	_, mode, _ := strings.Cut(r.read("/sys/kernel/mm/transparent_hugepage/enabled"), "[")
	t.Transparent, _, _ = strings.Cut(mode, "]")
	t.DeferHardIRQs = r.number(0, "/sys/class/net/%s/napi_defer_hard_irqs", name)
	t.GROFlushTimeout = time.Duration(r.number(0, "/sys/class/net/%s/gro_flush_timeout", name))
	t.Interrupts = append(t.Interrupts, r.interrupts(name)...)
	t.IRQBalance = r.runs("irqbalance")
	return t
}

// interrupts finds the CPUs of each interrupt of a PCI device, or of the device above it, as virtio has.
func (r root) interrupts(name string) (all []string) {
	for _, dir := range []string{"/device/msi_irqs", "/device/../msi_irqs"} {
		entries, _ := os.ReadDir(string(r) + "/sys/class/net/" + name + dir)
		for _, e := range entries {
			if cpus := r.read("/proc/irq/%s/effective_affinity_list", e.Name()); cpus != "" {
				all = append(all, cpus)
			}
		}
		if len(all) > 0 {
			break
		}
	}
	return all
}

// runs reports whether a program of that name runs.
func (r root) runs(program string) bool {
	processes, _ := filepath.Glob(string(r) + "/proc/[0-9]*")
	for _, p := range processes {
		if r.read("/proc/%s/comm", filepath.Base(p)) == program {
			return true
		}
	}
	return false
}

// InterfacesOf lists the hardware interfaces that use a driver.
func InterfacesOf(driver string) []string { return root("").interfacesOf(driver) }

func (r root) interfacesOf(driver string) (all []string) {
	links, _ := filepath.Glob(string(r) + "/sys/class/net/*/device/driver")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && filepath.Base(target) == driver {
			all = append(all, filepath.Base(filepath.Dir(filepath.Dir(link))))
		}
	}
	return all
}
