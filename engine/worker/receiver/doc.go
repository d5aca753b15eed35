// Package receiver follows the packets of one layer as they come from a publisher. It knows which came and which are
// missing, numbers them, and measures the way here.
//
// # Numbers
//
// An extended sequence number is RTP's 16 bits with a count of their cycles; it grows for ever. A number is a packet's
// place among the packets of the layer that carry something. Both grow together, except at shifts: padding takes a
// sequence number and no number, an insertion takes numbers and no sequence number. The number of a missing packet is
// reserved.
//
// # Use
//
// Accept comes first for each packet. Skip, Insert and Number are then for that packet: Skip if it carries nothing,
// Insert to make room before it, Number for its place. AppendMissing and Report are for the RTCP that goes back to the
// publisher.
package receiver
