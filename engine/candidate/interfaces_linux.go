package candidate

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A routing reads the kernel's interfaces by two netlink sockets, of the network namespace in which they were opened.
type routing struct {
	notices *nl.NetlinkSocket
	kernel  *netlink.Handle
}

// openInterfaces does without notifications where the kernel, or a sandbox in its place, has none.
func openInterfaces() interfaces {
	r, err := openRouting()
	if err != nil {
		return newPortable(err)
	}
	return r
}

// abroad are addresses to which only a default route leads. Nothing is sent to them.
var abroad = []net.IP{net.IPv4(1, 1, 1, 1), net.ParseIP("2606:4700:4700::1111")}

// openRouting subscribes before anything is listed, so that no change is missed.
func openRouting() (*routing, error) {
	notices, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to addresses: %w", err)
	}
	kernel, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		notices.Close()
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &routing{notices, kernel}, nil
}

// interval covers notifications that were missed for an unknown reason.
func (*routing) interval() time.Duration { return 30 * time.Second }

func (r *routing) stop()  { r.notices.Close() }
func (r *routing) close() { r.kernel.Close() }

// mostFailures bounds the failed reads of notifications in a row.
const mostFailures = 10

// listen reports each notification of the kernel without a look at it: everything is listed again anyway. An overflow
// of the socket's buffer (ENOBUFS) counts as a change.
func (r *routing) listen(changed func()) (err error) {
	for failures := 0; failures < mostFailures; {
		if _, _, err = r.notices.Receive(); err == nil {
			failures = 0
		} else if errors.Is(err, os.ErrClosed) {
			return nil
		} else {
			failures++
		}
		changed()
	}
	return err
}

// read lists links and addresses. A change in between interrupts the list, and is notified.
func (r *routing) read() ([]Address, error) {
	links, err := r.kernel.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addresses, err := r.kernel.AddrList(nil, unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	outer := r.outer(links)
	byIndex := make(map[int]netlink.Link)
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	var out []Address
	for _, a := range addresses {
		l := byIndex[a.LinkIndex]
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || l == nil {
			continue // its link appeared after the links were listed, which is notified
		}
		network := a.IPNet
		if a.Peer != nil {
			network = a.Peer
		}
		t := linkTraits(l, outer) | traits(addr, a.Flags)
		out = append(out, Address{Addr: addr.Unmap(), Network: prefix(network), Link: l.Attrs().Name, Traits: t})
	}
	return out, nil
}

// outer finds the indices of links that lead to a network: bridges with a port of the host's own, and links with a
// default route. Ports of containers and virtual machines do not count.
func (r *routing) outer(links []netlink.Link) map[int]bool {
	all := make(map[int]bool)
	for _, a := range abroad {
		routes, _ := r.kernel.RouteGet(a) // an error: there is none
		for _, route := range routes {
			all[route.LinkIndex] = true
		}
	}
	for _, l := range links {
		if a := l.Attrs(); a.MasterIndex != 0 && l.Type() != "veth" && l.Type() != "tuntap" {
			all[a.MasterIndex] = true
		}
	}
	return all
}

// linkTraits returns the traits that addresses have by their link.
func linkTraits(l netlink.Link, outer map[int]bool) (t Traits) {
	a := l.Attrs()
	if a.Flags&net.FlagUp == 0 {
		t |= Down
	}
	if a.RawFlags&unix.IFF_RUNNING == 0 {
		t |= Silent
	}
	if a.Flags&net.FlagLoopback != 0 {
		t |= Loopback
	}
	if a.Flags&net.FlagPointToPoint != 0 {
		t |= PointToPoint
	}
	if l.Type() == "bridge" && !outer[a.Index] {
		t |= Inner
	}
	return t
}

// traits returns the traits that an address has by its flags (linux/if_addr.h). IFA_F_TEMPORARY of IPv6 is
// IFA_F_SECONDARY of IPv4, which only means that the address is not the first of its network.
func traits(addr netip.Addr, flags int) (t Traits) {
	if flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) != 0 {
		t |= Tentative
	}
	if flags&unix.IFA_F_DEPRECATED != 0 {
		t |= Deprecated
	}
	if addr.Is6() && flags&unix.IFA_F_TEMPORARY != 0 {
		t |= Temporary
	}
	return t
}
