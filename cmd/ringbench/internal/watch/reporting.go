package watch

import (
	"fmt"
	"strings"
	"time"

	"ringcast/engine/rtcp"
)

// Reporting is the browser that viewers report like, or All. It is a flag.Value.
type Reporting uint8

const (
	// Chromium and Firefox decide packet by packet. Those that carry a transport-wide number are reported in feedback,
	// the others by an estimate (REMB) that nobody asked for.
	Chromium Reporting = iota
	Firefox
	// All is the most that a viewer sends: Firefox's feedback, and beside it Chromium's estimates all the time.
	All
)

// A habit is the times between the reports of a kind of viewer.
//
// libwebrtc gives feedback 5 % of the viewer's own sending rate, within 50 to 250 ms. A viewer that sends no media has
// 300 kbit/s by default, which makes 50 ms. Chromium's timers round that up to a multiple of 1/64 s. An estimate leaves
// each 200 ms at most, and takes the receiver report with it. Both browsers were measured, as in TestReportRates.
type habit struct {
	name               string
	feedback, estimate time.Duration
	// unasked sends estimates even if all packets carry numbers.
	unasked bool
}

var habits = [...]habit{
	Chromium: {"chromium", 62_500 * time.Microsecond, 200 * time.Millisecond, false},
	Firefox:  {"firefox", 50 * time.Millisecond, 228 * time.Millisecond, false},
	All:      {"all", 50 * time.Millisecond, 200 * time.Millisecond, true},
}

func (r Reporting) String() string { return habits[r].name }

// Set reads a name.
func (r *Reporting) Set(text string) error {
	var names []string
	for i, h := range habits {
		if h.name == text {
			*r = Reporting(i)
			return nil
		}
		names = append(names, h.name)
	}
	return fmt.Errorf("expected one of %s", strings.Join(names, ", "))
}

// A reporter gathers the arrivals that a viewer reports, beside those of its tracks.
type reporter struct {
	arrivals rtcp.Arrivals
	plain    bool // a packet without a number has arrived since the last estimate
	bytes    uint64
	since    int64   // when bytes began, monotonic
	estimate float64 // bit/s; 0 is not known yet
}

const (
	// measuring is the least time that a received rate is measured over.
	measuring = 500 * time.Millisecond
	// growth and backoff are those of libwebrtc's estimator: an estimate grows up to 1.5 times the received rate. It
	// falls to 0.85 times that when the delay grows, and not in silence.
	growth, backoff = 1.5, 0.85
)

// revise revises the estimate after some time; congested reports that the packets met a queue.
func (r *reporter) revise(now int64, congested bool) {
	span := time.Duration(now - r.since)
	if r.since == 0 {
		r.since, r.bytes = now, 0
	}
	if r.since == now || span < measuring {
		return
	}
	rate := 8 * float64(r.bytes) / span.Seconds()
	r.since, r.bytes = now, 0
	r.estimate = max(r.estimate, growth*rate)
	if congested {
		r.estimate = backoff * rate
	}
}

// catchUp takes in the arrivals that a sink kept of n packets with numbers. Those that it no longer has arrived with
// the oldest that it has.
func (r *reporter) catchUp(kept []Arrival, n uint32) {
	if len(kept) == 0 {
		return
	}
	oldest := kept[0]
	for missed := uint16(min(n-uint32(len(kept)), 4096)); missed > 0; missed-- {
		r.arrivals.Note(oldest.Number-missed, oldest.At)
	}
	for _, a := range kept {
		r.arrivals.Note(a.Number, a.At)
	}
}
