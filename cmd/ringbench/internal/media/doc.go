// Package media is what a load generator publishes: frames from a file or made up, split into RTP
// payloads as libwebrtc splits them.
//
// Words, smallest to largest:
//
//   - A payload is what follows one packet's RTP header.
//   - A stamp is the end of a generated payload: which packet it is, when it was due, and a checksum,
//     so that a viewer can tell delay, loss and damage whatever the server does to the header.
//   - A Frame is one picture, or one packet of audio: what shares a timestamp.
//   - A Source yields frames with the time that each lasts.
//   - A Packetizer splits the frames of one track.
//
// Timestamps travel in the payload and not in a header extension because a server has no reason to
// hand on an extension with its publisher's clock: ringcast strips them. So only generated streams
// tell one-way delay.
//
// Concurrency: a File is immutable once opened and may have many Sources; a Source and a Packetizer
// belong to one goroutine.
//
// Buffers: a Frame's units are the source's, valid until its next Next; payloads are the packetizer's,
// valid until its next Packets.
package media
