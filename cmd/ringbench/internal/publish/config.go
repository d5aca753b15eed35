package publish

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/cmd/ringbench/internal/report"
	"ringcast/engine/rtp"
)

// The limits of a run.
const (
	maxStreams    = 10_000
	minPacketSize = 200
	maxPacketSize = 1400
	maxFrameRate  = 1000
)

// Config describes the streams. URL must be set; Default has usable values for the other fields.
type Config struct {
	// URL is the WHIP endpoint. In it {n} stands for the stream's number, from 0. Without {n}, -n is appended for all
	// streams but the first.
	URL      string
	Token    string
	Insecure bool // accept any TLS certificate
	Streams  int
	// Files are at most one video and one audio file. Without any, video is generated.
	Files []string
	// Audio adds generated audio, unless a file is audio.
	Audio bool
	Video
	// PacketSize is the most bytes of an RTP packet before it is sealed.
	PacketSize int
	// Duration is the time to publish; 0 lasts until an interruption.
	Duration time.Duration
	// Seed determines content, numbers and the streams' phases.
	Seed uint64
	// NoRTX and NoTransportCC leave these out of the offer.
	NoRTX, NoTransportCC bool

	// Progress may be nil.
	Progress *report.Progress `json:"-"`
	// Paused is called when a frame is due: a frame that is due while it returns true is never sent. Nil is never
	// paused.
	Paused func() bool `json:"-"`
	// Follow is called before the first frame. It gets a function that reports the state at any time; Late of its
	// reports is of the time since the call before. Follow may be nil.
	Follow func(look func() *report.Publish) `json:"-"`
	// Ready is called when all streams are connected. The first frame waits until it returns. It may be nil.
	Ready func() `json:"-"`
	// Sent is called when the last frame is sent, with the report so far. The sessions go on to answer NACKs until it
	// returns. It may be nil.
	Sent func(*report.Publish) `json:"-"`
}

// Video describes generated video.
type Video struct {
	// Codec is VP8 or H264.
	Codec rtp.Codec
	// Layers are those of a simulcast; 1 is none. All have keyframes at the same time.
	Layers int
	// Bitrate is that of the largest layer, in bit/s.
	Bitrate int
	// FrameRate is in frames a second, of generated video and of H.264 byte streams.
	FrameRate float64
	// Keyframe is the time between keyframes.
	Keyframe time.Duration
}

// source makes one of the layers, 0 for the largest.
func (v *Video) source(n int, seed uint64) media.Source {
	l := &layers[n]
	return media.NewVideo(media.VideoConfig{
		Codec: v.Codec, Width: l.width, Height: l.height, Bitrate: int(l.share * float64(v.Bitrate)),
		FrameRate: v.FrameRate, Keyframe: v.Keyframe, Seed: seed + uint64(n),
	})
}

// Default publishes one stream of 2 Mbit/s.
func Default() Config {
	return Config{
		Streams: 1, PacketSize: 1200, Seed: 1,
		Video: Video{Codec: rtp.VP8, Layers: 1, Bitrate: 2_000_000, FrameRate: 30, Keyframe: 2 * time.Second},
	}
}

// Validate returns all errors together.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	check(strings.HasPrefix(c.URL, "http://") || strings.HasPrefix(c.URL, "https://"),
		"--whip %q: expected the http or https URL of a WHIP endpoint", c.URL)
	check(c.Streams >= 1 && c.Streams <= maxStreams, "--streams %d: expected 1 to %d", c.Streams, maxStreams)
	check(c.Codec == rtp.VP8 || c.Codec == rtp.H264, "--codec %v: expected VP8 or H264", c.Codec)
	check(c.Layers >= 1 && c.Layers <= len(layers), "--layers %d: expected 1 to %d", c.Layers, len(layers))
	check(c.Layers == 1 || len(c.Files) == 0, "--layers %d: files have one layer", c.Layers)
	check(c.Bitrate >= 10_000 && c.Bitrate <= 1_000_000_000, "--bitrate %d: expected 10k to 1000M bit/s", c.Bitrate)
	check(c.FrameRate > 0 && c.FrameRate <= maxFrameRate, "--fps %g: expected more than 0 and at most %d", c.FrameRate,
		maxFrameRate)
	check(c.Keyframe > 0, "--keyframe %v: expected a positive time", c.Keyframe)
	check(c.PacketSize >= minPacketSize && c.PacketSize <= maxPacketSize,
		"--packet-size %d: expected %d to %d", c.PacketSize, minPacketSize, maxPacketSize)
	check(c.Duration >= 0, "--duration %v: expected a time, or 0 for no end", c.Duration)
	check(len(c.Files) <= 2, "--file: expected at most one video and one audio file")
	return errors.Join(errs...)
}

// A layer is one of a generated simulcast. Its share is that of the largest layer's bitrate.
type layer struct {
	rid           string
	width, height int
	share         float64
}

// layers are those of a simulcast, the largest first. One of 1.8 Mbit/s has others of 500 and 150 kbit/s.
var layers = [...]layer{{"h", 1280, 720, 1}, {"m", 640, 360, 5.0 / 18}, {"l", 320, 180, 1.0 / 12}}

// StreamURL returns the endpoint of stream n: {n} in url is replaced by n. Without {n}, -n is appended for all streams
// but 0.
func StreamURL(url string, n int) string {
	if strings.Contains(url, "{n}") {
		return strings.ReplaceAll(url, "{n}", fmt.Sprint(n))
	}
	if n == 0 {
		return url
	}
	return fmt.Sprintf("%s-%d", url, n)
}
