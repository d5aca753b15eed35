// Package xsk is the AF_XDP port: datagrams of one UDP port, exchanged with the NIC's queues past the
// kernel's network stack, headers and all. It implements port.Port and knows nothing of what the datagrams
// mean, nor of the XDP program that steers them here. It needs Linux 5.11; the package is empty elsewhere.
//
// # Words
//
//   - The UMEM is memory that we share with the kernel, cut into chunks: of 2 KB in copy mode, of 4 KB in zerocopy
//     mode, where the driver makes its buffers of them. A chunk is one frame's.
//   - A ring is a queue of numbers or descriptors between the kernel and us. Each queue has four. Two carry
//     received frames: the fill ring (empty chunks, to the kernel) and the RX ring (full ones, back). Two
//     carry frames to send: the TX ring and the completion ring.
//   - A kick is the system call that has the kernel look at a TX ring.
//   - A bundle is one UMEM and the sockets on it, one for each NIC queue that a worker serves.
//   - The companion is the kernel's own socket on the same UDP port.
//
// # Chunks
//
//	TX  |<-- 64: headers, right-aligned -->| payload, up to port.FrameSize | ...
//	RX  |<-- Headroom + 256: XDP's -->| Ethernet | IP | UDP | payload | ...
//
// TX chunks are a pool of their own, from which frames are lent to the worker, so it writes the payload where the
// NIC or the kernel will read it. RX chunks belong to the queue that they were given to at open.
//
// # The way out (all of it on the worker's thread)
//
//  1. Collect. Completion rings give chunks back. What the kernel has taken from the TX rings since the last
//     time is counted as sent.
//  2. Take back, if what lies on a ring may not leave as it is: it is too old, or a route or next hop has changed. In copy
//     mode the kernel reads a TX ring only within our own calls (a kick, or Wait's poll), so descriptors that it
//     has not taken are ours. It may have seen the ring's index, which thus cannot go back: they are made
//     invalid, and the kernel passes over them, one a call (drain). XDP_STATISTICS counts them.
//  3. Routes. Every RouteChange has its path's next hop followed and the guard told before anything is sent there.
//     When the next hop is known, it becomes a template of headers.
//  4. Offer. Every frame gets its headers and a descriptor. Its route is resolved again only if the next hops have
//     a new generation or it has no hop. Frames that are too old, unroutable, or longer than any path takes are
//     counted and dropped; those without next hop here, or longer than their path takes, go through the companion
//     at once. The TX ring has a place for every chunk that there is.
//  5. Kick. The producer's index is stored once a batch. One kick takes 32 frames, or Info.Budget where the kernel
//     can be told, and is repeated while it makes progress. What it answers:
//     EAGAIN: there is more, or the socket's send buffer is full, which is the brake. Without progress there
//     is no kick for 50 µs, then for 100, up to a millisecond: nothing announces that there is room. Until one
//     moves something, the ring is given one frame at a time, because taking back costs a kick each.
//     EBUSY: one frame was dropped by the device. It is counted as refused; the next one may go, but if it is
//     the last answer, there is the same pause. (In a poll the kernel does not tell: counted as sent.)
//     EINTR, ENOBUFS: again, a few times.
//     ENETDOWN, ENXIO: the kernel does not look at the ring. All of it is taken back and goes through the companion,
//     as does what comes, until a kick each 10 ms succeeds. (After ENXIO none does: the interface is gone, and
//     it takes a new bundle.)
//  6. Settle. Frames that the kernel has not taken are kept, in order; chunks that are free are lent.
//
// In zerocopy mode the NIC reads the ring whenever it likes, so what was submitted counts as sent, is not taken
// back, and may leave late after an outage; a new bundle has empty rings. Some drivers send within the kick (virtio).
// Others raise an interrupt and send later (igb, igc, ixgbe, i40e, ice, mlx5). So a kick that leaves frames on the ring
// is repeated after 50 µs, then after 100, up to a millisecond. The pause ends early once the driver has got to the
// end of the ring as that kick showed it.
//
// # The way in (the worker's thread)
//
// Receive first gives the chunks that the last one handed out back to the fill rings, then reads the RX rings, each
// in turn being the first. A driver that asks to be kicked for the fill ring gets a kick for each 64 chunks, or each
// turn while it holds fewer than 64. With busy polling every turn kicks. Checksums are not verified: virtual
// interfaces leave them unfinished, and NICs check them before XDP. Frames from an address of this host are dropped:
// they are forged. Then, for one port of all, the companion: when a poll has announced something, and otherwise once a
// millisecond, since asking costs a system call. It has a batch of its own, so neither starves the other.
//
// # Outages
//
// A socket never outlives its interface, and one that went down may have changed. So the bundle can be taken away
// (Suspend) and another given (Resume) while the worker runs. The port stops sending through the bundle at
// the next Transmit, and closes it at the next Receive, when the worker holds on to no received frame any more.
// In between and until Resume, frames lie in ordinary memory and go through the companion, unless the next hops
// say that the link is down: the kernel would keep them for a neighbour, and send them late.
//
// # Concurrency
//
// A Port belongs to one thread, and with it the bundle, its queues and their rings. Nothing is locked. The kernel
// is the other side of every ring; ring_linux.go says who writes what. Wake, Stats, Details, Suspend and Resume
// are safe from any thread. Counters are plain integers of the worker, published through atomics once per call.
//
// # Buffer ownership
//
// Frames and their memory belong to the port. The worker writes those of Outgoing.Frames between two Transmits and
// must not keep or reorder them; Data that does not begin where it was lent is copied there. Inbound.Data points
// into the UMEM and is the reader's to change until the next Receive. A TX chunk is always in one of three
// places: among the frames that are kept or lent, on the stack of free ones, or with the kernel.
package xsk
