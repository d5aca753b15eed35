package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// linkKind is a kernel that makes interfaces of a kind.
func linkKind(kind string, ip func(string) (string, error)) testenv.Capability {
	return testenv.Capability{Name: kind + " interfaces", Find: func() error {
		out, err := ip("link add probe0 type " + kind)
		if err == nil {
			_, err = ip("link delete probe0")
			return err
		}
		// A kind that wants more than a name says so; one that the kernel has not is unknown.
		if strings.Contains(out, "Unknown device type") || strings.Contains(out, "Operation not supported") {
			return testenv.Missing(kind+" interfaces", strings.TrimSpace(out))
		}
		return nil
	}}
}

// softwareVersion is the driver's version, which some take from the kernel.
var softwareVersion = regexp.MustCompile(`(\n {7}driver +\S+).*`)

// The doctor's reports on the kernel's own interfaces of software are in testdata. The machine's part is the same
// everywhere. An address in place of a name leads to the same interface.
func TestDoctorOfSoftware(t *testing.T) {
	for _, row := range []struct {
		file, kind string
		make       []string
		args       []string
	}{
		{
			"bridge", "bridge",
			[]string{"link add top type bridge forward_delay 0", "link set eth0 master top"},
			[]string{"--public-ip", "198.18.7.1"},
		},
		{
			"bridge-port", "bridge",
			[]string{"link add top type bridge forward_delay 0", "link set eth0 master top"},
			[]string{"--interface", "eth0"},
		},
		{"macvlan", "macvlan", []string{"link add top link eth0 type macvlan"}, []string{"--public-ip", "198.18.7.1"}},
		{"tun", "tun", []string{"tuntap add mode tun name top"}, []string{"--public-ip", "198.18.7.1"}},
		{"tap", "tun", []string{"tuntap add mode tap name top"}, []string{"--interface", "top"}},
		{"ifb", "ifb", []string{"link add top type ifb"}, []string{"--interface", "top"}},
		{
			"vxlan", "vxlan",
			[]string{"link add top type vxlan id 7 dstport 4789 remote 198.18.0.2 dev eth0"},
			[]string{"--public-ip", "198.18.7.1"},
		},
	} {
		t.Run(row.file, func(t *testing.T) {
			testenv.Need(t, testenv.NetworkNamespaces, testenv.XDP, testenv.Program("ip"))
			h, _ := testenv.Pair(t, lab.Link{})
			ip := func(line string) (string, error) {
				out, err := h.Run(t.Context(), nil, "ip", strings.Fields(line)...)
				return string(out), err
			}
			testenv.Need(t, linkKind(row.kind, ip))
			for _, line := range append(row.make, "link set top up", "address add 198.18.7.1/24 dev top") {
				if out, err := ip(line); err != nil {
					t.Fatalf("ip %s: %v\n%s", line, err, out)
				}
			}
			out, status := consult(t, h, row.args...)
			got := softwareVersion.ReplaceAllString(normal(out), "$1")
			path := filepath.Join("testdata", "doctor", row.file+".txt")
			if os.Getenv("UPDATE") == "1" {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) || status != exitFailed {
				t.Errorf("status %d, got\n%s\nwant\n%s", status, got, want)
			}
		})
	}
}
