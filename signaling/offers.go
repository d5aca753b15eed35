package signaling

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"ringcast/engine/api"
)

const (
	// maxOffers is the number of offers that are parsed and answered at a time. More would not be answered any
	// sooner, and keep the media threads from the cores.
	maxOffers = 1
	// maxWaiting bounds the bytes of the offers that wait: about 2,500 of Chromium's.
	maxWaiting = 16 << 20
	// leastWaiting is the size that an offer counts as at least: its request takes memory, too.
	leastWaiting = 4 << 10
	// paceShare is the share of the latest offer in the pace.
	paceShare = 16
)

// offers lets few offers be worked on at a time, first come first served.
type offers struct {
	slots chan struct{}
	// waiting are the offers in front of the slots, size their bytes as counted.
	waiting, size atomic.Int64
	// pace is the mean time that an offer holds a slot, in nanoseconds. On a busy machine most of it is waiting for
	// the processor.
	pace atomic.Int64
}

// A turn is the right to work on an offer.
type turn struct {
	offers *offers
	began  time.Time
}

// enter waits for a turn for an offer of some bytes. It fails with api.ErrBusy when too many wait already, and with
// ctx's error.
func (o *offers) enter(ctx context.Context, size int) (turn, error) {
	counted := int64(max(size, leastWaiting))
	if o.size.Add(counted) > maxWaiting {
		o.size.Add(-counted)
		return turn{}, api.ErrBusy
	}
	defer o.size.Add(-counted)
	o.waiting.Add(1)
	defer o.waiting.Add(-1)
	select {
	case o.slots <- struct{}{}:
		return turn{o, time.Now()}, nil
	case <-ctx.Done():
		return turn{}, ctx.Err()
	}
}

// leave ends the turn.
func (t turn) leave() {
	took := int64(time.Since(t.began))
	pace := t.offers.pace.Load()
	t.offers.pace.Store(pace + (took-pace)/paceShare) // of two at once, one may be missed
	<-t.offers.slots
}

// retryAfter is how many seconds a refused peer should wait. It is drawn by chance up to the time that the waiting
// offers need, so that not all peers come back at once.
func (o *offers) retryAfter() int {
	wait := time.Duration(o.waiting.Load() * o.pace.Load())
	return retryBusy + rand.IntN(1+int(min(wait, retryMost)/time.Second))
}
