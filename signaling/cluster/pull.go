package cluster

import (
	"context"
	"time"

	"ringcast/engine/api"
	"ringcast/signaling"
	"ringcast/signaling/client"
	"ringcast/signaling/cluster/directory"
)

const (
	// idleSpan is how long a pull stays open without a viewer.
	idleSpan = 10 * time.Second
	// lookSpan is the time between two looks for the first packet.
	lookSpan = 50 * time.Millisecond
	// maxTries is the most nodes that are asked between two look-ups.
	maxTries = 32
)

// A pull brings one stream from its upstream while somebody watches.
type pull struct {
	line
	// The pull's goroutine has the next six. next are the upstreams to try before the directory is asked again. news
	// has the latest place that was found since listen; deaf ends that, and is nil before it. here is set once the
	// stream has a publisher of this node's own. claimed are the nodes that wait for the first attempt, as its request
	// says. tried are the nodes that were asked since the last look-up.
	next    []*upstream
	news    chan directory.Place
	deaf    func()
	here    bool
	claimed directory.Path
	tried   map[directory.NodeID]bool
	// astray gets an error once the path from the upstream cannot be ours.
	astray chan error

	// The node's mutex guards the rest. settled is closed at the end of the phase connecting.
	settled chan struct{}
	// failure is the error of requests in the phase resting, path that of the stream in the phase open.
	failure error
	path    directory.Path
	// waiting counts the requests that wait for the stream. asked is the latest time at which there were some, or
	// viewers.
	waiting int
	asked   time.Time
}

func (p *pull) connect(ctx context.Context) (*link, error) {
	for {
		if _, published := p.node.Engine.Stream(p.upstream.Stream); published {
			return nil, errPublished
		}
		if err := p.aim(ctx); err != nil {
			return nil, err
		}
		l, err := p.try(ctx)
		if err == nil || !p.detour(err) {
			return l, err
		}
		p.counts.failures.WithLabelValues(p.upstream.label(), crowded.String()).Inc()
	}
}

// try makes an attempt with one upstream.
func (p *pull) try(ctx context.Context) (*link, error) {
	offer := client.Offer{Role: api.Subscriber, Audio: true, Video: true, Relay: p.upstream.peer != ""}
	l, err := p.dial(ctx, api.Publisher, api.Dial{}, func(local api.Local) (*link, error) {
		return p.upstream.ask(ctx, local, &offer, p.claimed, signaling.ReadMedia)
	})
	if err != nil {
		return nil, err
	}
	p.deafen()
	p.claimed, p.next = nil, nil
	p.settle(func() {
		p.phase, p.path, p.asked = open, l.path, time.Now()
		if p.upstream.peer != "" {
			p.node.follow(p, l)
		}
	})
	return l, nil
}

// settle ends the phase connecting, or open, by a change.
func (p *pull) settle(change func()) {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	was := p.phase
	change()
	if was == connecting {
		close(p.settled)
	}
}

// again begins the phase connecting. The caller holds the node's mutex.
func (p *pull) again() { p.phase, p.settled = connecting, make(chan struct{}) }

// watch returns an error when the session ends, and nil when nobody has watched for idleSpan. Then the pull is
// connecting, so that requests wait.
func (p *pull) watch(ctx context.Context, l *link) error {
	if p.upstream.peer != "" {
		defer p.node.unfollow(p)
	}
	idle := time.NewTimer(idleSpan)
	defer idle.Stop()
	look := time.NewTicker(lookSpan)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case why := <-l.ended:
			p.counts.ends.WithLabelValues(why.String()).Inc()
			return endOf(why)
		case err := <-p.astray:
			return err
		case <-look.C:
			if p.hasMedia() {
				look.Stop()
				p.node.counts.media.Observe(time.Since(l.began).Seconds())
			}
		case <-idle.C:
			left := p.idleFor()
			if left <= 0 {
				p.counts.ends.WithLabelValues("no viewers").Inc()
				return nil
			}
			idle.Reset(left)
		}
	}
}

// hasMedia reports whether a packet of the stream has arrived.
func (p *pull) hasMedia() bool {
	st, _ := p.node.Engine.Stream(p.upstream.Stream)
	for _, payloadType := range st.Active {
		if payloadType >= 0 {
			return true
		}
	}
	return false
}

// idleFor returns the time that is left until nobody has watched for idleSpan. If there is none left, the pull connects
// from now on.
func (p *pull) idleFor() time.Duration {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if p.node.watching[p.upstream.Stream] > 0 {
		return idleSpan
	}
	left := idleSpan - time.Since(p.asked)
	if left <= 0 {
		p.again()
	}
	return left
}

// over removes the pull, if no request has come since nobody watched.
func (p *pull) over() bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if p.waiting > 0 {
		return false
	}
	delete(p.node.pulls, p.upstream.Stream)
	p.node.log.Info("pull ended", "stream", p.upstream.Stream, "reason", "no viewers")
	return true
}

// failed begins the phase resting, unless another place is left. A stream of the cluster that played is looked for at
// once.
func (p *pull) failed(f *failure) (again bool) {
	cluster := p.upstream.peer != ""
	p.here = cluster && f.reason == published
	// Any client can claim a loop, which must not keep the others from the stream.
	again = f.reason == looped && p.claimed != nil || p.here || cluster && f.reason == ended && p.failures == 0
	p.claimed = nil
	if len(p.next) > 0 && !p.here && p.node.ctx.Err() == nil {
		return true
	}
	p.settle(func() { p.phase, p.failure = resting, f.public })
	if p.node.ctx.Err() == nil && !p.here {
		p.listen()
	}
	return again
}

// resume removes the pull, if no viewer waits, or if the stream has a publisher here.
func (p *pull) resume(ctx context.Context) bool {
	p.node.mu.Lock()
	defer p.node.mu.Unlock()
	if p.phase == connecting {
		return true
	}
	if p.node.watching[p.upstream.Stream] > 0 && ctx.Err() == nil && !p.here {
		p.again()
		return true
	}
	delete(p.node.pulls, p.upstream.Stream)
	return false
}
