package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Marks are the marks in the IP header of a received datagram.
type Marks struct {
	TrafficClass uint8  // DSCP and ECN
	HopLimit     uint8  // the rest of it; IPv4's time to live
	FlowLabel    uint32 // IPv6's
}

// ipv6FlowInfo is IPV6_FLOWINFO of linux/in6.h: an option, and the control message that it asks for.
const ipv6FlowInfo = 11

// ShowMarks makes a socket, which is bound to an address of one family, deliver the marks for ReadMarks.
func ShowMarks(conn *net.UDPConn) error {
	level, options := unix.IPPROTO_IPV6, []int{unix.IPV6_RECVTCLASS, unix.IPV6_RECVHOPLIMIT, ipv6FlowInfo}
	if conn.LocalAddr().(*net.UDPAddr).IP.To4() != nil {
		level, options = unix.IPPROTO_IP, []int{unix.IP_RECVTOS, unix.IP_RECVTTL}
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		for _, option := range options {
			if err := unix.SetsockoptInt(int(fd), level, option, 1); err != nil {
				failed = fmt.Errorf("set option %d of level %d: %w", option, level, err)
			}
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// ReadMarks reads a datagram into data and returns its size and marks.
func ReadMarks(conn *net.UDPConn, data []byte) (n int, m Marks, err error) {
	control := make([]byte, 256)
	n, size, _, _, err := conn.ReadMsgUDPAddrPort(data, control)
	if err != nil {
		return n, m, err
	}
	messages, err := syscall.ParseSocketControlMessage(control[:size])
	if err != nil {
		return n, m, fmt.Errorf("read control messages: %w", err)
	}
	for _, c := range messages {
		switch [2]int32{c.Header.Level, c.Header.Type} {
		case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}:
			m.TrafficClass = c.Data[0]
		case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			m.TrafficClass = uint8(binary.NativeEndian.Uint32(c.Data))
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			m.HopLimit = uint8(binary.NativeEndian.Uint32(c.Data))
		case [2]int32{unix.IPPROTO_IPV6, ipv6FlowInfo}:
			m.FlowLabel = binary.BigEndian.Uint32(c.Data) & 0xfffff
		}
	}
	return n, m, nil
}
