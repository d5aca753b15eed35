package watch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/engine/rtp"
)

const (
	maxViewers = 100_000
	// MaxRamp is the highest Ramp. By it viewers begin all at once.
	MaxRamp    = 100_000
	maxStreams = 10_000
	maxLoops   = 64
)

// Config describes the viewers. URL must be set; Default has usable values for the other fields.
type Config struct {
	// URL is the WHEP endpoint. In it {n} stands for a stream's number.
	URL      string
	Token    string
	Insecure bool // accept any TLS certificate
	Audience
	// Ramp is how many viewers begin each second.
	Ramp float64
	// Streams are the numbers that {n} takes, in turn.
	Streams []int
	// Settle is the time from the last viewer's joining, or failing, to the steady time.
	Settle time.Duration
	// Duration is the length of the steady time; 0 lasts until an interruption.
	Duration time.Duration
	// Loops is the number of receiving threads; 0 is one for each core but one.
	Loops int
	// Codec restricts the offer; UnknownCodec offers all codecs of a browser.
	Codec rtp.Codec
	// NoAudio, NoRTX and NoTransportCC leave these out of the offer.
	NoAudio, NoRTX, NoTransportCC bool
	// Report is the way in which viewers report.
	Report Reporting
	// Reconnect says when viewers open another session.
	Reconnect Reconnect
	// Seed determines credentials and numbers.
	Seed uint64

	// Sink counts for counted viewers; nil lets their sockets do it.
	Sink Sink
	// Progress may be nil.
	Progress *report.Progress
	// Follow is called before the first viewer begins. It gets a function that reports the state at any time; Delay and
	// Jitter of its reports are of the time since the call before. After the run the function returns nil. Follow may
	// be nil.
	Follow func(look func() *report.Watch)
}

// Default is one viewer that is sampled.
func Default() Config {
	return Config{
		Audience: Audience{Viewers: 1, Sample: 10}, Ramp: 100, Streams: []int{0}, Settle: time.Second, Seed: 1,
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
		"--whep %q: expected the http or https URL of a WHEP endpoint", c.URL)
	check(len(c.Crowd) == 0 || c.Crowd.Viewers() == c.Viewers, "--viewers %d: --crowd has %d", c.Viewers,
		c.Crowd.Viewers())
	check(!c.Sources.IsValid() || c.Sources.Addr().Is4() && c.Viewers < 1<<(32-c.Sources.Bits())-1,
		"--sources %v: expected an IPv4 prefix with more than %d addresses", c.Sources, c.Viewers)
	check(c.Viewers >= 1 && c.Viewers <= maxViewers, "--viewers %d: expected 1 to %d", c.Viewers, maxViewers)
	check(c.Ramp > 0 && c.Ramp <= MaxRamp, "--ramp %g: expected more than 0 and at most %d a second", c.Ramp, MaxRamp)
	check(c.Sample >= 0, "--sample %d: expected 0 or more", c.Sample)
	check(c.Duration >= 0, "--duration %v: expected a time, or 0 for no end", c.Duration)
	check(c.Settle >= 0, "--settle %v: expected a time", c.Settle)
	check(c.Loops >= 0 && c.Loops <= maxLoops, "--loops %d: expected 1 to %d, or 0", c.Loops, maxLoops)
	check(len(c.Streams) > 0, "--streams: expected at least one number")
	check(len(c.Streams) < 2 || strings.Contains(c.URL, "{n}"),
		"--streams: the URL of --whep has no {n} to put the numbers in")
	return errors.Join(errs...)
}

// ParseStreams reads numbers and ranges with commas between them: "0-9", "0,3,5-7".
func ParseStreams(text string) ([]int, error) {
	var numbers []int
	for part := range strings.SplitSeq(text, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && ranged {
			last, err = strconv.Atoi(to)
		}
		if err != nil || first < 0 || last < first || last-first >= maxStreams ||
			len(numbers)+last-first >= maxStreams {
			return nil, fmt.Errorf("%q: expected stream numbers like 0-9 or 0,3,5-7, at most %d", text, maxStreams)
		}
		for n := first; n <= last; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers, nil
}

// url returns the endpoint of viewer n.
func (c *Config) url(n int) string {
	return strings.ReplaceAll(c.URL, "{n}", strconv.Itoa(c.Streams[n%len(c.Streams)]))
}
