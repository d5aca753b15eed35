package xsk

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Mode is how packets get between the NIC and the UMEM.
type Mode uint8

const (
	// Auto is ZeroCopy, else Copy.
	Auto Mode = iota
	// ZeroCopy makes the NIC read and write the UMEM itself.
	ZeroCopy
	// Copy makes the kernel copy. It works with every driver that has native XDP.
	Copy
)

// BundleConfig configures a bundle. Start from DefaultBundleConfig.
type BundleConfig struct {
	// Interface is the index of the network interface.
	Interface int
	// Queues are the numbers of the RX queues to serve, each with the TX queue of the same number.
	Queues []int
	// Mode is the rung of the ladder.
	Mode Mode
	// ChunkSize is the size of a chunk in bytes, 2048 or 4096.
	ChunkSize int
	// Headroom is how many bytes the kernel leaves free in front of a received frame, on top of
	// XDP's own 256.
	Headroom int
	// ReceiveFrames is how many received frames each socket can hold, a power of two.
	ReceiveFrames int
	// TransmitFrames is how many frames can be on their way out, of all sockets together: lent,
	// kept, or with the kernel. A power of two.
	TransmitFrames int
	// HugePages uses huge pages where there are some.
	HugePages bool
	// BusyPoll, if not zero, makes the reader poll the NIC's queues (SO_PREFER_BUSY_POLL) for this time. It takes
	// effect together with napi_defer_hard_irqs and gro_flush_timeout of the interface, which the administrator sets.
	BusyPoll time.Duration
	// BusyPollBudget is the most packets of one poll.
	BusyPollBudget int
	// BusyFor is how long bind is repeated while another socket holds the queue: the kernel
	// releases it some milliseconds after a close.
	BusyFor time.Duration
	// Sleep passes the time between two binds.
	Sleep func(time.Duration)
	// Release removes the sockets from the XSKMAP. It is called before anything is freed. nil: no call.
	Release func() error
}

const (
	copyChunk              = 2048
	zeroCopyChunk          = 4096
	busyRetry              = 5 * time.Millisecond
	maxFrames              = 1 << 16
	maxTxBudget            = 128 // frames a kick, where the kernel lets us choose
	defaultTxBudget        = 32  // TX_BATCH_SIZE of net/xdp/xsk.c
	hugePage               = 2 << 20
	xdpPacketHeadroom      = unix.XDP_PACKET_HEADROOM
	largestFrame           = 14 + 40 + 8 + 1500 // generous: no frame that we use is longer
	smallestRoomForReceive = xdpPacketHeadroom + largestFrame
)

// DefaultBundleConfig returns the defaults of a mode. Interface and Queues are still missing. Outside Mode Copy a chunk
// has 4 KiB. With smaller chunks, igb, igc and the 82599 receive no frame above 1 KB, because their buffers are whole
// kilobytes (1792 is rounded down). ENA would copy without a warning.
func DefaultBundleConfig(mode Mode) BundleConfig {
	c := BundleConfig{
		Mode: mode, ChunkSize: zeroCopyChunk, ReceiveFrames: 2048, TransmitFrames: 1024, HugePages: true,
		BusyPollBudget: 64, BusyFor: time.Second, Sleep: time.Sleep,
	}
	if mode == Copy {
		c.ChunkSize = copyChunk
	}
	return c
}

func (c *BundleConfig) validate() error {
	switch {
	case len(c.Queues) == 0:
		return errors.New("xsk: no queues")
	case len(c.Queues) > maxQueues:
		return fmt.Errorf("xsk: %d queues, at most %d", len(c.Queues), maxQueues)
	case slices.Min(c.Queues) < 0:
		return fmt.Errorf("xsk: queue %d", slices.Min(c.Queues))
	case len(slices.Compact(slices.Sorted(slices.Values(c.Queues)))) < len(c.Queues):
		return fmt.Errorf("xsk: a queue is named twice: %v", c.Queues)
	case c.ChunkSize != 2048 && c.ChunkSize != 4096:
		return fmt.Errorf("xsk: ChunkSize is %d, not 2048 or 4096", c.ChunkSize)
	case c.Headroom < 0 || c.Headroom > c.ChunkSize-smallestRoomForReceive:
		return fmt.Errorf("xsk: Headroom is %d, not 0 to %d", c.Headroom, c.ChunkSize-smallestRoomForReceive)
	case !ringSize(c.ReceiveFrames):
		return fmt.Errorf("xsk: ReceiveFrames is %d, not a power of two up to %d", c.ReceiveFrames, maxFrames)
	case !ringSize(c.TransmitFrames):
		return fmt.Errorf("xsk: TransmitFrames is %d, not a power of two up to %d", c.TransmitFrames, maxFrames)
	case c.BusyPoll < 0 || c.BusyPollBudget < 0 || c.BusyPollBudget > 0xffff:
		return fmt.Errorf("xsk: BusyPoll %v with a budget of %d", c.BusyPoll, c.BusyPollBudget)
	}
	return nil
}

// maxQueues bounds the queues of one bundle: a chunk keeps the index of its sender in one byte.
const maxQueues = 128

func ringSize(n int) bool { return n > 0 && n <= maxFrames && n&(n-1) == 0 }

// A Bundle is a UMEM and the AF_XDP sockets on it: one for each queue that a worker serves, all bound. It
// has one owner at a time and no lock; a Port owns the bundle that it was given.
type Bundle struct {
	config  BundleConfig
	memory  []byte // TX chunks, then each socket's RX chunks
	sockets []*socket
	info    Info
	closed  bool
	closing error
}

// Info describes an open bundle.
type Info struct {
	// ZeroCopy reports whether the kernel confirmed zerocopy mode.
	ZeroCopy bool
	// ZeroCopyRefused is the reason for Copy where ZeroCopy was tried.
	ZeroCopyRefused error
	// HugePages reports whether the UMEM lies in huge pages.
	HugePages bool
	// HugePagesRefused is the reason for ordinary pages where huge ones were tried.
	HugePagesRefused error
	// Budget is the most frames of one kick in copy mode.
	Budget int
	// BusyPollRefused is the reason for no busy polling where it was requested.
	BusyPollRefused error
}

// An Entry is a queue's number and the descriptors of its sockets for the XSKMAP. Reports is for the datagrams that may
// wait, FD for all others.
type Entry struct {
	Queue, FD, Reports int
}

// Open makes the UMEM and the sockets, fills the fill rings (mlx5 hangs otherwise), and binds the sockets. The XDP
// program must be attached before: some drivers fail the bind otherwise (ErrNoProgram). A packet that is redirected
// before the bind is lost, so the caller puts the Entries into the XSKMAP after Open.
//
// The error wraps one of this package's Err variables where the cause is known.
func Open(cfg BundleConfig) (*Bundle, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	var err error
	modes := []Mode{cfg.Mode}
	if cfg.Mode == Auto {
		modes = []Mode{ZeroCopy, Copy}
	}
	var info Info
	for _, mode := range modes {
		b := &Bundle{config: cfg, info: info}
		if err = b.open(mode); err == nil {
			return b, nil
		}
		b.config.Release = nil // no XSKMAP has the sockets yet
		_ = b.Close()
		if !refusesZeroCopy(err) {
			break
		}
		info.ZeroCopyRefused = err
	}
	return nil, fmt.Errorf("open AF_XDP on interface %d: %w", cfg.Interface, err)
}

func (b *Bundle) open(mode Mode) error {
	for i, queue := range b.config.Queues {
		s, err := newSocket(queue)
		if err != nil {
			return err
		}
		b.sockets = append(b.sockets, s)
		if i == 0 {
			if err := b.mapMemory(); err != nil {
				return err
			}
			if errno := registerUMEM(s.fd, b.memory, b.config.ChunkSize, b.config.Headroom); errno != 0 {
				return openError(fmt.Sprintf("register %d bytes of packet memory", len(b.memory)), errno, umemReasons)
			}
		}
		if err := s.openRings(b.config); err != nil {
			return fmt.Errorf("queue %d: %w", queue, err)
		}
		s.fillFrom(b.firstReceive(i), b.config)
		b.tune(s)
	}
	flags := uint16(unix.XDP_COPY | unix.XDP_USE_NEED_WAKEUP)
	if mode == ZeroCopy {
		flags = unix.XDP_ZEROCOPY | unix.XDP_USE_NEED_WAKEUP
	}
	if err := b.bind(b.sockets[0], flags); err != nil {
		return err
	}
	options, err := unix.GetsockoptInt(b.sockets[0].fd, unix.SOL_XDP, unix.XDP_OPTIONS)
	if err != nil {
		return fmt.Errorf("ask for the socket's mode: %w", err)
	}
	b.info.ZeroCopy = options&unix.XDP_OPTIONS_ZEROCOPY != 0
	for _, s := range b.sockets[1:] {
		// The first socket decides the mode and the wakeups: the kernel wants no flags here.
		if err := b.bind(s, unix.XDP_SHARED_UMEM); err != nil {
			return err
		}
	}
	for _, s := range b.sockets {
		if err := b.openReports(s); err != nil {
			return fmt.Errorf("queue %d, for reports: %w", s.queue, err)
		}
	}
	return nil
}

// openReports gives a bound socket's queue its second socket.
func (b *Bundle) openReports(s *socket) (err error) {
	if s.reports, err = newReportSocket(b.config); err != nil {
		return err
	}
	return b.bindTo(s.reports.fd, &unix.SockaddrXDP{
		Flags: unix.XDP_SHARED_UMEM, QueueID: uint32(s.queue), SharedUmemFD: uint32(s.fd),
	})
}

// firstReceive is the number of the first chunk that the i-th socket receives into.
func (b *Bundle) firstReceive(i int) int { return b.config.TransmitFrames + i*b.config.ReceiveFrames }

// mapMemory maps the UMEM. It uses huge pages where some are reserved, since the rings jump about in the memory.
// Otherwise it populates nothing, so that the kernel may still make huge pages when the memory is registered.
func (b *Bundle) mapMemory() error {
	size := b.firstReceive(len(b.config.Queues)) * b.config.ChunkSize
	const protection = unix.PROT_READ | unix.PROT_WRITE
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE
	if b.config.HugePages {
		rounded := (size + hugePage - 1) &^ (hugePage - 1)
		memory, err := unix.Mmap(-1, 0, rounded, protection, flags|unix.MAP_HUGETLB)
		if err == nil {
			b.memory = memory
			b.info.HugePages = true
			return nil
		}
		b.info.HugePagesRefused = fmt.Errorf("map %d bytes of huge pages: %w", rounded, err)
	}
	memory, err := unix.Mmap(-1, 0, (size+hugePage-1)&^(hugePage-1), protection, flags&^unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("map %d bytes of packet memory: %w", size, err)
	}
	if b.config.HugePages {
		_ = unix.Madvise(memory, unix.MADV_HUGEPAGE)
	}
	b.memory = memory
	return nil
}

// tune sets the options that make a socket faster, where the kernel has them.
func (b *Bundle) tune(s *socket) {
	b.info.Budget = defaultTxBudget
	// XDP_MAX_TX_SKB_BUDGET may not exceed the ring (Linux 6.18).
	budget := min(maxTxBudget, b.config.TransmitFrames)
	if unix.SetsockoptInt(s.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, budget) == nil {
		b.info.Budget = budget
	}
	if b.config.BusyPoll == 0 {
		return
	}
	for _, o := range []struct{ option, value int }{
		{unix.SO_PREFER_BUSY_POLL, 1},
		{unix.SO_BUSY_POLL, max(1, int(b.config.BusyPoll/time.Microsecond))},
		{unix.SO_BUSY_POLL_BUDGET, b.config.BusyPollBudget},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.option, o.value); err != nil {
			reasons := map[unix.Errno]error{unix.EPERM: ErrPrivilege}
			b.info.BusyPollRefused = openError("set up busy polling", err, reasons)
			return
		}
	}
	s.busyPoll = true
}

// refusesZeroCopy reports whether the same bundle may open in copy mode.
func refusesZeroCopy(err error) bool {
	for _, hopeless := range []error{ErrPrivilege, ErrMemlock, ErrQueueBusy, ErrDown, ErrNoInterface} {
		if errors.Is(err, hopeless) {
			return false
		}
	}
	return true
}

// bind binds a socket to its queue. It waits for a while if another socket holds the queue.
func (b *Bundle) bind(s *socket, flags uint16) error {
	address := &unix.SockaddrXDP{Flags: flags, QueueID: uint32(s.queue)}
	if flags&unix.XDP_SHARED_UMEM != 0 {
		address.SharedUmemFD = uint32(b.sockets[0].fd)
	}
	return b.bindTo(s.fd, address)
}

// bindTo is bind to a queue of the bundle's interface.
func (b *Bundle) bindTo(fd int, address *unix.SockaddrXDP) error {
	address.Ifindex = uint32(b.config.Interface)
	err := unix.Bind(fd, address)
	for waited := time.Duration(0); err == unix.EBUSY && waited < b.config.BusyFor; waited += busyRetry {
		b.config.Sleep(busyRetry)
		err = unix.Bind(fd, address)
	}
	if err != nil {
		mode := Copy
		if address.Flags&unix.XDP_ZEROCOPY != 0 || b.info.ZeroCopy {
			mode = ZeroCopy
		}
		return openError(fmt.Sprintf("bind to queue %d", address.QueueID), err, bindReasons(mode))
	}
	return nil
}

// Entries are those of all sockets, in the order of BundleConfig.Queues.
func (b *Bundle) Entries() []Entry {
	var entries []Entry
	for _, s := range b.sockets {
		entries = append(entries, Entry{Queue: s.queue, FD: s.fd, Reports: s.reports.fd})
	}
	return entries
}

// Info describes the bundle.
func (b *Bundle) Info() Info { return b.info }

// Close frees everything, in an order that lets the kernel free the queues. First goes the XSKMAP's reference
// (Release), then the rings, whose mappings hold the sockets, then the sockets, then the UMEM. A second call returns
// the first one's error and does nothing else. The kernel needs some milliseconds more until the queues can be bound
// again.
func (b *Bundle) Close() error {
	if b.closed {
		return b.closing
	}
	b.closed = true
	var errs []error
	if b.config.Release != nil {
		errs = append(errs, b.config.Release())
	}
	for _, s := range b.sockets {
		errs = append(errs, s.close())
	}
	if b.memory != nil {
		errs = append(errs, unix.Munmap(b.memory))
		b.memory = nil
	}
	if err := errors.Join(errs...); err != nil {
		b.closing = fmt.Errorf("close AF_XDP on interface %d: %w", b.config.Interface, err)
	}
	return b.closing
}
