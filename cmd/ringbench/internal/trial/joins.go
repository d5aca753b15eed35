package trial

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"ringcast/cmd/ringbench/internal/report"
)

// Arrivals are viewers that join while others watch.
type Arrivals struct {
	Viewers int
	Rate    float64 // a second; 0 is all at once
}

// span is the time in which they come.
func (a Arrivals) span() time.Duration {
	if a.Rate == 0 {
		return 0
	}
	return time.Duration(float64(a.Viewers) / a.Rate * float64(time.Second))
}

func (a Arrivals) String() string {
	if a.Rate == 0 {
		return fmt.Sprintf("%d at once", a.Viewers)
	}
	return fmt.Sprintf("%.0f/s", a.Rate)
}

// Joining reports on viewers that join while others watch.
type Joining struct {
	Machine   Machine    `json:"machine"`
	Contender string     `json:"contender"`
	Viewers   int        `json:"viewers"` // that watch
	Calm      Cost       `json:"before"`
	Steps     []JoinStep `json:"steps"`
}

// A Cost is a server's use of its cores for some time.
type Cost struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
	Kernel  float64 `json:"cpu_kernel"` // the part of CPU that is in the kernel's own threads
	GCShare float64 `json:"gc_share"`   // of one core
	// ClientIdle near zero means that the client limited the rate.
	ClientIdle float64 `json:"client_idle"`
	// Forwarding is of all streams.
	Forwarding Forwarding `json:"forwarding"`
	// Delay is that of packets to sampled viewers who watch, from the due time at the publisher.
	Delay report.Quantiles `json:"delay"`
	// Late is the delay of frames at the publisher, a part of Delay.
	Late report.Quantiles `json:"publisher_late"`
}

// A JoinStep is one rate, or a storm.
type JoinStep struct {
	Rate   float64 `json:"rate"` // the planned one, a second; 0 is all at once
	Wanted int     `json:"wanted"`
	Joined int     `json:"joined"`
	// Refused counts offers that were sent again, when the server had asked for that.
	Refused  int                         `json:"refused_offers"`
	Lasted   float64                     `json:"lasted"` // seconds until the last one joined
	Failures map[string]map[string]int   `json:"failures,omitempty"`
	Stages   map[string]report.Quantiles `json:"stages"`
	// PerJoin is the server's time for a join in milliseconds, without that for those who watch.
	PerJoin float64 `json:"cpu_a_join_ms"`
	Cost
	Missing uint64 `json:"viewers_missing_packets"` // of the viewers that watch
	// Metrics are those of the server that count refusals and drops, as far as they grew.
	Metrics map[string]float64 `json:"metrics,omitempty"`
}

// Table writes the report for people.
func (j *Joining) Table(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%s: joining while %d viewers watch; times in ms, from when each was to begin\n", j.Machine,
		j.Contender, j.Viewers)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "asked\tjoined\trefused at first\tjoins/s\tlast after, s\tPOST p50, p99\tDTLS p50, p99\t"+
		"first packet p50, p99\tCPU a join\tserver %\tGC %\tclient idle %\t")
	for _, s := range j.Steps {
		q := func(stage report.Stage) string {
			x := s.Stages[stage.String()]
			return fmt.Sprintf("%.1f, %.1f", x.P50, x.P99)
		}
		fmt.Fprintf(t, "%s\t%d/%d\t%d\t%.0f\t%.1f\t%s\t%s\t%s\t", Arrivals{s.Wanted, s.Rate}, s.Joined, s.Wanted,
			s.Refused, float64(s.Joined)/s.Lasted, s.Lasted, q(report.POST), q(report.DTLS), q(report.FirstPacket))
		fmt.Fprintf(t, "%.2f\t%.1f\t%.1f\t%.1f\t\n", s.PerJoin, 100*s.CPU, 100*s.GCShare, 100*s.ClientIdle)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThose who watch:\n")
	fmt.Fprintln(t, "meanwhile\tdelay p50, p99\tpublisher late p50, p99\tforwarding p50, p99\t"+
		"server %\tits kernel threads %\tGC %\tlost\t")
	row := func(name string, c *Cost, lost uint64) {
		fmt.Fprintf(t, "%s\t%.2f, %.2f\t%.2f, %.2f\t%.2f, %.2f\t", name, c.Delay.P50, c.Delay.P99, c.Late.P50,
			c.Late.P99, c.Forwarding.P50, c.Forwarding.P99)
		fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%d\t\n", 100*c.CPU, 100*c.Kernel, 100*c.GCShare, lost)
	}
	row("nobody joins", &j.Calm, 0)
	for i := range j.Steps {
		s := &j.Steps[i]
		row(Arrivals{s.Wanted, s.Rate}.String(), &s.Cost, s.Missing)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range j.Steps {
		s.explain(out)
	}
	return nil
}

// explain lists failures, and the server's refusals and drops.
func (s *JoinStep) explain(out io.Writer) {
	var all []string
	for stage, reasons := range s.Failures {
		for reason, n := range reasons {
			all = append(all, fmt.Sprintf("  failed at %s: %d × %s", stage, n, reason))
		}
	}
	for _, series := range slices.Sorted(maps.Keys(s.Metrics)) {
		all = append(all, fmt.Sprintf("  server: %s %.0f", series, s.Metrics[series]))
	}
	if len(all) > 0 {
		fmt.Fprintf(out, "\n%s:\n%s\n", Arrivals{s.Wanted, s.Rate}, strings.Join(all, "\n"))
	}
}
