package xsk

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// All of this package's unsafe code is in this file. Numbers from the kernel become pointers here, once per socket at
// open.

// registerUMEM gives the kernel memory in chunks of a size, to receive into and send from. A received frame begins
// headroom + XDP_PACKET_HEADROOM bytes into its chunk (net/xdp/xdp_umem.c, xdp_umem_reg).
func registerUMEM(fd int, memory []byte, chunk, headroom int) unix.Errno {
	reg := unix.XDPUmemReg{
		Addr:     uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))),
		Len:      uint64(len(memory)),
		Size:     uint32(chunk),
		Headroom: uint32(headroom),
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	return errno
}

// ringOffsets asks for the offsets of the rings' fields in their mappings (XDP_MMAP_OFFSETS).
func ringOffsets(fd int) (unix.XDPMmapOffsets, unix.Errno) {
	var offsets unix.XDPMmapOffsets
	errno := getXDPOption(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&offsets), unsafe.Sizeof(offsets))
	return offsets, errno
}

// statistics asks for the kernel's counters of a socket (XDP_STATISTICS).
func statistics(fd int) (unix.XDPStatistics, unix.Errno) {
	var s unix.XDPStatistics
	errno := getXDPOption(fd, unix.XDP_STATISTICS, unsafe.Pointer(&s), unsafe.Sizeof(s))
	return s, errno
}

// getXDPOption reads a socket option of a fixed size. A kernel that returns less is too old (5.4 has the rings' flags,
// 5.9 all statistics).
func getXDPOption(fd, option int, value unsafe.Pointer, size uintptr) unix.Errno {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0)
	if errno == 0 && uintptr(length) < size {
		return unix.EOPNOTSUPP
	}
	return errno
}

// mapRing maps one of a socket's rings. The mapping is to be unmapped whole, when no pointer into it is used any more.
func mapRing[E any](fd int, pageOffset int64, at unix.XDPRingOffset, size int) (
	mapping []byte, shared indices, entries []E, err error,
) {
	var entry E
	length := int(at.Desc) + size*int(unsafe.Sizeof(entry))
	mapping, err = unix.Mmap(fd, pageOffset, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, indices{}, nil, err
	}
	shared = indices{
		producer: (*uint32)(unsafe.Pointer(&mapping[at.Producer])),
		consumer: (*uint32)(unsafe.Pointer(&mapping[at.Consumer])),
		flags:    (*uint32)(unsafe.Pointer(&mapping[at.Flags])),
	}
	return mapping, shared, unsafe.Slice((*E)(unsafe.Pointer(&mapping[at.Desc])), size), nil
}
