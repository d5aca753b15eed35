package signaling

import (
	"context"
	"sync/atomic"

	"ringcast/engine/api"
)

const (
	// maxOffers is the number of offers that are parsed and answered at a time. More would not be answered any
	// sooner, and keep the media threads from the cores.
	maxOffers = 1
	// maxWaiting bounds the offers that wait, with their bodies in memory.
	maxWaiting = 1000
)

// offers lets few offers be worked on at a time, first come first served.
type offers struct {
	slots   chan struct{}
	waiting atomic.Int32
}

// enter waits for its turn, which leave ends. It fails with api.ErrBusy when too many wait already, and
// with ctx's error.
func (o *offers) enter(ctx context.Context) error {
	if o.waiting.Add(1) > maxWaiting {
		o.waiting.Add(-1)
		return api.ErrBusy
	}
	defer o.waiting.Add(-1)
	select {
	case o.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *offers) leave() { <-o.slots }
