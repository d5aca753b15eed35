package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kernel.org/pub/linux/libs/security/libcap/cap"

	"ringcast/cmd/ringcast/internal/config"
	"ringcast/engine/host"
	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// consult runs the doctor as a process on a host and returns what it prints and its status.
func consult(t *testing.T, h *lab.Host, args ...string) (string, int) {
	t.Helper()
	out, err := h.Run(t.Context(), []string{asRingcast + "=1"}, os.Args[0], append([]string{"doctor"}, args...)...)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out), 0
}

// consultAs is consult for JSON, as another user with the given capabilities and no others.
func consultAs(t *testing.T, h *lab.Host, user uint32, capabilities []cap.Value, args ...string) (d host.Decision) {
	t.Helper()
	// The directory that go test builds in is root's alone.
	dir, err := os.MkdirTemp("/tmp", "ringcast-doctor-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "ringcast"), binary, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command(filepath.Join(dir, "ringcast"), append([]string{"doctor", "--json"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", append(os.Environ(), asRingcast+"=1"), &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	for _, c := range capabilities {
		cmd.SysProcAttr.AmbientCaps = append(cmd.SysProcAttr.AmbientCaps, uintptr(c))
	}
	p, err := h.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Wait() // the output has the same result as the status
	var said []host.Survey
	if err := json.Unmarshal(out.Bytes(), &said); err != nil || len(said) != 1 {
		t.Fatalf("%v\n%s", err, &out)
	}
	return said[0].Decision
}

// The expected texts leave out the facts that differ between machines: the kernel, the privileges of this process, and
// random addresses of interfaces.
var variable = []struct {
	pattern *regexp.Regexp
	text    string
}{
	{regexp.MustCompile(`Linux \S+`), "Linux RELEASE"},
	{regexp.MustCompile(`(capabilities +).*`), "${1}OURS"},
	{regexp.MustCompile(`(memlock +).*`), "${1}LIMIT"},
	{regexp.MustCompile(`(BTF +).*`), "${1}BTF"},
	{regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}`), "MAC"},
	{regexp.MustCompile(` fe80::\S+`), ""},
	{regexp.MustCompile(`(gateway +\S+ is )\w+( MAC)?`), "${1}STATE"},
	{regexp.MustCompile(`\n(note: packet memory gets no huge pages.*\n)`), ""},
	{regexp.MustCompile(`\n(note: the MAC address of gateway .*\n)+`), ""},
}

func normal(text string) string {
	for _, v := range variable {
		text = v.pattern.ReplaceAllString(text, v.text)
	}
	return text
}

const doctorsMachine = `
machine
  yes  system        Linux RELEASE
  yes  AF_XDP        sockets can be opened
  yes  BPF           XDP programs can be loaded
       BTF           BTF
  yes  capabilities  OURS
  yes  memlock       LIMIT
`

const doctorsVeth = `eth0: AF_XDP can be used, as xdp-copy on 2 queues
` + doctorsMachine + `
interface
  yes  interface    eth0
       driver       veth 1.0
  yes  link         up MAC
       addresses    198.18.0.1/24 fd00::1/64
  yes  MTU          1500
  yes  queues       2 receive, 2 send (at most 2, 2)
       XDP          basic, redirect
  yes  XDP program  none attached
       gateway      198.18.0.2 is STATE
       gateway      fd00::2 is STATE

rungs
  NO   xdp-zerocopy  refused: XDP
  yes  xdp-copy      taken
       xdp-generic   not requested
       udp           if those above fail

XDP: the driver (veth 1.0) has no zerocopy
  packets are copied once more
`

const doctorsLoopback = `lo: AF_XDP cannot be used, sockets would be
` + doctorsMachine + `
interface
  NO   interface    lo
       driver       unknown
  yes  link         up
       addresses    127.0.0.1/8 ::1/128
  yes  MTU          65536
  yes  queues       1 receive, 1 send
  NO   XDP          only the kernel's generic one
  yes  XDP program  none attached

rungs
  NO   xdp-zerocopy  refused: interface
  NO   xdp-copy      refused: interface
  NO   xdp-generic   refused: interface
  yes  udp           taken

interface: lo is the loopback and has no wire
  name the interface of a network; sockets serve this machine's own peers
`

const doctorsMissing = `eth9: AF_XDP cannot be used
` + doctorsMachine + `
interface
  NO   interface  eth9
       there are  lo eth0

rungs
  NO   xdp-zerocopy  refused: interface
  NO   xdp-copy      refused: interface
  NO   xdp-generic   refused: interface
       udp           not requested

interface: interface eth9 not found
  ` + "`ip link` lists those there are\n"

const doctorsBroken = `v0: AF_XDP cannot be used, sockets would be
` + doctorsMachine + `
interface
  yes  interface    v0
       driver       veth 1.0
  NO   link         down MAC
       addresses    none
  yes  MTU          1500
  yes  queues       2 receive, 2 send (at most 2, 2)
  NO   XDP          only the kernel's generic one
  yes  XDP program  none attached
  NO   peer         v1, MTU 1500, sends on 3 queues

rungs
  NO   xdp-zerocopy  refused: link, peer
  NO   xdp-copy      refused: link, peer
  NO   xdp-generic   refused: link
  yes  udp           taken

link: v0 is down
  ` + "`ip link set dev v0 up`" + `

peer: v0 receives on 2 queues and its peer v1 sends on 3
  make the pair again with as many queues at both ends (numrxqueues, numtxqueues)
`

func TestDoctor(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.Program("ip"))
	a, _ := testenv.Pair(t, lab.Link{Queues: 2})
	run := func(args ...string) {
		t.Helper()
		if out, err := a.Run(t.Context(), nil, args[0], args[1:]...); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	for _, row := range []struct {
		name   string
		args   []string
		status int
		want   string
	}{
		{"veth", []string{"--interface", "eth0"}, exitDone, doctorsVeth},
		{"veth by its address", []string{"--public-ip", a.IPv4().String()}, exitDone, doctorsVeth},
		{"loopback", []string{"--interface", "lo"}, exitFailed, doctorsLoopback},
		{"missing", []string{"--interface", "eth9", "--io", "xdp"}, exitFailed, doctorsMissing},
	} {
		t.Run(row.name, func(t *testing.T) {
			out, status := consult(t, a, row.args...)
			if got := normal(out); got != row.want || status != row.status {
				t.Errorf("status %d, got\n%s\nwant\n%s", status, got, row.want)
			}
		})
	}

	t.Run("JSON", func(t *testing.T) { checkJSON(t, a) })

	t.Run("only sockets", func(t *testing.T) {
		out, status := consult(t, a, "--io", "udp", "--interface", "eth0")
		if !strings.HasPrefix(out, "eth0: AF_XDP was not requested, sockets would be used\n") || status != exitFailed ||
			!strings.Contains(out, "driver       veth") || !strings.Contains(out, "  yes  udp           taken\n") {
			t.Errorf("status %d\n%s", status, out)
		}
	})

	t.Run("settings that make no sense", func(t *testing.T) {
		out, status := consult(t, a, "--interfaces", "eth0")
		if want := "ringcast: unknown flag \"--interfaces\", did you mean \"--interface\"?\n"; out != want ||
			status != exitUsage {
			t.Errorf("status %d, %q", status, out)
		}
	})

	run("ip", "link", "add", "v0", "numrxqueues", "2", "numtxqueues", "2", "type", "veth", "peer", "name", "v1",
		"numrxqueues", "3", "numtxqueues", "3")
	run("ip", "link", "set", "v1", "up")
	t.Run("several reasons", func(t *testing.T) {
		out, status := consult(t, a, "--interface", "v0")
		if got := normal(out); got != doctorsBroken || status != exitFailed {
			t.Errorf("status %d, got\n%s\nwant\n%s", status, got, doctorsBroken)
		}
	})

	// Every remedy is good: after them AF_XDP can be used.
	t.Run("remedies", func(t *testing.T) {
		run("ip", "link", "set", "dev", "v0", "up")
		run("ip", "link", "delete", "v0")
		run("ip", "link", "add", "v0", "numrxqueues", "3", "numtxqueues", "3", "type", "veth", "peer", "name", "v1",
			"numrxqueues", "3", "numtxqueues", "3")
		run("ip", "link", "set", "dev", "v0", "up")
		run("ip", "link", "set", "v1", "up")
		out, status := consult(t, a, "--interface", "v0")
		if status != exitDone || !strings.HasPrefix(out, "v0: AF_XDP can be used, as xdp-copy on 3 queues\n") {
			t.Errorf("status %d\n%s", status, out)
		}
	})
}

// checkJSON consults the doctor on a host with a veth.
func checkJSON(t *testing.T, a *lab.Host) {
	t.Helper()
	out, status := consult(t, a, "--json", "--interface", "eth0")
	var said []host.Survey
	if err := json.Unmarshal([]byte(out), &said); err != nil || status != exitDone || len(said) != 1 {
		t.Fatalf("status %d, %v:\n%s", status, err, out)
	}
	n, d := said[0].Report.NIC, said[0].Decision
	if n == nil || n.Driver != "veth" || n.MTU != 1500 || n.Features == nil || !n.Features.Redirect ||
		d.Taken() != host.Copy || d.Interface != "eth0" || d.Queues != 2 || len(d.Refused) != 1 {
		t.Errorf("%s", out)
	}
	if tuning := said[0].Tuning; tuning == nil || tuning.CPUs < 1 || tuning.Node != -1 ||
		tuning.Interrupts == nil || tuning.UDPHash != nil {
		t.Errorf("tuning %+v of a veth", tuning)
	}
}

// Three capabilities suffice for any user, and each of them is needed.
func TestDoctorOfUsers(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	h, _ := testenv.Pair(t, lab.Link{})
	const nobody = 65534
	three := []cap.Value{cap.NET_RAW, cap.NET_ADMIN, cap.BPF}
	refusal := func(d host.Decision) string {
		for _, r := range d.Refused {
			// RLIMIT_MEMLOCK is this machine's affair, and zerocopy the driver's.
			if r.Fact != host.FactMemlock && slices.Contains(r.Rungs, host.Copy) {
				return r.Reason
			}
		}
		return ""
	}
	if got := refusal(consultAs(t, h, nobody, three, "--interface", "eth0")); got != "" {
		t.Errorf("with all three: %s", got)
	}
	for i, c := range three {
		want := strings.ToUpper(c.String()) + " missing"
		if got := refusal(consultAs(t, h, nobody, slices.Delete(slices.Clone(three), i, i+1), "--interface",
			"eth0")); got != want {
			t.Errorf("without %v: %q", c, got)
		}
	}
}

func TestDoctorsHelp(t *testing.T) {
	out := newOutput()
	if status := command([]string{"doctor", "--help"}, nil, out, out,
		signals{}); status != exitDone || !strings.Contains(out.String(), "ringcast doctor [flags] [--json]") {
		t.Errorf("status %d\n%s", status, out)
	}
	if _, err := config.Load([]string{"--json"}, nil); err == nil {
		t.Error("--json is a setting, want the doctor's flag alone")
	}
}
