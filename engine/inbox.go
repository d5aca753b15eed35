package engine

import (
	"context"

	"ringcast/engine/api"
)

// An inbox is the way by which other goroutines reach the controller's.
type inbox struct {
	calls chan func()
	news  chan struct{} // something is in the bus or in the handshakes' events
	done  chan struct{} // closed when the controller has ended
}

func newInbox() inbox {
	return inbox{calls: make(chan func()), news: make(chan struct{}, 1), done: make(chan struct{})}
}

// do runs f on the controller's goroutine and waits for it.
func (b *inbox) do(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case b.calls <- func() { f(); close(ran) }:
	case <-b.done:
		return api.ErrClosing
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-ran:
		return nil
	case <-b.done:
		return api.ErrClosing
	}
}

// poke wakes the controller for messages of the bus or events of handshakes.
func (b *inbox) poke() {
	select {
	case b.news <- struct{}{}:
	default:
	}
}
