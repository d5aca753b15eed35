package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// tree makes a machine's files, and links where a path ends in @.
func tree(t *testing.T, files map[string]string) root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if link, ok := cutAt(path); ok {
			err = os.Symlink(filepath.Join(dir, content), link)
		} else {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root(dir)
}

func cutAt(path string) (string, bool) {
	if last := len(path) - 1; path[last] == '@' {
		return path[:last], true
	}
	return path, false
}

// A machine of two nodes whose NIC is a PCI device with three interrupts.
func TestReadTuning(t *testing.T) {
	files := map[string]string{
		"sys/devices/system/node/node0/cpulist": "0-7,16-23\n", "sys/devices/system/node/node8/cpulist": "8-15\n",
		"sys/class/net/eth0/device@":               "sys/devices/pci/0000:01:00.0",
		"sys/devices/pci/0000:01:00.0/numa_node":   "8\n",
		"sys/devices/pci/0000:01:00.0/msi_irqs/30": "msi\n", "sys/devices/pci/0000:01:00.0/msi_irqs/31": "msi\n",
		"proc/irq/30/effective_affinity_list": "8\n", "proc/irq/31/effective_affinity_list": "9-10\n",
		"sys/class/net/eth0/napi_defer_hard_irqs": "2\n", "sys/class/net/eth0/gro_flush_timeout": "200000\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages": "12\n",
		"sys/kernel/mm/transparent_hugepage/enabled":              "always [madvise] never\n",
		"proc/7/comm": "irqbalance\n", "proc/8/comm": "irqbalanced\n",
	}
	want := noTuning()
	want.Nodes = map[int]string{0: "0-7,16-23", 8: "8-15"}
	want.Node, want.HugePages, want.Transparent, want.IRQBalance = 8, 12, "madvise", true
	want.Interrupts, want.DeferHardIRQs, want.GROFlushTimeout = []string{"8", "9-10"}, 2, 200*time.Microsecond
	if got := tree(t, files).tuning("eth0"); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}

	// Virtio's device is below the one with the interrupts, and knows no node; nothing balances.
	got := tree(t, map[string]string{
		"sys/class/net/eth0/device@":                  "sys/devices/pci/0000:00:03.0/virtio1",
		"sys/devices/pci/0000:00:03.0/virtio1/vendor": "",
		"sys/devices/pci/0000:00:03.0/msi_irqs/25":    "msi\n", "proc/irq/25/effective_affinity_list": "1\n",
		"proc/8/comm": "irqbalanced\n",
	}).tuning("eth0")
	want = noTuning()
	want.Interrupts = []string{"1"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("virtio: got\n%+v\nwant\n%+v", got, want)
	}
	if got := tree(t, nil).tuning("eth0"); !reflect.DeepEqual(got, noTuning()) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestInterfacesOf(t *testing.T) {
	r := tree(t, map[string]string{
		"sys/bus/pci/drivers/ena/x": "", "sys/bus/pci/drivers/igb/x": "",
		"sys/devices/pci/1/x": "", "sys/devices/pci/2/x": "", "sys/devices/pci/3/x": "", "sys/class/net/veth0/mtu": "",
		"sys/class/net/eth0/device@": "sys/devices/pci/1", "sys/class/net/eth1/device@": "sys/devices/pci/2",
		"sys/class/net/eth2/device@": "sys/devices/pci/3",
		"sys/devices/pci/1/driver@":  "sys/bus/pci/drivers/ena",
		"sys/devices/pci/2/driver@":  "sys/bus/pci/drivers/igb",
		"sys/devices/pci/3/driver@":  "sys/bus/pci/drivers/ena",
	})
	if got, want := r.interfacesOf("ena"), []string{"eth0", "eth2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := r.interfacesOf("veth"); got != nil {
		t.Errorf("of software: %v", got)
	}
}

// This machine's own files are read without a fault.
func TestTuneHere(t *testing.T) {
	got := Tune("lo")
	if got.CPUs < 1 || got.UDPHash != nil || len(got.Interrupts) > 0 {
		t.Errorf("%+v", got)
	}
}

var statistics = lab.Register("statistics", func(_ context.Context, name string, _ func()) (map[string]uint64, error) {
	return Statistics(name)
})

// A veth has statistics: the number of its peer, and counters for each queue.
func TestStatistics(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces)
	server, client := testenv.Pair(t, lab.Link{Queues: 2})
	got, err := statistics.Run(t.Context(), server, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	if peer := uint64(client.Device("eth0").Index); got["peer_ifindex"] != peer {
		t.Errorf("peer_ifindex %d, want %d, among %v", got["peer_ifindex"], peer, got)
	}
	for queue := range 2 {
		if name := fmt.Sprintf("rx_queue_%d_xdp_packets", queue); !hasKey(got, name) {
			t.Errorf("no %s among %v", name, got)
		}
	}
	if got, err := statistics.Run(t.Context(), server, "lo"); err != nil || len(got) > 0 {
		t.Errorf("lo: %v, %v", got, err)
	}
	for _, name := range []string{"eth9", "", "a-name-that-is-too-long"} {
		if got, err := Statistics(name); err == nil || got != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

func hasKey(m map[string]uint64, key string) bool { _, ok := m[key]; return ok }
