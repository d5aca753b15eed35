package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringcast/cmd/ringbench/internal/report"
	"ringcast/cmd/ringbench/internal/watch"
	"ringcast/testenv/server"
)

// The stream for joiners costs next to nothing, so that joining is measured, not watching. Its audio starts at once, as
// in real streams. Its video waits for a keyframe, and joiners get one a second at most.
const (
	asideBitrate   = 50_000
	asideFrameRate = 10
	asidePath      = "/aside"
)

// Join measures how more viewers join and leave while cfg.Viewers watch: arrivals, in turn.
func Join(ctx context.Context, log *slog.Logger, cfg Config, c Contender, arrivals []Arrivals) (j *Joining, err error) {
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
		Codec: cfg.Codec, Layers: 1, Bitrate: asideBitrate, FrameRate: asideFrameRate, Audio: true, Seed: cfg.Seed + 1,
	}, cfg.ClientCPU)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end(aside.Process)) }()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	calm, err := r.beginSpan(ctx)
	if err == nil {
		err = r.wait(ctx, calmSpan)
	}
	if err == nil {
		j.Calm, err = calm.end(ctx)
	}
	if err != nil {
		return nil, err
	}
	for i, a := range arrivals {
		cfg.Progress.Show(time.Now(), "%s · %d viewers watch · joining: %s", c.Name, cfg.Viewers, a)
		s, err := r.joinAt(ctx, a, uint64(i), &j.Calm)
		if err != nil {
			return j, fmt.Errorf("joining, %s: %w", a, err)
		}
		j.Steps = append(j.Steps, s)
	}
	return j, nil
}

// calmSpan is how long the server is measured before anybody joins.
const calmSpan = 3 * time.Second

// A span is a time in which the server is measured.
type span struct {
	rig     *Rig
	metrics server.Metrics
	from    counts
	watched *report.Watch // those who watch
	// grown and missing are set at its end: the growth of the metrics, and of the watchers' missing packets.
	grown   server.Metrics
	missing uint64
}

func (r *Rig) beginSpan(ctx context.Context) (*span, error) {
	s := &span{rig: r}
	var err error
	if s.metrics, err = r.process.ReadMetrics(ctx); err != nil {
		return nil, err
	}
	look, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	s.watched = look.Watch
	s.from, err = r.read(ctx)
	return s, err
}

func (s *span) end(ctx context.Context) (c Cost, err error) {
	r := s.rig
	to, err := r.read(ctx)
	if err != nil {
		return c, err
	}
	look, err := r.look(ctx)
	if err != nil {
		return c, err
	}
	after, err := r.process.ReadMetrics(ctx)
	if err != nil {
		return c, err
	}
	var w Window
	w.flow(&s.from, &to, len(r.cfg.ServerCPUs))
	s.grown = after.Sub(s.metrics)
	missing := look.Watch.All.Missing
	s.missing = missing - min(s.watched.All.Missing, missing)
	return Cost{
		Seconds: w.Seconds, CPU: w.CPU, Kernel: w.Kernel, GCShare: s.grown[collectorTime] / w.Seconds,
		ClientIdle: w.Client.Idle, Forwarding: forwarding(s.grown), Delay: look.Watch.Sample.Delay, Late: w.Client.Late,
	}, nil
}

// noted returns how many viewers are noted as failures of a stage.
func noted(w *report.Watch, stage report.Stage) (n int) {
	for _, count := range w.Failures[stage.String()] {
		n += count
	}
	return n
}

// joinAt measures arrivals. calm is the cost of those who watch.
func (r *Rig) joinAt(ctx context.Context, a Arrivals, seed uint64, calm *Cost) (s JoinStep, err error) {
	s = JoinStep{Rate: a.Rate, Wanted: a.Viewers}
	ramp := a.Rate
	if ramp == 0 {
		ramp = watch.MaxRamp
	}
	measured, err := r.beginSpan(ctx)
	if err != nil {
		return s, err
	}
	began := time.Now()
	joiners, err := viewers.Start(context.WithoutCancel(ctx), r.client, Watching{
		Orders: joinersOrders, URL: r.url("", "/whep"+asidePath), Viewers: a.Viewers, Streams: 1,
		Ramp: ramp, Seed: r.cfg.Seed + 1000 + seed, Audio: true, NoSink: true,
	}, r.cfg.ClientCPU)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, end(joiners.Process)) }()
	// A look costs the client time. There is none until about the time when all should have joined.
	if err := r.wait(ctx, a.span()); err != nil {
		return s, err
	}
	for giveUp := began.Add(a.span() + straggling); ; {
		if err := r.wait(ctx, pollPause); err != nil {
			return s, err
		}
		var v Viewing
		if err := order(ctx, r.orders, http.MethodGet, joinersOrders, "/look", &v); err != nil {
			return s, err
		}
		w := v.Watch
		// Connected viewers without media are noted as failures. A joiner has joined with its first packet.
		delete(w.Failures, report.FirstKeyframe.String())
		waiting := noted(w, report.FirstPacket)
		s.Joined, s.Refused, s.Failures, s.Stages = w.Joined-waiting, w.Refused, w.Failures, w.Stages
		if s.Joined+w.Failed()-waiting >= s.Wanted || time.Now().After(giveUp) {
			break
		}
	}
	s.Lasted = time.Since(began).Seconds()
	if s.Cost, err = measured.end(ctx); err != nil {
		return s, err
	}
	s.PerJoin = 1000 * (s.CPU - calm.CPU) * s.Seconds / float64(max(1, s.Joined))
	s.Missing = measured.missing
	s.Metrics = map[string]float64{}
	for series, n := range measured.grown {
		if n > 0 && slices.ContainsFunc(refusals, func(p string) bool { return strings.HasPrefix(series, p) }) {
			s.Metrics[series] = n
		}
	}
	return s, nil
}

// refusals are the prefixes of the server's metrics that explain why somebody did not join at once.
var refusals = []string{
	"ringcast_sessions_refused_total", "ringcast_sessions_evicted_total", "ringcast_dtls_handshakes_total",
	"ringcast_dtls_last_flights_resent_total", "ringcast_dtls_records_dropped_total", "ringcast_packets_dropped_total",
}
