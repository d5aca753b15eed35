package trial

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// Climb fills the table and saves it at path after each step. It resumes the file there if that has the same machine,
// program and configuration. With counts it measures these, in rising order, and does not search for the most viewers.
func Climb(
	ctx context.Context, log *slog.Logger, cfg Config, path string, counts []int, contenders ...Contender,
) (*Ladder, error) {
	l := &Ladder{
		Machine: ThisMachine(), Skipped: map[string]string{},
		Config: Shape{cfg.Streams, cfg.Bitrate, cfg.FrameRate, cfg.Window.String(), cfg.Rounds},
	}
	for _, c := range contenders {
		l.Contenders = append(l.Contenders, c.Name)
	}
	l.resume(path)
	searching := len(counts) == 0
	if searching {
		counts = viewerCounts
	}
	for _, n := range counts {
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
			if len(report.Windows(i)) == 0 && report.overloaded(i) {
				l.Skipped[c.Name] = report.why(i)
			}
		}
		if err := l.save(path); err != nil {
			return l, err
		}
	}
	for i := 0; i < len(contenders) && searching; i++ {
		if err := l.search(ctx, log, cfg, contenders[i], path); err != nil {
			return l, fmt.Errorf("the most viewers of %s: %w", contenders[i].Name, err)
		}
	}
	return l, nil
}

// search tries counts between the good ones and the others, and saves the table after each.
func (l *Ladder) search(ctx context.Context, log *slog.Logger, cfg Config, c Contender, path string) error {
	m := l.most(c.Name)
	cfg.Rounds, cfg.Floor = probeWindows, false
	for len(m.Probes) < maxProbes {
		n := m.next()
		if n == 0 {
			break
		}
		cfg.Viewers = n
		report, err := Compare(ctx, log, cfg, c)
		if err != nil {
			return err
		}
		m.probe(n, report)
		if err := l.save(path); err != nil {
			return err
		}
	}
	return nil
}
