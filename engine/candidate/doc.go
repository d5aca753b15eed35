// Package candidate follows the addresses at which peers reach the UDP port.
//
// Words, smallest to largest:
//
//   - An Address is one that the machine has on an interface, with its network and its traits.
//   - A confined address is reached by few peers: loopback, a bridge of containers, IPv4 link-local. It is
//     offered to peers of its own network only.
//   - A set is all addresses at one moment. A set and a peer's source determine the list for that peer.
//   - A Watcher keeps the set up to date.
//
// The flow:
//
//	netlink, or the interfaces read at intervals ─▶ []Address ─┐
//	names in --public-ip ─▶ Lookup at intervals ───────────────┼─▶ set ─▶ Watcher.For(source) ─▶ an answer
//	addresses in --public-ip, the host of --udp ───────────────┘
//
// Addresses that an operator gave, directly or by a name, replace those of the interfaces. Until a name is found for
// the first time, those of the interfaces are offered.
//
// # Concurrency
//
// For and All may be called from any goroutine and take no lock. A Watcher has at most three goroutines
// of its own: one listens to the kernel, one reads, one looks names up. Close ends them.
package candidate
