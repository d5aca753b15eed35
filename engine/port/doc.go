// Package port is the seam between the sans-I/O core and the ways in which packets enter and leave:
// the types a worker and a Port exchange, and nothing that does I/O. There are two kinds of Port: xsk's on AF_XDP
// queues, and udp's on a socket.
//
// Words, smallest to largest:
//
//   - A Path is a pair of addresses; a Route is the worker's number for a path it sends on.
//   - A Frame is one outgoing datagram in memory that the port owns and lends.
//   - A run is a row of frames of one route and one size; sockets send it as one message, AF_XDP frame by
//     frame.
//   - Outgoing is the batch of frames that one Poll fills and one Transmit sends.
//   - A Batch is what one Receive yields; each Inbound in it is borrowed, never kept.
//
// Concurrency: a Port and everything it lends belong to one worker's thread. Only Wake and Stats may
// be called from elsewhere.
package port
