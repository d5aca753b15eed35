// Package xsk is the AF_XDP port: it exchanges the datagrams of one UDP port with the NIC's queues past the kernel's
// network stack, headers included. It implements port.Port. It does not know the datagrams' meaning, nor the XDP
// program that steers them here. It needs Linux 5.11; the package is empty elsewhere.
//
// # Words
//
//   - A queue is the NIC's: an RX queue and the TX queue of the same number.
//   - The UMEM is memory that we share with the kernel, cut into chunks. They have 2 KB in copy mode. In zerocopy mode,
//     where they are the driver's buffers, they have 4 KB. A chunk holds one frame.
//   - A ring carries chunks' addresses or descriptors between the kernel and us. Two rings serve received frames: the
//     fill ring (empty chunks, to the kernel) and the RX ring (full ones, back). Two serve frames to send: the TX ring
//     and the completion ring.
//   - A socket is an AF_XDP socket, bound to one queue, with its four rings.
//   - A queue's second socket is for reports, which may wait. It has an RX ring of its own, and shares the chunks and
//     the fill ring of the first.
//   - A bundle is one UMEM and the sockets on it, one for each queue that a worker serves.
//   - A kick is the system call that makes the kernel look at a TX ring.
//   - A frame is an Ethernet frame, headers and payload. A port.Frame is a datagram, the payload alone.
//   - Consumed: the kernel moved a ring's consumer index past a descriptor. Reclaimed: we made a chunk ours again whose
//     descriptor was not consumed.
//   - The companion is the kernel's own socket on the same UDP port.
//
// # Chunks
//
//	TX  |<-- 64: headers, right-aligned -->| payload, up to port.FrameSize | ...
//	RX  |<-- Headroom + 256: XDP's -->| Ethernet | IP | UDP | payload | ...
//
// TX chunks are a pool of their own. Their memory is lent to the worker, which writes the payload where the NIC or the
// kernel will read it. RX chunks belong to one socket from open to close.
//
// # The life of a TX chunk
//
//	           offer                count                 complete
//	ours ───────────────▶ offered ─────────▶ in flight ─────────────▶ ours
//	  ▲                   │     │
//	  ├───── reclaim ─────┘     │ complete
//	  │                         ▼
//	  └─────── count ──────── returned
//
// The states (chunkState):
//
//   - Ours: the chunk is free, or is the memory of a frame that is lent to the worker, filled, or kept. It is on no
//     ring.
//   - Offered: its descriptor is on the TX ring. Its frame is kept until the kernel has consumed the descriptor.
//   - In flight: the descriptor was consumed and the frame counted, as sent or as rejected. The kernel has the memory.
//   - Returned: the completion ring gave the chunk back, but its frame is still to be counted. This state ends within
//     the Transmit that it began in.
//
// The steps: offer is stage 4 below. Count follows whenever the consumer index of the TX ring has moved, in the order
// of the ring. Complete comes by the completion ring, before or after the count. Reclaim is stage 2; it happens only in
// copy mode, because in zerocopy mode a descriptor counts as consumed at once.
//
// # The way out (all of it on the worker's thread)
//
//  1. Collect. Completion rings give chunks back. Descriptors that the kernel has consumed since the last time are
//     counted as sent.
//  2. Reclaim, if a frame on a TX ring is too old, or a route or next hop has changed. In copy mode the kernel reads a
//     TX ring only within our own calls (a kick, or Wait's poll). So we may reclaim descriptors that it has not
//     consumed. The kernel may have seen the producer index, which thus cannot go back. So the descriptors become
//     invalid, and kicks make the kernel skip them, one a call (drain). XDP_STATISTICS counts them.
//  3. Routes. For every RouteChange, its path's next hops are followed, and the guard admits the path, before a frame
//     is sent there. When the next hop is known, it becomes a template of headers.
//  4. Offer. Every frame gets its headers and a descriptor. Its route is resolved again only if the next hops have
//     a new generation or it has no hop. Frames that are too old, unroutable, or longer than any path takes are
//     counted and dropped. Frames without next hop here, or longer than their path takes, go through the companion
//     at once. The TX ring has room for every chunk.
//  5. Kick. The producer index is stored once a batch. One kick sends 32 frames, or Info.Budget where the kernel
//     lets us choose, and is repeated while it makes progress. The answers:
//     EAGAIN: there is more, or the socket's send buffer is full, which is the brake. Without progress there
//     is no kick for 50 µs, then for 100, up to a millisecond: no event announces free room. Until a kick
//     moves something, the ring gets one frame at a time, because reclaiming costs a kick each.
//     EBUSY: the device dropped one frame, which counts as rejected. The next frame may go, but after a last answer
//     of EBUSY there is the same pause. (In a poll the kernel does not report the drop: the frame counts as sent.)
//     EINTR, ENOBUFS: again, a few times.
//     ENETDOWN, ENXIO: the kernel does not look at the ring. All of it is reclaimed and goes through the companion,
//     as do later frames, until a kick each 10 ms succeeds. (After ENXIO none does: the interface is gone, and
//     it takes a new bundle.)
//  6. Settle. Frames that the kernel has not consumed are kept, in order; free chunks are lent.
//
// In zerocopy mode the NIC reads the ring at any time. So a submitted frame counts as sent, is not reclaimed, and may
// leave late after an outage; a new bundle has empty rings. Some drivers send within the kick (virtio).
// Others raise an interrupt and send later (igb, igc, ixgbe, i40e, ice, mlx5). So a kick that leaves frames on the ring
// is repeated after 50 µs, then after 100, up to a millisecond. The pause ends early once the driver has got to the
// end of the ring as that kick showed it.
//
// # The way in (the worker's thread)
//
// Receive first puts the chunks of the last Receive on the fill rings again. Then it reads the RX rings, each in turn
// being the first. A driver may ask for kicks of the fill ring. It gets one for each 64 chunks, or each turn while it
// holds fewer than 64. With busy polling every turn kicks. Checksums are not verified: virtual interfaces leave them
// unfinished, and NICs check them before XDP. Frames from an address of this host are dropped: they are forged. Last
// comes the companion, for one port of all. It is read when a poll has announced datagrams, and otherwise once a
// millisecond, since reading costs a system call. It has a batch of its own, so neither starves the other.
//
// Reports come by a socket of their own. After a Receive that took some, reports do not end a Wait for 20 ms, and Wait
// ends at that time. While so many come that they would fill half of their ring in 20 ms, they wait until it is half
// full. Meanwhile each Receive takes those that are there. A worker with many viewers has a turn every few milliseconds
// anyway, so nearly all reports are handled in such turns, and wake nobody. The first report after a quiet time wakes
// the worker at once.
//
// The reports' RX ring holds half of the queue's chunks. While there is media, a quarter of each batch is theirs.
// So a flood of reports cannot take the chunks of media, nor delay it much, nor can media take the reports' turn.
//
// # Outages
//
// A socket never outlives its interface, and an interface that went down may have changed. So the bundle can be taken
// away (Suspend) and another given (Resume) while the worker runs. The port stops sending through the bundle at
// the next Transmit. It closes the bundle at the next Receive, when the worker holds no received frame any more.
// In between and until Resume, frames lie in ordinary memory and go through the companion. While the next hops report
// that the link is down, frames are rejected instead. The kernel would keep them for a neighbour, and send them late.
//
// # Concurrency
//
// A Port belongs to one thread, and with it the bundle, its sockets and their rings. Nothing is locked. The kernel
// is the other side of every ring; ring_linux.go says who writes what. Wake, Stats, Details, Suspend and Resume
// are safe from any thread. Counters are plain integers of the worker, published once a turn (package tally).
//
// # Buffer ownership
//
// Frames and their memory belong to the port. The worker writes those of Outgoing.Frames between two Transmits, and
// must not keep or reorder them. Data that does not begin where it was lent is copied there. Inbound.Data points into
// the UMEM. The reader may change it until the next Receive. Between two Transmits a TX chunk is in one of three
// places. It is the memory of a kept or lent frame, or on the stack of free chunks, or with the kernel.
package xsk
