// Package frame writes and reads the Ethernet, IP and UDP headers of datagrams that travel through AF_XDP, where no
// kernel does it. It computes over bytes and does nothing else: no I/O, no state.
//
// # The way out
//
// The headers of two datagrams on one path differ in very little: lengths, the IPv4 identification, and the checksums
// over them. Make writes everything else once, when a route gets its next hop. A chunk of packet memory looks like
// this:
//
//	|<------- Headroom, 64 bytes ------->|
//	| free | Ethernet | IPv4/IPv6 | UDP  | payload ...
//	       ^ start: the descriptor points here
//
// Per packet (Put):
//
//  1. It copies the template's 64 bytes in front of the payload, for either family.
//  2. It writes lengths and identification.
//  3. It computes the IPv4 header checksum: the template has the sum over the constant words, to which the two words of
//     step 2 are added. A checksum is a sum, so constant words need not be added again (RFC 1071 §2, RFC 1624 §3).
//  4. It computes the UDP checksum, if there is one, in the same way plus a walk over the payload.
//
// # UDP checksums
//
// IPv6 requires them (RFC 8200 §8.1). Over IPv4 they are optional (RFC 768: zero means none). A few middleboxes
// mistrust datagrams without: a translator from IPv4 to IPv6 must compute the checksum, or drops them (RFC 7915 §4.5).
// So there is one by default. It costs a walk over the payload: about 35 ns for 1,230 bytes that are in the cache.
//
// Options.Checksum4Off leaves them out over IPv4. Receivers accept that, and our payload is authenticated anyway: SRTP,
// DTLS and STUN each detect a flipped bit, and Ethernet's own checksum guards each link. Only damage inside a router
// matters: such a datagram arrives at the wrong UDP port, or the application drops it instead of the peer's kernel.
//
// # Flow labels
//
// An IPv6 header carries a flow label, 20 bits of a hash over addresses and UDP ports (RFC 6437). Routers that spread
// their load by the label, without a look at the UDP ports, put each viewer on a way of its own. The kernel's sockets
// do the same (net.ipv6.auto_flowlabels, 1 by default); their labels differ from ours.
//
// # The way in
//
// Parse reads frames that XDP has steered to us. It never verifies checksums: between virtual interfaces the kernel
// leaves them unfinished, and NICs check them before XDP runs.
//
// # Concurrency and ownership
//
// A Template is a value without pointers and is never changed after Make; Put writes only the chunk.
// The payload that Parse returns is part of its data.
package frame
