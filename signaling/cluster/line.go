package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringcast/engine/api"
)

const (
	// answerSpan is the time that an upstream has for its whole answer, hangUpSpan that for the end of a session.
	answerSpan = 5 * time.Second
	hangUpSpan = 5 * time.Second

	// A line rests for leastRest after its first failure, twice as long after each more, and at most for longestRest.
	leastRest   = 500 * time.Millisecond
	longestRest = 30 * time.Second
	// longestNodeRest is the longest rest after a node of the cluster that could not be reached.
	longestNodeRest = 1500 * time.Millisecond
	// streamRest is the rest where the upstream works, but nobody publishes.
	streamRest = time.Second
	// worked is the time after which a session counts as a success when it ends.
	worked = 10 * time.Second
)

// phase is that of a line.
type phase uint8

const (
	connecting phase = iota
	open
	resting
	numPhases
)

func (p phase) String() string { return [...]string{"connecting", "open", "resting"}[p] }

// A line keeps a session with an upstream: that of a pull or of a push. After a failure it rests and connects again.
type line struct {
	node   *Node
	counts *lineCounts

	// The node's mutex guards the rest. The line's goroutine alone changes the first three, so it reads them without.
	// failures counts attempts in a row that failed, and last is the reason of the latest.
	upstream *upstream
	failures int
	last     reason
	phase    phase
}

// A way is a pull or a push, as its line sees it.
type way interface {
	// connect makes one attempt.
	connect(ctx context.Context) (*link, error)
	// watch returns an error when the session ends, and nil when it is not wanted any more.
	watch(ctx context.Context, l *link) error
	// over ends the way after a session that was not wanted, unless it is wanted again.
	over() bool
	// failed begins the phase resting. It reports whether to connect again at once.
	failed(f *failure) (again bool)
	// pause waits for a time, or until something is worth an attempt.
	pause(ctx context.Context, span time.Duration)
	// resume begins the phase connecting after a rest. It ends the way and reports false, if nobody wants it then.
	resume(ctx context.Context) bool
}

// run is the line's goroutine.
func (n *line) run(ctx context.Context, w way) {
	for {
		l, err := w.connect(ctx)
		if err == nil {
			began := time.Now()
			err = w.watch(ctx, l)
			n.node.hangUp(l.call)
			n.leave(ctx, l)
			if err == nil && w.over() {
				return
			}
			n.succeed(began)
		}
		if err != nil && !n.rest(ctx, w, err) {
			return
		}
	}
}

// dial opens a session. ask gets the other server's answer to our half of it.
func (n *line) dial(
	ctx context.Context, role api.Role, d api.Dial, ask func(api.Local) (*link, error),
) (*link, error) {
	began := time.Now()
	d.Agent = n.upstream.shown
	c, local, err := n.node.dial(ctx, role, n.upstream.Stream, d)
	if err != nil {
		return nil, err
	}
	l, err := ask(local)
	if err == nil {
		l.call, l.began = c, began
		err = n.node.Engine.Answered(ctx, c.id, l.answer)
	}
	if err != nil {
		n.node.hangUp(c)
		n.leave(ctx, l)
		return nil, err
	}
	n.upstream.mended(n.node.log)
	n.counts.answers.Observe(time.Since(began).Seconds())
	return l, nil
}

// rest waits after a failure. It reports whether to connect again.
func (n *line) rest(ctx context.Context, w way, err error) bool {
	closing := ctx.Err() != nil
	if closing {
		err = api.ErrClosing
	}
	f := classify(err)
	again := w.failed(&f)
	if !closing {
		span := f.rest(n.failures, n.node.chance())
		switch {
		case again:
			span = 0
		case n.upstream.peer != "" && f.reason == unreachable: // it may be the stream's only place
			span = min(span, longestNodeRest)
		}
		n.fail(f.reason)
		n.counts.failures.WithLabelValues(n.upstream.label(), f.reason.String()).Inc()
		n.report(f.reason)
		n.upstream.broken(n.node.log, f, span)
		w.pause(ctx, span)
	}
	return w.resume(ctx)
}

// report makes the directory know of a node's failure.
func (n *line) report(why reason) {
	switch peer := n.upstream.peer; {
	case peer == "" || peer == n.node.id:
	case why.blames():
		n.node.directory.Failed(peer)
	case why == unreachable:
		n.node.directory.Unanswered(peer)
	}
}

// pause waits for a time.
func (n *line) pause(ctx context.Context, span time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(span):
	}
}

// leave ends the session at the upstream, beside all else. The engine says goodbye to it, too, but a server may keep a
// session whose media never began.
func (n *line) leave(ctx context.Context, l *link) {
	if l == nil || l.session == nil || ctx.Err() != nil {
		return
	}
	up := n.upstream
	n.node.running.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, hangUpSpan)
		defer cancel()
		if err := l.session.Delete(ctx); err != nil {
			n.node.log.Debug("the upstream did not end a session", "stream", up.Stream, "upstream", up.shown)
		}
	})
}

// Errors of a line's session: errEnded is wrapped where it ended, and errNoMedia where it was answered, but never
// connected.
var (
	errEnded   = errors.New("the session with the upstream ended")
	errNoMedia = errors.New("no media")
)

// endOf is the end of a session as an error.
func endOf(why api.Reason) error {
	switch why {
	case api.ReasonLocalPublisher:
		return errPublished
	case api.ReasonUpstreamUnreachable, api.ReasonHandshakeFailed:
		return fmt.Errorf("%w: %v", errNoMedia, why)
	}
	return fmt.Errorf("%w: %v", errEnded, why)
}
