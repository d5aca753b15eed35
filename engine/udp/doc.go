// Package udp is the socket port. It receives the datagrams of one UDP port in batches, and sends them in runs. It
// implements port.Port, and does not know the datagrams' meaning.
//
// On Linux every worker has a socket of its own in one SO_REUSEPORT group, and the kernel spreads the
// peers over them by their addresses. Elsewhere there is one worker; package net does the I/O
// (portable.go), for development rather than for load. The same tests run against both.
//
// # Words
//
//   - A message is one entry of recvmmsg or sendmmsg. It has one datagram, or several of equal size (the last may be
//     shorter), which the kernel cuts apart or has put together.
//   - A run is a row of frames of one route and one size. It leaves as one message: an iovec per
//     frame, and UDP_SEGMENT with their size.
//   - A batch is the row of messages that one sendmmsg offers to the kernel.
//   - Pending frames are those that earlier Transmits kept, then those that the worker filled.
//   - A rejected send is one that the kernel rejects for good, as opposed to one that it has no room for now.
//
// # The way out (all of it on the worker's thread)
//
//  1. Routes. Every RouteChange becomes a prepared route: the peer's sockaddr, and a control message
//     that names our own address. Nothing is looked up later. A revoked route takes its kept frames
//     with it.
//  2. Pending. Kept and filled frames lie next to each other in one array, kept ones first (lender), so
//     that order needs no copying.
//  3. Drop. A frame at the head that cannot go (stale, unroutable, too long) is counted and skipped.
//  4. Gather. Runs are collected into a batch of at most 16 messages, which is full once it has
//     64 frames. The messages' headers are prepared at Open and point to fixed slots; gathering
//     writes an address, a length and an iovec per frame.
//  5. Offer. One raw sendmmsg. The Go scheduler does not know of the call, which makes it cheaper. Stage 4 bounds its
//     length, because it delays a stop of the world. The kernel reports how many messages it accepted. The others are
//     offered again, to find out the error of their first.
//  6. Verdict on that first message.
//     Full (EAGAIN, ENOBUFS): this message and all later ones are kept, in order.
//     Not segmented (EIO, EINVAL, EMSGSIZE): back to 4 from its first frame. There is one message per frame on this
//     route for the next 10 s. Nothing is lost.
//     Any other error: its frames count as rejected, the next message is offered. All of these errors are about the
//     path (a firewall's EPERM, a closed route's EACCES or EINVAL). So after two in a row the route rests: for 10 ms
//     at first, for 320 ms at last. In that time its frames count as rejected, without a call each, and without ending
//     the others' calls early.
//  7. Settle. Kept frames move to the front of the array, all others are lent to the worker.
//
// # The way in (the worker's thread)
//
// One raw recvmmsg fills the message buffers. UDP_GRO may have put several datagrams of one peer into
// a message; Receive cuts them apart and hands out at most Config.Batch of them. The others follow
// at the next Receive, before the kernel is asked again, and until then Wait does not wait. The kernel's
// arrival times are on the wall clock's scale. The offset of the moment of the call converts them to that of Now; they
// are held between now and one second before it.
//
// # Addresses
//
// A wildcard IPv6 address also takes IPv4 (one dual-stack socket); peers and local addresses are
// handed out unmapped. Path.Local comes from IPV6_PKTINFO or IP_PKTINFO and returns the same way.
// On a dual-stack socket an IPv6 control message with a mapped address rules IPv4 datagrams too, in both
// directions. So a socket deals in one family of control messages. Link-local addresses carry the
// interface's index as their zone.
//
// The first socket binds without SO_REUSEPORT and turns it on afterwards. So a second server on the same UDP
// port fails with an address in use, instead of silently receiving half of the viewers.
//
// # Dialled sessions
//
// All sessions that this server dials toward one peer would share a pair of addresses on the one UDP port. So Dialled
// is a port with a UDP socket for each of them, on a UDP port of the kernel's choice. A path names its socket in place
// of the local address (port.Socket). Routes open and close the sockets, so the worker alone owns them.
//
// The sockets share everything but their descriptors: the memory of messages, the frames, and one epoll set. Receive
// asks the ready sockets in turn, each for at most 16 messages. Transmit offers rows of frames of one socket, each as a
// message of its own. The kernel chooses the source address by its routes. No socket is connected, so none reports an
// ICMP error: a candidate of the peer that refuses datagrams costs those alone.
//
// These sockets open while the server runs. By then a server on sockets has given up CAP_NET_ADMIN, so their buffers
// are net.core.rmem_max and wmem_max at most.
//
// # Concurrency
//
// A Port belongs to one thread. Wake, Stats, Segmentation and LocalPort are safe from any. Counters
// are plain integers of the worker, published once a turn (package tally). Package park puts the thread to sleep and
// wakes it.
//
// # Buffer ownership
//
// Everything is allocated at Open; only the table of routes grows. Frames and their memory belong to the
// port. The worker writes those of Outgoing.Frames between two Transmits and must not keep or
// reorder them; it may reslice their Data, which is restored. Inbound.Data points into the message
// buffers. The reader may change it until the next Receive; its capacity ends with the datagram.
package udp
