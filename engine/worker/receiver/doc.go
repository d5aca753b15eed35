// Package receiver keeps what the owner of a layer knows about the publisher's numbering of it: which packets came, which
// are missing, and how good the way here is.
//
// # Numbers
//
// An extended sequence number is RTP's 16 bits with a count of their cycles; it grows for ever. A number is a packet's
// place among the packets of the layer that carry something. Both grow together, except at shifts: padding takes a
// sequence number and no number, an insertion takes numbers and no sequence number. A packet that is missing has its
// number reserved.
//
// # Use
//
// Accept comes first for each packet. Skip, Insert and Number are for the packet that Accept took last: Skip if it
// carried nothing, Insert to make room before it, Number for its place. AppendMissing and Report are for the RTCP that
// goes back to the publisher.
package receiver
