package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// The stream for joiners costs next to nothing, so that joining is measured, not watching. Its audio starts at once, as
// in real streams. Its video waits for a keyframe, and joiners get one a second at most.
const (
	asideBitrate   = 50_000
	asideFrameRate = 30
	asidePath      = "/aside"
)

// Join measures how more viewers join and leave while cfg.Viewers watch, at each rate in turn.
func Join(
	ctx context.Context, log *slog.Logger, cfg Config, c Contender, rates []float64, lasts time.Duration,
) (j *Joining, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if c.foreign() {
		return nil, fmt.Errorf("%s: joins are measured of ringcast only", c.Name)
	}
	defer cfg.Progress.Done()
	j = &Joining{Machine: ThisMachine(), Contender: c.Name, Viewers: cfg.Viewers}
	r, err := OpenRig(ctx, log, cfg, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if err := r.Fill(ctx); err != nil {
		return nil, err
	}
	aside, err := publisher.Start(context.WithoutCancel(ctx), r.client, Publishing{
		Orders: asideOrders, URL: r.url("", "/whip"+asidePath), Streams: 1,
		Bitrate: asideBitrate, FrameRate: asideFrameRate, Audio: true, Seed: cfg.Seed + 1,
	}, cfg.ClientCPU)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end(aside.Process)) }()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	for i, rate := range rates {
		cfg.Progress.Show(time.Now(), "%s · %d viewers watch · joining at %.0f/s", c.Name, cfg.Viewers, rate)
		s, err := r.joinAt(ctx, rate, lasts, uint64(i))
		if err != nil {
			return j, fmt.Errorf("joining at %.0f/s: %w", rate, err)
		}
		j.Steps = append(j.Steps, s)
	}
	return j, nil
}

// joinAt measures one rate.
func (r *Rig) joinAt(ctx context.Context, rate float64, lasts time.Duration, seed uint64) (s JoinStep, err error) {
	n := max(1, int(rate*lasts.Seconds()))
	s = JoinStep{Rate: rate, Wanted: n}
	watched, err := r.look(ctx)
	if err != nil {
		return s, err
	}
	from, err := r.read(ctx)
	if err != nil {
		return s, err
	}
	began := time.Now()
	joiners, err := viewers.Start(context.WithoutCancel(ctx), r.client, Watching{
		Orders: joinersOrders, URL: r.url("", "/whep"+asidePath), Viewers: n, Streams: 1,
		Ramp: rate, Seed: r.cfg.Seed + 1000 + seed, Audio: true, NoSink: true,
	}, r.cfg.ClientCPU)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, end(joiners.Process)) }()
	// A look costs the client time. It is rare until about the time when all should have joined.
	if err := r.wait(ctx, lasts); err != nil {
		return s, err
	}
	to, err := r.read(ctx)
	if err != nil {
		return s, err
	}
	var w Window
	w.flow(&from, &to, len(r.cfg.ServerCPUs))
	s.CPU, s.ClientIdle = w.CPU, w.Client.Idle
	for giveUp := began.Add(lasts + straggling); ; {
		var v Viewing
		if err := order(ctx, r.orders, http.MethodGet, joinersOrders, "/look", &v); err != nil {
			return s, err
		}
		s.Joined, s.Failures, s.Stages = v.Watch.Joined, v.Watch.Failures, v.Watch.Stages
		if s.Joined >= n || s.Joined+v.Watch.Failed() >= n || time.Now().After(giveUp) {
			s.Seconds = time.Since(began).Seconds()
			break
		}
		if err := r.wait(ctx, pollPause); err != nil {
			return s, err
		}
	}
	now, err := r.look(ctx)
	if err != nil {
		return s, err
	}
	s.Missing = now.Watch.All.Missing - min(watched.Watch.All.Missing, now.Watch.All.Missing)
	return s, nil
}
