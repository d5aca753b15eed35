package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A socket is an AF_XDP socket, which one of the NIC's queues is bound to, and its four rings. Only its owner's thread
// touches it.
type socket struct {
	queue    int
	fd       int
	busyPoll bool

	fill       producer[uint64]       // empty chunks for the kernel to receive into
	rx         consumer[unix.XDPDesc] // received frames
	tx         producer[unix.XDPDesc] // frames to send
	completion consumer[uint64]       // chunks whose frames were sent

	reports  reportSocket
	mappings [][]byte
}

// A reportSocket is a queue's second AF_XDP socket: the XDP program sends reports there, which may wait. It has an RX
// ring only. The kernel receives into the first socket's chunks, and they go back to its fill ring (XDP_SHARED_UMEM for
// the same queue, xsk_bind in net/xdp/xsk.c).
type reportSocket struct {
	fd      int
	rx      consumer[unix.XDPDesc]
	mapping []byte
}

// reportsRoom is the divisor for the part of a queue's chunks that reports may hold. The RX ring has no room for more,
// so a flood of reports leaves chunks for media.
const reportsRoom = 2

func newReportSocket(cfg BundleConfig) (r reportSocket, err error) {
	if r.fd, err = unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return reportSocket{}, openError("open a socket", err, socketReasons)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
			r = reportSocket{}
		}
	}()
	size := max(1, cfg.ReceiveFrames/reportsRoom)
	if err := unix.SetsockoptInt(r.fd, unix.SOL_XDP, unix.XDP_RX_RING, size); err != nil {
		return r, openError(fmt.Sprintf("make an RX ring of %d", size), err, ringReasons)
	}
	at, errno := ringOffsets(r.fd)
	if errno != 0 {
		return r, openError("ask for the ring's layout", errno, ringReasons)
	}
	mapping, shared, entries, err := mapRing[unix.XDPDesc](r.fd, unix.XDP_PGOFF_RX_RING, at.Rx, size)
	if err != nil {
		return r, fmt.Errorf("map a ring: %w", err)
	}
	r.mapping, r.rx = mapping, newConsumer(shared, entries)
	return r, nil
}

// close does nothing with a socket that was never opened.
func (r *reportSocket) close() error {
	var errs []error
	if r.mapping != nil {
		r.rx = consumer[unix.XDPDesc]{}
		errs = append(errs, unix.Munmap(r.mapping))
		r.mapping = nil
	}
	if r.fd > 0 {
		errs = append(errs, unix.Close(r.fd))
		r.fd = 0
	}
	return errors.Join(errs...)
}

func newSocket(queue int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, openError("open a socket", err, socketReasons)
	}
	return &socket{queue: queue, fd: fd}, nil
}

// openRings makes the four rings and maps them. No ring is ever full. The fill ring has room for all RX chunks of the
// socket, the TX and completion rings for all TX chunks of the bundle.
func (s *socket) openRings(cfg BundleConfig) error {
	for _, ring := range []struct {
		name         string
		option, size int
	}{
		{"fill", unix.XDP_UMEM_FILL_RING, cfg.ReceiveFrames},
		{"completion", unix.XDP_UMEM_COMPLETION_RING, cfg.TransmitFrames},
		{"RX", unix.XDP_RX_RING, cfg.ReceiveFrames},
		{"TX", unix.XDP_TX_RING, cfg.TransmitFrames},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_XDP, ring.option, ring.size); err != nil {
			return openError(fmt.Sprintf("make a %s ring of %d", ring.name, ring.size), err, ringReasons)
		}
	}
	at, errno := ringOffsets(s.fd)
	if errno != 0 {
		return openError("ask for the rings' layout", errno, ringReasons)
	}
	fill, fillEntries, err := openRing[uint64](s, unix.XDP_UMEM_PGOFF_FILL_RING, at.Fr, cfg.ReceiveFrames)
	if err != nil {
		return err
	}
	completion, completionEntries, err := openRing[uint64](
		s, unix.XDP_UMEM_PGOFF_COMPLETION_RING, at.Cr, cfg.TransmitFrames,
	)
	if err != nil {
		return err
	}
	rx, rxEntries, err := openRing[unix.XDPDesc](s, unix.XDP_PGOFF_RX_RING, at.Rx, cfg.ReceiveFrames)
	if err != nil {
		return err
	}
	tx, txEntries, err := openRing[unix.XDPDesc](s, unix.XDP_PGOFF_TX_RING, at.Tx, cfg.TransmitFrames)
	if err != nil {
		return err
	}
	s.fill = newProducer(fill, fillEntries)
	s.completion = newConsumer(completion, completionEntries)
	s.rx = newConsumer(rx, rxEntries)
	s.tx = newProducer(tx, txEntries)
	return nil
}

func openRing[E any](s *socket, pageOffset int64, at unix.XDPRingOffset, size int) (indices, []E, error) {
	mapping, shared, entries, err := mapRing[E](s.fd, pageOffset, at, size)
	if err != nil {
		return indices{}, nil, fmt.Errorf("map a ring: %w", err)
	}
	s.mappings = append(s.mappings, mapping)
	return shared, entries, nil
}

// fillFrom gives the kernel the socket's RX chunks, of which first is the number of the first.
func (s *socket) fillFrom(first int, cfg BundleConfig) {
	for i := range cfg.ReceiveFrames {
		s.fill.put(uint64((first + i) * cfg.ChunkSize))
	}
	s.fill.submit()
}

// close unmaps the rings and closes the socket.
func (s *socket) close() error {
	s.fill, s.tx = producer[uint64]{}, producer[unix.XDPDesc]{}
	s.completion, s.rx = consumer[uint64]{}, consumer[unix.XDPDesc]{}
	errs := []error{s.reports.close()}
	for _, m := range s.mappings {
		errs = append(errs, unix.Munmap(m))
	}
	s.mappings = nil
	errs = append(errs, unix.Close(s.fd))
	return errors.Join(errs...)
}

// kickTransmit makes the kernel look at the TX ring. The call is raw: the Go scheduler does not know of it, which saves
// a quarter of a packet's cost. The kernel's budget bounds its length, because it delays a stop of the world.
func kickTransmit(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// kickReceive makes the kernel look at the fill ring, or poll the NIC. The answer does not matter.
func kickReceive(fd int) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
}
