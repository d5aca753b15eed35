package xdp

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringcast/testenv/lab"
)

const nobody = 65534

// three are the capabilities that AF_XDP takes.
var three = []int{unix.CAP_NET_RAW, unix.CAP_NET_ADMIN, unix.CAP_BPF}

// asNobody makes a command run as an unprivileged user with three capabilities and no other. Its limit of locked memory
// is in bytes, and it cannot raise that.
func asNobody(cmd *exec.Cmd, memlock int) {
	const caps = "-all,+net_raw,+net_admin,+bpf"
	cmd.Args = append([]string{
		"prlimit", fmt.Sprintf("--memlock=%d:%d", memlock, memlock),
		"setpriv", fmt.Sprint("--reuid=", nobody), fmt.Sprint("--regid=",
			nobody), "--clear-groups", "--inh-caps=" + caps, "--ambient-caps=" + caps,
		cmd.Path,
	}, cmd.Args[1:]...)
	cmd.Path, cmd.Err = exec.LookPath("prlimit")
}

// A server that runs as nobody, with the three capabilities, serves. It goes on after its interface was made again, by
// the capabilities that it has kept.
func TestUnprivileged(t *testing.T) {
	g, cable, client := pairOf(t, lab.Link{}, func(binary string) *exec.Cmd {
		cmd := exec.Command(binary, "--io", "xdp", "--interface", "eth0")
		asNobody(cmd, 8<<20) // the usual limit of a user; a queue takes 6
		return cmd
	})
	var status []string
	for line := range strings.Lines(string(read(t, fmt.Sprintf("/proc/%d/status", g.server.PID())))) {
		if name, value, _ := strings.Cut(line, ":"); name == "Uid" || name == "NoNewPrivs" ||
			strings.HasPrefix(name, "Cap") {
			status = append(status, name+" "+strings.Join(strings.Fields(value), " "))
		}
	}
	t.Logf("the server: %s", strings.Join(status, ", "))
	mask := uint64(0)
	for _, c := range three {
		mask |= 1 << c
	}
	for _, want := range []string{
		"Uid 65534 65534 65534 65534", "NoNewPrivs 1", "CapInh 0000000000000000", "CapAmb 0000000000000000",
		fmt.Sprintf("CapPrm %016x", mask), fmt.Sprintf("CapEff %016x", mask),
	} {
		if !strings.Contains(strings.Join(status, ", ")+",", want+",") {
			t.Errorf("not %s", want)
		}
	}
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	const span = 500 * time.Millisecond
	g.measure("unprivileged, interface deleted, and another after 500 ms", flows, span+mend, func() {
		g.gone()
		must(t, cable.Remove())
		let(t, span)
		g.home()
		must(t, cable.Insert())
	})
	g.onQueues()
}
