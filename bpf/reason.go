package bpf

// A Reason is why a packet left the program, and with it where to: its name begins with the verdict.
// The order is that of enum reason in steer.c.
type Reason uint32

const (
	// PassShort: ends within its Ethernet, IP or UDP header. This and the following up to
	// PassNoSocket went to the kernel's stack.
	PassShort Reason = iota
	// PassNotIP: another EtherType, such as ARP, or a VLAN tag.
	PassNotIP
	// PassIPHeader: IPv4 with options, or an IP version that is not the EtherType's.
	PassIPHeader
	// PassNotUDP: another protocol, or an IPv6 extension header.
	PassNotUDP
	// PassFragment: an IPv4 or IPv6 fragment, the first one too.
	PassFragment
	// PassOtherPort: UDP, but not to the media port.
	PassOtherPort
	// PassOtherMAC: to the media port, but the frame is addressed to another interface, such as a macvlan's on
	// ours, or to a group.
	PassOtherMAC
	// PassOtherAddress: to the media port of an address that Config.Addresses does not list.
	PassOtherAddress
	// PassNoSocket: meant for a worker, but its queue has no socket.
	PassNoSocket

	// DropLength: the IP or UDP header claims a length that cannot be. This and the following up
	// to DropSTUNGlobal went nowhere.
	DropLength
	// DropTooLong: a datagram longer than port.MaxDatagram.
	DropTooLong
	// DropNoClass: an empty datagram, or a first byte of neither STUN nor DTLS nor RTP or RTCP.
	DropNoClass
	// DropDTLS: DTLS from a tuple that is not allowed.
	DropDTLS
	// DropMedia: RTP or RTCP from a tuple that is not allowed.
	DropMedia
	// DropTupleRate: anything but a check, from an allowed tuple that sends more of the kind than its Allow says.
	DropTupleRate
	// DropSTUNUnnamed: STUN from a tuple that is not allowed, and no check with a user name of our form among
	// its first attributes.
	DropSTUNUnnamed
	// DropSTUNForged: a check from any tuple, with a ufrag that was not made here, or long ago and for no session that
	// has a path.
	DropSTUNForged
	// DropSTUNUfrag: a check from any tuple, by a ufrag that is used too often.
	DropSTUNUfrag
	// DropSTUNSource: STUN from a tuple that is not allowed and whose address sent too much of it.
	DropSTUNSource
	// DropSTUNGlobal: STUN from a tuple that is not allowed when all those together sent too much.
	DropSTUNGlobal

	// RedirectSTUNNew: STUN from a tuple that is not allowed, within the limits. This and the
	// following went to the socket of their queue.
	RedirectSTUNNew
	// RedirectSTUN: STUN from an allowed tuple.
	RedirectSTUN
	// RedirectDTLS: DTLS from an allowed tuple.
	RedirectDTLS
	// RedirectMedia: RTP or RTCP from an allowed tuple.
	RedirectMedia
	// RedirectUnguarded: anything to the media port, the guard being off.
	RedirectUnguarded
	// RedirectReport: a receiver report, transport-wide feedback or an estimate, from an allowed tuple. It went to the
	// second socket of its queue.
	RedirectReport

	NumReasons
)

// FirstRedirect is the first of the reasons for which a packet went to a socket.
const FirstRedirect = RedirectSTUNNew

var reasonNames = [NumReasons]string{
	PassShort:         "pass_short",
	PassNotIP:         "pass_not_ip",
	PassIPHeader:      "pass_ip_header",
	PassNotUDP:        "pass_not_udp",
	PassFragment:      "pass_fragment",
	PassOtherPort:     "pass_other_port",
	PassOtherMAC:      "pass_other_mac",
	PassOtherAddress:  "pass_other_address",
	PassNoSocket:      "pass_no_socket",
	DropLength:        "drop_length",
	DropTooLong:       "drop_too_long",
	DropNoClass:       "drop_no_class",
	DropDTLS:          "drop_dtls",
	DropMedia:         "drop_media",
	DropTupleRate:     "drop_tuple_rate",
	DropSTUNUnnamed:   "drop_stun_unnamed",
	DropSTUNForged:    "drop_stun_forged",
	DropSTUNUfrag:     "drop_stun_ufrag",
	DropSTUNSource:    "drop_stun_source",
	DropSTUNGlobal:    "drop_stun_global",
	RedirectSTUNNew:   "redirect_stun_new",
	RedirectSTUN:      "redirect_stun",
	RedirectDTLS:      "redirect_dtls",
	RedirectMedia:     "redirect_media",
	RedirectUnguarded: "redirect_unguarded",
	RedirectReport:    "redirect_report",
}

func (r Reason) String() string { return reasonNames[r] }
