// Package rtcp reads compound RTCP packets and appends the ones that ringcast sends (RFC 3550 section 6, RFC 4585, RFC
// 5104, RFC 6642, draft-alvestrand-rmcat-remb).
//
// Words, smallest to largest:
//
//   - A block is one receiver's report on one source, in a sender or receiver report.
//   - A Packet is one RTCP packet: a type, its sender, the source that it is about, and iterators over the rest.
//   - A compound is the packets of one datagram. It may be reduced in size (RFC 5506), that is, start with anything and
//     be only one packet.
//   - A Reader walks a compound.
//   - Arrivals are transport-wide sequence numbers and the times of their arrival, until feedback reports them.
//
// A Reader checks each packet's lengths before it hands it out, so that no iterator can run past the end. The walk ends
// at the first malformed packet, because nothing after it can be trusted.
//
// Each Append function adds one whole packet, a multiple of 32 bits long, so that calling several on one slice makes a
// compound. Entries that exceed one packet's 5-bit counts go into further packets.
//
// Concurrency: values belong to their caller, functions share nothing. Nothing allocates, provided that the slices
// appended to have room.
//
// Buffers: Reader, Packet and iterators borrow the compound; it must not change while they are used.
package rtcp
