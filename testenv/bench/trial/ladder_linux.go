package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"slices"
)

// Viewer counts of the table.
var viewerCounts = []int{100, 200, 500, 1000, 2000, 5000}

const (
	// fine is how near the least count that failed must be to the most that did not.
	fine = 1.05
	// maxProbes bounds the search for each contender, probeWindows are the windows of one probe, of which all but
	// one must be good.
	maxProbes, probeWindows = 6, 3
	// hopeless is what share of the server's core a count may be expected to take and still be tried.
	hopeless = 1.5
)

// A Ladder is the table of README: contenders over viewer counts, and the most viewers that each can serve.
type Ladder struct {
	Machine    Machine  `json:"machine"`
	Config     Shape    `json:"config"`
	Contenders []string `json:"contenders"`
	// Rungs have the viewer counts, those of which are done.
	Rungs []*Report `json:"counts"`
	// Skipped says for each contender why larger counts were not tried.
	Skipped map[string]string `json:"skipped,omitempty"`
	Most    []Most            `json:"most,omitempty"`
}

// A Shape is what of a Config must agree for figures to belong together.
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
	// Viewers is the largest count that went without loss; Failed is the least that did not, for the reason in Why,
	// 0 if none did not.
	Viewers int    `json:"viewers"`
	Failed  int    `json:"failed_viewers,omitempty"`
	Why     string `json:"why,omitempty"`
	// Client is that the search ended for want of what the client's core can take.
	Client bool `json:"client_limited,omitempty"`
	// Windows are those of Viewers, if the search came there.
	Windows []Window `json:"windows,omitempty"`
	Probes  []Probe  `json:"probes"`
}

// A Probe is one count that was tried.
type Probe struct {
	Viewers int    `json:"viewers"`
	Good    bool   `json:"good"`
	Why     string `json:"why,omitempty"`
}

// Climb fills the table, and goes on where the file at path ends if it is of the same machine, program and
// configuration. It saves there after each step.
func Climb(ctx context.Context, log *slog.Logger, cfg Config, path string, contenders ...Contender) (*Ladder, error) {
	l := &Ladder{
		Machine: ThisMachine(), Skipped: map[string]string{},
		Config: Shape{cfg.Streams, cfg.Bitrate, cfg.FrameRate, cfg.Window.String(), cfg.Rounds},
	}
	for _, c := range contenders {
		l.Contenders = append(l.Contenders, c.Name)
	}
	l.resume(path)
	for _, n := range viewerCounts {
		if len(l.Rungs) > 0 && l.Rungs[len(l.Rungs)-1].Viewers >= n {
			continue
		}
		able := slices.DeleteFunc(slices.Clone(contenders), func(c Contender) bool { return l.Skipped[c.Name] != "" })
		able = slices.DeleteFunc(able, func(c Contender) bool { return l.giveUp(c.Name, n) })
		if len(able) == 0 {
			break
		}
		at := cfg
		at.Viewers = n
		report, err := Compare(ctx, log, at, able...)
		if err != nil {
			return l, fmt.Errorf("%d viewers: %w", n, err)
		}
		l.Rungs = append(l.Rungs, report)
		for i, c := range able {
			if len(report.Windows(i)) == 0 {
				l.Skipped[c.Name] = report.why(i)
			}
		}
		if err := l.save(path); err != nil {
			return l, err
		}
	}
	for _, c := range contenders {
		if slices.ContainsFunc(l.Most, func(m Most) bool { return m.Contender == c.Name }) {
			continue
		}
		m, err := l.search(ctx, log, cfg, c)
		if err != nil {
			return l, fmt.Errorf("the most viewers of %s: %w", c.Name, err)
		}
		l.Most = append(l.Most, m)
		if err := l.save(path); err != nil {
			return l, err
		}
	}
	return l, nil
}

// giveUp skips a count that a contender could not nearly carry, by what smaller ones took.
func (l *Ladder) giveUp(contender string, n int) bool {
	_, perViewer := l.reached(contender)
	share := perViewer * float64(n)
	if share < hopeless {
		return false
	}
	l.Skipped[contender] = fmt.Sprintf("%d viewers would take %.0f %% of the core", n, 100*share)
	return true
}

// reached is the largest count that was good, and which share of the core a viewer took there.
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

// refused is the least count that was tried and was not good, 0 if there is none.
func (l *Ladder) refused(contender string) (int, string) {
	for _, r := range l.Rungs {
		if i := slices.Index(r.Contenders, contender); i >= 0 && len(r.Windows(i)) == 0 {
			return r.Viewers, r.why(i)
		}
	}
	return 0, ""
}

// search tries counts between what was good and what was not.
func (l *Ladder) search(ctx context.Context, log *slog.Logger, cfg Config, c Contender) (Most, error) {
	m := Most{Contender: c.Name}
	var perViewer float64
	m.Viewers, perViewer = l.reached(c.Name)
	m.Failed, m.Why = l.refused(c.Name)
	cfg.Rounds, cfg.Floor = probeWindows, false
	for range maxProbes {
		n := m.next(perViewer)
		if n == 0 {
			break
		}
		cfg.Viewers = n
		report, err := Compare(ctx, log, cfg, c)
		if err != nil {
			return m, err
		}
		good := report.Windows(0)
		p := Probe{Viewers: n, Good: len(good) >= probeWindows-1}
		if p.Good {
			m.Viewers, m.Windows, m.Client = n, nil, false
			for _, w := range good {
				m.Windows = append(m.Windows, *w)
			}
			perViewer = report.Of(0, func(w *Window) float64 { return w.CPU }).Median / float64(n)
		} else {
			p.Why = report.why(0)
			m.Failed, m.Why, m.Client = n, p.Why, !report.overloaded(0)
		}
		m.Probes = append(m.Probes, p)
	}
	return m, nil
}

// next is the count to try, 0 for none.
func (m *Most) next(perViewer float64) int {
	switch {
	case m.Failed == 0 && m.Viewers == 0:
		return viewerCounts[0]
	case m.Failed == 0 && m.Viewers >= maxViewers:
		return 0
	case m.Failed == 0:
		// What a packet costs falls as load grows, so the estimate is low: go beyond it.
		return min(max(int(1.02/perViewer), m.Viewers*110/100)/10*10, maxViewers)
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

// why is what most windows of a contender that had no good ones say.
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

// overloaded tells whether it was the server that could not do it.
func (r *Report) overloaded(contender int) bool {
	return slices.ContainsFunc(r.Rounds, func(x Round) bool {
		return contender < len(x.Windows) && len(x.Windows[contender].Overload) > 0
	})
}

func (l *Ladder) resume(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return // there is nothing to go on with
	}
	var old Ladder
	if json.Unmarshal(text, &old) != nil || old.Machine != l.Machine || old.Config != l.Config || !slices.Equal(old.Contenders, l.Contenders) {
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
