// Package sink lets thousands of viewers cost their machine almost nothing: an XDP program on the interface
// where their media arrives counts it, viewer by viewer, and drops it before the stack.
//
//	server ──▶ veth ──▶ XDP ── STUN, DTLS, RTCP, and all of who is not counted ──▶ socket
//	                     │
//	                     └── RTP of viewers that are only counted: their counters, and no further
//
// A viewer's name is its UDP port. Its counters hold what receiver reports and transport-wide feedback
// need, so that who is counted can report like who received. Media can also be lost on purpose, every
// n-th packet of all viewers, before it is counted.
//
// # Concurrency
//
// The program writes a viewer's counters on the one queue that its flow arrives on; readers see them
// through a shared mapping, a little torn at worst.
package sink
