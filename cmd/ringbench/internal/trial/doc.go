// Package trial measures what a WHIP/WHEP server costs, in a lab of its own on one machine: ringbench's
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
//   - A Contender is a server: ringcast with some --io and flags, or another one's command line.
//   - A Rig is a contender on hosts of its own, with publisher and viewers.
//   - A Window is a piece of steady time in which one rig plays and all is measured.
//   - A Round has a window of each contender, and a turn of the C floor. Contenders are all up the whole time;
//     whose turn it is not is stopped, but for its publisher, which is paused.
//
// # What is charged where
//
// The server's CPU time is that of its threads, in which soft interrupts that ran there are contained, of its core's
// ksoftirqd, and of the NAPI threads of its own device, which receive what viewers and publisher send. Without those
// threads a veth receives in the context of whoever sends, on the client's core. A veth has NAPIs only with XDP or GRO,
// so both ends get GRO before anything starts: sockets and AF_XDP are then received alike, and attaching XDP later
// changes no thread. For a packet that cannot be aggregated veth goes around them, unless the sender has no TSO: so
// that is off, as XDP at the other end turns it off anyway. By the same token all that happens to a packet behind the
// cable is the client's: its NAPI threads run the sink.
//
// A packet's cost is the share of the core by the rate at which packets arrived at the sink, each measured between two
// moments of its own: the two readings cannot be made at once.
//
// The core's idle time is read beside it. What is neither the server's nor idle, nor stolen by a hypervisor, went to
// others, and a window with more than a tenth of that is void.
//
// # What is compared
//
// A window lies between two standstills: the publisher is paused until nothing moves. What the server says that it
// sent, what the cable dropped, what came to the sink and what the viewers counted agree there to the packet.
//
// A window is void when the client, not the server, was short of time, or when a sampled viewer lost a packet; it is an
// overload when the server says, or its core shows, that it could not do it. A round is noisy when its C floor exceeds
// 1.3 times the best. Only what is none of this is quoted, and the rest says why it is not.
//
// # Concurrency
//
// Publisher and viewers are processes, each with a small HTTP server on the client's loopback where it takes orders.
// All else is one goroutine.
package trial
