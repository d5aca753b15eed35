package host

import "testing"

// The limit on locked memory is the user's, so it counts for all interfaces together, in the order in which they are
// opened.
func TestInterfacesShareMemlock(t *testing.T) {
	nics := map[string]NIC{
		"eth0": {Queues: Queues{RX: 1, TX: 1}, Features: &Features{Basic: true, Redirect: true}},
		"eth1": {Queues: Queues{RX: 2, TX: 2}, Features: &Features{Basic: true, Redirect: true, ZeroCopy: true}},
		"lo":   {Link: Link{Loopback: true}, Queues: Queues{RX: 1, TX: 1}},
	}
	for _, c := range []struct {
		name    string
		names   []string
		memlock uint64
		want    []Rung
	}{
		{"each alone would fit", []string{"eth0", "eth1"}, 12 << 20, []Rung{Copy, Sockets}},
		{"both fit", []string{"eth0", "eth1"}, 18 << 20, []Rung{Copy, Copy}},
		{"both fit, one with zerocopy", []string{"eth0", "eth1"}, 30 << 20, []Rung{Copy, ZeroCopy}},
		{"the first takes all for zerocopy", []string{"eth1", "eth0"}, 24 << 20, []Rung{ZeroCopy, Sockets}},
		{"one that is refused takes nothing", []string{"lo", "eth1"}, 12 << 20, []Rung{Sockets, Copy}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := surveyEach(DefaultConfig(), c.names, func(name string) Report {
				n := nics[name]
				n.Name, n.Up, n.Carrier = name, true, true
				p := Process{Capabilities: []string{netRaw, netAdmin, bpf}, Memlock: c.memlock, MemlockHard: c.memlock}
				return Report{OS: "linux", Process: p, Links: []Link{n.Link}, NIC: &n}
			})
			for i, want := range c.want {
				if got := all[i].Decision.Taken(); got != want {
					t.Errorf("%s is on %q, want %q; refused: %v", c.names[i], got, want, all[i].Decision.Refused)
				}
			}
		})
	}
}
