package xdp

import (
	"errors"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// Where the doctor leaves generic XDP on an interface that stands on others, it works: media of both ways goes by
// AF_XDP. Without it the server starts on sockets and says why, in one line.
func TestStacked(t *testing.T) {
	for _, c := range []struct {
		kind, why string
		make      []string // commands on the server, which move its addresses from eth0 to top
	}{
		{
			kind: "macvlan", why: "top is a macvlan on eth0",
			make: []string{"link add top link eth0 type macvlan"},
		},
		{
			kind: "bridge", why: "top is a bridge of ports (eth0)",
			make: []string{"link add top type bridge forward_delay 0", "link set eth0 master top"},
		},
	} {
		t.Run(c.kind, func(t *testing.T) {
			testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.Program("ip"))
			server, client := testenv.Pair(t, lab.Link{})
			own := []netip.Addr{server.IPv4(), server.IPv6()}
			ip := func(line string) {
				t.Helper()
				out, err := server.Run(deadline(t, patience), nil, "ip", strings.Fields(line)...)
				must(t, errors.Join(err, errorOf(out)))
			}
			ip("address flush dev eth0")
			for _, line := range append(slices.Clone(c.make),
				"link set top up", "address add "+own[0].String()+"/24 dev top",
				"address add "+own[1].String()+"/64 dev top nodad") {
				ip(line)
			}
			g := newStage(t, server, func(binary string) *exec.Cmd {
				return exec.Command(binary, "--io", "xdp", "--interface", "top", "--generic")
			})
			g.flows(client, own[0], client.IPv4())
			g.onQueues()
			must(t, g.server.Stop())

			s, err := testenv.StartOn(t.Context(), server, nil, "--public-ip", own[0].String())
			must(t, err)
			s.EndWith(t)
			onSockets(t, s, c.why)
		})
	}
}

// errorOf is the output of a command that may print nothing.
func errorOf(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	return errors.New(string(out))
}
