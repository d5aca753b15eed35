package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"time"

	"ringcast/testenv/lab"
)

const (
	// turn is roughly the time of a window beside the part that is measured.
	turn = 3 * time.Second
	// longestRest is the longest time for which viewers and servers can be stopped without timing each other out.
	longestRest = 20 * time.Second
)

// Compare measures contenders in turns, A B A B, and the C floor once in each round. All are up the whole time, each on
// hosts of its own, but only one is measured at a time. Reports and checks of thousands of viewers would take a tenth
// of its core, so the servers and viewers of the others are stopped. When their rest would be too long for that, only
// the publisher is paused. After an error the report has the rounds before it.
func Compare(ctx context.Context, log *slog.Logger, cfg Config, contenders ...Contender) (report *Report, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	for _, c := range contenders {
		if c.busyPolls() && len(contenders) > 1 {
			return nil, fmt.Errorf("%s: a server that never sleeps takes the core from the others: measure it alone",
				c.Name)
		}
	}
	defer cfg.Progress.Done()
	m := &match{cfg: cfg, report: newReport(cfg, contenders)}
	defer func() { err = errors.Join(err, m.close()) }()
	if err := m.open(ctx, log, contenders); err != nil {
		return m.report, err
	}
	for n := range cfg.Rounds {
		if err := m.round(ctx, n); err != nil {
			return m.report, err
		}
	}
	return m.report, nil
}

// A match is a comparison under way: a rig for each contender, and the C floor's bench if there is one.
type match struct {
	cfg        Config
	report     *Report
	rigs       []*Rig
	floor      func() (Floor, error) // nil without
	closeFloor func() error
}

// open starts all contenders and their viewers.
func (m *match) open(ctx context.Context, log *slog.Logger, contenders []Contender) (err error) {
	if m.cfg.Floor {
		if m.floor, m.closeFloor, err = openFloor(ctx, log, len(m.cfg.ServerCPUs)); err != nil {
			return err
		}
	}
	for _, c := range contenders {
		m.cfg.Progress.Show(time.Now(), "%s · starting", c.Name)
		r, err := OpenRig(ctx, log, m.cfg, c)
		if err != nil {
			return err
		}
		m.rigs = append(m.rigs, r)
		if err := r.Fill(ctx); err != nil {
			return err
		}
		m.report.Joins = append(m.report.Joins, joins(r.Joined))
	}
	resting := time.Duration(len(m.rigs)-1) * (m.cfg.Window + turn)
	if len(m.rigs) > 1 && resting < longestRest {
		for _, r := range m.rigs {
			r.rest()
		}
	}
	return nil
}

// round measures one window of each contender, and the floor.
func (m *match) round(ctx context.Context, n int) (err error) {
	var round Round
	if m.floor != nil {
		if round.Floor, err = m.floor(); err != nil {
			return err
		}
	}
	for _, r := range m.rigs {
		m.cfg.Progress.Show(time.Now(), "round %d of %d · %s · %d viewers", n+1, m.cfg.Rounds, r.Contender.Name,
			m.cfg.Viewers)
		rests := r.resting
		r.wake()
		w, err := r.Window(ctx, m.cfg.Window)
		if err != nil {
			return err
		}
		if rests {
			r.rest()
		}
		round.Windows = append(round.Windows, w)
	}
	m.report.Rounds = append(m.report.Rounds, round)
	m.report.judge()
	return nil
}

func (m *match) close() error {
	var errs []error
	for _, r := range m.rigs {
		errs = append(errs, r.Close())
	}
	if m.closeFloor != nil {
		errs = append(errs, m.closeFloor())
	}
	return errors.Join(errs...)
}

// openFloor makes a bench for the C floor. Each call of turn measures once.
func openFloor(
	ctx context.Context, log *slog.Logger, queues int) (turn func() (Floor, error), closeFloor func() error, err error,
) {
	if _, err := exec.LookPath("gcc"); err != nil {
		return nil, nil, fmt.Errorf("the C floor wants gcc: %w", err)
	}
	l, err := lab.Open(log)
	if err != nil {
		return nil, nil, err
	}
	bench, err := l.OpenBench(queues)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	closeFloor = func() error { return errors.Join(bench.Close(), l.Close()) }
	c, err := bench.Floor(lab.Floor{Mode: "xsk"})
	if err != nil {
		return nil, nil, errors.Join(err, closeFloor())
	}
	return func() (Floor, error) {
		r, err := bench.Round(ctx, c)
		if err != nil {
			return Floor{}, err
		}
		return Floor{
			PerPacket: r.PerPacket(), PacketRate: float64(r.Arrived) / r.Wall.Seconds(), Lag: r.Lag,
			Sink: r.Sink.Seconds() / r.Wall.Seconds(),
		}, nil
	}, closeFloor, nil
}
