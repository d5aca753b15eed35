// Package sink lets thousands of viewers cost their machine almost nothing: an XDP program on the interface
// where their media arrives counts it, viewer by viewer, and drops it before the stack.
//
//	server ──▶ veth ──▶ XDP ── STUN, DTLS, RTCP, and all of who is not counted ──▶ socket
//	                     │
//	                     └── RTP of counted viewers: counters by UDP port and SSRC; dropped, or passed
//	                         on for those who check every packet themselves
//
// A viewer's name is its UDP port. Its counters hold what a receiver report needs (first and highest
// sequence number, packets), so that whoever is counted can report like a viewer that received.
// Packets can also be lost on purpose, every n-th, before they are counted.
//
// # Concurrency
//
// The program writes a viewer's counters on the one queue that its flow arrives on; readers see them
// through a shared mapping, a little torn at worst. A Sink is safe from any goroutine.
package sink
