package udp

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// The kernel's sockaddrs and control messages are read and written as bytes. Every length is checked, so that no
// content leads astray, be it the kernel's or a test's.

// rawAddress is room for a sockaddr_in or sockaddr_in6.
type rawAddress [unix.SizeofSockaddrInet6]byte

// zones turns interface indices into zones. Strings are made once per interface.
type zones struct {
	indices []uint32
	names   []string
}

func (z *zones) name(index uint32) string {
	for i, known := range z.indices {
		if known == index {
			return z.names[i]
		}
	}
	if len(z.indices) == maxZones {
		z.indices, z.names = z.indices[:0], z.names[:0]
	}
	name := strconv.FormatUint(uint64(index), 10)
	z.indices, z.names = append(z.indices, index), append(z.names, name)
	return name
}

const maxZones = 32

// scoped is ip unmapped, with its zone if it is link-local.
func (z *zones) scoped(ip [16]byte, index uint32) netip.Addr {
	addr := netip.AddrFrom16(ip).Unmap()
	if index != 0 && addr.Is6() && addr.IsLinkLocalUnicast() {
		return addr.WithZone(z.name(index))
	}
	return addr
}

// parseAddress reads a sockaddr.
func (z *zones) parseAddress(raw []byte) (netip.AddrPort, bool) {
	if len(raw) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}, false
	}
	number := binary.BigEndian.Uint16(raw[2:])
	switch binary.NativeEndian.Uint16(raw) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), number), true
	case unix.AF_INET6:
		if len(raw) < unix.SizeofSockaddrInet6 {
			return netip.AddrPort{}, false
		}
		addr := z.scoped([16]byte(raw[8:24]), binary.NativeEndian.Uint32(raw[24:]))
		return netip.AddrPortFrom(addr, number), true
	}
	return netip.AddrPort{}, false
}

// putAddress writes to as a sockaddr for a socket of the given family and returns its length.
func putAddress(raw *rawAddress, to netip.AddrPort, family int) int {
	*raw = rawAddress{}
	addr := to.Addr()
	binary.BigEndian.PutUint16(raw[2:], to.Port())
	if addr.Is4() && family == unix.AF_INET {
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET)
		ip := addr.As4()
		copy(raw[4:], ip[:])
		return unix.SizeofSockaddrInet4
	}
	binary.NativeEndian.PutUint16(raw[:], unix.AF_INET6)
	ip := addr.As16() // IPv4 becomes mapped
	copy(raw[8:], ip[:])
	binary.NativeEndian.PutUint32(raw[24:], scopeID(addr.Zone()))
	return unix.SizeofSockaddrInet6
}

const (
	// cmsgHeader is where the data of a control message begins.
	cmsgHeader = wordSize + 8

	sizeofUint16   = 2
	sizeofPktinfo4 = unix.SizeofInet4Pktinfo
	sizeofPktinfo6 = unix.SizeofInet6Pktinfo
)

// cmsgSpace is how much room a control message with size bytes of data takes.
func cmsgSpace(size int) int { return cmsgHeader + (size+wordSize-1)/wordSize*wordSize }

// putControl writes the header of a control message with size bytes of data. It returns the place of the data, and the
// room that header and data take.
func putControl(b []byte, level, kind int32, size int) (data []byte, space int) {
	length := cmsgHeader + size
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(b, uint64(length))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(length))
	}
	binary.NativeEndian.PutUint32(b[wordSize:], uint32(level))
	binary.NativeEndian.PutUint32(b[wordSize+4:], uint32(kind))
	return b[cmsgHeader:length], cmsgSpace(size)
}

// putSource writes the control message that makes a datagram leave from local, and returns its room.
//
// An IPv6 socket needs IPV6_PKTINFO for every destination. For a mapped destination the kernel passes the message on to
// IPv4's code, which reads it if its address is mapped too.
func putSource(b []byte, local netip.Addr, family int) int {
	if family == unix.AF_INET {
		if !local.Is4() {
			return 0
		}
		data, space := putControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, sizeofPktinfo4)
		clear(data)
		ip := local.As4()
		copy(data[4:], ip[:]) // ipi_spec_dst; sending reads no other address
		return space
	}
	data, space := putControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, sizeofPktinfo6)
	ip := local.As16()
	copy(data, ip[:])
	binary.NativeEndian.PutUint32(data[16:], scopeID(local.Zone()))
	return space
}

// putSegment writes the control message that cuts a message into datagrams, and returns its room.
func putSegment(b []byte, size int) int {
	data, space := putControl(b, unix.IPPROTO_UDP, unix.UDP_SEGMENT, sizeofUint16)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return space
}

// control is the control data of a received message.
type control struct {
	local   netip.Addr // the address that it was sent to
	stamp   int64      // its arrival in nanoseconds of the wall clock, 0 if unknown
	segment int        // the size of its datagrams but the last; 0: it is one datagram
}

// parseControl reads a row of control messages. It skips unknown ones and those that are cut off.
func (z *zones) parseControl(b []byte) (c control) {
	for len(b) >= cmsgHeader {
		length := uint64(binary.NativeEndian.Uint32(b))
		if wordSize == 8 {
			length = binary.NativeEndian.Uint64(b)
		}
		if length < uint64(cmsgHeader) || length > uint64(len(b)) {
			return c
		}
		level := int32(binary.NativeEndian.Uint32(b[wordSize:]))
		kind := int32(binary.NativeEndian.Uint32(b[wordSize+4:]))
		z.parseOne(&c, level, kind, b[cmsgHeader:length])
		b = b[min(cmsgSpace(int(length)-cmsgHeader), len(b)):]
	}
	return c
}

func (z *zones) parseOne(c *control, level, kind int32, data []byte) {
	switch {
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= sizeofPktinfo6:
		c.local = z.scoped([16]byte(data[:16]), binary.NativeEndian.Uint32(data[16:]))
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= sizeofPktinfo4:
		// ipi_spec_dst is an address of ours even if the datagram was sent to a broadcast address.
		c.local = netip.AddrFrom4([4]byte(data[4:8]))
		if c.local.IsUnspecified() {
			c.local = netip.AddrFrom4([4]byte(data[8:12]))
		}
	case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO && len(data) >= 4:
		c.segment = max(0, int(int32(binary.NativeEndian.Uint32(data))))
	case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS && len(data) >= 2*wordSize:
		c.stamp = parseTimespec(data)
	}
}

// parseTimespec reads a struct timespec as nanoseconds; 0 if it makes no sense.
func parseTimespec(data []byte) int64 {
	var seconds, nanoseconds int64
	if wordSize == 8 {
		seconds = int64(binary.NativeEndian.Uint64(data))
		nanoseconds = int64(binary.NativeEndian.Uint64(data[8:]))
	} else {
		seconds = int64(int32(binary.NativeEndian.Uint32(data)))
		nanoseconds = int64(int32(binary.NativeEndian.Uint32(data[4:])))
	}
	const year2200 = 230 * 365 * 86400 // beyond it, nanoseconds do not fit 64 bits for long
	if seconds < 0 || seconds > year2200 || nanoseconds < 0 || nanoseconds >= 1e9 {
		return 0
	}
	return seconds*1e9 + nanoseconds
}
