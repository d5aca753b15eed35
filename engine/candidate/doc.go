// Package candidate knows at which addresses peers reach the media port, as they are now.
//
// Words, smallest to largest:
//
//   - An Address is one that the machine has on an interface, with its network and its traits.
//   - A confined address reaches few peers: loopback, a bridge of containers, IPv4 link-local. It is
//     offered to peers of its own network only.
//   - A set is all addresses at one moment. Of a set and a peer's source follows the list for that peer.
//   - A Watcher keeps the set up to date.
//
// The flow:
//
//	netlink, or the interfaces read at intervals ─▶ []Address ─┐
//	names in --public-ip ─▶ Lookup at intervals ───────────────┼─▶ set ─▶ Watcher.For(source) ─▶ an answer
//	addresses in --public-ip, the host of --udp ───────────────┘
//
// Addresses that an operator gave, as such or by a name, replace those of the interfaces. Until a name
// was looked up for the first time the interfaces' stand in.
//
// # Concurrency
//
// For and All may be called from any goroutine and take no lock. A Watcher has at most three goroutines
// of its own: one listens to the kernel, one reads, one looks names up. Close ends them.
package candidate
