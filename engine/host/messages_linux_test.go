package host

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/genetlink/genltest"
	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A device is an interface as one RTM_NEWLINK of the kernel describes it. The messages were not recorded: this file
// makes them. The format is the kernel's (rtnl_fill_ifinfo in net/core/rtnetlink.c), the values are those of `ip -d
// link` on such machines. The product's own code decodes them.
type device struct {
	index        int
	name, kind   string
	flags        uint32
	hardware     uint16 // ARPHRD_…
	link, master uint32
	queues       uint32
	data         func(*mdlayher.AttributeEncoder) // of the kind
}

const (
	running = unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING | unix.IFF_MULTICAST | unix.IFF_LOWER_UP
	tunnel  = unix.IFF_UP | unix.IFF_POINTOPOINT | unix.IFF_RUNNING | unix.IFF_NOARP | unix.IFF_LOWER_UP
)

// message makes struct ifinfomsg and the attributes after it.
func (d *device) message(t *testing.T) []byte {
	t.Helper()
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint16(header[2:], d.hardware)
	binary.NativeEndian.PutUint32(header[4:], uint32(d.index))
	binary.NativeEndian.PutUint32(header[8:], d.flags)
	a := mdlayher.NewAttributeEncoder()
	a.String(unix.IFLA_IFNAME, d.name)
	a.Uint32(unix.IFLA_TXQLEN, 1000)
	a.Uint8(unix.IFLA_OPERSTATE, uint8(netlink.OperUp))
	a.Uint32(unix.IFLA_MTU, 1500)
	a.Uint32(unix.IFLA_NUM_TX_QUEUES, max(d.queues, 1))
	a.Uint32(unix.IFLA_NUM_RX_QUEUES, max(d.queues, 1))
	if d.link != 0 {
		a.Uint32(unix.IFLA_LINK, d.link)
	}
	if d.master != 0 {
		a.Uint32(unix.IFLA_MASTER, d.master)
	}
	if d.hardware == unix.ARPHRD_ETHER {
		a.Bytes(unix.IFLA_ADDRESS, net.HardwareAddr{2, 0, 0, 0, 0, byte(d.index)})
	}
	nest(a, unix.IFLA_XDP, func(x *mdlayher.AttributeEncoder) { x.Uint8(unix.IFLA_XDP_ATTACHED, 0) })
	if d.kind != "" {
		nest(a, unix.IFLA_LINKINFO, func(info *mdlayher.AttributeEncoder) {
			info.String(unix.IFLA_INFO_KIND, d.kind)
			if d.data != nil {
				nest(info, unix.IFLA_INFO_DATA, d.data)
			}
		})
	}
	attributes, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(header, attributes...)
}

// nest adds attributes within one, which has no NLA_F_NESTED, as in rtnetlink's older messages.
func nest(a *mdlayher.AttributeEncoder, kind uint16, fill func(*mdlayher.AttributeEncoder)) {
	a.Do(kind, func() ([]byte, error) {
		inner := mdlayher.NewAttributeEncoder()
		fill(inner)
		return inner.Encode()
	})
}

// A saying holds the answers of netlink and ethtool on a machine.
type saying struct {
	devices  []device
	address  string // of the interface that is looked at
	driver   string
	channels int    // both receive and send, in use and at most; 0 where there is no answer
	features uint64 // the answer of the family netdev
}

// report is the Report of Inspect from these answers, for the interface of that name.
func (s *saying) report(t *testing.T, name string) Report {
	t.Helper()
	var links []netlink.Link
	var addresses []netlink.Addr
	for i := range s.devices {
		link, err := netlink.LinkDeserialize(nil, s.devices[i].message(t))
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
		if link.Attrs().Name == name && s.address != "" {
			p := netip.MustParsePrefix(s.address)
			addresses = append(addresses, netlink.Addr{
				IPNet:     &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
				LinkIndex: link.Attrs().Index,
			})
		}
	}
	r := machine()
	r.Links = describeAll(links, addresses)
	for i, l := range r.Links {
		if l.Name == name {
			a := links[i].Attrs()
			r.NIC = &NIC{
				Link: l, Driver: s.driver, Queues: Queues{RX: a.NumRxQueues, TX: a.NumTxQueues},
				Gateways: []Gateway{{netip.MustParseAddr("198.18.0.1"), "reachable", "02:00:00:00:00:fe"}},
			}
			if n := s.channels; n > 0 {
				r.NIC.Queues = Queues{RX: n, TX: n, MaxRX: n, MaxTX: n}
			}
			e := s.ethtool()
			defer e.close()
			if err := e.inspect(r.NIC, a.Index); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// ethtool answers as the kernel's generic netlink does.
func (s *saying) ethtool() *ethtool {
	const familyEthtool, familyNetdev = 20, 21
	conn := genltest.Dial(func(_ genetlink.Message, request mdlayher.Message) ([]genetlink.Message, error) {
		if request.Header.Type != familyNetdev {
			return nil, genltest.Error(int(unix.EOPNOTSUPP))
		}
		a := mdlayher.NewAttributeEncoder()
		a.Uint32(netdevIfindex, 1)
		a.Uint64(netdevXDPFeatures, s.features)
		data, err := a.Encode()
		return []genetlink.Message{{Data: data}}, err
	})
	return &ethtool{
		conn,
		genetlink.Family{ID: familyEthtool, Version: 1},
		genetlink.Family{ID: familyNetdev, Version: 1},
	}
}

// ether is hardware, or software that carries Ethernet frames.
func ether(index int, name, kind string, link, master uint32) device {
	return device{
		index: index, name: name, kind: kind, flags: running, hardware: unix.ARPHRD_ETHER, link: link,
		master: master, queues: 2,
	}
}

const allButZeroCopy = netdevXDPBasic | netdevXDPRedirect | 4 // NETDEV_XDP_ACT_NDO_XMIT

// azure is a machine with accelerated networking. The VF comes by PCI and belongs to the synthetic device. That is of
// no kind and has no IFF_MASTER (netvsc_vf_join in drivers/net/hyperv/netvsc_drv.c).
func azure(vf bool) []device {
	all := []device{ether(2, "eth0", "", 0, 0)}
	if vf {
		d := ether(3, "enP30832s1", "", 0, 2)
		d.flags |= unix.IFF_SLAVE
		all = append(all, d)
	}
	return all
}

func wire(index int, name string, master uint32) device { return ether(index, name, "", 0, master) }

// Each kind of interface as netlink describes it, decoded, judged and printed. The doctor's reports are in testdata.
func TestDoctorOfKinds(t *testing.T) {
	const address = "198.18.0.2/24"
	virtual := []device{wire(2, "eth1", 0), wire(3, "eth2", 0)}
	on := func(d device) []device { return append([]device{d}, virtual...) }
	bond := append([]device{ether(4, "bond0", "bond", 0, 0)}, wire(2, "eth1", 4), wire(3, "eth2", 4))
	bond[0].flags |= unix.IFF_MASTER
	vrf := append([]device{ether(4, "vrf0", "vrf", 0, 0)}, wire(2, "eth1", 4))
	vrf[0].data = func(a *mdlayher.AttributeEncoder) { a.Uint32(1, 10) } // IFLA_VRF_TABLE
	noEthernet := func(name, kind string) device {
		return device{index: 4, name: name, kind: kind, flags: tunnel, hardware: unix.ARPHRD_NONE}
	}
	for _, row := range []struct {
		file, name string
		saying
		want Link // of it, what the stack is
	}{
		{"hv_netvsc", "eth0", saying{azure(false), address, "hv_netvsc", 8, allButZeroCopy}, Link{}},
		{
			"hv_netvsc-vf", "eth0",
			saying{azure(true), address, "hv_netvsc", 8, allButZeroCopy},
			Link{Lower: []string{"enP30832s1"}},
		},
		{"vf", "enP30832s1", saying{azure(true), "", "mlx5_core", 8, 127}, Link{Master: "eth0"}},
		{
			"wireguard", "wg0",
			saying{on(noEthernet("wg0", "wireguard")), address, "wireguard", 0, 0},
			Link{Kind: "wireguard", NoEthernet: true},
		},
		{
			"bond", "bond0",
			saying{bond, address, "bonding", 0, allButZeroCopy},
			Link{Kind: "bond", Lower: []string{"eth1", "eth2"}},
		},
		{"bond-port", "eth1", saying{bond, "", "ixgbe", 2, 127}, Link{Master: "bond0"}},
		{
			"team", "team0",
			saying{append([]device{ether(4, "team0", "team", 0, 0)}, wire(2, "eth1", 4)), address, "team", 0, 0},
			Link{Kind: "team", Lower: []string{"eth1"}},
		},
		{
			"vlan", "eth1.5",
			saying{on(ether(4, "eth1.5", "vlan", 2, 0)), address, "802.1Q VLAN Support", 0, 0},
			Link{Kind: "vlan", Lower: []string{"eth1"}},
		},
		{
			"ipvlan", "ipv0",
			saying{on(ether(4, "ipv0", "ipvlan", 2, 0)), address, "ipvlan", 0, 0},
			Link{Kind: "ipvlan", Lower: []string{"eth1"}},
		},
		{"geneve", "gnv0", saying{on(ether(4, "gnv0", "geneve", 0, 0)), address, "geneve", 0, 0}, Link{Kind: "geneve"}},
		{"dummy", "dummy0", saying{on(ether(4, "dummy0", "dummy", 0, 0)), address, "dummy", 0, 0}, Link{Kind: "dummy"}},
		{"vrf", "vrf0", saying{vrf, address, "vrf", 0, 0}, Link{Kind: "vrf", Lower: []string{"eth1"}}},
		{"vrf-member", "eth1", saying{vrf, address, "igb", 2, 127}, Link{Master: "vrf0"}},
		{
			"ovs-port", "eth1",
			saying{[]device{wire(2, "eth1", 4), ether(4, "ovs-system", "openvswitch", 0, 0)}, "", "ice", 2, 127},
			Link{Master: "ovs-system"},
		},
		{
			"ovs-internal", "br-ex",
			saying{on(ether(4, "br-ex", "openvswitch", 0, 0)), address, "openvswitch", 0, 0},
			Link{Kind: "openvswitch"},
		},
	} {
		t.Run(row.file, func(t *testing.T) {
			r := row.report(t, row.name)
			n := r.NIC
			if n == nil {
				t.Fatalf("no %s among %v", row.name, names(r.Links))
			}
			got := Link{Kind: n.Kind, Master: n.Master, Lower: n.Lower, NoEthernet: n.NoEthernet}
			if stackOf(&got) != stackOf(&row.want) {
				t.Errorf("stack %s, want %s", stackOf(&got), stackOf(&row.want))
			}
			var out strings.Builder
			if err := Print(&out, r, Choose(DefaultConfig(), row.name, r), Words); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", row.file+".txt"), out.String())
		})
	}
}

func stackOf(l *Link) string {
	s := l.Kind + " on " + strings.Join(l.Lower, " ") + " below " + l.Master
	if l.NoEthernet {
		s += " without Ethernet"
	}
	return s
}

// golden compares with a file, and writes it where the environment says UPDATE=1.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if os.Getenv("UPDATE") == "1" {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755),
			os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
