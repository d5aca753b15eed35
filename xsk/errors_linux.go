package xsk

import (
	"errors"
	"fmt"
	"maps"

	"golang.org/x/sys/unix"
)

// The known reasons for which a bundle does not open. Open wraps one of these and the system call's own error.
var (
	// ErrPrivilege: the process lacks CAP_NET_RAW (or CAP_NET_ADMIN for busy polling).
	ErrPrivilege = errors.New("lacks CAP_NET_RAW and CAP_NET_ADMIN")
	// ErrMemlock: the UMEM exceeds RLIMIT_MEMLOCK, and the process lacks CAP_IPC_LOCK.
	ErrMemlock = errors.New(
		"RLIMIT_MEMLOCK is too small for the packet memory: raise it (LimitMEMLOCK=) or grant CAP_IPC_LOCK")
	// ErrQueueBusy: another AF_XDP socket holds the queue.
	ErrQueueBusy = errors.New("another AF_XDP socket holds the queue")
	// ErrNoQueue: the interface has no queue of that number.
	ErrNoQueue = errors.New("the interface has no such queue")
	// ErrDown: the interface is down. In copy mode that is no error: the bundle sends once it is up.
	ErrDown = errors.New("the interface is down")
	// ErrNoInterface: there is no interface of that index (any more).
	ErrNoInterface = errors.New("no such interface")
	// ErrNoProgram: the driver wants an XDP program to be attached first.
	ErrNoProgram = errors.New("no XDP program is attached")
	// ErrUnsupported: the kernel or the driver cannot do it.
	ErrUnsupported = errors.New("not supported by this kernel or driver")
	// ErrZeroCopy: the driver has zerocopy, but not for this device, this queue or this packet memory.
	ErrZeroCopy = errors.New("the driver refuses zerocopy")
)

// openError wraps the step that failed, its reason as far as it is known, and the kernel's error.
func openError(doing string, err error, reasons map[unix.Errno]error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if reason := reasons[errno]; reason != nil {
			return fmt.Errorf("%s: %w (%w)", doing, reason, errno)
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// The meaning of errors depends on the call (net/xdp/xsk.c, xdp_umem.c, xsk_buff_pool.c).
var (
	socketReasons = map[unix.Errno]error{
		unix.EPERM:           ErrPrivilege,
		unix.EAFNOSUPPORT:    ErrUnsupported,
		unix.ESOCKTNOSUPPORT: ErrUnsupported,
	}
	umemReasons = map[unix.Errno]error{
		unix.ENOBUFS: ErrMemlock, // xdp_umem_account_pages
	}
	ringReasons = map[unix.Errno]error{
		unix.ENOPROTOOPT: ErrUnsupported,
		unix.EOPNOTSUPP:  ErrUnsupported,
	}
	copyReasons = map[unix.Errno]error{
		unix.EPERM:      ErrPrivilege,
		unix.EBUSY:      ErrQueueBusy,
		unix.EINVAL:     ErrNoQueue, // all else that is invalid was ruled out before
		unix.ENETDOWN:   ErrDown,
		unix.ENODEV:     ErrNoInterface,
		unix.ENXIO:      ErrNoProgram,
		unix.EOPNOTSUPP: ErrUnsupported,
	}
	// With zerocopy the driver answers too (ndo_bpf with XDP_SETUP_XSK_POOL), and the same numbers mean more.
	zeroCopyReasons = map[unix.Errno]error{
		// virtnet_xsk_pool_enable without a DMA device, mlx5e_validate_xsk_param, each driver's check of the queue
		unix.EINVAL: fmt.Errorf("%w: a virtio device needs ACCESS_PLATFORM (iommu_platform=on in QEMU), "+
			"with pages of 16 or 64 KB chunks of 4 KB may not fit, and the queue must both receive and send",
			ErrZeroCopy),
		// virtnet_xsk_pool_enable; the bind itself asks for no capability
		unix.EPERM: fmt.Errorf("%w: virtio_net needs napi_tx=1", ErrZeroCopy),
		unix.ENOENT: fmt.Errorf(
			"%w: virtio_net needs mergeable receive buffers (mrg_rxbuf=on in QEMU)", ErrZeroCopy),
		unix.ENOMEM:     fmt.Errorf("%w: the packet memory cannot be mapped for the device", ErrZeroCopy), // xp_dma_map
		unix.EOPNOTSUPP: fmt.Errorf("%w: this driver has none, or needs larger chunks", ErrUnsupported),
	}
)

// bindReasons are the meanings of bind's errors in a mode.
func bindReasons(mode Mode) map[unix.Errno]error {
	reasons := maps.Clone(copyReasons)
	if mode == ZeroCopy {
		maps.Copy(reasons, zeroCopyReasons)
	}
	return reasons
}
