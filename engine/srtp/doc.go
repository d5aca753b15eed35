// Package srtp protects and opens RTP and RTCP (RFC 3711; RFC 7714 for AES-GCM) with the keys of one DTLS association.
//
// Words, smallest to largest:
//
//   - An index is a packet's number under a key: for SRTP the rollover counter (ROC) above the 16-bit sequence number,
//     48 bits in all. For SRTCP it has 31 bits that travel in the packet.
//   - A window remembers which of the latest indices were seen, so that none is taken twice.
//   - A tag is the part that authentication adds to a packet.
//   - A Sealer serves a subscriber: it seals much, and opens a little RTCP.
//   - An Opener serves a publisher: it opens much, and seals a little RTCP.
//   - A transform is a profile's way with the packets of one session: Sealers and Openers rest on one.
//
// There may be very many subscribers, and each of their packets is sealed on its own. So AES has packages of ours
// beneath, in GCM and in counter mode. They are fast, seal from one place straight to another, and keep keys small.
// SHA-1 is the standard library's, and four fifths of the older profile's work. Replay protection is our own too: it
// bounds how many sources a peer can make us remember. The tests compare all of it with github.com/pion/srtp.
//
// For one session, no (SSRC, index) may ever be sealed twice with different bytes. Under GCM that would give an
// eavesdropper the authentication key, under counter mode the XOR of both payloads. A Sealer does not check it; the
// caller, which assigns indices, must see to it. The same bytes may be sealed again, and come out the same.
//
// Concurrency: a Sealer or Opener belongs to one thread.
//
// Buffers: a packet is opened where it lies, and the result is part of it. A sealed packet grows within its slice's
// capacity, which the caller provides: see Overhead and OverheadRTCP.
package srtp
