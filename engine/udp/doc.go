// Package udp is the socket port: datagrams of one UDP port, received in batches and sent in runs. It
// implements port.Port and knows nothing of what the datagrams mean.
//
// On Linux every worker has a socket of its own in one SO_REUSEPORT group, and the kernel spreads the
// peers over them by their addresses. Elsewhere there is one worker; package net does the I/O
// (portable.go), for development rather than for load. The same tests run against both.
//
// # Words
//
//   - A message is what one entry of recvmmsg or sendmmsg carries: one datagram, or several of equal
//     size (the last may be shorter) that the kernel cuts apart or has put together.
//   - A run is a row of frames of one route and one size. It leaves as one message: an iovec per
//     frame, and UDP_SEGMENT with their size.
//   - A chunk is the row of messages that one sendmmsg offers to the kernel.
//   - The queue of a Transmit is what earlier ones kept, then what the worker filled.
//
// # The way out (all of it on the worker's thread)
//
//  1. Routes. Every RouteChange becomes a prepared route: the peer's sockaddr and a control message
//     that names our own address. Nothing is looked up later. A revoked route takes its kept frames
//     with it.
//  2. Queue. Kept and new frames lie next to each other in one array, kept ones first (lender), so
//     that order needs no copying.
//  3. Drop. A frame at the head that cannot go (stale, unroutable, too long) is counted and passed.
//  4. Gather. Runs are collected into a chunk of at most 16 messages, which is closed once it holds
//     64 frames. The messages' headers are prepared at Open and point to fixed slots; gathering
//     writes an address, a length and an iovec per frame.
//  5. Offer. One raw sendmmsg. The Go scheduler is not told, which is cheaper and bounded by 4, since
//     it delays a stop of the world. The kernel says how many messages it took; the rest is offered
//     again, to learn what is wrong with its first.
//  6. Verdict on that first message:
//     full (EAGAIN, ENOBUFS): it and all behind it are kept, in order;
//     not as a segmented one (EIO, EINVAL, EMSGSIZE): back to 4 from its first frame, one message per
//     frame on this route for the next 10 s. Nothing is lost;
//     anything else: its frames are counted as refused, the next message is offered. All of these are
//     about the path (a firewall's EPERM, a closed route's EACCES or EINVAL), so after two on end the
//     route rests: for 10 ms at first, for 320 ms at last. Its frames are counted as refused meanwhile,
//     without a call each, and without ending the others' calls early.
//  7. Settle. What is kept moves to the front of the array, the rest of it is lent to the worker.
//
// # The way in (the worker's thread)
//
// One raw recvmmsg fills the message buffers. UDP_GRO may have put several datagrams of one peer into
// a message; Receive cuts them apart and hands out at most Config.Batch of them; what is left follows
// at the next Receive, before the kernel is asked again, and until then Wait does not wait. The kernel's
// arrival times are read from the wall clock's scale into Now's with the offset of this very moment,
// and held between now and one second before it.
//
// # Addresses
//
// A wildcard IPv6 address also takes IPv4 (one dual-stack socket); peers and local addresses are
// handed out unmapped. Path.Local comes from IPV6_PKTINFO or IP_PKTINFO and goes back the same way.
// On a dual-stack socket an IPv6 control message with a mapped address rules IPv4 datagrams too, in both
// directions, so a socket deals in one family of control messages. Link-local addresses carry the
// interface's index as their zone.
//
// The first socket binds without SO_REUSEPORT and turns it on afterwards, so a second server on the same
// port is told that the address is in use instead of silently receiving half of the viewers.
//
// # Concurrency
//
// A Port belongs to one thread. Wake, Stats, Segmentation and LocalPort are safe from any. Counters
// are plain integers of the worker, published through atomics once per call. How the thread sleeps, and is woken, is
// package park's.
//
// # Buffer ownership
//
// Everything is allocated at Open; only the table of routes grows. Frames and their memory belong to the
// port. The worker writes those of Outgoing.Frames between two Transmits and must not keep or
// reorder them; it may reslice their Data, which is restored. Inbound.Data points into the message
// buffers and is the reader's to change until the next Receive, its capacity ends where it ends.
package udp
