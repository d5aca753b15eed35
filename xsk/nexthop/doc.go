// Package nexthop finds the hardware address of a datagram's next hop. AF_XDP needs it in each frame, and
// only the kernel knows it. The package asks the kernel how each path leaves, follows the kernel's neighbours over
// netlink, and answers from both.
//
// # Words
//
//   - The link is the interface that AF_XDP is bound to. It is followed by name, since its index may change.
//   - A way is a path that a port sends on. Its answer is the kernel's: the interface and the next hop by which the
//     path leaves, and the largest datagram that passes. Or the path leads to this host, or nowhere.
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
// The steps:
//
//  1. listen (one goroutine for each of two sockets) receives the kernel's notifications. hear receives the messages of
//     routers about packets that were too big for a path.
//  2. follow (another goroutine) applies notifications of neighbours one by one. Those of links and addresses make it
//     list the link and our own addresses again. When notifications were lost (ENOBUFS) it lists the neighbours too.
//  3. follow asks for a way (RTM_GETROUTE) as soon as a port follows it. It asks for all ways after any notification
//     but a neighbour's. It does not look at the change, since not every change of a route is notified (IPv4 routes go
//     silently with their link). It asks for the ways to a destination that a router named. And it asks for all ways
//     each 5 Config.Refresh, because the kernel forgets a path MTU in silence.
//  4. A new generation begins when Resolve would answer differently than before. A neighbour that goes from reachable
//     to stale and back begins none, nor does the first answer about a way.
//  5. A worker compares Generation from time to time and resolves its routes again when it has changed. A
//     way without next hop is resolved for every datagram.
//
// # Costs
//
// A question costs some microseconds, and one system call carries 64. Turns are at least Config.Settle apart and take
// at most a tenth of the time. So a change reaches the first ways at once, and 20,000 ways within about a second.
// Routes are never listed: a table may have a million. While a turn is due that asks for all ways, further
// notifications of routes stay with the kernel, which drops them.
//
// Anybody may forge a router's message about packets too big. So hints wait until all ways of earlier hints were asked
// for. They take turns with a turn over all ways, and new ways come before both.
//
// # Questions
//
// A question asks how a socket of ours would send. It names the path's local address, the protocol and both UDP ports,
// and no interface. So the kernel applies its rules, tables and next hop objects. It chooses among several next hops,
// and knows the path MTU that it has learned. Two questions do name an interface: that of a link in a VRF names the
// VRF, and that of a link-local address its zone. Datagrams that leave by another interface belong to a socket of the
// kernel's. Questions do not carry packet marks and IPsec policies.
//
// The kernel learns path MTUs from routers that drop a frame of ours. The ICMP message names our UDP port, which
// the companion socket has, so the kernel keeps the MTU for the destination.
//
// # Neighbours
//
// If the next hop is not resolved, the datagram belongs to a socket of the kernel's too. The kernel resolves the next
// hop with that datagram, and the notification leads to a new generation. Each Config.Refresh, follow also marks next
// hops of all ways as used (NTF_USE), where the kernel does not know them or holds them stale. To the kernel, a
// neighbour that only AF_XDP sends to looks unused. It becomes stale, and is evicted when there are many. A mark makes
// the kernel do the same as for its own traffic. It waits a few seconds, asks the neighbour by unicast, and holds it
// reachable or failed by the answer.
//
// # Concurrency
//
// A Way belongs to the thread that asked for it. Follow takes a lock for a moment, once for each path. Follow,
// Generation, Own, Link and Close are safe from any thread; Resolve, Generation and Own take no lock and
// allocate nothing. The sockets belong to the network namespace of the thread that called Watch.
package nexthop
