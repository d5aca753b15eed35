package xdp

import (
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// refused demands that a server ended with an error that says, in one line, what is the matter.
func refused(t *testing.T, what, out string, err error, why string) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() <= 0 {
		t.Errorf("%s: ended with %v, want an exit code other than 0", what, err)
	}
	var told []string
	for line := range strings.Lines(out) {
		if !strings.Contains(line, "level=INFO") {
			told = append(told, strings.TrimSpace(line))
		}
	}
	t.Logf("%s: %q", what, told)
	if len(told) != 1 || !strings.Contains(told[0], why) {
		t.Errorf("%s: says %q, want one line with %q", what, told, why)
	}
}

// onSockets demands that a server runs on sockets and tells why.
func onSockets(t *testing.T, s *testenv.Server, why string) {
	t.Helper()
	m := s.Metrics(t)
	if m[`ringcast_port_info{io="udp"}`] != 1 {
		t.Errorf("not on sockets:\n%s", m.List("ringcast_port"))
	}
	var told []string
	for line := range strings.Lines(s.Log()) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "falling back to sockets") {
			told = append(told, line)
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], why) || !strings.Contains(told[0], "xdp-copy") ||
		!strings.Contains(m.List("ringcast_port_refused_info"), why) {
		t.Errorf("the log warns %q, want one line with %q; the metrics say\n%s\n%s",
			told, why, m.List("ringcast_port_refused"), s.Log())
	}
}

// AF_XDP cannot start on some interfaces. A server that must use it says so in one line; another runs on sockets and
// serves.
func TestRefusals(t *testing.T) {
	testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP)
	binary, err := testenv.Binary()
	must(t, err)
	for _, c := range []struct {
		name, device string
		spoil        func(t *testing.T, server *lab.Host)
		// as runs the command as somebody who may not.
		as  func(cmd *exec.Cmd)
		why string
	}{
		{name: "no interface", device: "eth7", why: "interface eth7 not found"},
		{
			name: "interface down", device: "eth1", why: "eth1 is down",
			spoil: func(t *testing.T, server *lab.Host) { must(t, server.Device("eth1").Down()) },
		},
		{name: "lo", device: "lo", why: "lo is the loopback"},
		{
			name: "another program", device: "eth0", why: "another XDP program (id ",
			spoil: func(t *testing.T, server *lab.Host) {
				in, err := server.Device("eth0").Ingress(lab.Fault{})
				must(t, err)
				t.Cleanup(func() { must(t, in.Remove()) }) // held until then, or the collector would take it off
			},
		},
		{
			name: "no privilege", device: "eth0", why: "CAP_NET_RAW, CAP_NET_ADMIN, CAP_BPF missing",
			as: func(cmd *exec.Cmd) {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			},
		},
		{
			name: "memlock too small", device: "eth0", why: "RLIMIT_MEMLOCK is 64 KiB",
			as: func(cmd *exec.Cmd) { asNobody(cmd, 64<<10) },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := testenv.NewLab(t)
			server, client, err := l.Pair(lab.Link{})
			must(t, err)
			if c.device == "eth1" {
				_, err := l.Connect(lab.End{Host: server, Name: "eth1"}, lab.End{Host: client, Name: "eth1"},
					lab.Link{})
				must(t, err)
			}
			if c.spoil != nil {
				c.spoil(t, server)
			}
			command := func(args ...string) *exec.Cmd {
				cmd := exec.Command(binary, append([]string{"--interface", c.device}, args...)...)
				if c.as != nil {
					c.as(cmd)
				}
				return cmd
			}
			var out strings.Builder
			cmd := command("--io", "xdp", "--admin", "")
			cmd.Stdout, cmd.Stderr = &out, &out
			p, err := server.Start(deadline(t, patience), cmd)
			must(t, err)
			err = p.Wait()
			refused(t, "--io xdp", out.String(), err, c.why)

			s, err := testenv.StartCommandOn(t.Context(), server, nil, command())
			must(t, err)
			s.EndWith(t)
			onSockets(t, s, c.why)
			g := stageOf(t, server, s)
			pub := g.publish(client, client.IPv4(), server.IPv4(), "refused")
			view, err := g.watch(deadline(t, patience), client, client.IPv4(), server.IPv4(), "refused")
			f := g.flow("refused", pub, view, err)
			f.view.flows(t, f.feed)
			f.feed.stop()
		})
	}
}
