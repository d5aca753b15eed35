package sim

import "ringcast/engine/rtp"

// Payload types and extension numbers of the simulation.
const (
	typeVP8, typeVP8RTX, typeH264, typeH264RTX, typeOpus = 96, 97, 102, 103, 111

	idMID, idTransport, idAudioLevel, idRID, idRepairedRID = 4, 3, 1, 10, 11
)

func formatOf(c rtp.Codec, rtx, transport bool) rtp.Format {
	f := rtp.Format{PayloadType: typeVP8, RTX: typeVP8RTX, Codec: c, Feedback: rtp.NACK | rtp.PLI | rtp.FIR}
	if c == rtp.H264 {
		f.PayloadType, f.RTX, f.Profile = typeH264, typeH264RTX, "42e0/1"
	}
	if !rtx {
		f.RTX = 0
	}
	if transport {
		f.Feedback |= rtp.TransportCC
	}
	return f
}

func videoTrack(rtx, transport bool, codecs ...rtp.Codec) rtp.Track {
	t := rtp.Track{Kind: rtp.Video, MID: "1"}
	if len(codecs) == 0 {
		codecs = []rtp.Codec{rtp.VP8}
	}
	for _, c := range codecs {
		t.Formats = append(t.Formats, formatOf(c, rtx, transport))
	}
	t.Extensions[rtp.MID] = idMID
	if transport {
		t.Extensions[rtp.TransportSequence] = idTransport
	}
	return t
}

func audioTrack() rtp.Track {
	t := rtp.Track{Kind: rtp.Audio, MID: "0", Formats: []rtp.Format{{
		PayloadType: typeOpus, Codec: rtp.Opus, Feedback: rtp.NACK,
	}}}
	t.Extensions[rtp.MID] = idMID
	t.Extensions[rtp.AudioLevel] = idAudioLevel
	return t
}
