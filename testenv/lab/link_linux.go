package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// An End describes one end of a cable.
type End struct {
	Host *Host
	// Name is the device's. Every host may have an eth0.
	Name string
	// MAC is the device's address; the kernel chooses one if it is nil.
	MAC net.HardwareAddr
	// Addrs are its addresses, with the networks that they are in.
	Addrs []netip.Prefix
	// Gateways are the next hops of the host's default routes through this device, at most one for each
	// family. One of IPv6 may be link-local.
	Gateways []netip.Addr
}

// A Link describes a cable. Its zero value is one queue each way and an MTU of 1500.
type Link struct {
	// Queues is the number of receive, and of transmit, queues at each end.
	Queues int
	// MTU is that of both ends in bytes. Native XDP accepts at most 3,506 if a program needs frames in one piece.
	MTU int
}

// A Cable is a veth pair between two hosts.
type Cable struct {
	A, B *Device
	link Link
}

// A Device is one end of a cable. Its methods that make faults may be used one at a time.
type Device struct {
	End // as it is now
	// Index is the interface's number on its host. It changes when the cable is replaced.
	Index int

	up bool
	mu sync.Mutex // guards all above against methods of the Device
}

// Connect lays a cable between two hosts and sets both ends up.
func (l *Lab) Connect(a, b End, link Link) (*Cable, error) {
	c := &Cable{A: &Device{End: a, up: true}, B: &Device{End: b, up: true}, link: link}
	if err := c.Insert(); err != nil {
		return nil, err
	}
	for _, d := range []*Device{c.A, c.B} {
		d.Host.mu.Lock()
		d.Host.devices = append(d.Host.devices, d)
		d.Host.mu.Unlock()
	}
	return c, nil
}

// indices numbers first ends, away from the kernel's own numbers, which begin at 1 on each host.
var indices atomic.Int32

func init() { indices.Store(1000) }

// Insert creates the interfaces, again after Remove: with the same names, MACs, addresses and gateways, and
// new numbers. Programs, offloads and NAPI threads are not restored.
func (c *Cable) Insert() error {
	a, b := c.A, c.B
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName = a.Name, b.Name
	veth.HardwareAddr, veth.PeerHardwareAddr = a.MAC, b.MAC
	veth.NumTxQueues, veth.NumRxQueues = max(c.link.Queues, 1), max(c.link.Queues, 1)
	veth.MTU = c.link.MTU
	// With the same number at both ends, the kernel takes them for one. Its news of the carrier, which IPv6 waits for,
	// may then be a second late (linkwatch_urgent_event in net/core/link_watch.c).
	veth.Index = int(indices.Add(1))
	// Both ends are created inside: the machine's own network never sees them.
	veth.PeerNamespace = netlink.NsFd(b.Host.ns)
	if err := a.Host.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("lay a cable from %s of %s to %s of %s: %w", a.Name, a.Host.Name, b.Name, b.Host.Name, err)
	}
	for _, d := range []*Device{a, b} {
		if err := d.find(); err != nil {
			return err
		}
	}
	// The routes of one end need the carrier of the other.
	if err := errors.Join(a.configure(false), b.configure(true), a.configure(true)); err != nil || !a.up || !b.up {
		return err
	}
	return errors.Join(a.run(), b.run())
}

// run waits until the kernel reports that an interface whose ends are up is running. That news comes from a thread of
// its own, late on a busy machine, and programs that look for addresses rely on it.
func (d *Device) run() error {
	for giveUp := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		link, err := d.Host.handle.LinkByIndex(d.Index)
		if err != nil {
			return fmt.Errorf("look at %s: %w", d.Name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(giveUp) {
			return fmt.Errorf("%s of %s is not running after %v", d.Name, d.Host.Name, patience)
		}
	}
}

// Remove deletes the interfaces, as a driver that is unloaded does. Remove and Insert are not for use along
// with methods of the ends.
func (c *Cable) Remove() error {
	if err := c.A.Host.handle.LinkDel(c.A.link()); err != nil {
		return fmt.Errorf("delete %s: %w", c.A.Name, err)
	}
	return nil
}

// link names the interface to netlink.
func (d *Device) link() netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: d.Index, Name: d.Name}}
}

// find reads the kernel's choices.
func (d *Device) find() error {
	link, err := d.Host.handle.LinkByName(d.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", d.Name, err)
	}
	d.Index, d.MAC = link.Attrs().Index, link.Attrs().HardwareAddr
	return nil
}

// configure brings the interface to the state of End, from any state. A default route needs a carrier: routes reports
// whether there is one.
func (d *Device) configure(routes bool) error {
	h := d.Host.handle
	for _, p := range d.Addrs {
		addr := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NODAD}
		if p.Addr().Is4() {
			addr.Flags = 0
		}
		if err := h.AddrReplace(d.link(), addr); err != nil {
			return fmt.Errorf("give %s the address %s: %w", d.Name, p, err)
		}
	}
	if !d.up {
		return nil
	}
	if err := h.LinkSetUp(d.link()); err != nil {
		return fmt.Errorf("set %s up: %w", d.Name, err)
	}
	if !routes {
		return nil
	}
	for _, gw := range d.Gateways {
		if err := h.RouteReplace(d.defaultRoute(gw)); err != nil {
			return fmt.Errorf("route by %s through %s: %w", gw, d.Name, err)
		}
	}
	return nil
}

func (d *Device) defaultRoute(gw netip.Addr) *netlink.Route {
	all := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	if gw.Is4() {
		all = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return &netlink.Route{LinkIndex: d.Index, Dst: ipNet(all), Gw: gw.WithZone("").AsSlice()}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Down sets the interface down. Its end of the cable shows as no carrier at the other.
func (d *Device) Down() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.up = false
	if err := d.Host.handle.LinkSetDown(d.link()); err != nil {
		return fmt.Errorf("set %s down: %w", d.Name, err)
	}
	return nil
}

// Up sets the interface up and gives it back the routes that it has lost.
func (d *Device) Up() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.up = true
	return d.configure(true)
}

// SetMAC changes the device's address. The kernel announces it to nobody: neighbours keep the old one until they ask
// again.
func (d *Device) SetMAC(mac net.HardwareAddr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.Host.handle.LinkSetHardwareAddr(d.link(), mac); err != nil {
		return fmt.Errorf("give %s the MAC %s: %w", d.Name, mac, err)
	}
	d.MAC = slices.Clone(mac)
	return nil
}

// Backpressure gives the device a queueing discipline. Without one veth drops packets that do not fit its peer's ring
// of 256. With one it pauses the sender until there is room, as other devices do (veth_xmit in drivers/net/veth.c,
// since Linux 6.16). AF_XDP bypasses the discipline, but obeys the pause.
func (d *Device) Backpressure() error {
	kind := "pfifo_fast"
	if link, err := d.Host.handle.LinkByIndex(d.Index); err == nil && link.Attrs().NumTxQueues > 1 {
		kind = "mq" // one for each queue
	}
	err := d.Host.handle.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: d.Index, Parent: netlink.HANDLE_ROOT}, QdiscType: kind,
	})
	if err != nil {
		return fmt.Errorf("give %s the queueing discipline %s: %w", d.Name, kind, err)
	}
	return nil
}

// throttleBurst is the depth of a throttle's bucket in bytes. It holds a few packets, as cheap routers do.
const throttleBurst = 4000

// Throttle limits what the host sends through the device to a rate in bit/s, with a queue of a length at that rate.
// Packets that do not fit into the queue are dropped. Another call changes the rate and keeps the packets that wait.
// AF_XDP bypasses it: throttle a router after the server.
func (d *Device) Throttle(rate int, queue time.Duration) error {
	bytes := uint64(rate / 8)
	if err := d.Host.handle.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: d.Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT,
		},
		Rate: bytes, Buffer: netlink.Xmittime(bytes, throttleBurst),
		Limit: throttleBurst + uint32(float64(bytes)*queue.Seconds()),
	}); err != nil {
		return fmt.Errorf("throttle %s to %d bit/s: %w", d.Name, rate, err)
	}
	return nil
}

// AddAddr adds an address to the device.
func (d *Device) AddAddr(p netip.Prefix) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Addrs = append(slices.Clone(d.Addrs), p)
	return d.configure(d.up)
}

// SetGateway sets the host's default route of gw's family to gw through this device.
func (d *Device) SetGateway(gw netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	others := slices.DeleteFunc(slices.Clone(d.Gateways), func(old netip.Addr) bool { return old.Is4() == gw.Is4() })
	d.Gateways = append(others, gw)
	return d.configure(true)
}

// LinkLocal is the device's IPv6 link-local address, which has no zone.
func (d *Device) LinkLocal() (netip.Addr, error) {
	addrs, err := d.Host.handle.AddrList(d.link(), netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("addresses of %s: %w", d.Name, err)
	}
	for _, a := range addrs {
		if ip, ok := netip.AddrFromSlice(a.IP); ok && ip.IsLinkLocalUnicast() {
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%s has no link-local address", d.Name)
}

// Pair makes the hosts server and client with one cable between their eth0. Each is the other's default gateway, which
// forwards nothing: browsers find their own address by the default route.
func (l *Lab) Pair(link Link) (server, client *Host, err error) {
	if server, err = l.AddHost("server"); err != nil {
		return nil, nil, err
	}
	if client, err = l.AddHost("client"); err != nil {
		return nil, nil, err
	}
	_, err = l.Connect(
		End{
			Host: server, Name: "eth0", Addrs: prefixes("198.18.0.1/24", "fd00::1/64"),
			Gateways: addrs("198.18.0.2", "fd00::2"),
		},
		End{
			Host: client, Name: "eth0", Addrs: prefixes("198.18.0.2/24", "fd00::2/64"),
			Gateways: addrs("198.18.0.1", "fd00::1"),
		},
		link)
	return server, client, err
}

// Routed makes the hosts server and client, and a router that is the default gateway of both. The router's device south
// goes to the server's eth0, north to the client's.
func (l *Lab) Routed(link Link) (server, router, client *Host, err error) {
	if server, err = l.AddHost("server"); err != nil {
		return nil, nil, nil, err
	}
	if router, err = l.AddHost("router"); err != nil {
		return nil, nil, nil, err
	}
	if client, err = l.AddHost("client"); err != nil {
		return nil, nil, nil, err
	}
	for _, forward := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := router.Sysctl(forward, "1"); err != nil {
			return nil, nil, nil, err
		}
	}
	if _, err = l.Connect(
		End{
			Host: server, Name: "eth0", Addrs: prefixes("198.18.1.2/24", "fd00:1::2/64"),
			Gateways: addrs("198.18.1.1", "fd00:1::1"),
		},
		End{Host: router, Name: "south", Addrs: prefixes("198.18.1.1/24", "fd00:1::1/64")}, link); err != nil {
		return nil, nil, nil, err
	}
	_, err = l.Connect(
		End{
			Host: client, Name: "eth0", Addrs: prefixes("198.18.2.2/24", "fd00:2::2/64"),
			Gateways: addrs("198.18.2.1", "fd00:2::1"),
		},
		End{Host: router, Name: "north", Addrs: prefixes("198.18.2.1/24", "fd00:2::1/64")}, link)
	return server, router, client, err
}

func prefixes(all ...string) (ps []netip.Prefix) {
	for _, p := range all {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func addrs(all ...string) (as []netip.Addr) {
	for _, a := range all {
		as = append(as, netip.MustParseAddr(a))
	}
	return as
}
