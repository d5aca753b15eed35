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
	// turn is about what a window takes beside the time that is measured.
	turn = 3 * time.Second
	// longestRest is how long viewers and servers can be stopped, so that neither takes the other for gone.
	longestRest = 20 * time.Second
)

// Compare measures contenders in turns, A B A B, and the C floor once in each round. All of them are up the whole
// time, each on hosts of its own. Those whose turn it is not are stopped, viewers and server, as reports and checks of
// thousands of viewers would take a tenth of the core from who is measured; when their rest would be too long for that,
// only the publisher is paused. What was measured so far is in the report also if an error ends it early.
func Compare(ctx context.Context, log *slog.Logger, cfg Config, contenders ...Contender) (report *Report, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	report = newReport(cfg, contenders)
	defer cfg.Progress.Done()
	for _, c := range contenders {
		if c.busyPolls() && len(contenders) > 1 {
			return nil, fmt.Errorf("%s: a server that never sleeps takes the core from the others: measure it alone", c.Name)
		}
	}
	floor := func() (Floor, error) { return Floor{}, nil }
	if cfg.Floor {
		f, closeFloor, err := openFloor(ctx, log, len(cfg.ServerCPUs))
		if err != nil {
			return report, err
		}
		defer func() { err = errors.Join(err, closeFloor()) }()
		floor = f
	}
	var rigs []*Rig
	defer func() {
		for _, r := range rigs {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, c := range contenders {
		cfg.Progress.Show(time.Now(), "%s · starting", c.Name)
		r, err := OpenRig(ctx, log, cfg, c)
		if err != nil {
			return report, err
		}
		rigs = append(rigs, r)
		if err := r.Fill(ctx); err != nil {
			return report, err
		}
		report.Joins = append(report.Joins, joins(r.Joined))
	}
	resting := time.Duration(len(rigs)-1) * (cfg.Window + turn)
	if len(rigs) > 1 && resting < longestRest {
		for _, r := range rigs {
			r.rest(true)
		}
	}
	for n := range cfg.Rounds {
		round := Round{}
		if round.Floor, err = floor(); err != nil {
			return report, err
		}
		for _, r := range rigs {
			cfg.Progress.Show(time.Now(), "round %d of %d · %s · %d viewers", n+1, cfg.Rounds, r.Contender.Name, cfg.Viewers)
			rests := r.resting
			r.rest(false)
			w, err := r.Window(ctx, cfg.Window)
			if err != nil {
				return report, err
			}
			r.rest(rests)
			round.Windows = append(round.Windows, w)
		}
		report.Rounds = append(report.Rounds, round)
		report.judge()
	}
	return report, nil
}

// openFloor makes a bench for the C floor, whose every call is one turn.
func openFloor(ctx context.Context, log *slog.Logger, queues int) (turn func() (Floor, error), closeFloor func() error, err error) {
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
		return Floor{PerPacket: r.PerPacket(), PacketRate: float64(r.Arrived) / r.Wall.Seconds()}, nil
	}, closeFloor, nil
}
