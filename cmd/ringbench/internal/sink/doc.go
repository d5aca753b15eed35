// Package sink lets thousands of viewers cost their machine almost nothing. An XDP program on the interface where their
// media arrives counts it for each viewer, and drops it before the network stack.
//
//	server ──▶ veth ──▶ XDP ── STUN, DTLS, RTCP, and all RTP of other viewers ──▶ socket
//	                     │
//	                     └── RTP of counted viewers: counted, then dropped
//
// A viewer's name is its UDP port. Its counters serve receiver reports and transport-wide feedback, so a counted viewer
// can report like one that receives. Media can also be lost on purpose, every n-th packet of all viewers, before it is
// counted.
//
// # Concurrency
//
// The program writes a viewer's counters on the one queue of its flow. Readers see them through a shared mapping; at
// worst they see one counter newer than another.
package sink
