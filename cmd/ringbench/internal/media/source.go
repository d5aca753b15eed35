package media

import (
	"math/rand/v2"
	"time"

	"ringcast/engine/rtp"
)

// A Frame is sent in one burst.
type Frame struct {
	// Units are parts that must not share a payload: NAL units without start codes for H.264, otherwise one.
	Units [][]byte
	// Key is set when a decoder can start here. Audio has no such frames.
	Key bool
	// Duration is the time until the next frame is due.
	Duration time.Duration
}

// A Want is the kind of frame to take from a Source.
type Want uint8

const (
	// AnyFrame takes the frame that is next.
	AnyFrame Want = iota
	// Keyframe takes the next keyframe.
	Keyframe
)

// A Source yields the frames of one track, without end.
type Source interface {
	Codec() rtp.Codec
	// Next returns the next frame. Audio has no keyframes.
	Next(want Want) Frame
	// Generated reports whether the content is meaningless, so that a stamp may replace a payload's end.
	Generated() bool
}

// VideoConfig describes a generated stream. All fields must be set.
type VideoConfig struct {
	// Codec is VP8 or H264.
	Codec rtp.Codec
	// Width and Height are in pixels, both even.
	Width, Height int
	// Bitrate is that of the frames, without RTP's headers, in bit/s.
	Bitrate int
	// FrameRate is in frames a second.
	FrameRate float64
	// Keyframe is the time between keyframes; longer than the run for none but those on request.
	Keyframe time.Duration
	// Seed determines the content.
	Seed uint64
}

// minFrame leaves room for a stamp in each of a frame's packets.
const minFrame = 64

// NewVideo returns a stream whose frames differ by a byte in length at most, so that rates are exact. Up to the frame
// header they look like those of their codec, with H.264's parameter sets. Their content can be neither compressed nor
// decoded.
func NewVideo(c VideoConfig) Source {
	v := &video{
		codec: c.Codec, noise: noise(c.Seed), interval: time.Duration(float64(time.Second) / c.FrameRate),
		size: float64(c.Bitrate) / 8 / c.FrameRate, keyframe: c.Keyframe,
	}
	if c.Codec == rtp.H264 {
		v.sets = [][]byte{sequenceSet(c.Width, c.Height), pictureSet}
		v.key, v.delta = []byte{idrSlice, firstIntra}, []byte{slice, firstPredicted}
	} else {
		v.key, v.delta = keyVP8(c.Width, c.Height), []byte{0x11, 0x02, 0x00}
	}
	v.since = v.keyframe // the first frame is a keyframe
	return v
}

type video struct {
	codec rtp.Codec
	// sets are H.264's parameter sets, in units of their own before a keyframe. key and delta are the beginnings of
	// frames.
	sets       [][]byte
	key, delta []byte

	noise    []byte
	interval time.Duration
	size     float64 // of a frame, in bytes
	owed     float64 // the fraction of a byte that the frames so far were too short
	keyframe time.Duration
	since    time.Duration // the last keyframe
	frames   int
	frame    []byte
	units    [][]byte
}

func (v *video) Codec() rtp.Codec { return v.codec }
func (v *video) Generated() bool  { return true }

func (v *video) Next(want Want) Frame {
	v.owed += v.size
	n := max(int(v.owed), minFrame)
	v.owed -= float64(n)
	if cap(v.frame) < n {
		v.frame = make([]byte, n)
	}
	v.frame = v.frame[:n]
	// Each frame begins at another place of the noise, so that no two are alike.
	v.frames++
	for filled := 0; filled < n; {
		filled += copy(v.frame[filled:], v.noise[v.frames*61%(len(v.noise)/2):])
	}
	v.units = v.units[:0]
	key := want == Keyframe || v.since+v.interval/2 >= v.keyframe // the interval is rounded
	if key {
		v.since = 0
		copy(v.frame, v.key)
		v.units = append(v.units, v.sets...)
	} else {
		copy(v.frame, v.delta)
	}
	v.since += v.interval
	v.units = append(v.units, v.frame)
	return Frame{Units: v.units, Key: key, Duration: v.interval}
}

// Audio imitates a talking Opus encoder: a packet each 20 ms.
const (
	audioInterval = 20 * time.Millisecond
	audioSize     = 80 // bytes, for 32 kbit/s
	// audioTOC begins a packet: CELT, full band, 20 ms, mono, one frame (RFC 6716 section 3.1).
	audioTOC = 31 << 3
)

// NewAudio returns a generated Opus stream of 32 kbit/s.
func NewAudio(seed uint64) Source { return &audio{noise: noise(seed)} }

type audio struct {
	noise  []byte
	frames int
	packet [audioSize]byte
	frame  [1][]byte
}

func (a *audio) Codec() rtp.Codec { return rtp.Opus }
func (a *audio) Generated() bool  { return true }

func (a *audio) Next(Want) Frame {
	a.frames++
	copy(a.packet[:], a.noise[a.frames*61%(len(a.noise)/2):])
	a.packet[0] = audioTOC
	a.frame[0] = a.packet[:]
	return Frame{Units: a.frame[:], Duration: audioInterval}
}

func noise(seed uint64) []byte {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	b := make([]byte, 16<<10)
	_, _ = rand.NewChaCha8(key).Read(b) // it never fails
	return b
}
