// Package watch is ringbench's watching side: thousands of WHEP viewers in one process.
//
//	ramp ─▶ POST (a goroutine) ─▶ loop: ICE ─▶ DTLS (a goroutine) ─▶ loop: SRTP, reports, checks
//
// While a viewer joins, a goroutine posts its offer and another shakes hands; once it is connected it
// has none. A few loops, each a thread with an epoll set, receive for all viewers, with recvmmsg and
// UDP_GRO, and a timer wheel sends what viewers are not silent about: receiver reports each second,
// transport-wide feedback each 100 ms where it was negotiated, and STUN checks each 2.5 s.
//
// Words:
//
//   - A sampled viewer opens and checks every packet, asks for lost ones again, measures jitter, delay
//     and freezes.
//   - A counted viewer opens packets up to its first keyframe, so that it knows when it could play, and
//     from then on only counts headers, which SRTP leaves in the clear. It asks for nothing again.
//   - A Sink counts for counted viewers before their sockets do, where the machine can: an XDP program
//     on the interface. Their reports are then made from its counts.
//   - The steady time is from a moment after the last viewer joined to the end: rates and delays of
//     that time have no joins in them.
//
// Each socket is connected to one candidate, so a viewer that is offered several has several sockets
// until one answers.
//
// Concurrency: a viewer belongs to the goroutine that posts, then to its loop for good. Others reach a
// loop by its mailbox. Loops share nothing but a few atomic counters for the line of progress.
//
// Buffers: a loop has one set of receive buffers, in which packets are opened where they lie.
package watch
