package rtp

import (
	"strconv"
	"strings"
)

// Fit rates how well a receiver's format suits the packets that are sent, from not at all to exactly.
type Fit uint8

const (
	// NoFit: another codec, or a profile that the receiver need not decode.
	NoFit Fit = iota
	// ModeFit: H.264 of packetization mode 1 for a receiver that names mode 0 only, or no parameters.
	// Depacketizers take both modes as a rule, so this is the last choice and no refusal.
	ModeFit
	// ProfileFit: H.264 of a profile that the receiver does not name, with 8 bits and 4:2:0 chroma.
	// Encoders and offers seldom agree on it, and decoders take more of these than they name.
	ProfileFit
	// SubsetFit: the receiver's profile includes the sender's.
	SubsetFit
	// ExactFit: the same profile and mode.
	ExactFit
)

// Fit says how well a receiver that negotiated o can take packets of f. It is not symmetric.
func (f *Format) Fit(o *Format) Fit {
	switch {
	case o.Codec != f.Codec:
		return NoFit
	case o.Profile == f.Profile:
		return ExactFit
	}
	switch f.Codec {
	case H264:
		return fitH264(f.Profile, o.Profile)
	case H265:
		return fitSubset(h265Includes[:], f.Profile, o.Profile)
	case VP9:
		return fitSubset(vp9Includes[:], f.Profile, o.Profile)
	case AV1:
		return fitSubset(av1Includes[:], f.Profile, o.Profile)
	}
	return NoFit
}

// Match finds among offered, a receiver's formats, the one that fits f's packets best; of equals the
// first. nil when none fits.
func (f *Format) Match(offered []Format) *Format {
	var best *Format
	found := NoFit
	for i := range offered {
		if fit := f.Fit(&offered[i]); fit > found {
			best, found = &offered[i], fit
		}
	}
	return best
}

// Other profiles that a decoder of a profile decodes: for each profile a set of bits.
var (
	// H.265 annex A.3: Main 10 includes Main and Main Still Picture, Main includes the latter.
	h265Includes = [...]uint8{1: 1 << 3, 2: 1<<1 | 1<<3}
	// VP9: to profile 0, 1 adds chroma formats, 2 bit depths, and 3 both.
	vp9Includes = [...]uint8{1: 1 << 0, 2: 1 << 0, 3: 1<<0 | 1<<1 | 1<<2}
	// AV1 annex A.2: Professional includes High, which includes Main.
	av1Includes = [...]uint8{1: 1 << 0, 2: 1<<0 | 1<<1}
)

func fitSubset(includes []uint8, sent, taken string) Fit {
	s, err1 := strconv.ParseUint(sent, 10, 8)
	t, err2 := strconv.ParseUint(taken, 10, 8)
	if err1 != nil || err2 != nil || t >= uint64(len(includes)) || includes[t]>>s&1 == 0 {
		return NoFit
	}
	return SubsetFit
}

// fitH264 compares two profiles in normal form. A receiver of mode 1 takes mode 0, too (RFC 6184
// section 6.2).
func fitH264(sent, taken string) Fit {
	s, mode, _ := strings.Cut(sent, "/")
	t, takes, _ := strings.Cut(taken, "/")
	class := h264Class(s)
	included := s == t || h264Includes(h264Class(t), class)
	switch {
	case class > h264High && !included:
		return NoFit
	case mode == "1" && takes != "1":
		return ModeFit
	case included:
		return SubsetFit
	}
	return ProfileFit
}

// An h264Set is a profile of H.264 by the order in which most of them include each other.
type h264Set uint8

const (
	h264Unknown h264Set = iota
	h264Baseline
	h264Extended
	// From here on each includes those before it, down to this one.
	h264ConstrainedBaseline
	h264Main
	h264High
	// From here on pictures may have more bits or other chroma, which no decoder of those before can show.
	h264High10
	h264High422
	h264CAVLC444 // includes none of those before
	h264High444
)

// h264Includes reports whether decoders of profile a decode profile b (H.264 annex A.2).
func h264Includes(a, b h264Set) bool {
	switch {
	case a == h264Unknown || b == h264Unknown:
		return false
	case a == b:
		return true
	case a == h264CAVLC444:
		return false
	case b == h264ConstrainedBaseline:
		return true
	case a == h264Extended:
		return b == h264Baseline
	}
	return b > h264ConstrainedBaseline && a > b
}

// h264Class reads a profile_idc and its constraint flags, four hexadecimal digits (RFC 6184 table 5).
func h264Class(digits string) h264Set {
	n, err := strconv.ParseUint(digits, 16, 16)
	if err != nil {
		return h264Unknown
	}
	set0, set1 := n&0x80 != 0, n&0x40 != 0
	switch n >> 8 {
	case 0x42:
		if set1 {
			return h264ConstrainedBaseline
		}
		return h264Baseline
	case 0x4D:
		if set0 {
			return h264ConstrainedBaseline
		}
		return h264Main
	case 0x58:
		switch {
		case set0 && set1:
			return h264ConstrainedBaseline
		case set0:
			return h264Baseline
		}
		return h264Extended
	case 0x64:
		return h264High
	case 0x6E:
		return h264High10
	case 0x7A:
		return h264High422
	case 0x2C:
		return h264CAVLC444
	case 0xF4:
		return h264High444
	}
	return h264Unknown
}
