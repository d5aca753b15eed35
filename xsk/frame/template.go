package frame

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"math/bits"

	"ringcast/engine/port"
)

// Headroom is the room in bytes that Put needs in front of a payload, and overwrites. Ethernet (14), the longer of the
// IP headers (40) and UDP (8) are rounded up, so that whole registers are copied.
const Headroom = 64

// Lengths of the headers, and offsets of their fields from each header's beginning.
const (
	ethernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40
	udpLen      = 8

	// The headers of either family end at Headroom, so that all of their offsets are constants.
	udpAt  = Headroom - udpLen
	ipv4At = udpAt - ipv4Len
	ipv6At = udpAt - ipv6Len

	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd
	protocolUDP   = 17
	usualHopLimit = 64     // RFC 1700 recommends it, Linux's default
	dontFragment  = 0x4000 // of the flags and offset word
	moreFragments = 0x2000
	fragmentAt    = 0x1fff
)

// Options are the fields of a path's headers that can be chosen.
type Options struct {
	// Checksum4Off leaves UDP checksums out over IPv4; the package comment has the arguments. Over IPv6 there is always
	// one.
	Checksum4Off bool
	// TrafficClass is the octet of DSCP (upper six bits) and ECN (RFC 2474 §3, RFC 3168 §5).
	TrafficClass uint8
	// HopLimit is how many routers may pass the datagram on (IPv4's time to live). 0 is 64.
	HopLimit uint8
}

// A Template is the headers of one path without the fields that change from packet to packet. There is one for each
// route, so it is small and holds no pointers.
type Template struct {
	head [Headroom]byte
	// ip is the sum over the IPv4 header but for length, identification and checksum.
	ip uint16
	// pseudo is the sum over the pseudo-header and the ports, but for the lengths.
	pseudo uint16
	// start is where the Ethernet header begins in head. It is 0 in the zero Template, which belongs to no path.
	start uint8
	// checksum reports whether datagrams carry a UDP checksum.
	checksum bool
}

// Make writes the headers of datagrams from path.Local and localPort to path.Remote. Both addresses are of one family,
// as ports hand them out. The hardware addresses are those of our own interface and of the next hop.
func Make(source, destination [6]byte, path port.Path, localPort uint16, opt Options) (t Template) {
	local, remote := path.Local.As16(), path.Remote.Addr().As16()
	hopLimit := cmp.Or(opt.HopLimit, usualHopLimit)
	udp := t.head[udpAt:]
	binary.BigEndian.PutUint16(udp[0:], localPort)
	binary.BigEndian.PutUint16(udp[2:], path.Remote.Port())

	var addresses []byte
	etherType := uint16(etherTypeIPv4)
	if path.Remote.Addr().Is4() {
		t.start = ipv4At - ethernetLen
		t.checksum = !opt.Checksum4Off
		ip := t.head[ipv4At:udpAt]
		ip[0] = 0x45 // version, and 5 words of header
		ip[1] = opt.TrafficClass
		binary.BigEndian.PutUint16(ip[6:], dontFragment)
		ip[8] = hopLimit
		ip[9] = protocolUDP
		addresses = ip[12:20]
		copy(addresses, local[12:])
		copy(addresses[4:], remote[12:])
		t.ip = bits.ReverseBytes16(fold(sum(ip, 0)))
	} else {
		t.start = ipv6At - ethernetLen
		t.checksum = true
		etherType = etherTypeIPv6
		ip := t.head[ipv6At:udpAt]
		ip[6] = protocolUDP
		ip[7] = hopLimit
		addresses = ip[8:40]
		copy(addresses, local[:])
		copy(addresses[16:], remote[:])
		binary.BigEndian.PutUint32(ip, 6<<28|uint32(opt.TrafficClass)<<20|flowLabel(t.head[ipv6At+8:udpAt+4]))
	}
	partial := bits.ReverseBytes16(fold(sum(addresses, sum(udp[:4], 0))))
	t.pseudo = add(partial, protocolUDP)

	ethernet := t.head[t.start:]
	copy(ethernet[0:], destination[:])
	copy(ethernet[6:], source[:])
	binary.BigEndian.PutUint16(ethernet[12:], etherType)
	return t
}

// castagnoli is the polynomial that processors have an instruction for.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// flowLabel is a hash of addresses and UDP ports, which lie next to each other. So it is the same for all datagrams of
// a path. Some routers choose among equal ways by it alone, so it must differ between tuples (RFC 6437 §3, RFC 6438).
// It is never zero, which means no label.
func flowLabel(tuple []byte) uint32 {
	return max(crc32.Checksum(tuple, castagnoli)&0xfffff, 1)
}

// Room is the largest payload in bytes that passes a link or route of an MTU, which counts from the IP header. We
// forbid fragmentation, so a larger payload is lost. Room is negative if not even the headers pass.
func (t *Template) Room(mtu int) int {
	return mtu - (Headroom - int(t.start) - ethernetLen)
}

// Put writes the headers in front of a payload of payloadLen bytes, which begins at Headroom in chunk. It returns where
// in chunk the frame starts; the frame ends with the payload. The payload must lie in chunk and fit the path (Room).
// The lower 16 bits of id are the IPv4 identification. Receivers of unfragmented datagrams need none (RFC 6864 §4.1),
// but some middleboxes prefer one that changes.
func (t *Template) Put(chunk []byte, payloadLen int, id uint32) (start int) {
	head := (*[Headroom]byte)(chunk)
	*head = t.head
	length := uint16(udpLen + payloadLen)
	binary.BigEndian.PutUint16(head[udpAt+4:], length)
	if t.start == ipv4At-ethernetLen {
		total := ipv4Len + length
		binary.BigEndian.PutUint16(head[ipv4At+2:], total)
		binary.BigEndian.PutUint16(head[ipv4At+4:], uint16(id))
		binary.BigEndian.PutUint16(head[ipv4At+10:], ^add(add(t.ip, total), uint16(id)))
	} else {
		binary.BigEndian.PutUint16(head[ipv6At+4:], length)
	}
	if t.checksum {
		// The length counts twice: in the pseudo-header and in UDP's own.
		payload := bits.ReverseBytes16(fold(sum(chunk[Headroom:Headroom+payloadLen], 0)))
		check := ^add(add(t.pseudo, length), add(length, payload))
		if check == 0 {
			check = 0xffff // zero means no checksum; both are zero in one's complement
		}
		binary.BigEndian.PutUint16(head[udpAt+6:], check)
	}
	return int(t.start)
}
