// Package frame writes and reads the Ethernet, IP and UDP headers of the datagrams that travel through
// AF_XDP, where no kernel does it. It computes over bytes and does nothing else: no I/O, no state.
//
// # The way out
//
// Of one path, two datagrams' headers differ in very little: lengths, the IPv4 identification, and the
// checksums over them. Everything else is laid down once, when a route gets its next hop (Make). A chunk
// of packet memory looks like this:
//
//	|<------- Headroom, 64 bytes ------->|
//	| free | Ethernet | IPv4/IPv6 | UDP  | payload ...
//	       ^ start: what the descriptor points to
//
// Per packet (Put):
//
//  1. the template's 64 bytes are copied in front of the payload, whatever the family;
//  2. lengths and identification are written;
//  3. the IPv4 header checksum is made from the sum over the template's constant words, to which the two
//     words just written are added (RFC 1071 §2, RFC 1624 §3: a checksum is a sum, so that what did not
//     change need not be added again);
//  4. the UDP checksum, if there is one, is made the same way plus a walk over the payload.
//
// # UDP checksums
//
// IPv6 requires them (RFC 8200 §8.1). Over IPv4 they are optional (RFC 768: zero means none), but a few middleboxes
// mistrust datagrams without: a translator from IPv4 to IPv6 must compute the checksum, or drops them (RFC 7915 §4.5).
// So there is one by default, which costs a walk over the payload: about 35 ns for 1,230 bytes that are in the cache.
//
// Options.Checksum4Off leaves them out over IPv4. Receivers accept that, and our payload is authenticated anyway: SRTP,
// DTLS and STUN each detect a flipped bit, and Ethernet's own checksum guards each link. What is lost: a datagram
// damaged inside a router arrives at the wrong port, or is dropped by the application and not by the peer's kernel.
//
// # Flow labels
//
// An IPv6 header carries a flow label, 20 bits of a hash over addresses and ports (RFC 6437). Routers that spread their
// load by the label, without a look at the ports, put each viewer on a way of its own. The kernel's sockets do the same
// (net.ipv6.auto_flowlabels, 1 by default); their labels differ from ours.
//
// # The way in
//
// Parse takes what XDP has steered to us apart. It never verifies checksums: between virtual interfaces
// the kernel leaves them unfinished, and NICs check them before XDP runs.
//
// # Concurrency and ownership
//
// A Template is a value without pointers and is never changed after Make; Put writes only the chunk.
// Parse's payload is part of the data it was given.
package frame
