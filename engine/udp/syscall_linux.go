package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this package's unsafe code is in this file.

// mmsghdr is the kernel's struct mmsghdr; Go pads its end as C does.
type mmsghdr struct {
	header unix.Msghdr
	length uint32 // the kernel writes the bytes of the message
}

// wordSize is the size of a cmsg length field, which is the machine's word.
const wordSize = int(unsafe.Sizeof(uintptr(0)))

// sendmmsg offers messages to the kernel and returns how many it accepted. The call is raw: the Go scheduler does not
// know of it, so callers bound the work.
func sendmmsg(fd int, messages []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(messages))), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// recvmmsg receives messages and returns how many. It is raw, like sendmmsg.
func recvmmsg(fd int, messages []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(messages))), uintptr(len(messages)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// epollWait returns how many of the watched descriptors are ready, with their events. It does not wait. It is raw, like
// sendmmsg.
func epollWait(epoll int, events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epoll),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// point aims an iovec at data, which may be empty.
func point(v *unix.Iovec, data []byte) {
	v.Base = unsafe.SliceData(data)
	v.SetLen(len(data))
}
