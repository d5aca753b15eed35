// Package trial measures the cost of a WHIP/WHEP server, in a lab of its own on one machine. It serves ringbench's
// commands lab, table, soak, joins and memory.
//
//	 host "server", core 0                       host "client", core 1
//	┌───────────────────────┐    veth         ┌────────────────────────────────────────────┐
//	│ server under test     │                 │  sink (XDP) counts and drops ──▶ Totals    │
//	│ eth0's NAPI threads ◀─┼── RTCP, STUN ◀──┼──── viewers (a process) ◀── sampled media  │
//	│                     ──┼──▶ media ──▶────┼─▶ eth0's NAPI threads, FIFO 50             │
//	│                     ◀─┼──── media ◀─────┼──── publisher (a process)                  │
//	└───────────────────────┘                 └────────────────────────────────────────────┘
//	                                             ringbench itself, core 1
//
// Words:
//
//   - A Contender is a server: ringcast with some --io and flags, or the command line of another server.
//   - An edge is a contender that pulls from an origin, to which the publisher publishes. The origin is a process
//     on the client's host, so the edge receives the same packets from there as a single node.
//   - A Rig is a contender on hosts of its own, with publisher and viewers.
//   - A Window is a piece of steady time in which one rig plays and is measured.
//   - A Round has a window of each contender, and a turn of the C floor. All contenders are up the whole time.
//     Between its turns a contender is stopped, and its publisher paused.
//
// # Accounting
//
// The server's CPU time is that of its threads, its core's ksoftirqd, and the NAPI threads of its device. A thread's
// time includes soft interrupts in its context. The NAPI threads receive from viewers and publisher. Without them a
// veth receives in the context of the sender, on the client's core. A veth has NAPIs only with XDP or GRO, so both ends
// get GRO before anything starts. Then sockets and AF_XDP receive alike, and attaching XDP later changes no thread. For
// a packet that cannot be aggregated, veth bypasses the NAPI unless the sender has no TSO. So TSO is off, as XDP at the
// other end turns it off anyway. The client accounts for packets from the cable on: its NAPI threads run the sink.
//
// A packet's cost is the share of the core divided by the rate at which packets arrived at the sink. Each is measured
// between two moments of its own, since the two readings cannot be made at once.
//
// The core's idle time is read beside it. The rest, without the time that a hypervisor stole, went to others. A window
// with more than a tenth of that is void.
//
// # Comparison
//
// A window lies between two standstills: the publisher is paused until nothing moves. At a standstill the counts agree
// to the packet. They are the server's, the cable's of dropped packets, the sink's and the viewers'.
//
// A window is void when the client, not the server, was short of time, or when a sampled viewer lost a packet. It is an
// overload when the server reports, or its core shows, that it was too slow. A round is noisy when its C floor exceeds
// 1.3 times the best. Only the other windows are quoted; these carry the reason against them.
//
// # Concurrency
//
// Publisher and viewers are processes. Each takes orders by a small HTTP server on the client's loopback. Everything
// else is one goroutine.
package trial
