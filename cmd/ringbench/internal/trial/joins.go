package trial

import (
	"fmt"
	"io"
	"text/tabwriter"

	"ringcast/cmd/ringbench/internal/report"
)

// Joining reports on viewers that join while others watch.
type Joining struct {
	Machine   Machine    `json:"machine"`
	Contender string     `json:"contender"`
	Viewers   int        `json:"viewers"` // that watch
	Steps     []JoinStep `json:"steps"`
}

// A JoinStep is one rate.
type JoinStep struct {
	Rate     float64                     `json:"rate"` // the planned one, a second
	Wanted   int                         `json:"wanted"`
	Joined   int                         `json:"joined"`
	Seconds  float64                     `json:"seconds"` // until the last one joined
	Failures map[string]map[string]int   `json:"failures,omitempty"`
	Stages   map[string]report.Quantiles `json:"stages"`
	CPU      float64                     `json:"cpu"`
	// ClientIdle near zero means that the client limited the rate.
	ClientIdle float64 `json:"client_idle"`
	Missing    uint64  `json:"viewers_missing_packets"` // of the viewers that watch
}

// Table writes the report for people.
func (j *Joining) Table(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%s: joining while %d viewers watch; times in ms, from when each was to begin\n", j.Machine,
		j.Contender, j.Viewers)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "asked/s\tjoined\tjoins/s\tPOST p50, p99\tDTLS p50, p99\tfirst packet p50, p99\tserver %\tclient "+
		"idle %\twatchers lost\t")
	for _, s := range j.Steps {
		q := func(stage report.Stage) string {
			x := s.Stages[stage.String()]
			return fmt.Sprintf("%.1f, %.1f", x.P50, x.P99)
		}
		fmt.Fprintf(t, "%.0f\t%d/%d\t%.0f\t%s\t%s\t%s\t%.1f\t%.1f\t%d\t\n", s.Rate, s.Joined, s.Wanted,
			float64(s.Joined)/s.Seconds,
			q(report.POST), q(report.DTLS), q(report.FirstPacket), 100*s.CPU, 100*s.ClientIdle, s.Missing)
	}
	return t.Flush()
}
