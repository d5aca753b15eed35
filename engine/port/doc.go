// Package port is the seam between the sans-I/O core and the ways in which packets enter and leave. It has the types
// that a worker and a Port exchange, and does no I/O. There are three kinds of Port: xsk's on AF_XDP sockets, udp's on
// a UDP socket, and udp's for dialled sessions, on a socket for each.
//
// Words, smallest to largest:
//
//   - A Path is a pair of addresses; a Route is the worker's number for a path that it sends on.
//   - A Frame is one outgoing datagram in memory that the port owns and lends.
//   - A run is a row of frames of one route and one size. Sockets send it as one message, AF_XDP sends each frame
//     alone.
//   - Outgoing is the batch of frames that one Poll fills and one Transmit sends.
//   - A Batch is the datagrams of one Receive; each Inbound in it is borrowed, never kept.
//
// # The contract of a Port
//
// Package porttest holds every port to it.
//
//  1. Echo. Receive yields each datagram with its path and its arrival time. A datagram on a route with that path
//     reaches the peer, from the address and port that the peer sent to.
//  2. Order. The frames of a route leave intact and in the order in which they were filled, over all Transmits.
//  3. Keep and retry. Transmit sends in order as many frames as the kernel or the NIC accepts now, and keeps the
//     others. The next Transmit tries the kept frames first, even if the worker fills none. No frame is lent twice: the
//     kept ones are missing from the batch that Transmit hands back, until it is empty.
//  4. Stale. A kept frame older than StaleAfter is dropped. A frame that was never tried is not: its age is the
//     worker's.
//  5. Routes. Transmit carries out the route changes before it sends. A revoked route drops its kept frames, even if a
//     later change of the same batch sets it again. A route that changes without being revoked takes its kept frames
//     along. Frames on a route that is not set are dropped.
//  6. Sizes. A frame of more than MaxDatagram bytes is dropped. The worker may reslice Data; the port restores it.
//  7. Loans. Every batch for Transmit is the one that the Transmit before it handed back, or empty. Others panic.
//  8. Counts. Each filled frame is counted once when it is sent or dropped, under its reason (Counter). Stats are those
//     of the last Transmit, and never shrink.
//  9. Wait. Wait and Rest return when a datagram has arrived, when kept frames may be sent, after a Wake, or at their
//     time. A Wake before the wait counts, and several count as one.
//  10. Close. After Close, Wake does nothing, Stats stay, and a second Close does nothing.
//
// # Concurrency
//
// A Port and everything that it lends belong to one worker's thread. Only Wake and Stats are safe from other threads.
package port
