package udp

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	receiveBuffer = 4 << 20
	// sendBuffer is a few milliseconds of a busy worker's output. More would only be late.
	sendBuffer = 1 << 20
)

// A socket is one member of a group, bound.
type socket struct {
	fd     int
	family int
	local  netip.AddrPort
	gro    bool // messages may hold several datagrams
	gso    bool // the kernel knows UDP_SEGMENT
}

// openGroup binds n sockets to cfg's address.
func openGroup(cfg Config, n int) (group []socket, err error) {
	address, dscp := cfg.Address, int(cfg.DSCP)
	defer func() {
		if err != nil {
			for _, s := range group {
				_ = unix.Close(s.fd)
			}
			group = nil
		}
	}()
	first, err := openSocket(address, dscp)
	without6 := errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
	if without6 && address.Addr() == netip.IPv6Unspecified() {
		address = netip.AddrPortFrom(netip.IPv4Unspecified(), address.Port())
		first, err = openSocket(address, dscp)
	}
	if err != nil {
		return nil, err
	}
	group = append(group, first)
	if n == 1 {
		return group, nil
	}
	// The socket shares the UDP port only from here on: the bind above had to fail if another process had the port.
	share := option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1}
	if err := first.set(share); err != nil {
		return group, err
	}
	for len(group) < n {
		s, err := openSocket(first.local, dscp, share)
		if err != nil {
			return group, err
		}
		group = append(group, s)
	}
	return group, nil
}

// An option is a socket option.
type option struct {
	name              string
	level, key, value int
}

// openSocket opens and binds one socket, with further options than its own. All are set before it can receive.
func openSocket(address netip.AddrPort, dscp int, further ...option) (s socket, err error) {
	s.local = address
	s.family = unix.AF_INET
	if address.Addr().Is6() {
		s.family = unix.AF_INET6
	}
	s.fd, err = unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return s, fmt.Errorf("open UDP socket for %s: %w", address, err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(s.fd)
		}
	}()
	if err := s.setOptions(dscp, further); err != nil {
		return s, err
	}
	if err := unix.Bind(s.fd, sockaddr(address)); err != nil {
		return s, fmt.Errorf("bind UDP %s: %w", address, err)
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return s, fmt.Errorf("name of UDP %s: %w", address, err)
	}
	s.local = netip.AddrPortFrom(address.Addr(), portOf(bound))
	return s, nil
}

// set sets an option that the socket needs.
func (s *socket) set(o option) error {
	if err := unix.SetsockoptInt(s.fd, o.level, o.key, o.value); err != nil {
		return fmt.Errorf("set %s on UDP %s: %w", o.name, s.local, err)
	}
	return nil
}

func (s *socket) setOptions(dscp int, further []option) error {
	wanted := []option{{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1}}
	if s.family == unix.AF_INET6 {
		only := 1
		if s.local.Addr().IsUnspecified() {
			only = 0
		}
		wanted = []option{
			{"IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only},
			{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		}
	}
	if dscp != 0 {
		// The kernel takes the octet, of which the lower two bits are ECN's. A dual-stack socket has one for each
		// family.
		wanted = append(wanted, option{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, dscp << 2})
		if s.family == unix.AF_INET6 {
			wanted = append(wanted, option{"IPV6_TCLASS", unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp << 2})
		}
	}
	for _, o := range append(wanted, further...) {
		if err := s.set(o); err != nil {
			return err
		}
	}

	// The socket works without these, only less well.
	force := func(forced, asked, size int) {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, forced, size) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, asked, size)
		}
	}
	force(unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer)
	force(unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer)
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	s.gro = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	// 0 changes nothing, and fails if the kernel does not know the option.
	s.gso = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil
	return nil
}

func sockaddr(address netip.AddrPort) unix.Sockaddr {
	if address.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	}
	return &unix.SockaddrInet6{
		Port: int(address.Port()), Addr: address.Addr().As16(), ZoneId: scopeID(address.Addr().Zone()),
	}
}

func portOf(name unix.Sockaddr) uint16 {
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}
