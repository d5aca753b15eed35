// Package bpf steers packets before the kernel's network stack sees them: the XDP program (steer.c), its loader, the
// guard's allow-list and the counters. It knows nothing of AF_XDP sockets but their descriptors, which it is given.
//
// # The way of a packet
//
// The program leaves on the first line that applies, always for exactly one Reason, which is counted and decides where
// the packet goes:
//
//	Ethernet   another type, a VLAN tag           kernel
//	IP         options, extension headers,
//	           fragments, another protocol        kernel
//	UDP        not our port                       kernel
//	Ethernet   not to our interface's address:
//	           a guest's (macvlan), a group's     kernel
//	IP         not our address                    kernel
//	length     claims what cannot be              dropped
//	           longer than any datagram of ours   dropped
//	class      of the first byte (RFC 7983):
//	           none that is spoken here           dropped
//	           a check with a forged user name    dropped
//	           a check over a limit               dropped
//	           any other check                    socket of its queue
//	           all else, tuple not allowed        dropped
//	           allowed tuple over its rate        dropped
//	           report that may wait               second socket of its queue
//	           all else of an allowed tuple       socket of its queue
//
// A packet that ends inside a header goes to the kernel. So does a packet for a socket where the queue has none:
// bpf_redirect_map falls through an empty slot. A full ring or an empty fill ring drops instead, which the socket
// counts in XDP_STATISTICS. A kernel socket on the same port takes all packets that go to the kernel.
//
// With a large MTU a frame may lie in several pieces (as from Linux 5.18, where the driver can). The program sees the
// first, which has the headers. The kernel gets such frames whole.
//
// A report that may wait is RTCP that begins with a receiver report, transport-wide feedback or an estimate (REMB). It
// need not wake the worker, so it has a socket of its own. NACKs and requests for keyframes are in a hurry. Browsers
// send them in datagrams of their own (RFC 5506). In a compound after a receiver report they wait too: the rest of the
// compound is encrypted.
//
// VLAN tags that the NIC strips are invisible here; Config.Addresses then decides.
//
// # The guard
//
// A tuple is a peer's address and port and the local address it sends to; the local port is always ours. A tuple
// becomes allowed when a worker has authenticated its STUN check, and from then on costs one look-up per packet. A
// viewer's machine may send junk too, so each allowed tuple has token buckets of a second's worth. One is for RTP, one
// for RTCP, and a small one for DTLS and for STUN that is no check. Their rate comes with Allow. It is far beyond the
// needs of a session of its role (package worker). A forger that knows a viewer's address and port can use up a bucket.
// While such a flood lasts, a viewer's NACKs may be lost, or a publisher's media, since SRTP cannot be verified here.
// The session lives on, by its checks, and plays on afterwards.
//
// Everybody else may send connectivity checks only. A check must begin its user name with a ufrag of ours, whose tag
// only our keys can make (package ufrag). It is verified before any bucket, so a flood of forged checks takes nothing
// from anybody. Each ufrag has a bucket. A sender with one answer to a POST gets 50 checks a second to the workers,
// from any addresses. Once that session has a path it gets 5. A peer whose NAT gives it a new port needs one. A second
// bucket is for checks from allowed tuples: 200 a second. It is the ufrag's and not the tuple's, since a sender with a
// session of its own may forge another's tuple. There are two valid keys. Older ufrags are known only while their
// session has a path (KeepUfrag).
//
// USERNAME may stand anywhere among the attributes if at most 96 bytes of others come before it. Other STUN is no check
// here. From unknown tuples it is dropped: we send no requests that could be answered, and an indication proves
// nothing.
//
// After that come two more token buckets of a second's worth, against senders with many answers. One is per source
// address (IPv6 by /64, since the owner of one address has them all), one per CPU for all sources. So forged media,
// DTLS and checks never reach a worker by AF_XDP. One source cannot use up the share of all, and many sources cannot
// take more of a worker than the global rate. Packets that the kernel gets first (fragments, IP options) are unguarded.
// They come by the companion socket, of which a worker takes a batch at a time.
//
// The allow-list is a plain hash of fixed size. When it is full, Allow returns ErrFull and counts it; an LRU would
// silently cut off a viewer. This side counts how many routes, of any worker, need the tuple; the program alone writes
// to its bucket. The ufrags that are kept are such a list, too. The buckets of sources, and of ufrags without a path,
// are LRUs: a forgotten one starts with a full bucket, and the global limit holds.
//
// # Attaching
//
// Attach uses a link, so the kernel detaches the program when this process ends, however it ends. It tries native mode
// first, generic mode only where the configuration permits. Another program on the interface is never replaced. Attach
// explains a refusal with its remedy (Refusal).
//
// # Concurrency
//
// All methods are safe from any thread. One mutex makes look-up and update of a tuple one step; it is taken per path,
// socket and scrape, never per packet. The program runs beside all that, on any CPU. It reads the maps that this side
// writes, and writes counters (its own CPU's) and buckets itself.
//
// # The compiled program
//
// go generate compiles steer.c (clang, libbpf's headers). The objects are committed, so that building the server needs
// neither.
package bpf
