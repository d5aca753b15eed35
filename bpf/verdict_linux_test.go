package bpf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
	"ringcast/testenv"
)

const (
	stun  = 0x00
	dtls  = 0x16
	media = 0x80
)

// A setting is a configuration and a state in which the program meets a packet. In all of them path4 and
// path6 are allowed and queue 0 has a socket, unless it is said otherwise.
type setting int

const (
	guarded         setting = iota
	ours                    // only server4 and server6 are served
	unguarded               // the guard is off, nobody is allowed
	nowhere                 // queue 0 has no socket
	noTokens                // no tokens for new STUN of anybody
	noTokensOfOne           // none for that of stranger4 and stranger6
	noTokensOfUfrag         // none for new STUN by freshName, keptName and keptOldName
	spent                   // path4 and path6 have sent all that they may
	settings
)

var (
	stranger4 = netip.MustParseAddrPort("198.18.0.3:50000")
	stranger6 = netip.MustParseAddrPort("[fd00:3::3]:50000")
)

// inAll are programs for all settings. Their buckets hold more than a test can take.
func inAll(t testing.TB) []*Program {
	t.Helper()
	plenty := configured(func(c *Config) {
		c.STUNRate, c.GlobalSTUNRate = maxRate, maxRate
		c.freshRate, c.keptRate, c.knownRate = testRate, testRate, testRate
	})
	listed := plenty
	listed.Addresses = []netip.Addr{server4.Addr(), server6.Addr()}
	programs := make([]*Program, settings)
	for s := range programs {
		programs[s] = loaded(t, plenty, path4, path6)
	}
	programs[ours] = loaded(t, listed, path4, path6)
	programs[unguarded] = loaded(t, configured(func(c *Config) { c.Guard = false }))
	if err := programs[nowhere].ClearSockets(0); err != nil {
		t.Fatal(err)
	}
	drainUfrags(t, programs[noTokensOfUfrag])
	drainTuple(t, programs[spent], path4)
	drainTuple(t, programs[spent], path6)
	drainGlobal(t, programs[noTokens])
	drainSource(t, programs[noTokensOfOne], stranger4.Addr())
	drainSource(t, programs[noTokensOfOne], stranger6.Addr())
	return programs
}

// A row of the verdict table: one packet, its verdict, and the one counter that grows.
type row struct {
	name    string
	setting setting
	frame   []byte
	verdict uint32
	reason  Reason
}

// stranger is a datagram of stranger4.
func stranger(payload []byte) []byte { return datagram(stranger4, server4, payload...) }

func verdicts() []row {
	media4, media6 := datagram(peer4, server4, first(media)...), datagram(peer6, server6, first(media)...)
	portOf := func(p netip.AddrPort, number uint16) netip.AddrPort {
		return netip.AddrPortFrom(p.Addr(), number)
	}
	at := func(address string, number uint16) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr(address), number)
	}
	vlan := []byte{0x81, 0x00, 0, 7}

	table := []row{
		// Cut off. The kernel runs nothing shorter than an Ethernet header.
		{"nothing after Ethernet, IPv4", guarded, media4[:atIP], xdpPass, PassShort},
		{"half an IPv4 header", guarded, media4[:atIP+10], xdpPass, PassShort},
		{"IPv4 header less a byte", guarded, media4[:atUDP4-1], xdpPass, PassShort},
		{"nothing behind IPv4", guarded, media4[:atUDP4], xdpPass, PassShort},
		{"UDP ports only, IPv4", guarded, media4[:atUDP4+4], xdpPass, PassShort},
		{"UDP header less a byte, IPv4", guarded, media4[:atPayload4-1], xdpPass, PassShort},
		{"nothing after UDP, which claims a payload, IPv4", guarded, media4[:atPayload4], xdpDrop, DropLength},
		{"payload less a byte, IPv4", guarded, media4[:len(media4)-1], xdpDrop, DropLength},
		{"nothing after Ethernet, IPv6", guarded, media6[:atIP], xdpPass, PassShort},
		{"half an IPv6 header", guarded, media6[:atIP+20], xdpPass, PassShort},
		{"IPv6 header less a byte", guarded, media6[:atUDP6-1], xdpPass, PassShort},
		{"nothing behind IPv6", guarded, media6[:atUDP6], xdpPass, PassShort},
		{"UDP ports only, IPv6", guarded, media6[:atUDP6+4], xdpPass, PassShort},
		{"UDP header less a byte, IPv6", guarded, media6[:atPayload6-1], xdpPass, PassShort},
		{"nothing after UDP, which claims a payload, IPv6", guarded, media6[:atPayload6], xdpDrop, DropLength},
		{"payload less a byte, IPv6", guarded, media6[:len(media6)-1], xdpDrop, DropLength},

		// Packets other than plain UDP over IP over Ethernet.
		{"ARP", guarded, with(media4, 12, 0x08, 0x06), xdpPass, PassNotIP},
		{"802.3 length instead of a type", guarded, with(media4, 12, 0x00, 0x40), xdpPass, PassNotIP},
		{"VLAN, IPv4", guarded, insert(media4, 12, vlan...), xdpPass, PassNotIP},
		{"VLAN, IPv6", guarded, insert(media6, 12, vlan...), xdpPass, PassNotIP},
		{"QinQ", guarded, insert(insert(media4, 12, vlan...), 12, 0x88, 0xa8, 0, 8), xdpPass, PassNotIP},
		{"MPLS", guarded, insert(media4, 12, 0x88, 0x47, 0, 0), xdpPass, PassNotIP},
		{"IPv4 in an IPv6 frame", guarded, with(media6, atIP, 0x45), xdpPass, PassIPHeader},
		{"IPv6 in an IPv4 frame", guarded, with(media4, atIP, 0x65), xdpPass, PassIPHeader},
		{"IPv4 with an option", guarded, with(insert(media4, atUDP4, 1, 1, 1, 0), atIP, 0x46), xdpPass, PassIPHeader},
		{"IPv4 header of 16 bytes", guarded, with(media4, atIP, 0x44), xdpPass, PassIPHeader},
		{"IPv4 header of 60 bytes that are not there", guarded, with(media4, atIP, 0x4f), xdpPass, PassIPHeader},
		{"first fragment", guarded, with(media4, atIP+6, 0x20, 0), xdpPass, PassFragment},
		{"later fragment", guarded, with(media4, atIP+6, 0x20, 0xb9), xdpPass, PassFragment},
		{"last fragment", guarded, with(media4, atIP+6, 0x00, 0xb9), xdpPass, PassFragment},
		{
			"the reserved flag, which makes no fragment", guarded, with(media4, atIP+6, 0xc0, 0), xdpRedirect,
			RedirectMedia,
		},
		{
			"fragment of TCP", guarded, with(with(media4, atIP+6, 0x20, 0), atIP+9, unix.IPPROTO_TCP), xdpPass,
			PassNotUDP,
		},
		{"IPv6 first fragment", guarded, with(extended(media6, 44), atUDP6+3, 1), xdpPass, PassFragment},
		{"IPv6 later fragment", guarded, with(extended(media6, 44), atUDP6+2, 0x05, 0xc9), xdpPass, PassFragment},
		{"IPv6 atomic fragment (RFC 6946)", guarded, extended(media6, 44), xdpPass, PassFragment},
		{"IPv6 hop-by-hop options", guarded, extended(media6, 0), xdpPass, PassNotUDP},
		{"IPv6 routing header", guarded, extended(media6, 43), xdpPass, PassNotUDP},
		{"IPv6 destination options", guarded, extended(media6, 60), xdpPass, PassNotUDP},
		{"IPv6 authentication header", guarded, extended(media6, 51), xdpPass, PassNotUDP},
		{"fragment after hop-by-hop options", guarded, extended(extended(media6, 44), 0), xdpPass, PassNotUDP},
		{"TCP, IPv4", guarded, with(media4, atIP+9, unix.IPPROTO_TCP), xdpPass, PassNotUDP},
		{"TCP, IPv6", guarded, with(media6, atIP+6, unix.IPPROTO_TCP), xdpPass, PassNotUDP},
		{"ICMP", guarded, with(media4, atIP+9, unix.IPPROTO_ICMP), xdpPass, PassNotUDP},
		{"ICMPv6", guarded, with(media6, atIP+6, unix.IPPROTO_ICMPV6), xdpPass, PassNotUDP},
		{"UDP-Lite", guarded, with(media4, atIP+9, unix.IPPROTO_UDPLITE), xdpPass, PassNotUDP},

		// Somebody else's.
		{
			"next port, IPv4", guarded, datagram(peer4, portOf(server4, mediaPort+1), first(media)...), xdpPass,
			PassOtherPort,
		},
		{
			"previous port, IPv6", guarded, datagram(peer6, portOf(server6, mediaPort-1), first(media)...), xdpPass,
			PassOtherPort,
		},
		{
			"the port with its bytes swapped", guarded, datagram(peer4, portOf(server4, 0x581b), first(media)...),
			xdpPass, PassOtherPort,
		},
		{
			"from the media port, not to it", guarded,
			datagram(portOf(peer4, mediaPort), portOf(server4, 53), first(media)...), xdpPass, PassOtherPort,
		},
		{
			"other port, impossible length", guarded,
			with(datagram(peer4, portOf(server4, 53), first(media)...), atUDP4+4, 0, 1), xdpPass, PassOtherPort,
		},
		{
			"address not listed, IPv4", ours, datagram(peer4, at("198.18.0.9", mediaPort), first(stun)...), xdpPass,
			PassOtherAddress,
		},
		{
			"address not listed, IPv6", ours, datagram(peer6, at("fd00::9", mediaPort), first(stun)...), xdpPass,
			PassOtherAddress,
		},
		{
			"IPv6 address that holds a listed IPv4 address", ours,
			datagram(peer6, at("::c612:1", mediaPort), first(stun)...), xdpPass, PassOtherAddress,
		},
		{"multicast", guarded, with(media4, 0, 0x01, 0x00, 0x5e, 0x00, 0x00, 0x01), xdpPass, PassOtherMAC},
		{"broadcast", unguarded, with(media6, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), xdpPass, PassOtherMAC},
		{
			"broadcast of a stranger's STUN", guarded,
			with(datagram(stranger4, server4, newcomer()...), 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), xdpPass,
			PassOtherMAC,
		},
		{"another MAC, first byte", guarded, with(media4, 0, 6), xdpPass, PassOtherMAC},
		{"another MAC, third byte", guarded, with(media4, 2, 1), xdpPass, PassOtherMAC},
		{"another MAC, fourth byte", unguarded, with(media6, 3, 0x80), xdpPass, PassOtherMAC},
		{"another MAC, last byte", ours, with(media6, 5, 0), xdpPass, PassOtherMAC},
		{"another MAC, impossible length", guarded, with(with(media4, atUDP4+4, 0, 7), 5, 0), xdpPass, PassOtherMAC},
		{
			"another MAC, another port", guarded, with(datagram(peer4, portOf(server4, 53), first(media)...), 5, 0),
			xdpPass, PassOtherPort,
		},
		{
			"group's address in a frame to us", ours, datagram(peer4, at("224.0.0.1", mediaPort), first(stun)...),
			xdpPass, PassOtherAddress,
		},
		{"address listed, IPv4", ours, media4, xdpRedirect, RedirectMedia},
		{"address listed, IPv6", ours, media6, xdpRedirect, RedirectMedia},

		// Lengths.
		{"UDP length 0", guarded, with(media4, atUDP4+4, 0, 0), xdpDrop, DropLength},
		{"UDP length 7, IPv4", guarded, with(media4, atUDP4+4, 0, 7), xdpDrop, DropLength},
		{"UDP length 7, IPv6", guarded, with(media6, atUDP6+4, 0, 7), xdpDrop, DropLength},
		{"UDP longer than IPv4", guarded, with(media4, atUDP4+4, 0, 37), xdpDrop, DropLength},
		{"UDP longer than IPv6", guarded, with(media6, atUDP6+4, 0, 37), xdpDrop, DropLength},
		{
			"UDP longer than IPv4, in a padded frame", guarded, append(with(media4, atUDP4+4, 0, 37), 0), xdpDrop,
			DropLength,
		},
		{"UDP length 65535", guarded, with(media4, atUDP4+4, 255, 255), xdpDrop, DropLength},
		{"IPv4 length 0", guarded, with(media4, atIP+2, 0, 0), xdpDrop, DropLength},
		{"IPv4 length below its header", guarded, with(media4, atIP+2, 0, 19), xdpDrop, DropLength},
		{"IPv4 length of the header alone", guarded, with(media4, atIP+2, 0, 20), xdpDrop, DropLength},
		{"IPv4 length beyond the frame", guarded, with(media4, atIP+2, 0, 57), xdpDrop, DropLength},
		{"IPv4 length 65535", guarded, with(media4, atIP+2, 255, 255), xdpDrop, DropLength},
		{"IPv6 length 0", guarded, with(media6, atIP+4, 0, 0), xdpDrop, DropLength},
		{"IPv6 length beyond the frame", guarded, with(media6, atIP+4, 0, 37), xdpDrop, DropLength},
		{"IPv6 length 65535", guarded, with(media6, atIP+4, 255, 255), xdpDrop, DropLength},
		{
			"frame padded by Ethernet, IPv4", guarded, append(slices.Clone(media4), make([]byte, 18)...), xdpRedirect,
			RedirectMedia,
		},
		{"frame padded by Ethernet, IPv6", guarded, append(slices.Clone(media6), 0), xdpRedirect, RedirectMedia},
		{"UDP shorter than IPv4", guarded, with(media4, atUDP4+4, 0, 12), xdpRedirect, RedirectMedia},
		{"UDP shorter than IPv6", guarded, with(media6, atUDP6+4, 0, 12), xdpRedirect, RedirectMedia},
		{"empty datagram, IPv4", guarded, datagram(peer4, server4), xdpDrop, DropNoClass},
		{"empty datagram, IPv6", guarded, datagram(peer6, server6), xdpDrop, DropNoClass},
		{
			"empty datagram in a frame padded with bytes like RTP", guarded,
			append(datagram(peer4, server4), first(media)...), xdpDrop, DropNoClass,
		},
		{"one byte", guarded, datagram(peer4, server4, media), xdpRedirect, RedirectMedia},
		{
			"one byte, in a frame padded with a byte like RTCP, IPv4", guarded,
			append(datagram(peer4, server4, media), 201), xdpRedirect, RedirectReport,
		},
		{
			"one byte, in a frame padded with a byte like RTCP, IPv6", guarded,
			append(datagram(peer6, server6, media), 201), xdpRedirect, RedirectReport,
		},
		{
			"one byte, padded so, tuple spent", spent, append(datagram(peer4, server4, media), 201), xdpDrop,
			DropTupleRate,
		},
		{
			"one byte, padded so, not allowed", guarded, append(stranger([]byte{media}), 201), xdpDrop, DropMedia,
		},
		{
			"longest datagram, IPv4", guarded, datagram(peer4, server4, sized(port.MaxDatagram)...), xdpRedirect,
			RedirectMedia,
		},
		{
			"longest datagram, IPv6", guarded, datagram(peer6, server6, sized(port.MaxDatagram)...), xdpRedirect,
			RedirectMedia,
		},
		{
			"a byte too long, IPv4", guarded, datagram(peer4, server4, sized(port.MaxDatagram+1)...), xdpDrop,
			DropTooLong,
		},
		{
			"a byte too long, IPv6", guarded, datagram(peer6, server6, sized(port.MaxDatagram+1)...), xdpDrop,
			DropTooLong,
		},
		{"too long, no guard", unguarded, datagram(peer4, server4, sized(3000)...), xdpDrop, DropTooLong},
		{
			"too long, of a stranger, no socket", nowhere, datagram(stranger4, server4, sized(3000)...), xdpDrop,
			DropTooLong,
		},
		{
			"too long, and a byte is missing", guarded, cut(datagram(peer4, server4, sized(3000)...)), xdpDrop,
			DropLength,
		},
		{
			"too long, another port", guarded, datagram(peer4, portOf(server4, 53), sized(3000)...), xdpPass,
			PassOtherPort,
		},

		// Frames in several pieces.
		{"datagram of 9,000 bytes, IPv4", guarded, datagram(peer4, server4, sized(9000)...), xdpDrop, DropTooLong},
		{"datagram of 9,000 bytes, IPv6", guarded, datagram(peer6, server6, sized(9000)...), xdpDrop, DropTooLong},
		{
			"9,000 bytes, of which one is missing", guarded, cut(datagram(peer4, server4, sized(9000)...)), xdpDrop,
			DropLength,
		},
		{
			"9,000 bytes to another port", guarded, datagram(peer4, portOf(server4, 53), sized(9000)...), xdpPass,
			PassOtherPort,
		},
		{
			"9,000 bytes of TCP", guarded, with(datagram(peer4, server4, sized(9000)...), atIP+9, unix.IPPROTO_TCP),
			xdpPass, PassNotUDP,
		},
		{
			"short datagram in a frame of 9,000 bytes", guarded, append(slices.Clone(media4), make([]byte, 9000)...),
			xdpRedirect, RedirectMedia,
		},

		// The allow-list: remote address, remote port, local address.
		{
			"media from another port, IPv4", guarded, datagram(portOf(peer4, 50001), server4, first(media)...), xdpDrop,
			DropMedia,
		},
		{
			"media from another port, IPv6", guarded, datagram(portOf(peer6, 50001), server6, first(media)...), xdpDrop,
			DropMedia,
		},
		{
			"media from another address, IPv4", guarded, datagram(stranger4, server4, first(media)...), xdpDrop,
			DropMedia,
		},
		{
			"media from another address, IPv6", guarded, datagram(stranger6, server6, first(media)...), xdpDrop,
			DropMedia,
		},
		{
			"media to another local address, IPv4", guarded,
			datagram(peer4, at("198.18.0.9", mediaPort), first(media)...), xdpDrop, DropMedia,
		},
		{
			"media to another local address, IPv6", guarded, datagram(peer6, at("fd00::9", mediaPort), first(media)...),
			xdpDrop, DropMedia,
		},
		{"DTLS from another port", guarded, datagram(portOf(peer4, 50001), server4, first(dtls)...), xdpDrop, DropDTLS},
		{
			"DTLS to another local address", guarded, datagram(peer6, at("fd00::9", mediaPort), first(dtls)...),
			xdpDrop, DropDTLS,
		},

		// The limits of an allowed tuple, which are for no other, and for no check.
		{"media, tuple spent, IPv4", spent, media4, xdpDrop, DropTupleRate},
		{"media, tuple spent, IPv6", spent, media6, xdpDrop, DropTupleRate},
		{"DTLS, tuple spent", spent, datagram(peer4, server4, first(dtls)...), xdpDrop, DropTupleRate},
		{"RTCP, tuple spent", spent, datagram(peer6, server6, rtcp()...), xdpDrop, DropTupleRate},
		{"STUN, tuple spent", spent, datagram(peer6, server6, first(stun)...), xdpDrop, DropTupleRate},
		{
			"indication, tuple spent", spent, datagram(peer4, server4, with(newcomer(), 0, 0, 0x11)...), xdpDrop,
			DropTupleRate,
		},
		{"check, tuple spent, no path", spent, datagram(peer4, server4, newcomer()...), xdpRedirect, RedirectSTUN},
		{"check, tuple spent, path", spent, datagram(peer6, server6, checkBy(keptName)...), xdpRedirect, RedirectSTUN},
		{
			"check, tuple spent, older than its key", spent, datagram(peer4, server4, checkBy(keptOldName)...),
			xdpRedirect, RedirectSTUN,
		},
		{"forged check, tuple spent", spent, datagram(peer4, server4, checkBy(forgedName)...), xdpDrop, DropSTUNForged},
		{"no class, tuple spent", spent, datagram(peer4, server4, first(0xff)...), xdpDrop, DropNoClass},
		{
			"STUN from another port, tuple spent", spent, datagram(portOf(peer4, 50001), server4, newcomer()...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"media to another local address, tuple spent", spent,
			datagram(peer4, at("198.18.0.9", mediaPort), first(media)...), xdpDrop, DropMedia,
		},

		// The limits on STUN.
		{
			"STUN, source drained, IPv4", noTokensOfOne, datagram(stranger4, server4, newcomer()...), xdpDrop,
			DropSTUNSource,
		},
		{
			"STUN, source drained, IPv6", noTokensOfOne, datagram(stranger6, server6, newcomer()...), xdpDrop,
			DropSTUNSource,
		},
		{
			"STUN, source drained, from another port", noTokensOfOne,
			datagram(portOf(stranger4, 1), server4, newcomer()...), xdpDrop, DropSTUNSource,
		},
		{
			"STUN, source drained, same /64", noTokensOfOne, datagram(at("fd00:3::ffff:1", 1), server6, newcomer()...),
			xdpDrop, DropSTUNSource,
		},
		{
			"STUN, source drained, same /64, other half of it", noTokensOfOne,
			datagram(at("fd00:3::8000:0:0:1", 1), server6, newcomer()...), xdpDrop, DropSTUNSource,
		},
		{
			"STUN, source drained, next /64", noTokensOfOne, datagram(at("fd00:3:0:1::3", 1), server6, newcomer()...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"STUN, source drained, next IPv4 address", noTokensOfOne,
			datagram(at("198.18.0.4", 1), server4, newcomer()...), xdpRedirect, RedirectSTUNNew,
		},
		{"STUN, all drained, IPv4", noTokens, datagram(stranger4, server4, newcomer()...), xdpDrop, DropSTUNGlobal},
		{"STUN, all drained, IPv6", noTokens, datagram(stranger6, server6, newcomer()...), xdpDrop, DropSTUNGlobal},
		{
			"STUN, all drained, allowed tuple, IPv4", noTokens, datagram(peer4, server4, first(stun)...), xdpRedirect,
			RedirectSTUN,
		},
		{
			"STUN, all drained, allowed tuple, IPv6", noTokens, datagram(peer6, server6, first(stun)...), xdpRedirect,
			RedirectSTUN,
		},
		{
			"STUN, source drained, IPv6 packet from that IPv4 address", noTokensOfOne,
			datagram(at("::ffff:198.18.0.3", 1), server6, newcomer()...), xdpRedirect, RedirectSTUNNew,
		},
		{"media, all drained, allowed tuple", noTokens, media4, xdpRedirect, RedirectMedia},

		// The ufrags of strangers' checks.
		{
			"check of a session without a path, IPv4", guarded, datagram(stranger4, server4, newcomer()...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"check of a session without a path, IPv6", guarded, datagram(stranger6, server6, newcomer()...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"check of a session with a path", guarded, datagram(stranger4, server4, checkBy(keptName)...), xdpRedirect,
			RedirectSTUNNew,
		},
		{
			"check of a session older than its key", guarded, datagram(stranger6, server6, checkBy(keptOldName)...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"check of a session that is gone", guarded, datagram(stranger4, server4, checkBy(goneName)...), xdpDrop,
			DropSTUNForged,
		},
		{
			"check by the key before", guarded, datagram(stranger4, server4, checkBy(beforeName)...), xdpRedirect,
			RedirectSTUNNew,
		},
		{"check by other keys", guarded, datagram(stranger4, server4, checkBy(forgedName)...), xdpDrop, DropSTUNForged},
		{
			"check by no key", guarded, datagram(stranger4, server4, checkBy(string(make([]byte, 31)))...), xdpDrop,
			DropSTUNForged,
		},
		{
			"forged, all drained", noTokens, datagram(stranger4, server4, checkBy(forgedName)...), xdpDrop,
			DropSTUNForged,
		},
		{
			"forged, ufrags drained", noTokensOfUfrag, datagram(stranger4, server4, checkBy(forgedName)...), xdpDrop,
			DropSTUNForged,
		},
		{
			"ufrag drained, no path", noTokensOfUfrag, datagram(stranger4, server4, newcomer()...), xdpDrop,
			DropSTUNUfrag,
		},
		{
			"ufrag drained, path", noTokensOfUfrag, datagram(stranger6, server6, checkBy(keptName)...), xdpDrop,
			DropSTUNUfrag,
		},
		{
			"ufrag drained, older than its key", noTokensOfUfrag, datagram(stranger6, server6, checkBy(keptOldName)...),
			xdpDrop, DropSTUNUfrag,
		},
		{
			"ufrag drained, another's", noTokensOfUfrag, datagram(stranger6, server6, checkBy(beforeName)...),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"ufrag drained, allowed tuple", noTokensOfUfrag, datagram(peer4, server4, newcomer()...), xdpRedirect,
			RedirectSTUN,
		},
		{"forged, allowed tuple", guarded, datagram(peer4, server4, checkBy(forgedName)...), xdpDrop, DropSTUNForged},
		{"gone, allowed tuple", guarded, datagram(peer6, server6, checkBy(goneName)...), xdpDrop, DropSTUNForged},
		{
			"beyond the last place, allowed tuple", guarded,
			datagram(peer4, server4, checkBy(freshName, attribute(0x8022, strings.Repeat("x", 96)))...), xdpRedirect,
			RedirectSTUN,
		},
		{
			"indication, allowed tuple", guarded, datagram(peer4, server4, with(newcomer(), 0, 0, 0x11)...),
			xdpRedirect, RedirectSTUN,
		},
		{
			"libnice's order", guarded, stranger(checkBy(freshName, attribute(0x24, "prio"))), xdpRedirect,
			RedirectSTUNNew,
		},
		{
			"libjuice's order", guarded,
			stranger(checkBy(freshName, attribute(0x24, "prio"), attribute(0x25, ""), attribute(0x802A, "12345678"))),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"all that ICE knows first", guarded,
			stranger(checkBy(freshName, attribute(0x24, "prio"), attribute(0x25, ""), attribute(0x802A, "12345678"),
				attribute(0xC057, "cost"), attribute(0x8022, "software, and its long version"))),
			xdpRedirect, RedirectSTUNNew,
		},
		{
			"last place for the name", guarded,
			stranger(checkBy(freshName, attribute(0x8022, strings.Repeat("x", 92)))), xdpRedirect, RedirectSTUNNew,
		},
		{
			"beyond the last place", guarded, stranger(checkBy(freshName, attribute(0x8022, strings.Repeat("x", 96)))),
			xdpDrop, DropSTUNUnnamed,
		},
		{
			"attribute longer than the message", guarded, stranger(checkBy(freshName, []byte{0x80, 0x22, 0xff, 0xff})),
			xdpDrop, DropSTUNUnnamed,
		},
		{
			"no name", guarded, stranger(append(newcomer()[:20], attribute(0x24, strings.Repeat("x", 60))...)), xdpDrop,
			DropSTUNUnnamed,
		},
		{"name cut short", guarded, stranger(newcomer()[:20+4+31]), xdpDrop, DropSTUNUnnamed},
		{"name and nothing else", guarded, stranger(newcomer()[:20+4+32]), xdpRedirect, RedirectSTUNNew},
		{
			"attribute shorter than the name in it", guarded, stranger(with(newcomer(), 20+2, 0, 31)), xdpDrop,
			DropSTUNUnnamed,
		},
		{"ufrag of 8 letters", guarded, stranger(checkBy("abcdefgh")), xdpDrop, DropSTUNUnnamed},
		{"letter too many", guarded, stranger(checkBy(freshName + "A")), xdpDrop, DropSTUNUnnamed},
		{"no colon", guarded, stranger(with(newcomer(), 20+4+31, ';')), xdpDrop, DropSTUNUnnamed},
		{"halves exchanged", guarded, stranger(checkBy("peer:" + freshName)), xdpDrop, DropSTUNUnnamed},
		{"indication", guarded, stranger(with(newcomer(), 0, 0, 0x11)), xdpDrop, DropSTUNUnnamed},
		{"success response", guarded, stranger(with(newcomer(), 0, 1, 1)), xdpDrop, DropSTUNUnnamed},
		{"Allocate request", guarded, stranger(with(newcomer(), 0, 0, 3)), xdpDrop, DropSTUNUnnamed},
		{"no cookie", guarded, stranger(with(newcomer(), 4, 0)), xdpDrop, DropSTUNUnnamed},
		{"STUN header alone", guarded, stranger(newcomer()[:20]), xdpDrop, DropSTUNUnnamed},
		{"STUN header less a byte", guarded, stranger(newcomer()[:19]), xdpDrop, DropSTUNUnnamed},
		{
			"name after the datagram, in the frame", guarded, with(stranger(newcomer()), atUDP4+4, 0, udpLength+20),
			xdpDrop, DropSTUNUnnamed,
		},

		// The guard off.
		{"STUN, no guard", unguarded, datagram(peer4, server4, first(stun)...), xdpRedirect, RedirectUnguarded},
		{"media of a stranger, no guard, IPv4", unguarded, media4, xdpRedirect, RedirectUnguarded},
		{"media of a stranger, no guard, IPv6", unguarded, media6, xdpRedirect, RedirectUnguarded},
		{"no class, no guard", unguarded, datagram(peer4, server4, first(0xff)...), xdpRedirect, RedirectUnguarded},
		{"empty, no guard", unguarded, datagram(peer4, server4), xdpRedirect, RedirectUnguarded},
		{"impossible length, no guard", unguarded, with(media4, atUDP4+4, 0, 7), xdpDrop, DropLength},
		{
			"another port, no guard", unguarded, datagram(peer4, portOf(server4, 53), first(media)...), xdpPass,
			PassOtherPort,
		},

		// A queue without a socket. The guard guards the kernel's socket too.
		{"media, no socket, IPv4", nowhere, media4, xdpPass, PassNoSocket},
		{"report, no socket", nowhere, datagram(peer4, server4, rtcp()...), xdpPass, PassNoSocket},
		{"media, no socket, IPv6", nowhere, media6, xdpPass, PassNoSocket},
		{"new STUN, no socket", nowhere, datagram(stranger4, server4, newcomer()...), xdpPass, PassNoSocket},
		{"media of a stranger, no socket", nowhere, datagram(stranger4, server4, first(media)...), xdpDrop, DropMedia},
	}
	// RTCP that may wait, by its format and type (RFC 4585 section 6.1), and RTCP that may not.
	for _, c := range []struct {
		name         string
		format, kind byte
		reason       Reason
	}{
		{"sender report", 1, 200, RedirectMedia},
		{"receiver report", 1, 201, RedirectReport},
		{"receiver report of nothing", 0, 201, RedirectReport},
		{"goodbye", 1, 203, RedirectMedia},
		{"NACK", 1, 205, RedirectMedia},
		{"transport-wide feedback", 15, 205, RedirectReport},
		{"PLI", 1, 206, RedirectMedia},
		{"FIR", 4, 206, RedirectMedia},
		{"estimate", 15, 206, RedirectReport},
		{"estimate with padding", 32 + 15, 206, RedirectReport},
		{"RTP whose marker and type look like no RTCP", 15, 207 - 64, RedirectMedia},
	} {
		b := with(first(media+c.format), 1, c.kind)
		table = append(table,
			row{c.name + ", IPv4", guarded, datagram(peer4, server4, b...), xdpRedirect, c.reason},
			row{c.name + ", IPv6", guarded, datagram(peer6, server6, b...), xdpRedirect, c.reason},
			row{c.name + ", not allowed", guarded, stranger(b), xdpDrop, DropMedia},
			row{c.name + ", tuple spent", spent, datagram(peer4, server4, b...), xdpDrop, DropTupleRate},
		)
	}
	// Each letter of a ufrag counts.
	for at := range freshName {
		b := []byte(freshName)
		b[at] ^= 1
		table = append(table, row{
			fmt.Sprintf("another letter %d", at), guarded, stranger(checkBy(string(b))), xdpDrop, DropSTUNForged,
		})
	}
	// The classes of first bytes at their edges, from allowed tuples and others.
	type class struct {
		edges                []byte
		known, unknown       Reason
		verdict, elseVerdict uint32
	}
	for _, c := range []class{
		{[]byte{0, 1, 3}, RedirectSTUN, DropSTUNUnnamed, xdpRedirect, xdpDrop},
		{[]byte{20, 22, 63}, RedirectDTLS, DropDTLS, xdpRedirect, xdpDrop},
		{[]byte{128, 144, 191}, RedirectMedia, DropMedia, xdpRedirect, xdpDrop},
		{[]byte{4, 16, 19, 64, 79, 80, 127, 192, 255}, DropNoClass, DropNoClass, xdpDrop, xdpDrop},
	} {
		for _, b := range c.edges {
			table = append(
				table,
				row{
					fmt.Sprintf("first byte %d, allowed, IPv4", b), guarded, datagram(peer4, server4, first(b)...),
					c.verdict, c.known,
				},
				row{
					fmt.Sprintf("first byte %d, allowed, IPv6", b), guarded, datagram(peer6, server6, first(b)...),
					c.verdict, c.known,
				},
				row{
					fmt.Sprintf("first byte %d, not allowed, IPv4", b), guarded,
					datagram(stranger4, server4, first(b)...), c.elseVerdict, c.unknown,
				},
				row{
					fmt.Sprintf("first byte %d, not allowed, IPv6", b), guarded,
					datagram(stranger6, server6, first(b)...), c.elseVerdict, c.unknown,
				},
			)
		}
	}

	return table
}

func TestVerdicts(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	programs, table := inAll(t), verdicts()
	met := map[Reason]bool{}
	for _, row := range table {
		t.Run(row.name, func(t *testing.T) {
			met[row.reason] = true
			expect(t, programs[row.setting], row.frame, row.verdict, row.reason)
		})
	}
	for reason := range NumReasons {
		if !met[reason] {
			t.Errorf("no packet leaves for %v", reason)
		}
	}
	t.Logf("%d packets", len(table))
}

// Kernels before 5.18 do not report the length of a frame. There a packet that claims more than there is gets as far as
// its first byte allows.
func TestVerdictsOfOldKernels(t *testing.T) {
	testenv.Need(t, testenv.XDP)
	p := loadedInto(t, false,
		configured(func(c *Config) { c.freshRate, c.keptRate, c.knownRate = testRate, testRate, testRate }), path4,
		path6)
	for _, row := range verdicts() {
		if row.setting != guarded {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			verdict, reason := row.verdict, row.reason
			switch row.name {
			case "nothing after UDP, which claims a payload, IPv4", "nothing after UDP, which claims a payload, IPv6":
				reason = DropNoClass
			case "payload less a byte, IPv4", "payload less a byte, IPv6",
				"IPv4 length beyond the frame", "IPv4 length 65535",
				"IPv6 length beyond the frame", "IPv6 length 65535":
				verdict, reason = xdpRedirect, RedirectMedia
			case "too long, and a byte is missing", "9,000 bytes, of which one is missing":
				reason = DropTooLong
			}
			if len(row.frame) > onePiece {
				return // the program takes no frame in several
			}
			expect(t, p, row.frame, verdict, reason)
		})
	}
}

// never is a time that the program's clock does not reach: a bucket that is full no sooner is empty.
const never = uint64(1) << 63

// coarse is the kernel's coarse clock, in nanoseconds. The tick that moves it moves the program's, too, but at
// a moment of its own.
func coarse(t testing.TB) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano())
}

// drainTuple empties the buckets of an allowed path.
func drainTuple(t testing.TB, p *Program, path port.Path) {
	t.Helper()
	key := tupleOf(path)
	if err := p.objects.Allowed.Put(&key, &allowance{
		Media: never, Reports: never, Others: never, Interval: 1,
	}); err != nil {
		t.Fatal(err)
	}
}

// drainUfrags empties the buckets of the ufrags that there are, as far as new tuples go.
func drainUfrags(t testing.TB, p *Program) {
	t.Helper()
	for name, m := range map[string]*ebpf.Map{
		freshName: p.objects.UfragsFresh, keptName: p.objects.UfragsKept, keptOldName: p.objects.UfragsKept,
	} {
		key, err := keptUfragOf(name)
		if err == nil {
			err = m.Put(&key, &ufragUses{New: never})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// drainSource empties the bucket of an address.
func drainSource(t testing.TB, p *Program, source netip.Addr) {
	t.Helper()
	if err := p.objects.StunSources.Put(bucketOf(source), never); err != nil {
		t.Fatal(err)
	}
}

// bucketOf is the key of an address's bucket.
func bucketOf(source netip.Addr) [16]byte {
	key := source.As16()
	if source.Is6() {
		clear(key[8:])
	}
	return key
}

// drainGlobal empties the bucket of all sources, on every CPU.
func drainGlobal(t testing.TB, p *Program) {
	t.Helper()
	full := make([]uint64, ebpf.MustPossibleCPU())
	for cpu := range full {
		full[cpu] = never
	}
	if err := p.objects.StunGlobal.Put(uint32(0), full); err != nil {
		t.Fatal(err)
	}
}
