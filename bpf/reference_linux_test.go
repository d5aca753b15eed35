package bpf

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/engine/ufrag"
	"ringcast/testenv"
)

// reference is the program once more, as the headers read in Go. Buckets have tokens or, where the
// setting says so, none.
func reference(s setting, f []byte) Reason {
	if len(f) < atIP {
		return PassShort
	}
	ip, reason, known := referenceIP(f)
	if !known {
		return reason
	}
	datagram := ip.payload
	if ip.protocol != unix.IPPROTO_UDP {
		return PassNotUDP
	}
	if len(datagram) < udpLength {
		return PassShort
	}
	if binary.BigEndian.Uint16(datagram[2:]) != mediaPort {
		return PassOtherPort
	}
	bucket := bucketOf(ip.source)
	// Tuples are of 16-byte addresses, so an IPv4 address and its mapped form are one.
	source, destination := ip.source.Unmap(), ip.destination.Unmap()
	if [6]byte(f) != serverMAC {
		return PassOtherMAC
	}
	if s == ours && !slices.Contains([]netip.Addr{server4.Addr(), server6.Addr()}, destination) {
		return PassOtherAddress
	}
	length := int(binary.BigEndian.Uint16(datagram[4:]))
	if ip.claimed > len(datagram) || length > ip.claimed || length < udpLength {
		return DropLength
	}
	if length > udpLength+port.MaxDatagram {
		return DropTooLong
	}
	if s == unguarded {
		return RedirectUnguarded
	}
	reason = referenceClass(s, datagram[udpLength:length], bucket, port.Path{
		Remote: netip.AddrPortFrom(source, binary.BigEndian.Uint16(datagram)),
		Local:  destination,
	})
	switch {
	case s == nowhere && reason >= RedirectSTUNNew:
		return PassNoSocket
	case reason == RedirectMedia && patientReference(datagram[udpLength:]):
		return RedirectReport
	}
	return reason
}

// referenceHeader is the header of IP.
type referenceHeader struct {
	source, destination netip.Addr
	protocol            byte
	payload             []byte
	claimed             int // the payload's length by the header
}

// referenceIP reads the header of IP. It is false if that decides about the packet, with the reason.
func referenceIP(f []byte) (h referenceHeader, reason Reason, ok bool) {
	ip := f[atIP:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_IP:
		switch {
		case len(ip) < ip4Length:
			return h, PassShort, false
		case ip[0] != 0x45:
			return h, PassIPHeader, false
		}
		h.source, h.destination = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		h.protocol, h.payload = ip[9], ip[ip4Length:]
		h.claimed = int(binary.BigEndian.Uint16(ip[2:])) - ip4Length
		if fragment := binary.BigEndian.Uint16(ip[6:]) &^ 0xc000; h.protocol == unix.IPPROTO_UDP && fragment != 0 {
			return h, PassFragment, false
		}
	case unix.ETH_P_IPV6:
		switch {
		case len(ip) < ip6Length:
			return h, PassShort, false
		case ip[0]>>4 != 6:
			return h, PassIPHeader, false
		}
		h.source, h.destination = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		h.protocol, h.payload = ip[6], ip[ip6Length:]
		h.claimed = int(binary.BigEndian.Uint16(ip[4:]))
		if h.protocol == unix.IPPROTO_FRAGMENT {
			return h, PassFragment, false
		}
	default:
		return h, PassNotIP, false
	}
	return h, 0, true
}

func referenceClass(s setting, payload []byte, bucket [16]byte, path port.Path) Reason {
	if len(payload) == 0 {
		return DropNoClass
	}
	known := path == path4 || path == path6
	name, named := referenceName(payload)
	switch b := payload[0]; {
	case named: // a check
	case known && s == spent && (b < 4 || b >= 20 && b < 64 || b >= 128 && b < 192):
		return DropTupleRate
	case b >= 128 && b < 192:
		if known {
			return RedirectMedia
		}
		return DropMedia
	case b >= 20 && b < 64:
		if known {
			return RedirectDTLS
		}
		return DropDTLS
	case b > 3:
		return DropNoClass
	}
	_, verdict := testUfrags.Check(name)
	kept := string(name) == keptName || string(name) == keptOldName
	switch {
	case !named && known:
		return RedirectSTUN
	case !named:
		return DropSTUNUnnamed
	case !kept && verdict != ufrag.Genuine:
		return DropSTUNForged
	case known:
		return RedirectSTUN
	case s == noTokensOfUfrag && (kept || string(name) == freshName):
		return DropSTUNUfrag
	case s == noTokensOfOne && (bucket == bucketOf(stranger4.Addr()) || bucket == bucketOf(stranger6.Addr())):
		return DropSTUNSource
	case s == noTokens:
		return DropSTUNGlobal
	}
	return RedirectSTUNNew
}

// referenceName finds a name in a Binding request that may be a ufrag of ours.
func referenceName(payload []byte) (name []byte, ok bool) {
	const header, attributes, least = 20, 96, 4 + ufrag.Length + 1
	if len(payload) < header || binary.BigEndian.Uint16(payload) != 1 ||
		binary.BigEndian.Uint32(payload[4:]) != 0x2112A442 {
		return nil, false
	}
	for at := header; at <= header+attributes && at+least <= len(payload); {
		length := int(binary.BigEndian.Uint16(payload[at+2:]))
		if binary.BigEndian.Uint16(payload[at:]) == 6 {
			value := payload[at+4:]
			return value[:ufrag.Length], length > ufrag.Length && value[ufrag.Length] == ':'
		}
		at += 4 + (length+3)&^3
	}
	return nil, false
}

// verdictOf is where a reason leads, by its name.
func verdictOf(r Reason) uint32 {
	switch r.String()[:4] {
	case "pass":
		return xdpPass
	case "drop":
		return xdpDrop
	}
	return xdpRedirect
}

// The reference agrees with the table, so the fuzz test tests the program and not the reference.
func TestReference(t *testing.T) {
	for _, row := range verdicts() {
		if got := reference(row.setting, row.frame); got != row.reason || verdictOf(got) != row.verdict {
			t.Errorf("%s: %v, want %v and verdict %d", row.name, got, row.reason, row.verdict)
		}
	}
}

// All first bytes, both families, in all settings.
func TestFirstBytes(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	for s, p := range inAll(t) {
		for b := range 256 {
			for _, frame := range [][]byte{
				datagram(peer4, server4, first(byte(b))...),
				datagram(peer6, server6, first(byte(b))...),
				datagram(stranger4, server4, first(byte(b))...),
				datagram(stranger6, server6, first(byte(b))...),
			} {
				want := reference(setting(s), frame)
				expect(t, p, frame, verdictOf(want), want)
			}
		}
	}
}

// Every packet of the table cut off at every length: nothing is read that is not there.
func TestTruncation(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	programs := inAll(t)
	for _, row := range verdicts() {
		if len(row.frame) > 200 {
			continue
		}
		for length := atIP; length < len(row.frame); length++ {
			want := reference(row.setting, row.frame[:length])
			expect(t, programs[row.setting], row.frame[:length], verdictOf(want), want)
		}
	}
}

// patientReference is patient of steer.c. rest is the frame from the datagram's first byte on, so the second byte of a
// datagram of one byte is Ethernet's padding. Such a datagram is junk to a worker, from either socket.
func patientReference(rest []byte) bool {
	if len(rest) < 2 {
		return false
	}
	format := rest[0] & 31
	switch rest[1] {
	case 201:
		return true
	case 205, 206:
		return format == 15
	}
	return false
}

// For any packet, the program has the reference's verdict.
func FuzzSteer(f *testing.F) {
	testenv.Need(f, testenv.XDP)
	for _, row := range verdicts() {
		f.Add(uint8(row.setting), row.frame)
	}
	programs := inAll(f)
	f.Fuzz(func(t *testing.T, s uint8, frame []byte) {
		// The kernel runs no frame that is shorter than its header.
		if len(frame) < atIP || len(frame) > 10_000 {
			return
		}
		which := setting(s) % settings
		want := reference(which, frame)
		expect(t, programs[which], frame, verdictOf(want), want)
	})
}
