package frame

import (
	"encoding/binary"
	"net/netip"

	"ringcast/engine/port"
)

// Parse reads an Ethernet frame that carries UDP, of the kinds that XDP steers to us. These are IPv4 without options
// and IPv6 without extension headers, no fragments, no VLAN. The path's Local is the address that the frame was sent
// to; Parse does not look at the local UDP port. IPv6 link-local addresses get the zone. The payload is part of data.
// Its end comes from UDP's length, because Ethernet pads short frames.
//
// It fails on anything else, and on lengths that contradict each other. It also fails on addresses that cannot be
// answered, or answered from: source port 0, multicast, unspecified, loopback and IPv4-mapped ones.
func Parse(data []byte, zone string) (path port.Path, payload []byte, ok bool) {
	if len(data) < ethernetLen {
		return port.Path{}, nil, false
	}
	var source, local netip.Addr
	var udp []byte
	switch etherType := binary.BigEndian.Uint16(data[12:]); etherType {
	case etherTypeIPv4:
		source, local, udp, ok = parseIPv4(data[ethernetLen:])
	case etherTypeIPv6:
		source, local, udp, ok = parseIPv6(data[ethernetLen:], zone)
	}
	if !ok || len(udp) < udpLen || !unicast(source) || !unicast(local) {
		return port.Path{}, nil, false
	}
	number := binary.BigEndian.Uint16(udp)
	length := int(binary.BigEndian.Uint16(udp[4:]))
	if number == 0 || length < udpLen || length > len(udp) {
		return port.Path{}, nil, false
	}
	path = port.Path{Remote: netip.AddrPortFrom(source, number), Local: local}
	return path, udp[udpLen:length:length], true
}

// parseIPv4 returns the addresses of a datagram and the bytes after its header (RFC 791 §3.1).
func parseIPv4(ip []byte) (source, local netip.Addr, udp []byte, ok bool) {
	if len(ip) < ipv4Len || ip[0] != 0x45 || ip[9] != protocolUDP {
		return source, local, nil, false
	}
	total := int(binary.BigEndian.Uint16(ip[2:]))
	fragment := binary.BigEndian.Uint16(ip[6:]) & (moreFragments | fragmentAt)
	if total < ipv4Len || total > len(ip) || fragment != 0 {
		return source, local, nil, false
	}
	source, local = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
	return source, local, ip[ipv4Len:total], true
}

// parseIPv6 returns the addresses of a datagram and the bytes after its header (RFC 8200 §3).
func parseIPv6(ip []byte, zone string) (source, local netip.Addr, udp []byte, ok bool) {
	if len(ip) < ipv6Len || ip[0]>>4 != 6 || ip[6] != protocolUDP {
		return source, local, nil, false
	}
	length := int(binary.BigEndian.Uint16(ip[4:]))
	if length > len(ip)-ipv6Len {
		return source, local, nil, false
	}
	source, local = scoped([16]byte(ip[8:]), zone), scoped([16]byte(ip[24:]), zone)
	return source, local, ip[ipv6Len : ipv6Len+length], true
}

// scoped is an IPv6 address, with its zone if it needs one.
func scoped(raw [16]byte, zone string) netip.Addr {
	addr := netip.AddrFrom16(raw)
	if addr.IsLinkLocalUnicast() && !addr.Is4In6() {
		return addr.WithZone(zone)
	}
	return addr
}

// unicast reports whether addr is one host's address on a network.
func unicast(addr netip.Addr) bool {
	return !addr.IsUnspecified() && !addr.IsMulticast() && !addr.IsLoopback() && !addr.Is4In6() && addr != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
