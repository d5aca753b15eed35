package host

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// stackOn makes eth0 of the machine an interface of a kind over eth1.
func stackOn(kind string) func(*Report) {
	return func(r *Report) { r.NIC.Kind, r.NIC.Lower = kind, []string{"eth1"} }
}

// belongTo makes eth0 of the machine a port of eth1, which is of a kind.
func belongTo(kind string) func(*Report) {
	return func(r *Report) { r.NIC.Master, r.Links[2].Kind = "eth1", kind }
}

// Interfaces that stand on others, or belong to another, are refused even if their driver offers all of XDP, as a
// bond's does. Generic XDP remains where the kernel runs it on the interface itself.
func TestChooseStacked(t *testing.T) {
	const outside = "; give the UDP port an address on a network interface of its own and name that; sockets serve " +
		"on eth0"
	const wire = "; --interface names the one by which packets come in; the address may stay on eth0"
	for _, row := range []struct {
		name   string
		change func(*Report)
		rungs  string // with generic XDP asked for
		want   string // the refusal
	}{
		{
			"bond", func(r *Report) {
				r.NIC.Kind, r.NIC.Driver, r.NIC.Lower = "bond", "bonding",
					[]string{"eth1", "eth2"}
			}, "xdp-generic udp",
			"eth0 is a bond: XDP runs on its ports (eth1, eth2), and sockets of eth0 get none of their packets" +
				outside,
		},
		{
			"bond without ports", func(r *Report) { r.NIC.Kind = "bond" }, "xdp-generic udp",
			"eth0 is a bond: XDP runs on its ports (none), and sockets of eth0 get none of their packets" + outside,
		},
		{
			"team", stackOn("team"), "xdp-generic udp",
			"eth0 is a team of ports (eth1) and has no XDP of its own" + outside,
		},
		{
			"bridge", stackOn("bridge"), "xdp-generic udp",
			"eth0 is a bridge of ports (eth1) and has no XDP of its own" + outside,
		},
		{
			"inside Open vSwitch", stackOn("openvswitch"), "xdp-generic udp",
			"eth0 is a port inside Open vSwitch and has no XDP of its own" + outside,
		},
		{
			"VLAN", stackOn("vlan"), "xdp-generic udp",
			"eth0 is a VLAN on eth1 and has no XDP of its own" + outside,
		},
		{
			"macvlan", stackOn("macvlan"), "xdp-generic udp",
			"eth0 is a macvlan on eth1 and has no XDP of its own" + outside,
		},
		{
			"ipvlan", stackOn("ipvlan"), "xdp-generic udp",
			"eth0 is an ipvlan on eth1 and has no XDP of its own" + outside,
		},
		{"VXLAN", stackOn("vxlan"), "xdp-generic udp", "eth0 is a VXLAN tunnel and has no XDP of its own" + outside},
		{"GENEVE", stackOn("geneve"), "xdp-generic udp", "eth0 is a GENEVE tunnel and has no XDP of its own" + outside},
		{"GRE", stackOn("gretap"), "xdp-generic udp", "eth0 is a GRE tunnel and has no XDP of its own" + outside},
		{
			"macvtap", stackOn("macvtap"), "udp",
			"eth0 is a macvtap, whose packets another program reads; name the interface that has the addresses",
		},
		{"dummy", stackOn("dummy"), "udp", "eth0 is a dummy and has no wire" + wire},
		{"ifb", stackOn("ifb"), "udp", "eth0 is an ifb, which only takes detours of traffic control" + wire},
		{"VRF", stackOn("vrf"), "udp", "eth0 is a VRF; packets come in by its members (eth1)" + wire},
		{
			"hv_netvsc with a VF", func(r *Report) { r.NIC.Driver, r.NIC.Lower = "hv_netvsc", []string{"eth1"} },
			"xdp-generic udp",
			"eth0 stands on eth1: packets come by queues of eth1, and sockets of eth0 get none of them; " +
				"sockets serve on eth0; without accelerated networking AF_XDP copies there",
		},
		{
			"an unknown kind over others", stackOn("new"), "xdp-generic udp",
			"eth0 stands on eth1: packets come by queues of eth1, and sockets of eth0 get none of them" + outside,
		},
		{
			"WireGuard", func(r *Report) { r.NIC.Kind, r.NIC.NoEthernet = "wireguard", true }, "udp",
			"eth0 carries no Ethernet frames (wireguard)" + outside,
		},
		{"InfiniBand", func(r *Report) { r.NIC.NoEthernet = true }, "udp", "eth0 carries no Ethernet frames" + outside},
		{
			"port of a bond", belongTo("bond"), "udp",
			"eth0 belongs to bond eth1, which has the addresses and the routes; take eth0 out of eth1 and give it " +
				"an address; sockets serve on eth1",
		},
		{
			"port of a bridge", belongTo("bridge"), "udp",
			"eth0 belongs to bridge eth1, which has the addresses and the routes; take eth0 out of eth1 and give " +
				"it an address; sockets serve on eth1",
		},
		{
			"VF of hv_netvsc", belongTo(""), "udp",
			"eth0 belongs to eth1, which has the addresses and the routes; sockets serve on eth1",
		},
		{
			"port of Open vSwitch", belongTo("openvswitch"), "udp",
			"eth0 belongs to openvswitch eth1, which has the addresses and the routes; " +
				"take eth0 out of Open vSwitch and give it an address; sockets serve on ports inside",
		},
		{"member of a VRF", belongTo("vrf"), "xdp-copy xdp-generic udp", ""},
		{"veth", func(r *Report) { r.NIC.Kind, r.NIC.Driver = "veth", "veth" }, "xdp-copy xdp-generic udp", ""},
		{"tap", func(r *Report) { r.NIC.Kind, r.NIC.Driver = "tap", "tun" }, "xdp-copy xdp-generic udp", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := machine()
			row.change(&r)
			d := Choose(with(func(c *Config) { c.Generic = true }), "eth0", r)
			if got := join(d.Rungs); got != row.rungs {
				t.Errorf("rungs %q, want %q", got, row.rungs)
			}
			var got []string
			for _, r := range d.Refused {
				if slices.Contains(r.Rungs, Copy) {
					got = append(got, r.String())
				}
			}
			if strings.Join(got, "\n") != row.want || strings.Contains(fmt.Sprint(got), "%!") {
				t.Errorf("refused\n%s\nwant\n%s", strings.Join(got, "\n"), row.want)
			}
			// No rule of a driver or notice of zerocopy beside it.
			if len(d.Refused) > 1 {
				t.Errorf("refused %v", d.Refused)
			}
		})
	}
}

// The page for operators speaks of every kind that is refused.
func TestPageNamesKinds(t *testing.T) {
	page, err := os.ReadFile("../../docs/nics.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ToLower(string(page))
	words := map[string]string{"openvswitch": "open vswitch", "gretap": "gre", "ip6gretap": "gre", "ipvtap": "macvtap"}
	for kind := range stackedKinds {
		word := words[kind]
		if word == "" {
			word = kind
		}
		if !strings.Contains(text, word) {
			t.Errorf("docs/nics.md does not speak of %s", word)
		}
	}
}
