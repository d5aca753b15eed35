package peer

import (
	"ringcast/engine/rtp"
)

// The payload types and SSRCs of the synthetic media.
const (
	TypeVP8, TypeRTX, TypeOpus = 96, 97, 111

	VideoSSRC, AudioSSRC = 0x1234, 0x5678
)

// Video is a VP8 track; Audio one of Opus.
func Video() rtp.Track {
	return rtp.Track{
		Kind: rtp.Video, MID: "1",
		Formats:   []rtp.Format{{PayloadType: TypeVP8, RTX: TypeRTX, Codec: rtp.VP8, Feedback: rtp.NACK | rtp.PLI}},
		Encodings: []rtp.Encoding{{SSRC: VideoSSRC}},
	}
}

// Audio is an Opus track.
func Audio() rtp.Track {
	return rtp.Track{
		Kind: rtp.Audio, MID: "0",
		Formats:   []rtp.Format{{PayloadType: TypeOpus, Codec: rtp.Opus}},
		Encodings: []rtp.Encoding{{SSRC: AudioSSRC}},
	}
}

// Packet makes packet n of a VP8 stream in which every packet is a frame, the first of each 30 a
// keyframe. Its payload has size bytes.
func Packet(n uint64, size int) []byte {
	b := make([]byte, rtp.HeaderLen+size)
	rtp.FixedHeader{
		Marker: true, PayloadType: TypeVP8, Sequence: uint16(n), Timestamp: uint32(n) * 3000, SSRC: VideoSSRC,
	}.Put(b)
	b[rtp.HeaderLen] = 0x10
	if n%30 != 0 {
		b[rtp.HeaderLen+1] = 1
	}
	return b
}
