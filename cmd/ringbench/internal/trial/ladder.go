package trial

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Viewer counts of the table.
var viewerCounts = []int{1, 10, 100, 200, 500, 1000, 2000, 3000, 5000}

const (
	// fine is the largest ratio of the least count that failed to the most that did not.
	fine = 1.05
	// maxProbes bounds the search for each contender. probeWindows are the windows of one probe; all but one must be
	// good.
	maxProbes, probeWindows = 6, 3
	// hopeless is the largest expected share of the server's core with which a count is still tried.
	hopeless = 1.5
)

// A Ladder is the table of docs/performance.md: contenders over viewer counts, and the most viewers for each.
type Ladder struct {
	Machine    Machine  `json:"machine"`
	Config     Shape    `json:"config"`
	Contenders []string `json:"contenders"`
	// Rungs are the viewer counts that are done.
	Rungs []*Report `json:"counts"`
	// Skipped has, for each contender, the reason against larger counts.
	Skipped map[string]string `json:"skipped,omitempty"`
	Most    []Most            `json:"most,omitempty"`
}

// A Shape is the part of a Config that must agree for figures to belong together.
type Shape struct {
	Streams   int     `json:"streams"`
	Bitrate   int     `json:"bitrate"`
	FrameRate float64 `json:"frame_rate"`
	Window    string  `json:"window"`
	Rounds    int     `json:"rounds"`
}

// Most is the end of a contender's search.
type Most struct {
	Contender string `json:"contender"`
	// Viewers is the largest count without loss. Failed is the least count with loss, for the reason in Why; 0 if there
	// is none.
	Viewers int    `json:"viewers"`
	Failed  int    `json:"failed_viewers,omitempty"`
	Why     string `json:"why,omitempty"`
	// PerViewer is a viewer's share of the server's core with Viewers.
	PerViewer float64 `json:"cpu_per_viewer,omitempty"`
	// Client is set when the client's core ended the search.
	Client bool `json:"client_limited,omitempty"`
	// Windows are those of Viewers, if the search reached it.
	Windows []Window `json:"windows,omitempty"`
	Probes  []Probe  `json:"probes"`
}

// A Probe is one count that was tried.
type Probe struct {
	Viewers int    `json:"viewers"`
	Good    bool   `json:"good"`
	Why     string `json:"why,omitempty"`
}

// reached returns the largest count that was good, and a viewer's share of the core there.
func (l *Ladder) reached(contender string) (n int, perViewer float64) {
	for _, r := range l.Rungs {
		i := slices.Index(r.Contenders, contender)
		if i < 0 || len(r.Windows(i)) == 0 {
			continue
		}
		n, perViewer = r.Viewers, r.Of(i, func(w *Window) float64 { return w.CPU }).Median/float64(r.Viewers)
	}
	return n, perViewer
}

// refused returns the least count that was too much, 0 if there is none.
func (l *Ladder) refused(contender string) (int, string) {
	for _, r := range l.Rungs {
		if i := slices.Index(r.Contenders, contender); i >= 0 && len(r.Windows(i)) == 0 && r.overloaded(i) {
			return r.Viewers, r.why(i)
		}
	}
	return 0, ""
}

// most returns the search of a contender. A new one begins with the counts of the table.
func (l *Ladder) most(contender string) *Most {
	i := slices.IndexFunc(l.Most, func(m Most) bool { return m.Contender == contender })
	if i < 0 {
		m := Most{Contender: contender}
		m.Viewers, m.PerViewer = l.reached(contender)
		m.Failed, m.Why = l.refused(contender)
		i, l.Most = len(l.Most), append(l.Most, m)
	}
	return &l.Most[i]
}

// next returns the count to try, 0 for none.
func (m *Most) next() int {
	switch {
	case m.Failed == 0 && m.Viewers == 0:
		return viewerCounts[0]
	case m.Failed == 0 && m.Viewers >= maxViewers:
		return 0
	case m.Failed == 0:
		// The cost of a packet falls as load grows, so the estimate is low: go beyond it.
		return min(max(int(1.02/m.PerViewer), m.Viewers*110/100)/10*10, maxViewers)
	case m.Viewers == 0:
		return m.Failed / 2
	case float64(m.Failed) <= fine*float64(m.Viewers):
		return 0
	}
	n := int(math.Sqrt(float64(m.Viewers) * float64(m.Failed)))
	if n = n / 10 * 10; n <= m.Viewers || n >= m.Failed {
		return 0
	}
	return n
}

// probe takes in the report on a count that was tried.
func (m *Most) probe(n int, r *Report) {
	good := r.Windows(0)
	p := Probe{Viewers: n, Good: len(good) >= probeWindows-1}
	if p.Good {
		m.Viewers, m.Windows, m.Client = n, nil, false
		for _, w := range good {
			m.Windows = append(m.Windows, *w)
		}
		m.PerViewer = r.Of(0, func(w *Window) float64 { return w.CPU }).Median / float64(n)
	} else {
		p.Why = r.why(0)
		m.Failed, m.Why, m.Client = n, p.Why, !r.overloaded(0)
	}
	m.Probes = append(m.Probes, p)
}

// why returns the most frequent reason in the windows of a contender without good ones.
func (r *Report) why(contender int) string {
	said := map[string]int{}
	best := ""
	for i := range r.Rounds {
		if contender >= len(r.Rounds[i].Windows) {
			continue
		}
		w := &r.Rounds[i].Windows[contender]
		for _, x := range slices.Concat(w.Overload, w.Void) {
			said[x]++
			if best == "" || said[x] > said[best] {
				best = x
			}
		}
	}
	return best
}

// overloaded reports whether the server was the limit.
func (r *Report) overloaded(contender int) bool {
	return slices.ContainsFunc(r.Rounds, func(x Round) bool {
		return contender < len(x.Windows) && len(x.Windows[contender].Overload) > 0
	})
}

// Table writes Markdown.
func (l *Ladder) Table(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%d stream of %d frames a second, %.2f Mbit/s of video; medians of the good windows of %d, "+
		"each %s long, with the least and the most.\n\n",
		l.Machine, l.Config.Streams, int(l.Config.FrameRate), float64(l.Config.Bitrate)/1e6,
		l.Config.Rounds, l.Config.Window)
	b.WriteString("| viewers | sent by | CPU, % of the core | CPU ns a packet | × C floor | × one by one | " +
		"resident MB | Gbit/s, viewers' count | Gbit/s, the OS's count |\n")
	b.WriteString("|---:|---|---:|---:|---:|---:|---:|---:|---:|\n")
	for _, r := range l.Rungs {
		last := slices.Index(r.Contenders, "off")
		for _, name := range l.Contenders {
			i := slices.Index(r.Contenders, name)
			if i < 0 {
				continue
			}
			if len(r.Windows(i)) == 0 {
				fmt.Fprintf(&b, "| %d | %s | – | | | | | | %s |\n", r.Viewers, name, r.why(i))
				continue
			}
			ratio := Spread{math.NaN(), math.NaN(), math.NaN()}
			if last >= 0 {
				ratio = r.Ratio(i, last)
			}
			of := func(f func(*Window) float64) Spread { return r.Of(i, f) }
			fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Viewers, name,
				of(cpuPercent).text(1), of(perPacket).text(0), r.ToFloor(i).text(2),
				ratio.short(2), of(residentMB).text(1),
				of(viewerGbits).text(3), of(wireGbits).text(3))
		}
	}
	for _, c := range l.Contenders {
		if why := l.Skipped[c]; why != "" {
			fmt.Fprintf(&b, "\nLarger counts were not tried with %s: %s.\n", c, why)
		}
	}
	l.mostTable(&b)
	_, err := io.WriteString(out, b.String())
	return err
}

// mostTable writes the table of the most viewers, if there is one.
func (l *Ladder) mostTable(b *strings.Builder) {
	if len(l.Most) > 0 {
		b.WriteString("\nThe most viewers without loss:\n\n| sent by | viewers | CPU, % of the core | " +
			"CPU ns a packet | delay p99, ms | beyond |\n|---|---:|---:|---:|---:|---|\n")
	}
	for _, m := range l.Most {
		of := func(f func(*Window) float64) string {
			var all []float64
			for i := range m.Windows {
				all = append(all, f(&m.Windows[i]))
			}
			return spread(all).text(1)
		}
		beyond := "nothing failed"
		if m.Failed > 0 {
			beyond = fmt.Sprintf("%d: %s", m.Failed, m.Why)
		}
		if m.Client {
			beyond += " (the client is the limit, not the server)"
		}
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %s |\n", m.Contender, m.Viewers, of(cpuPercent), of(perPacket),
			of(func(w *Window) float64 { return w.Delay.P99 }), beyond)
	}
}

// Figures of a window, for people.
func cpuPercent(w *Window) float64  { return 100 * w.CPU }
func perPacket(w *Window) float64   { return w.PerPacket }
func residentMB(w *Window) float64  { return float64(w.RSS) / 1e6 }
func viewerGbits(w *Window) float64 { return w.ViewerBits / 1e9 }
func wireGbits(w *Window) float64   { return w.WireBits / 1e9 }

// Charts draws the figures over viewers into a directory.
func (l *Ladder) Charts(dir string) error {
	for _, x := range []struct {
		file, y   string
		of        func(*Window) float64
		logarithm bool
	}{
		{"cpu.svg", "% of the server's core", cpuPercent, false},
		{"cost.svg", "CPU ns a packet", perPacket, true},
		{"memory.svg", "resident MB", residentMB, false},
		{"network.svg", "Gbit/s that viewers counted", viewerGbits, false},
	} {
		c := Chart{X: "viewers", Y: x.y, Log: true, LogY: x.logarithm}
		for _, name := range l.Contenders {
			line := Line{Name: name}
			for _, r := range l.Rungs {
				if i := slices.Index(r.Contenders, name); i >= 0 && len(r.Windows(i)) > 0 {
					line.Points = append(line.Points, Point{float64(r.Viewers), r.Of(i, x.of)})
				}
			}
			c.Lines = append(c.Lines, line)
		}
		if err := c.SVG(filepath.Join(dir, x.file)); err != nil {
			return err
		}
	}
	return nil
}

// Chart draws the cost of a packet for each contender, round by round.
func (r *Report) Chart(path string) error {
	c := Chart{Title: fmt.Sprintf("%d viewers", r.Viewers), X: "round", Y: "CPU ns for one packet to one viewer"}
	add := func(name string, of func(x *Round) float64) {
		line := Line{Name: name}
		for n := range r.Rounds {
			y := of(&r.Rounds[n])
			line.Points = append(line.Points, Point{float64(n + 1), Spread{y, y, y}})
		}
		c.Lines = append(c.Lines, line)
	}
	for i, name := range r.Contenders {
		add(name, func(x *Round) float64 { return x.Windows[i].PerPacket })
	}
	if r.floors(anyRound).Median > 0 {
		add("C floor", func(x *Round) float64 { return x.Floor.PerPacket })
	}
	return c.SVG(path)
}

// giveUp skips a count far beyond a contender's capacity, by the cost of smaller counts.
func (l *Ladder) giveUp(contender string, n int) bool {
	_, perViewer := l.reached(contender)
	share := perViewer * float64(n)
	if share < hopeless {
		return false
	}
	l.Skipped[contender] = fmt.Sprintf("%d viewers would take %.0f %% of the core", n, 100*share)
	return true
}

// resume loads the file at path, if it belongs to this table.
func (l *Ladder) resume(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // there is nothing to resume
	}
	var old Ladder
	if json.Unmarshal(text, &old) != nil || old.Machine != l.Machine || old.Config != l.Config ||
		!slices.Equal(old.Contenders, l.Contenders) {
		return
	}
	l.Rungs, l.Most = old.Rungs, old.Most
	if old.Skipped != nil {
		l.Skipped = old.Skipped
	}
}

func (l *Ladder) save(path string) error {
	text, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("save the table: %w", err)
	}
	return nil
}
