package xdp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/testenv"
	"ringcast/testenv/lab"
)

// addGuest gives a device a guest: a host whose eth0 is a macvlan on it, with a MAC and addresses of its own.
func addGuest(t *testing.T, d *lab.Device, addrs ...string) *lab.Host {
	t.Helper()
	guest, err := testenv.NewLab(t).AddHost("guest")
	must(t, err)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.Namespace = "eth0", d.Index, netlink.NsFd(guest.NetNS())
	testenv.Need(t, testenv.Capability{Name: "macvlan", Find: func() error {
		err := d.Host.Netlink().LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
		if errors.Is(err, unix.EOPNOTSUPP) {
			return testenv.Missing("macvlan", "not in this kernel")
		}
		return err
	}})
	link, err := guest.Netlink().LinkByName("eth0")
	must(t, err)
	for _, a := range addrs {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		if addr.IP.To4() == nil {
			addr.Flags = unix.IFA_F_NODAD
		}
		must(t, guest.Netlink().AddrAdd(link, addr))
	}
	must(t, guest.Netlink().LinkSetUp(link))
	return guest
}

// A guest on our interface has a media port of its own and gets every packet to it. That includes packets that the
// guard would drop if they were ours.
func TestGuest(t *testing.T) {
	const sent = 100
	for _, c := range []struct{ name, client, guest string }{
		{"IPv4", "198.18.0.2", "198.18.0.3"},
		{"IPv6", "fd00::2", "fd00::3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, cable, client := pair(t)
			guest := addGuest(t, cable.A, "198.18.0.3/24", "fd00::3/64")
			flows := g.flows(client, g.here.IPv4(), client.IPv4())
			to := netip.AddrPortFrom(netip.MustParseAddr(c.guest), 7000)
			there, err := guest.ListenUDP(to)
			must(t, err)
			defer there.Close()
			here, err := client.ListenUDP(netip.AddrPortFrom(netip.MustParseAddr(c.client), 0))
			must(t, err)
			defer here.Close()
			before := g.server.Metrics(t)
			for i := range sent {
				payload := make([]byte, 100)
				payload[0] = []byte{0x80, 0x16, 0x00, 0xff}[i%4] // RTP, DTLS, STUN, none
				_, err := here.WriteToUDPAddrPort(payload, to)
				must(t, err)
				must(t, there.SetReadDeadline(time.Now().Add(patience)))
				if n, err := there.Read(make([]byte, 200)); err != nil || n != len(payload) {
					t.Fatalf("the guest's packet %d: %d bytes, %v; want %d", i, n, err, len(payload))
				}
			}
			reason := func(r string) string { return `ringcast_xdp_packets_total{reason="` + r + `"}` }
			grown := g.server.Metrics(t).Sub(before)
			if n := grown[reason("pass_other_mac")]; n != sent {
				t.Errorf("passed %v packets to other MACs, want %d", n, sent)
			}
			if n := grown.Sum(`ringcast_xdp_packets_total{reason="drop`); n != 0 {
				t.Errorf("dropped %v packets, want none", n)
			}
			for _, f := range flows {
				f.view.flows(t, f.feed)
			}
			g.onQueues()
		})
	}
}

// The interface gets another MAC, which its peer learns of: AF_XDP goes on with that.
func TestOwnMAC(t *testing.T) {
	g, cable, client := pair(t)
	flows := g.flows(client, g.here.IPv4(), client.IPv4())
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 0x24}
	g.measure("our MAC changes", flows, mend, func() {
		must(t, cable.A.SetMAC(mac))
		for _, ip := range []netip.Addr{g.here.IPv4(), g.here.IPv6()} {
			must(t, client.Netlink().NeighSet(&netlink.Neigh{
				LinkIndex: cable.B.Index, IP: ip.AsSlice(), HardwareAddr: mac, State: netlink.NUD_REACHABLE,
			}))
		}
	})
	g.onQueues()
}
