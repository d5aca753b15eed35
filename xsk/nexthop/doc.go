// Package nexthop knows to which hardware address a datagram goes next, which AF_XDP has to be told and
// only the kernel knows. It follows the kernel's link, routes and neighbours over netlink and answers from
// a snapshot of them.
//
// # Words
//
//   - The link is the interface that AF_XDP is bound to; it is followed by name, whatever its index.
//   - A route says for a range of addresses where they are: on the link, behind a gateway on it, our own,
//     or none of the link's business.
//   - A neighbour is a host on the link whose hardware address the kernel holds usable.
//   - A snapshot is all of them at one moment, never changed; each has a generation.
//
// # The way of a change
//
//		kernel ─netlink─▶ listen ─▶ follow ─▶ snapshot ─▶ Resolve, on the workers' threads
//		                              └─▶ Events
//
//	 1. listen (one goroutine) receives the kernel's notifications.
//	 2. follow (another) applies those of neighbours one by one. All others only make it list the link
//	    and the routes again, since not every change of a route is notified: IPv4 routes go silently with
//	    their link. When notifications were lost (ENOBUFS) the neighbours are listed again too.
//	 3. What Resolve may answer differently about makes a new snapshot with the next generation: a
//	    neighbour's address or its becoming usable or not, a route, the link's index, address, MTU or
//	    state. A neighbour that goes from reachable to stale and back makes none. Snapshots are at least
//	    Config.Settle apart, so that a storm costs a bounded share of a core; the first is immediate.
//	 4. A worker compares Generation from time to time and resolves its routes again when it has changed.
//
// # What Resolve does not know
//
// Resolve says no whenever the datagram has to go another way than by the link, or when the next hop is
// not resolved. Then the datagram belongs to a socket of the kernel's, which takes the right interface,
// and resolves the neighbour with that very datagram; the notification leads to a new generation and the
// next Resolve succeeds. Nothing here asks for addresses on its own.
//
// Of routing, the tables local and main are followed, in this order, as the kernel does without policy
// rules; rules beyond the kernel's three are warned of. Routes for one type of service are passed over,
// and of several next hops only the first on the link is taken, where the kernel spreads flows over all.
// The prefix of sources that an IPv6 route may be restricted to and the preference that a router
// advertised are not looked at.
//
// # Keeping neighbours alive
//
// To the kernel, a neighbour that only AF_XDP sends to looks unused: after its reachable time it becomes
// stale, and is thrown out when there are many. So Resolve stamps the neighbour it found with a tick, one
// per Config.Refresh, and follow tells the kernel once a tick that the stale ones stamped lately are in
// use (NTF_USE). The kernel does what it does for its own traffic: it waits a few seconds, asks
// the neighbour by unicast, and holds it reachable or failed by the answer. A worker therefore resolves a
// route that it sends on at least once in Config.Linger, changed generation or not. A neighbour that is
// thrown out nevertheless costs one round by the kernel's socket.
//
// # Concurrency
//
// Resolve, Generation, Link and Close are safe from any thread; Resolve and Generation take no lock
// and allocate nothing. The netlink sockets belong to the network namespace of the thread that called
// Watch.
package nexthop
