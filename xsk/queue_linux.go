package xsk

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A queue is one AF_XDP socket and its four rings. Only its owner's thread touches it.
type queue struct {
	number   int
	fd       int
	busyPoll bool

	fill       producer[uint64]       // empty chunks for the kernel to receive into
	rx         consumer[unix.XDPDesc] // received frames
	tx         producer[unix.XDPDesc] // frames to send
	completion consumer[uint64]       // chunks whose frames were sent

	mappings [][]byte
}

func newQueue(number int) (*queue, error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, openError("open a socket", err, socketReasons)
	}
	return &queue{number: number, fd: fd}, nil
}

// openRings makes the four rings and maps them. The fill ring takes all of the queue's chunks; TX and
// completion rings take all TX chunks there are, so they are never full.
func (q *queue) openRings(cfg BundleConfig) error {
	for _, ring := range []struct {
		name         string
		option, size int
	}{
		{"fill", unix.XDP_UMEM_FILL_RING, cfg.ReceiveFrames},
		{"completion", unix.XDP_UMEM_COMPLETION_RING, cfg.TransmitFrames},
		{"RX", unix.XDP_RX_RING, cfg.ReceiveFrames},
		{"TX", unix.XDP_TX_RING, cfg.TransmitFrames},
	} {
		if err := unix.SetsockoptInt(q.fd, unix.SOL_XDP, ring.option, ring.size); err != nil {
			return openError(fmt.Sprintf("make a %s ring of %d", ring.name, ring.size), err, ringReasons)
		}
	}
	at, errno := ringOffsets(q.fd)
	if errno != 0 {
		return openError("ask for the rings' layout", errno, ringReasons)
	}
	fill, fillEntries, err := openRing[uint64](q, unix.XDP_UMEM_PGOFF_FILL_RING, at.Fr, cfg.ReceiveFrames)
	if err != nil {
		return err
	}
	completion, completionEntries, err := openRing[uint64](q, unix.XDP_UMEM_PGOFF_COMPLETION_RING, at.Cr, cfg.TransmitFrames)
	if err != nil {
		return err
	}
	rx, rxEntries, err := openRing[unix.XDPDesc](q, unix.XDP_PGOFF_RX_RING, at.Rx, cfg.ReceiveFrames)
	if err != nil {
		return err
	}
	tx, txEntries, err := openRing[unix.XDPDesc](q, unix.XDP_PGOFF_TX_RING, at.Tx, cfg.TransmitFrames)
	if err != nil {
		return err
	}
	q.fill = newProducer(fill, fillEntries)
	q.completion = newConsumer(completion, completionEntries)
	q.rx = newConsumer(rx, rxEntries)
	q.tx = newProducer(tx, txEntries)
	return nil
}

func openRing[E any](q *queue, pageOffset int64, at unix.XDPRingOffset, size int) (indices, []E, error) {
	mapping, shared, entries, err := mapRing[E](q.fd, pageOffset, at, size)
	if err != nil {
		return indices{}, nil, fmt.Errorf("map a ring: %w", err)
	}
	q.mappings = append(q.mappings, mapping)
	return shared, entries, nil
}

// fillFrom gives the kernel the queue's chunks, of which first is the first one's number.
func (q *queue) fillFrom(first int, cfg BundleConfig) {
	for i := range cfg.ReceiveFrames {
		q.fill.put(uint64((first + i) * cfg.ChunkSize))
	}
	q.fill.submit()
}

// close unmaps the rings and closes the socket.
func (q *queue) close() error {
	q.fill, q.tx = producer[uint64]{}, producer[unix.XDPDesc]{}
	q.completion, q.rx = consumer[uint64]{}, consumer[unix.XDPDesc]{}
	var errs []error
	for _, m := range q.mappings {
		errs = append(errs, unix.Munmap(m))
	}
	q.mappings = nil
	errs = append(errs, unix.Close(q.fd))
	return errors.Join(errs...)
}

// kickTransmit has the kernel look at the TX ring. It does not tell the scheduler, which saves a quarter of
// a packet's cost; the budget bounds the call, since it delays a stop of the world.
func kickTransmit(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// kickReceive has the kernel look at the fill ring, or poll the NIC. What it answers changes nothing.
func kickReceive(fd int) {
	_, _, _ = unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
}
