// Package rtp reads and patches RTP packets: header, header extensions, and the few payload bytes that a server must
// understand to forward video. It also names the codecs, formats and extensions that a track can negotiate.
//
// Words, smallest to largest:
//
//   - A Span is the place of a field in a packet. Parsing yields spans and values, no copies.
//   - An Extension is a header extension that ringcast understands; an ExtensionMap has the number under which a peer
//     negotiated each.
//   - A Header is one packet's RTP header, parsed.
//   - A payload descriptor is the codec's own header at the start of a VP8 or VP9 payload. The PictureID in it counts
//     frames and must stay continuous for a receiver.
//   - A Content is the parts of a keyframe that a payload holds, or a frame's payloads together.
//   - An extended sequence number is the 16 bits of the wire continued to 64 by an Unwrapper.
//
// Nothing here keeps state but the Unwrapper and ParameterSets, and nothing allocates.
//
// Concurrency: every value belongs to its caller; functions share nothing.
//
// Buffers: a slice that is passed in stays its owner's. Slices that are returned are parts of it, valid as long as it
// is. Only FixedHeader.Put, PictureID.Patch and SettleAV1 write there.
package rtp
