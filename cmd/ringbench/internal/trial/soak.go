package trial

import (
	"fmt"
	"io"
	"slices"
)

// Endurance reports on a contender over a long time.
type Endurance struct {
	Machine   Machine  `json:"machine"`
	Contender string   `json:"contender"`
	Viewers   int      `json:"viewers"`
	Share     float64  `json:"share"` // of its capacity, 0 where the number of viewers was given
	Moments   []Moment `json:"moments"`
	// Whole is all of the time as one window.
	Whole Window `json:"whole"`
}

// A Moment is one second of it. Missing, GCs and the like count from the beginning.
type Moment struct {
	At             float64 `json:"at_seconds"`
	CPU            float64 `json:"cpu"`
	PacketRate     float64 `json:"packets_per_second"`
	ClientIdle     float64 `json:"client_idle"`
	Missing        uint64  `json:"viewers_missing_packets"`
	SampledMissing uint64  `json:"sampled_missing_packets"`
	Delay          float64 `json:"delay_p99_ms"`
	RSS            uint64  `json:"rss_bytes"`
	Heap           uint64  `json:"heap_bytes"`
	Stacks         uint64  `json:"stack_bytes"`
	Goroutines     int     `json:"goroutines"`
	GCs            uint64  `json:"gcs"`
	GCPause        float64 `json:"gc_pause_max_ms"`
}

// Table writes the report for people.
func (e *Endurance) Table(out io.Writer) error {
	w := &e.Whole
	fmt.Fprintf(out, "%s\n%s: %d viewers for %.0f s, %.1f %% of the core, %.0f ns a packet, %.3f Mpacket/s\n",
		e.Machine, e.Contender, e.Viewers,
		w.Seconds, 100*w.CPU, w.PerPacket, w.PacketRate/1e6)
	fmt.Fprintf(out, "published %d packets, %d arrived, %d missing at all viewers, %d at sampled ones\n", w.Published,
		w.Arrived, w.CountedMissing, w.Sampled.Missing)
	if n := len(e.Moments); n >= 4 {
		first, last := e.Moments[n/4:n/2], e.Moments[n*3/4:]
		compare := func(name, unit string, scale float64, of func(Moment) float64) {
			fmt.Fprintf(out, "%s, medians of the second and of the last quarter: %.2f and %.2f %s\n", name,
				medianOf(first, of)/scale, medianOf(last, of)/scale, unit)
		}
		compare("resident memory", "MB", 1e6, func(m Moment) float64 { return float64(m.RSS) })
		compare("heap", "MB", 1e6, func(m Moment) float64 { return float64(m.Heap) })
		compare("goroutines", "", 1, func(m Moment) float64 { return float64(m.Goroutines) })
	}
	if s := w.Server; s != nil {
		fmt.Fprintf(out, "%d collections, longest pause of late %.2f ms; %d allocations, %.6f a packet sent, most of "+
			"them for metrics\n",
			s.GCs, s.GCPause, s.Mallocs, float64(s.Mallocs)/float64(max(s.SentRTP, 1)))
	}
	for _, why := range slices.Concat(w.Overload, w.Void) {
		fmt.Fprintln(out, "not clean:", why)
	}
	return nil
}

func medianOf(ms []Moment, of func(Moment) float64) float64 {
	var all []float64
	for _, m := range ms {
		all = append(all, of(m))
	}
	return spread(all).Median
}

// Charts draws memory and goroutines over time, and load, into files that begin with prefix.
func (e *Endurance) Charts(prefix string) error {
	line := func(name string, of func(Moment) float64) Line {
		l := Line{Name: name}
		for _, m := range e.Moments {
			y := of(m)
			l.Points = append(l.Points, Point{m.At, Spread{y, y, y}})
		}
		return l
	}
	memory := Chart{
		Title: fmt.Sprintf("%s, %d viewers", e.Contender, e.Viewers), X: "seconds", Y: "MB; goroutines",
		Lines: []Line{
			line("resident", func(m Moment) float64 { return float64(m.RSS) / 1e6 }),
			line("heap", func(m Moment) float64 { return float64(m.Heap) / 1e6 }),
			line("goroutines", func(m Moment) float64 { return float64(m.Goroutines) }),
		},
	}
	load := Chart{
		Title: fmt.Sprintf("%s, %d viewers", e.Contender, e.Viewers), X: "seconds", Y: "% of the core; packets",
		Lines: []Line{
			line("server", func(m Moment) float64 { return 100 * m.CPU }),
			line("client's core", func(m Moment) float64 { return 100 * (1 - m.ClientIdle) }),
			line("missing at all viewers", func(m Moment) float64 { return float64(m.Missing) }),
		},
	}
	if err := memory.SVG(prefix + "-memory.svg"); err != nil {
		return err
	}
	return load.SVG(prefix + "-load.svg")
}

// Footprint is the memory that viewers take.
type Footprint struct {
	Machine   Machine `json:"machine"`
	Contender string  `json:"contender"`
	Few       int     `json:"few_viewers"`
	Many      int     `json:"many_viewers"`
	AtFew     []Use   `json:"few"`
	AtMany    []Use   `json:"many"`
}

// Use is the memory of one server in bytes, after a garbage collection.
type Use struct {
	Live   uint64 `json:"live_heap_bytes"`
	Stacks uint64 `json:"stack_bytes"`
	RSS    uint64 `json:"rss_bytes"`
	// Returnable is the part of RSS that the runtime keeps unused, and would return on request.
	Returnable uint64 `json:"returnable_bytes"`
}

// PerViewer is the slope of a figure, in bytes.
func (f *Footprint) PerViewer(of func(Use) float64) Spread {
	var all []float64
	for i := range min(len(f.AtFew), len(f.AtMany)) {
		all = append(all, (of(f.AtMany[i])-of(f.AtFew[i]))/float64(f.Many-f.Few))
	}
	return spread(all)
}

// Table writes it for people.
func (f *Footprint) Table(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%s, from %d to %d viewers, bytes a viewer:\n", f.Machine, f.Contender, f.Few, f.Many)
	for _, x := range []struct {
		name string
		of   func(Use) float64
	}{
		{"live heap and stacks", func(u Use) float64 { return float64(u.Live + u.Stacks) }},
		{
			"resident, less what would be given back",
			func(u Use) float64 { return float64(u.RSS) - float64(u.Returnable) },
		},
		{"resident", func(u Use) float64 { return float64(u.RSS) }},
	} {
		fmt.Fprintf(out, "  %-40s %s\n", x.name, f.PerViewer(x.of).text(0))
	}
	return nil
}
