package nexthop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringcast/engine/port"
)

// An asker asks the kernel about routes, on a socket of its own. The kernel answers within the call that asks, so
// nothing here waits.
type asker struct {
	fd     int
	udp    int    // a socket that shows the kernel's defaults
	number uint32 // of the last message
	taken  int    // messages that the kernel sent
	out    []byte
	in     []byte
}

// A question asks how a path leaves.
type question struct {
	path  port.Path
	local uint16 // the UDP port that it leaves from, for routing that looks at UDP ports; 0: any
	oif   int    // the interface or VRF that it is bound to; 0: none
}

// questionsAtMost bounds a batch: all answers lie in the socket's buffer at once.
const questionsAtMost = 64

func newAsker() (*asker, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	a := &asker{fd: fd, udp: -1, in: make([]byte, 1<<16)}
	// Strict checks make the kernel heed the filter of a listing, instead of listing all of its tables.
	if err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err == nil {
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) // only the kernel may answer
	}
	if err == nil {
		a.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set netlink up: %w", err)
	}
	return a, nil
}

func (a *asker) close() {
	unix.Close(a.fd)
	unix.Close(a.udp)
}

// ask asks at most questionsAtMost questions in one call, and passes on the answers that came. A question may stay
// without one when the kernel lacks memory.
func (a *asker) ask(questions []question, answered func(i int, got answer)) error {
	a.out = a.out[:0]
	first := a.number + 1
	for i := range questions {
		a.number++
		a.out = appendQuestion(a.out, a.number, &questions[i])
	}
	if _, err := unix.Write(a.fd, a.out); err != nil {
		return fmt.Errorf("ask for routes: %w", err)
	}
	return a.read(func(m message) (done bool) {
		if i := m.number - first; i < uint32(len(questions)) {
			if got, ok := readAnswer(m, questions[i].path.Remote.Addr()); ok {
				answered(int(i), got)
			}
		}
		return false
	})
}

// ours lists the addresses of this host that a table of one family names.
func (a *asker) ours(family uint8, table uint32) (out []netip.Prefix, err error) {
	a.number++
	number := a.number
	header := unix.RtMsg{Family: family, Type: unix.RTN_LOCAL}
	a.out = appendMessage(a.out[:0], number, unix.NLM_F_DUMP, header, func(b []byte) []byte {
		return appendAttribute(b, unix.RTA_TABLE, binary.NativeEndian.AppendUint32(nil, table))
	})
	if _, err := unix.Write(a.fd, a.out); err != nil {
		return nil, fmt.Errorf("list our addresses: %w", err)
	}
	var failed error
	err = a.read(func(m message) (done bool) {
		if m.number != number {
			return false // it answers an earlier question that failed
		}
		if m.flags&unix.NLM_F_DUMP_INTR != 0 {
			failed = netlink.ErrDumpInterrupted
		}
		switch m.kind {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			// There is no such table (ENOENT), or no such family.
			if e := m.errno(); e != 0 && e != unix.ENOENT && e != unix.EAFNOSUPPORT && e != unix.EOPNOTSUPP {
				failed = fmt.Errorf("list our addresses: %w", e)
			}
			return true
		case unix.RTM_NEWROUTE:
			if p, ok := readOurs(m.data); ok {
				out = append(out, p)
			}
		}
		return false
	})
	return out, errors.Join(err, failed)
}

// hopLimits asks for the hop limits of datagrams that leave by a link. Changes of these are not notified.
func (a *asker) hopLimits(index int) (h hopLimits, err error) {
	if ttl, err := unix.GetsockoptInt(a.udp, unix.IPPROTO_IP, unix.IP_TTL); err == nil {
		h.four = uint8(ttl)
	}
	a.number++
	number := a.number
	b := binary.NativeEndian.AppendUint32(a.out[:0], unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETLINK)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, number)
	b = binary.NativeEndian.AppendUint64(b, 0) // to the kernel; of any family, any type
	b = binary.NativeEndian.AppendUint32(b, uint32(index))
	a.out = binary.NativeEndian.AppendUint64(b, 0) // no flags
	if _, err := unix.Write(a.fd, a.out); err != nil {
		return h, fmt.Errorf("ask for hop limits: %w", err)
	}
	err = a.read(func(m message) (done bool) {
		if m.number == number && m.kind == unix.RTM_NEWLINK {
			h.six = readHopLimit(m.data)
		}
		return false
	})
	return h, err
}

// readHopLimit finds IPv6's hop limit in the kernel's description of a link, 0 if there is none.
func readHopLimit(b []byte) (limit uint8) {
	if len(b) < unix.SizeofIfInfomsg {
		return 0
	}
	const hopLimit = 4 // of the array of IFLA_INET6_CONF, where DEVCONF_HOPLIMIT is the second
	within := func(wanted uint16, next func([]byte)) func(uint16, []byte) {
		return func(kind uint16, value []byte) {
			if kind == wanted {
				next(value)
			}
		}
	}
	attributes(b[unix.SizeofIfInfomsg:], within(unix.IFLA_AF_SPEC, func(families []byte) {
		attributes(families, within(unix.AF_INET6, func(six []byte) {
			attributes(six, within(unix.IFLA_INET6_CONF, func(values []byte) {
				if len(values) >= hopLimit+4 {
					limit = uint8(min(binary.NativeEndian.Uint32(values[hopLimit:]), 255))
				}
			}))
		}))
	}))
	return limit
}

// read passes on messages until each reports that it is done, or none is left.
func (a *asker) read(each func(message) (done bool)) error {
	for {
		n, err := unix.Read(a.fd, a.in)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("read netlink: %w", err)
		}
		for rest := a.in[:n]; len(rest) > 0; {
			var m message
			var ok bool
			if m, rest, ok = cutMessage(rest); !ok {
				return errors.New("read netlink: a message that is cut off")
			}
			a.taken++
			if each(m) {
				return nil
			}
		}
	}
}

// appendQuestion appends one request for a route.
func appendQuestion(b []byte, number uint32, q *question) []byte {
	remote := q.path.Remote.Addr()
	header := unix.RtMsg{Family: unix.AF_INET6, Dst_len: 128, Src_len: 128}
	if remote.Is4() {
		header = unix.RtMsg{Family: unix.AF_INET, Dst_len: 32, Src_len: 32}
	}
	if !q.path.Local.IsValid() {
		header.Src_len = 0
	}
	return appendMessage(b, number, 0, header, func(b []byte) []byte {
		b = appendAttribute(b, unix.RTA_DST, remote.AsSlice())
		if q.path.Local.IsValid() {
			b = appendAttribute(b, unix.RTA_SRC, q.path.Local.AsSlice())
		}
		if q.oif != 0 {
			b = appendAttribute(b, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, uint32(q.oif)))
		}
		// Rules may look at these, and the choice among several next hops.
		b = appendAttribute(b, unix.RTA_IP_PROTO, []byte{unix.IPPROTO_UDP})
		if q.local != 0 {
			b = appendAttribute(b, unix.RTA_SPORT, binary.BigEndian.AppendUint16(nil, q.local))
		}
		if p := q.path.Remote.Port(); p != 0 {
			b = appendAttribute(b, unix.RTA_DPORT, binary.BigEndian.AppendUint16(nil, p))
		}
		return b
	})
}

// appendMessage appends an RTM_GETROUTE with the attributes that a function appends.
func appendMessage(b []byte, number uint32, flags uint16, header unix.RtMsg, attributes func([]byte) []byte) []byte {
	start := len(b)
	b = binary.NativeEndian.AppendUint32(b, 0) // the length, which is not known yet
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETROUTE)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, number)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows the asker
	b = append(b, header.Family, header.Dst_len, header.Src_len, header.Tos)
	b = append(b, header.Table, header.Protocol, header.Scope, header.Type)
	b = binary.NativeEndian.AppendUint32(b, header.Flags)
	b = attributes(b)
	binary.NativeEndian.PutUint32(b[start:], uint32(len(b)-start))
	return b
}

// appendAttribute appends an attribute, and zeros up to the next multiple of 4.
func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

// A message is one of netlink's (struct nlmsghdr); its data is borrowed.
type message struct {
	kind, flags uint16
	number      uint32
	data        []byte
}

// cutMessage cuts the first message off; ok is false if there is no whole one.
func cutMessage(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return m, nil, false
	}
	size := binary.NativeEndian.Uint32(b)
	if size < unix.SizeofNlMsghdr || uint64(size) > uint64(len(b)) {
		return m, nil, false
	}
	m = message{
		kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		number: binary.NativeEndian.Uint32(b[8:]), data: b[unix.SizeofNlMsghdr:size],
	}
	return m, b[min(len(b), int(size+3)&^3):], true
}

// errno is the error in an NLMSG_ERROR or NLMSG_DONE.
func (m *message) errno() unix.Errno {
	if len(m.data) < 4 {
		return 0
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.data)))
}

// attributes calls each for every attribute (struct rtattr) of b, up to the first that is not whole.
func attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		each(binary.NativeEndian.Uint16(b[2:])&^flagsMask, b[unix.SizeofRtAttr:size])
		b = b[min(len(b), (size+3)&^3):]
	}
}

// readAnswer reads the kernel's answer about an address; ok is false if the message is no answer.
func readAnswer(m message, remote netip.Addr) (a answer, ok bool) {
	switch m.kind {
	case unix.NLMSG_ERROR:
		switch m.errno() {
		case 0, unix.ENOBUFS, unix.ENOMEM, unix.EINTR:
			return answer{}, false
		}
		return answer{}, true // no route, a forbidden one, or not from that address
	case unix.RTM_NEWROUTE:
	default:
		return answer{}, false
	}
	if len(m.data) < unix.SizeofRtMsg {
		return answer{}, false
	}
	a.next = remote.As16()
	tunnel, valid := false, true
	attributes(m.data[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		switch kind {
		case unix.RTA_OIF:
			if len(value) >= 4 {
				a.index = int(int32(binary.NativeEndian.Uint32(value)))
			}
		case unix.RTA_VIA: // a gateway of the other family
			value = value[min(2, len(value)):]
			fallthrough
		case unix.RTA_GATEWAY:
			var gateway netip.Addr
			gateway, valid = netip.AddrFromSlice(value)
			if valid {
				a.next = gateway.As16()
			}
		case unix.RTA_METRICS:
			a.mtu, a.hops = readMetrics(value)
		case unix.RTA_ENCAP:
			tunnel = true
		}
	})
	switch m.data[7] { // rtm_type
	case unix.RTN_LOCAL, unix.RTN_ANYCAST:
		return answer{reach: thisHost}, true
	case unix.RTN_UNICAST:
	default:
		return answer{}, true
	}
	if a.index <= 0 || !valid {
		return answer{}, true
	}
	a.reach = byLink
	if tunnel {
		a = answer{reach: byLink, index: encapsulated}
	}
	return a, true
}

const (
	// flagsMask has the bits of an attribute's type that are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
	flagsMask = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	// mtuAtMost is the largest MTU of IP.
	mtuAtMost = 65535
	// encapsulated stands for the interface of routes that put a header around packets. It is none of ours.
	encapsulated = -1
)

// readMetrics reads a route's MTU and hop limit; 0 where it has none.
func readMetrics(b []byte) (mtu int, hops uint8) {
	attributes(b, func(kind uint16, value []byte) {
		if len(value) < 4 {
			return
		}
		switch n := binary.NativeEndian.Uint32(value); kind {
		case unix.RTAX_MTU:
			mtu = int(min(n, mtuAtMost))
		case unix.RTAX_HOPLIMIT:
			hops = uint8(min(n, 255))
		}
	})
	return mtu, hops
}

// readOurs reads a route of a listing as a prefix of our own addresses.
func readOurs(b []byte) (p netip.Prefix, ok bool) {
	if len(b) < unix.SizeofRtMsg || b[7] != unix.RTN_LOCAL {
		return p, false
	}
	length := 4
	if b[0] == unix.AF_INET6 {
		length = 16
	}
	first := make([]byte, length) // for 0.0.0.0/0 there is no RTA_DST
	attributes(b[unix.SizeofRtMsg:], func(kind uint16, value []byte) {
		if kind == unix.RTA_DST {
			first = slices.Clone(value)
		}
	})
	if len(first) != length {
		return p, false
	}
	addr, _ := netip.AddrFromSlice(first)
	p, err := addr.Prefix(int(b[1]))
	return p, err == nil
}
