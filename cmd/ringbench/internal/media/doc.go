// Package media makes the media of a load generator. Frames come from a file or are generated; they are split into RTP
// payloads as libwebrtc splits them.
//
// Words, smallest to largest:
//
//   - A payload is the part of a packet after its RTP header.
//   - A stamp is the end of a generated payload: the packet's number, its due time, and a checksum.
//     It shows a viewer delay, loss and damage, however the server changes the header.
//   - A Frame is one picture, or one packet of audio. Its packets share a timestamp.
//   - A Source yields frames, each with its duration.
//   - A Packetizer splits the frames of one track.
//
// Times travel in the payload, not in a header extension. A server has no reason to forward an extension with its
// publisher's clock, and ringcast strips them. So only generated streams show one-way delay.
//
// Concurrency: a File is immutable once opened and may have many Sources; a Source and a Packetizer
// belong to one goroutine.
//
// Buffers: a Frame's units are valid until the source's next Next, payloads until the packetizer's next Packets.
package media
