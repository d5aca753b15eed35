package nexthop

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The kernel remembers a path MTU that a router reports, for the destination, and sends no notification. So we receive
// the router's message too, and ask for the paths to that destination again. The sender is not checked: the message is
// a hint to ask, not an answer.

// icmpBuffer is the room, in bytes, for hints that wait. A router repeats lost ones.
const icmpBuffer = 16 << 10

// hearTooBig opens sockets that receive messages about packets that were too big. It may return some and an error.
func hearTooBig() (sockets []*net.IPConn, err error) {
	four, err4 := net.ListenIP("ip4:icmp", nil)
	if err4 == nil {
		sockets = append(sockets, four)
		_ = four.SetReadBuffer(icmpBuffer)
		// The first halfword of ICMP, after the IP header: destination unreachable, fragmentation needed (RFC 792).
		only, _ := bpf.Assemble([]bpf.Instruction{
			bpf.LoadMemShift{Off: 0},
			bpf.LoadIndirect{Off: 0, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0x0304, SkipFalse: 1},
			bpf.RetConstant{Val: 0xffff},
			bpf.RetConstant{Val: 0},
		})
		err4 = ipv4.NewPacketConn(four).SetBPF(only)
	}
	six, err6 := net.ListenIP("ip6:ipv6-icmp", nil)
	if err6 == nil {
		sockets = append(sockets, six)
		_ = six.SetReadBuffer(icmpBuffer)
		var only ipv6.ICMPFilter
		only.SetAll(true)
		only.Accept(ipv6.ICMPTypePacketTooBig)
		err6 = ipv6.NewPacketConn(six).SetICMPFilter(&only)
	}
	return sockets, errors.Join(err4, err6)
}

// hear starts goroutines that pass on the destinations of packets that were too big.
func (t *Table) hear(log *slog.Logger) <-chan netip.Addr {
	sockets, err := hearTooBig()
	if err != nil {
		log.Debug("Changes of path MTUs are noticed late", "error", err)
	}
	to := make(chan netip.Addr)
	for _, s := range sockets {
		t.closers = append(t.closers, s)
		t.ended.Go(func() { hearAt(s, to, t.done) })
	}
	return to
}

// hearAt passes on those of one socket until it is closed.
func hearAt(socket *net.IPConn, to chan<- netip.Addr, done <-chan struct{}) {
	six := socket.LocalAddr().(*net.IPAddr).IP.To4() == nil
	b := make([]byte, 512)
	for {
		n, _, err := socket.ReadFromIP(b)
		if err != nil {
			return
		}
		destination, ok := tooBig(b[:n], six)
		if !ok {
			continue
		}
		select {
		case to <- destination:
		case <-done:
			return
		}
	}
}

// tooBig reads the destination of a packet from an ICMP message that it was too big (RFC 792, RFC 4443 section 3.2).
// The packet's IP header follows the message's own 8 bytes.
func tooBig(b []byte, six bool) (destination netip.Addr, ok bool) {
	const header = 8
	if six {
		if len(b) < header+40 || b[0] != byte(ipv6.ICMPTypePacketTooBig) {
			return destination, false
		}
		return netip.AddrFrom16([16]byte(b[header+24:])), true
	}
	if len(b) < header+20 || b[0] != byte(ipv4.ICMPTypeDestinationUnreachable) || b[1] != 4 {
		return destination, false
	}
	return netip.AddrFrom4([4]byte(b[header+16:])), true
}
