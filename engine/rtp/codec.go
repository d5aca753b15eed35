package rtp

import "strings"

// Kind is audio or video.
type Kind uint8

const (
	Audio Kind = iota
	Video
)

func (k Kind) String() string {
	if k == Video {
		return "video"
	}
	return "audio"
}

// Codec is an encoding that ringcast forwards.
type Codec uint8

const (
	UnknownCodec Codec = iota
	Opus
	VP8
	VP9
	H264
	H265
	AV1
)

var codecNames = [...]string{"unknown", "opus", "VP8", "VP9", "H264", "H265", "AV1"}

// String is the codec's name as SDP writes it.
func (c Codec) String() string {
	if int(c) < len(codecNames) {
		return codecNames[c]
	}
	return codecNames[UnknownCodec]
}

// Kind returns the kind of media that the codec encodes.
func (c Codec) Kind() Kind {
	if c == Opus {
		return Audio
	}
	return Video
}

// ClockRate is the RTP clock in Hz.
func (c Codec) ClockRate() uint32 {
	if c == Opus {
		return 48000
	}
	return 90000
}

// Format is one payload type of a media line, as negotiated.
type Format struct {
	// PayloadType is the number on the wire, 0 to 127.
	PayloadType uint8
	// RTX is the payload type of its retransmissions (RFC 4588), 0 where none was negotiated.
	RTX   uint8
	Codec Codec
	// Profile tells apart formats of one codec that do not decode each other. In normal form it is "42e0/1" for H.264
	// (profile_idc and constraint flags, packetization-mode). It is profile-id for VP9 and H.265, such as "0", profile
	// for AV1, and empty for Opus and VP8. Levels are left out: offers seldom state the true one. Chromium's says 3.1,
	// and it decodes 4K.
	Profile string
	// Sets are the H.264 or H.265 parameter sets that a publisher's offer announced. 16 bits of length precede each NAL
	// unit. Their attributes begin with sprop (RFC 6184 section 8.1, RFC 7798 section 7.1).
	Sets string
	// Feedback is which RTCP feedback was negotiated.
	Feedback Feedback
}

// Aggregates reports whether the format's packets may hold several NAL units each.
func (f *Format) Aggregates() bool {
	return f.Codec == H265 || f.Codec == H264 && strings.HasSuffix(f.Profile, "/1")
}

// Feedback is a set of RTCP feedback messages (RFC 4585, RFC 5104).
type Feedback uint8

const (
	NACK Feedback = 1 << iota
	PLI
	FIR
	TransportCC
)

// Extension is an RTP header extension that ringcast understands.
type Extension uint8

const (
	MID Extension = iota
	RID
	RepairedRID
	TransportSequence
	AudioLevel
	VideoOrientation
	PlayoutDelay
	ColorSpace
	NumExtensions
)

var extensionURIs = [NumExtensions]string{
	MID:               "urn:ietf:params:rtp-hdrext:sdes:mid",
	RID:               "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
	RepairedRID:       "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
	TransportSequence: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
	AudioLevel:        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
	VideoOrientation:  "urn:3gpp:video-orientation",
	PlayoutDelay:      "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
	ColorSpace:        "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
}

// URI is the extension's name in SDP.
func (e Extension) URI() string { return extensionURIs[e] }

// ExtensionByURI finds an extension by its name in SDP.
func ExtensionByURI(uri string) (Extension, bool) {
	for e, u := range extensionURIs {
		if u == uri {
			return Extension(e), true
		}
	}
	return 0, false
}

// ExtensionMap gives the number, 1 to 255, under which each extension was negotiated; 0 is absent.
type ExtensionMap [NumExtensions]uint8

// Track is one negotiated media line.
type Track struct {
	Kind Kind
	// MID is the line's identification tag (RFC 8843), at most 32 bytes.
	MID string
	// Formats are the payload types in order of preference.
	Formats    []Format
	Extensions ExtensionMap
	// Encodings are the layers that a publisher's offer announces: one with an SSRC, or one for each simulcast RID. One
	// that is empty stands for packets that must be bound by MID alone.
	Encodings []Encoding
	// SSRC and RTXSSRC are the sources that a subscriber receives; RTXSSRC is 0 where no RTX was negotiated.
	SSRC, RTXSSRC uint32
}

// Encoding is one layer of a publisher's track as its offer announced it.
type Encoding struct {
	// SSRC and RTXSSRC are 0 where the offer did not say.
	SSRC, RTXSSRC uint32
	// RID is the restriction identifier of a simulcast layer (RFC 8851), or empty.
	RID string
}
