package zerocopy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

const (
	// patience bounds every wait for something that must come.
	patience = time.Minute
	// bootPatience is for the VM's first word, runPatience for its last.
	bootPatience = 5 * time.Minute
	runPatience  = 15 * time.Minute
)

func TestMain(m *testing.M) {
	if os.Getpid() == 1 {
		initialize()
	}
	lab.Child()
	os.Exit(testenv.Main(m))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A machine is a VM with a NIC under test, and what happens in it.
type machine struct {
	name    string
	queues  int
	devices []string // of QEMU
	scenes  []scene
}

// A scene is a step of a machine's test. It continues from the state that the scenes before it left.
type scene struct {
	name string
	play func(*stage, *testing.T)
}

// nic is a QEMU device on the hub.
func nic(device, mac string) []string {
	port := "port" + mac[15:]
	return []string{
		"-netdev", "hubport,hubid=0,id=" + port, "-device",
		device + ",romfile=,mac=" + mac + ",netdev=" + port,
	}
}

// The NICs' addresses, by which the VM knows them.
const nicMAC, peerMAC, spareMAC = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"

func machines() []machine {
	var (
		beginning = []scene{
			{"doctor", (*stage).doctor},
			{"socket", (*stage).socket},
			{"media", (*stage).media},
		}
		queues  = []scene{{"every queue", (*stage).everyQueue}}
		outages = []scene{
			{"link down for 2 s", func(g *stage, t *testing.T) { g.linkDown(t, 2*time.Second) }},
			{"link down for 20 ms", func(g *stage, t *testing.T) { g.linkDown(t, 20*time.Millisecond) }},
			{"driver unbound and bound", (*stage).rebind},
		}
		channels = []scene{{"fewer channels", (*stage).fewer}}
		end      = []scene{
			{"lesser NIC", (*stage).lesser},
			{"sessions", (*stage).sessions},
			{"bond", (*stage).bond},
			{"stacked", (*stage).stacked},
			{"VRF", (*stage).vrf},
		}
		others = append(nic("virtio-net-pci", peerMAC), nic("virtio-net-pci", spareMAC)...)
		// virtio_net takes a socket's memory only if the device uses the DMA API.
		virtio = nic("virtio-net-pci,iommu_platform=on,disable-legacy=on", nicMAC)
		igb    = append([]string{"-device", "pcie-root-port,id=rp"}, nic("igb,bus=rp", nicMAC)...)
	)
	return []machine{
		{"virtio", 1, slices.Concat(virtio, others), slices.Concat(beginning, outages, end)},
		{"igb", 2, slices.Concat(igb, others), slices.Concat(beginning, queues, outages, channels, end)},
	}
}

func TestZeroCopy(t *testing.T) {
	if inVM() {
		for _, m := range machines() {
			t.Run(m.name, m.play)
		}
		return
	}
	testenv.Need(t, VM)
	debian, err := debian()
	must(t, err)
	logSums(t, debian)
	image, err := makeImage(debian, t.TempDir())
	must(t, err)
	for _, m := range machines() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // a VM uses one core
			m.watch(t, debian, image)
		})
	}
}

// play plays the scenes in the VM.
func (m machine) play(t *testing.T) {
	g := newStage(t, m.queues)
	for _, s := range m.scenes {
		t.Run(s.name, func(t *testing.T) { s.play(g, t) })
	}
}

// watch boots the VM and reports each scene as it ended there.
func (m machine) watch(t *testing.T, debian string, i *image) {
	console := filepath.Join(t.TempDir(), "console")
	args := append([]string{
		// The VM's time counts instructions and skips idle time, so nothing in the VM depends on how busy the host is.
		"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm",
		"-M", "q35", "-cpu", "max", "-smp", "2", "-m", "2048",
		"-nodefaults", "-nographic", "-no-reboot", "-serial", "file:" + console, "-serial", "stdio",
		"-kernel", i.kernel, "-initrd", i.initrd,
		"-append", "console=ttyS0 panic=-1 mitigations=off nokaslr net.ifnames=0 zerocopy=" + m.name,
	}, m.devices...)
	begun := time.Now()
	said, err := converse(t, debian, args)
	t.Logf("the VM ended after %v", time.Since(begun).Round(time.Second))
	if err != nil {
		t.Errorf("the VM: %v", err)
	}
	of := parse(said)
	for _, s := range m.scenes {
		t.Run(s.name, func(t *testing.T) {
			r := of("TestZeroCopy/" + m.name + "/" + strings.ReplaceAll(s.name, " ", "_"))
			t.Log("in the VM:\n" + strings.Join(r.lines, "\n"))
			if r.verdict != "PASS" {
				t.Errorf("ended in the VM with %q, want PASS", r.verdict)
			}
		})
	}
	whole := of("TestZeroCopy/" + m.name)
	t.Log("in the VM:\n" + strings.Join(append(of("").lines, whole.lines...), "\n"))
	if whole.verdict != "PASS" {
		t.Errorf("all scenes ended in the VM with %q, want PASS", whole.verdict)
	}
	kernel, err := os.ReadFile(console)
	must(t, err)
	for _, complaint := range complaints.FindAllString(string(kernel), -1) {
		t.Logf("the kernel complained, which fails no test: %s", strings.TrimSpace(complaint))
	}
	if t.Failed() {
		t.Logf("the VM's console:\n%s", kernel)
	}
}

// complaints are a kernel's messages about faults of its own, and about rings that have stopped. igb may warn when its
// device is unbound: xp_disable_drv_zc in net/xdp/xsk_buff_pool.c then asks a driver that has forgotten the queue.
var complaints = regexp.MustCompile(`(?m)^.*(BUG:|WARNING:|Oops|Tx Unit Hang|NETDEV WATCHDOG).*$`)

// converse runs QEMU until the VM powers off, and returns the lines that its tests printed.
func converse(t *testing.T, debian string, args []string) (said []string, err error) {
	cmd := qemu(debian, args...)
	out, in := io.Pipe()
	var trouble strings.Builder
	cmd.Stdout, cmd.Stderr = in, &trouble
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end := time.AfterFunc(bootPatience, func() { _ = cmd.Process.Kill() }) // it may have ended
	defer end.Stop()
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		in.Close()
		ended <- err
	}()
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(said) == 0 {
			end.Reset(runPatience)
		}
		said = append(said, strings.TrimRight(lines.Text(), "\r"))
	}
	err = errors.Join(<-ended, lines.Err())
	if err != nil || len(said) == 0 {
		err = fmt.Errorf("%w, and QEMU says %q", errors.Join(err, errSilent), trouble.String())
	}
	return said, err
}

// A result is how a test ended in the VM and what it printed.
type result struct {
	verdict string
	lines   []string
}

var (
	testBegins = regexp.MustCompile(`^=== (?:RUN|CONT|NAME) +(\S+)$`)
	testEnds   = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP): (\S+) \(`)
)

// parse sorts the lines of go test -v by scenes. Those of a scene's own subtests are the scene's.
func parse(lines []string) (of func(test string) *result) {
	results := map[string]*result{}
	of = func(test string) *result {
		if results[test] == nil {
			results[test] = &result{}
		}
		return results[test]
	}
	scene := func(test string) *result {
		parts := strings.Split(test, "/")
		return of(strings.Join(parts[:min(len(parts), 3)], "/"))
	}
	now := of("")
	for _, line := range lines {
		if m := testBegins.FindStringSubmatch(line); m != nil {
			now = scene(m[1])
		} else if m := testEnds.FindStringSubmatch(line); m != nil {
			of(m[2]).verdict, now = m[1], scene(m[2])
		} else {
			now.lines = append(now.lines, line)
		}
	}
	return of
}
