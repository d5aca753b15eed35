package trial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"ringcast/testenv/lab"
)

// second is the time between the looks of a soak.
const second = time.Second

// Soak plays a contender for a long time, at a share of its capacity, and looks at it each second. With cfg.Viewers 0
// it first finds their number, by the cost of the default number.
func Soak(
	ctx context.Context, log *slog.Logger, cfg Config, c Contender, share float64, lasts time.Duration,
) (s *Endurance, err error) {
	if cfg.Viewers == 0 {
		if cfg.Viewers, err = viewersFor(ctx, log, cfg, c, share); err != nil {
			return nil, err
		}
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	defer cfg.Progress.Done()
	s = &Endurance{Machine: ThisMachine(), Contender: c.Name, Viewers: cfg.Viewers, Share: share}
	r, err := OpenRig(ctx, log, cfg, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.Fill(ctx); err != nil {
		return nil, err
	}
	before, err := r.standstill(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	from, err := r.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.follow(ctx, s, from, lasts); err != nil {
		return s, err
	}
	ctx = context.WithoutCancel(ctx)
	to, err := r.read(ctx)
	if err != nil {
		return s, err
	}
	s.Whole, _, err = r.finish(ctx, before, interval{&from, &to})
	return s, err
}

// follow takes a moment each second. An interruption ends it early, without an error.
func (r *Rig) follow(ctx context.Context, s *Endurance, from counts, lasts time.Duration) error {
	began, last := from.at, from
	for at := began.Add(second); time.Since(began) < lasts; at = at.Add(second) {
		if err := r.wait(ctx, time.Until(at)); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		now, err := r.moment(ctx, &last, began)
		if err != nil {
			return err
		}
		s.Moments = append(s.Moments, now)
		r.cfg.Progress.Show(time.Now(),
			"%s · %d viewers · %.0f s of %v · %.0f %% of the core · %.1f MB resident · %d missing",
			s.Contender, s.Viewers,
			now.At, lasts, 100*now.CPU, float64(now.RSS)/1e6, now.Missing)
	}
	return nil
}

// viewersFor returns the number of viewers for a share of the server's cores. The estimate is low, as a packet costs
// less with more viewers.
func viewersFor(ctx context.Context, log *slog.Logger, cfg Config, c Contender, share float64) (int, error) {
	cfg.Viewers, cfg.Rounds, cfg.Floor = Default().Viewers, 1, false
	r, err := Compare(ctx, log, cfg, c)
	if err != nil {
		return 0, err
	}
	cpu := r.ofAll(0, func(w *Window) float64 { return w.CPU }).Median
	if cpu <= 0 {
		return 0, fmt.Errorf("%s: %d viewers take no time", c.Name, cfg.Viewers)
	}
	return max(1, int(share/cpu*float64(cfg.Viewers))), nil
}

// moment reads the figures that should stay constant. Reading the server's metrics costs it a little.
func (r *Rig) moment(ctx context.Context, last *counts, began time.Time) (m Moment, err error) {
	now, err := r.read(ctx)
	if err != nil {
		return m, err
	}
	var w Window
	w.flow(last, &now, len(r.cfg.ServerCPUs))
	*last = now
	m = Moment{At: now.at.Sub(began).Seconds(), CPU: w.CPU, PacketRate: w.PacketRate, ClientIdle: w.Client.Idle}
	v, err := r.look(ctx)
	if err != nil {
		return m, err
	}
	m.Missing, m.SampledMissing, m.Delay = v.Watch.All.Missing, v.Watch.Sample.Missing, v.Watch.Sample.Delay.P99
	rss, err := lab.Resident(r.process.PID())
	if err != nil {
		return m, err
	}
	m.RSS = uint64(rss)
	if r.Contender.foreign() {
		return m, nil
	}
	metrics, err := r.process.ReadMetrics(ctx)
	if err != nil {
		return m, err
	}
	m.Heap, m.Stacks = uint64(metrics["go_memstats_heap_alloc_bytes"]), uint64(metrics["go_memstats_stack_inuse_bytes"])
	m.Goroutines, m.GCs = int(metrics["go_goroutines"]), uint64(metrics["go_gc_duration_seconds_count"])
	m.GCPause = 1000 * metrics[`go_gc_duration_seconds{quantile="1"}`]
	return m, nil
}

// Memory measures a viewer's memory, from the difference between two numbers of viewers. Each number has a start of its
// own in each round.
func Memory(ctx context.Context, log *slog.Logger, cfg Config, c Contender, few, many int) (*Footprint, error) {
	f := &Footprint{Machine: ThisMachine(), Contender: c.Name, Few: few, Many: many}
	defer cfg.Progress.Done()
	for range cfg.Rounds {
		for _, n := range []int{few, many} {
			cfg.Viewers = n
			u, err := footprint(ctx, log, cfg, c)
			if err != nil {
				return f, fmt.Errorf("%d viewers: %w", n, err)
			}
			if n == few {
				f.AtFew = append(f.AtFew, u)
			} else {
				f.AtMany = append(f.AtMany, u)
			}
		}
	}
	return f, nil
}

// footprint measures a server's memory with its viewers connected, after all got media.
func footprint(ctx context.Context, log *slog.Logger, cfg Config, c Contender) (u Use, err error) {
	if err := cfg.Validate(); err != nil {
		return u, err
	}
	if c.foreign() {
		return u, fmt.Errorf("%s: only ringcast reports its heap", c.Name)
	}
	r, err := OpenRig(ctx, log, cfg, c)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.Fill(ctx); err != nil {
		return u, err
	}
	w, err := r.Window(ctx, cfg.Window)
	if err != nil {
		return u, err
	}
	if w.Joined < cfg.Viewers || w.Gone > 0 {
		return u, fmt.Errorf("%d joined and %d were lost", w.Joined, w.Gone)
	}
	// A heap profile collects garbage first. Memory of finalizers is free after the second one.
	for range 2 {
		if err := r.collect(ctx); err != nil {
			return u, err
		}
	}
	m, err := r.process.ReadMetrics(ctx)
	if err != nil {
		return u, err
	}
	rss, err := lab.Resident(r.process.PID())
	if err != nil {
		return u, err
	}
	u.Live = uint64(m["go_memstats_heap_alloc_bytes"])
	u.Stacks = uint64(m["go_memstats_stack_inuse_bytes"])
	// These are the pages that debug.FreeOSMemory would return: empty ones of the heap that the kernel does not have
	// back.
	u.Returnable = uint64(m["go_memstats_heap_idle_bytes"] - m["go_memstats_heap_released_bytes"])
	u.RSS = uint64(rss)
	return u, nil
}

func (r *Rig) collect(ctx context.Context) error {
	resp, err := r.process.Get(ctx, "/debug/pprof/heap?gc=1")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
