package watch

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this package's unsafe code is in this file.

// mmsghdr is the kernel's struct mmsghdr; Go pads its end as C does.
type mmsghdr struct {
	header unix.Msghdr
	length uint32 // of the message in bytes; the kernel writes it
}

// udpGRO is both the socket option and the control message that has the segment size.
const udpGRO = 104

const (
	// A message holds datagrams that a sender's UDP_SEGMENT or the interface joined.
	messages    = 4
	messageRoom = 65 << 10
	controlRoom = 64
	// receiveBuffer is a viewer's SO_RCVBUF in bytes, for a keyframe in one burst. The kernel doubles it.
	receiveBuffer = 256 << 10
)

// A receiver holds the buffers that a loop receives in.
type receiver struct {
	headers  [messages]mmsghdr
	vectors  [messages]unix.Iovec
	controls [messages][controlRoom]byte
	memory   []byte
}

func newReceiver() *receiver {
	r := &receiver{memory: make([]byte, messages*messageRoom)}
	for i := range r.headers {
		h := &r.headers[i].header
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i][0]
		r.vectors[i].Base = &r.memory[i*messageRoom]
		r.vectors[i].SetLen(messageRoom)
	}
	return r
}

// receive reads as many messages from a socket as there is room for.
func (r *receiver) receive(fd int) (n int, err unix.Errno) {
	for i := range r.headers {
		r.headers[i].header.SetControllen(controlRoom)
	}
	// The raw call is safe, since MSG_DONTWAIT never waits.
	got, _, err := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(&r.headers[0])), messages, unix.MSG_DONTWAIT, 0, 0)
	if err != 0 {
		return 0, err
	}
	return int(got), 0
}

// epollWait waits for span at most, which is a tick of the wheel or less. The runtime does not know of the call, as in
// package engine/park: with thousands of viewers the loop waits often, and never long.
func epollWait(epoll int, ready []unix.EpollEvent, span time.Duration) (n int) {
	t := unix.NsecToTimespec(int64(span))
	r, _, err := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT2, uintptr(epoll), uintptr(unsafe.Pointer(&ready[0])),
		uintptr(len(ready)),
		uintptr(unsafe.Pointer(&t)), 0, 0)
	if err != 0 {
		return 0 // interrupted
	}
	return int(r)
}

// sendTo sends a datagram, not empty, on a connected socket. The raw call is safe, since MSG_DONTWAIT never waits. A
// loop makes a dozen such calls a second for each viewer.
func sendTo(fd int, b []byte) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// message returns the i-th message and the size of the datagrams in it. at is its arrival in ns of Unix time, or 0 if
// the kernel did not report it.
func (r *receiver) message(i int) (data []byte, segment int, at int64) {
	h := &r.headers[i]
	data = r.memory[i*messageRoom:][:min(int(h.length), messageRoom)]
	segment = len(data)
	const head = unix.SizeofCmsghdr
	for c := r.controls[i][:min(int(h.header.Controllen), controlRoom)]; len(c) >= head; {
		x := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		n := int(x.Len)
		if n < head || n > len(c) {
			break
		}
		switch body := c[head:n]; {
		case x.Level == unix.SOL_UDP && x.Type == udpGRO && len(body) >= 4:
			segment = max(int(binary.NativeEndian.Uint32(body)), 1)
		case x.Level == unix.SOL_SOCKET && x.Type == unix.SO_TIMESTAMPNS && len(body) >= 16:
			at = int64(binary.NativeEndian.Uint64(body))*1e9 + int64(binary.NativeEndian.Uint64(body[8:]))
		}
		c = c[min(unix.CmsgSpace(n-head), len(c)):]
	}
	return data, segment, at
}

// openSocket opens a nonblocking socket that is connected to remote. It comes from local, unless that is not valid or
// remote is of IPv6.
func openSocket(remote, local netip.AddrPort) (fd int, err error) {
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{
		Port: int(remote.Port()),
		Addr: as4(remote.Addr()),
	})
	if remote.Addr().Is6() && !remote.Addr().Is4In6() {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(remote.Port()), Addr: remote.Addr().As16()}
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open a socket: %w", err)
	}
	// Without these options all works as well, only slower or less exactly.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	_ = unix.SetsockoptInt(fd, unix.SOL_UDP, udpGRO, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	if local.IsValid() && family == unix.AF_INET {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(local.Port()), Addr: as4(local.Addr())})
		if err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("come from %v: %w", local, err)
		}
	}
	if err := unix.Connect(fd, address); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect to %v: %w", remote, err)
	}
	return fd, nil
}

// localPort returns the port that a socket is bound to.
func localPort(fd int) uint16 {
	switch a, _ := unix.Getsockname(fd); a := a.(type) {
	case *unix.SockaddrInet4:
		return uint16(a.Port)
	case *unix.SockaddrInet6:
		return uint16(a.Port)
	}
	return 0
}

// socketDrops returns the number of datagrams that a socket had no room for (SO_MEMINFO's SK_MEMINFO_DROPS).
func socketDrops(fd int) uint64 {
	const drops = 8
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[drops])
}

// as4 returns an IPv4 address, or zeros for another one.
func as4(a netip.Addr) [4]byte {
	if a = a.Unmap(); a.Is4() {
		return a.As4()
	}
	return [4]byte{}
}
