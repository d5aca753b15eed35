// Package watch is ringbench's watching side: thousands of WHEP viewers in one process.
//
//	ramp ─▶ POST (a goroutine) ─▶ loop: ICE ─▶ DTLS (a goroutine) ─▶ loop: SRTP, reports, checks
//
// While a viewer joins, a goroutine posts its offer and another shakes hands. A connected viewer has no goroutine. A
// few loops, each a thread with an epoll set, receive for all viewers, with recvmmsg and UDP_GRO. A timer wheel sends
// reports as a browser does (Reporting), and STUN checks each 2.5 s.
//
// Words:
//
//   - A sampled viewer opens and checks every packet, sends NACKs for lost ones, and measures jitter, delay
//     and freezes.
//   - A counted viewer opens packets up to its first keyframe, which shows when it could play. After
//     that it only counts headers, which SRTP leaves in the clear. It sends no NACKs.
//   - A Sink counts for counted viewers in place of their sockets, where the machine can: an XDP program
//     on the interface. Their reports then come from its counts.
//   - The steady time lasts from a moment after the last viewer joined to the end. Rates and delays of
//     that time contain no joins.
//   - A move is a viewer's change to another session (Reconnect). The old session ends once a whole frame of
//     the new one has come, if the server has not ended it before.
//
// Each socket is connected to one candidate. So a viewer with several candidates has several sockets until one answers.
//
// Concurrency: a viewer belongs to the goroutine that posts, and then to its loop for good. Other goroutines reach a
// loop by its mailbox. Loops share only a few atomic counters, for the line of progress.
//
// Buffers: a loop has one set of receive buffers, in which packets are opened where they lie.
package watch
