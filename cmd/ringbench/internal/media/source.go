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

// VideoConfig describes a generated VP8 stream. All fields must be set.
type VideoConfig struct {
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
// header they look like VP8. Their content can be neither compressed nor decoded.
func NewVideo(c VideoConfig) Source {
	v := &video{
		noise: noise(c.Seed), interval: time.Duration(float64(time.Second) / c.FrameRate),
		size: float64(c.Bitrate) / 8 / c.FrameRate, keyframe: c.Keyframe,
	}
	v.since = v.keyframe // the first frame is a keyframe
	return v
}

type video struct {
	noise    []byte
	interval time.Duration
	size     float64 // of a frame, in bytes
	owed     float64 // the fraction of a byte that the frames so far were too short
	keyframe time.Duration
	since    time.Duration // the last keyframe
	frames   int
	frame    [1][]byte
}

func (v *video) Codec() rtp.Codec { return rtp.VP8 }
func (v *video) Generated() bool  { return true }

func (v *video) Next(want Want) Frame {
	v.owed += v.size
	n := max(int(v.owed), minFrame)
	v.owed -= float64(n)
	if cap(v.frame[0]) < n {
		v.frame[0] = make([]byte, n)
	}
	f := v.frame[0][:n]
	// Each frame begins at another place of the noise, so that no two are alike.
	v.frames++
	for filled := 0; filled < n; {
		filled += copy(f[filled:], v.noise[v.frames*61%(len(v.noise)/2):])
	}
	key := want == Keyframe || v.since+v.interval/2 >= v.keyframe // the interval is rounded
	if key {
		v.since = 0
		// These are a clear P bit, version 0, shown, the length of the first partition, and the start code (RFC 6386
		// section 9.1).
		copy(f, []byte{0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A})
	} else {
		copy(f, []byte{0x11, 0x02, 0x00})
	}
	v.since += v.interval
	v.frame[0] = f
	return Frame{Units: v.frame[:], Key: key, Duration: v.interval}
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
