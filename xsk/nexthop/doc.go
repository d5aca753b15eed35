// Package nexthop knows to which hardware address a datagram goes next. AF_XDP needs it in each frame, and only the
// kernel knows it. The package asks the kernel how each path leaves, follows the kernel's neighbours over netlink, and
// answers from both.
//
// # Words
//
//   - The link is the interface that AF_XDP is bound to; it is followed by name, with any index.
//   - A way is a path that a port sends on. Its answer is the kernel's: the interface by which the path leaves, its
//     next hop, and its MTU. Or it leads to this host, or nowhere.
//   - A neighbour is a host on the link whose hardware address the kernel holds usable.
//   - A snapshot is the link, our own addresses and the neighbours at one moment, never changed.
//   - A turn is one round of listing and asking.
//
// # The way of a change
//
//	kernel ─netlink─▶ listen ─▶ follow ─▶ snapshot, answers ─▶ Way.Resolve, on the workers' threads
//	       ─ICMP────▶ hear ───────┘ │ ▲         └─▶ Events
//	                       questions└─┘ answers
//
// In steps:
//
//  1. listen (one goroutine for each of two sockets) receives the kernel's notifications. hear receives the reports of
//     routers about packets that were too big for a path.
//  2. follow (another) applies those of neighbours one by one. Those of links and addresses make it list the link and
//     our own addresses again. When notifications were lost (ENOBUFS) it lists the neighbours again too.
//  3. It asks for a way (RTM_GETROUTE) as soon as that is followed. It asks for all of them after any notification but
//     a neighbour's. It does not look at the change, since not every change of a route is notified (IPv4 routes go
//     silently with their link). It asks for the ways to a destination that a router named. And it asks for all each 5
//     Config.Refresh, because the kernel forgets a path MTU in silence.
//  4. Another answer of Resolve than before makes a new generation. A neighbour that goes from reachable to stale and
//     back makes none, nor does the first answer about a way.
//  5. A worker compares Generation from time to time and resolves its routes again when it has changed. A way without
//     next hop it resolves for every datagram.
//
// # Cost
//
// A question costs some microseconds, and one system call carries 64. Turns are at least Config.Settle apart and take
// at most a tenth of the time. So a change reaches 20,000 ways within about a second, and the first ones at once.
// Routes are never listed: a table of a million is none of our concern. While a turn is due that asks for all ways,
// further notifications of routes are left to the kernel, which drops them.
//
// Anybody may forge a router's report of a packet too big. Such hints wait until the ways of the ones before were asked
// for. They take turns with a turn over all ways, and new ways come before both.
//
// # The question
//
// The question is how a socket of ours would send. It sends from the path's local address, with the protocol and both
// ports, by no interface in particular. So rules, tables, next hop objects and the choice among several next hops are
// the kernel's. So is the path MTU that it has learned. Only a link in a VRF is named by the VRF, and one of a
// link-local address by its zone. Datagrams that leave by another interface belong to a socket of the kernel's. Packet
// marks and IPsec policies are not asked for.
//
// The kernel learns path MTUs from routers that drop a frame of ours. The ICMP message names our UDP port, which the
// companion socket has, and the kernel keeps the MTU for the destination.
//
// # Neighbours
//
// Where the next hop is not resolved, the datagram belongs to a socket of the kernel's too. The kernel resolves it with
// that very datagram, and the notification leads to a new generation. Each Config.Refresh, follow also marks the next
// hops of all ways as used (NTF_USE), where the kernel does not know them or holds them stale. To the kernel, a
// neighbour that only AF_XDP sends to looks unused, becomes stale, and is thrown out when there are many. The kernel
// does the same as for its own traffic: it waits a few seconds and asks the neighbour by unicast. By the answer it
// holds the neighbour reachable or failed.
//
// # Concurrency
//
// A Way belongs to the thread that asked for it. Follow takes a lock for a moment, which is once for each path. Follow,
// Generation, Own, Link and Close are safe from any thread. Resolve, Generation and Own take no lock and allocate
// nothing. The sockets belong to the network namespace of the thread that called Watch.
package nexthop
