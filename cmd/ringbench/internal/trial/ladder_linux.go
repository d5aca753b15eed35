package trial

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// Climb fills the table and saves it at path after each step. It resumes the file there if that has the same machine,
// program and configuration.
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
			if len(report.Windows(i)) == 0 && report.overloaded(i) {
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

// search tries counts between the good ones and the others.
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
