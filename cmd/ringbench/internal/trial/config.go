package trial

import (
	"errors"
	"fmt"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/engine/rtp"
)

// Config describes the load, the same for all contenders of a run. Default has usable values.
type Config struct {
	Viewers, Streams int
	// Crowd divides the viewers into groups; empty is a single one. Viewers is then its size.
	Crowd watch.Crowd
	// Sample is the number of viewers that open and check every packet.
	Sample int
	// Ramp is how many viewers begin each second.
	Ramp float64
	// Bitrate is that of the generated video without headers and tags, in bit/s; FrameRate is in frames a second.
	Bitrate   int
	FrameRate float64
	// Codec is VP8 or H264. Layers are those of a simulcast, of which Bitrate is that of the largest; 1 is none.
	Codec  rtp.Codec
	Layers int
	// Report is the way in which viewers report.
	Report watch.Reporting
	// Window is the length of a window, Rounds the number of windows for each contender.
	Window time.Duration
	Rounds int
	// ServerCPUs are the cores of the server, one worker on each.
	ServerCPUs []int
	// ClientCPU is the core of everything else: the publisher, the viewers, and the threads that carry packets to them.
	ClientCPU int
	// LoseEvery loses one of so many packets at the sink on purpose; 0 loses none.
	LoseEvery int
	// Floor measures the C floor in each round too.
	Floor bool
	Seed  uint64
	// Ringcast and SFU are the paths of the programs for contenders that name none.
	Ringcast, SFU string
	// Progress may be nil.
	Progress *report.Progress
}

// Default is 1,000 viewers of one stream of 2 Mbit/s on the wire: 30 frames a second of 7 packets of nearly 1,200
// bytes.
func Default() Config {
	return Config{
		Viewers: 1000, Streams: 1, Sample: 10, Ramp: 500, Bitrate: 1_960_000, FrameRate: 30,
		Codec: rtp.VP8, Layers: 1,
		Window: 2 * time.Second, Rounds: 7, ServerCPUs: []int{0}, ClientCPU: 1, Floor: true, Seed: 1,
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
	check(c.Viewers >= 1 && c.Viewers <= maxViewers, "%d viewers: expected 1 to %d", c.Viewers, maxViewers)
	check(len(c.Crowd) == 0 || c.Crowd.Viewers() == c.Viewers, "%d viewers: the crowd has %d", c.Viewers,
		c.Crowd.Viewers())
	check(len(c.Crowd) == 0 || c.Crowd.Wide(),
		"the crowd %v: expected a group without a bottleneck, to check the packets", &c.Crowd)
	check(c.Streams >= 1 && c.Streams <= c.Viewers, "%d streams: expected 1 to the number of viewers", c.Streams)
	check(c.Sample >= 1, "a sample of %d: expected 1 or more, to check the packets", c.Sample)
	check(c.Ramp > 0, "a ramp of %g: expected more than 0 viewers a second", c.Ramp)
	check(c.Bitrate >= 10_000, "a bitrate of %d: expected 10k or more", c.Bitrate)
	check(c.Window >= minWindow, "a window of %v: expected %v or more, as idle time comes in ticks", c.Window,
		minWindow)
	check(c.Rounds >= 1, "%d rounds: expected 1 or more", c.Rounds)
	return errors.Join(errs...)
}

const (
	// maxViewers fits the ephemeral ports of one address, with room.
	maxViewers = 25_000
	minWindow  = 200 * time.Millisecond
)
