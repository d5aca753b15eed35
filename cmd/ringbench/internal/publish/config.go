package publish

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"ringcast/cmd/ringbench/internal/report"
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
	// Bitrate is that of a generated stream's video, in bit/s.
	Bitrate int
	// FrameRate is in frames a second, of generated video and of H.264 byte streams.
	FrameRate float64
	// Keyframe is the time between a generated stream's keyframes.
	Keyframe time.Duration
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

// Default publishes one stream of 2 Mbit/s.
func Default() Config {
	return Config{
		Streams: 1, Bitrate: 2_000_000, FrameRate: 30, Keyframe: 2 * time.Second, PacketSize: 1200, Seed: 1,
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
