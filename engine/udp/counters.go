package udp

import (
	"sync/atomic"

	"ringcast/engine/port"
)

// counters are a port's statistics: Stats is the worker's own, shared is what others may read. Only
// the worker writes either.
type counters struct {
	port.Stats
	shared struct {
		received, receivedBytes, malformed atomic.Uint64
		sent, sentBytes, calls             atomic.Uint64
		stale, refused, unroutable         atomic.Uint64
		rested, unsegmented                atomic.Uint64
	}
}

func (c *counters) publishReceived() {
	publish(&c.shared.received, c.Received)
	publish(&c.shared.receivedBytes, c.ReceivedBytes)
	publish(&c.shared.malformed, c.Malformed)
}

func (c *counters) publishSent() {
	publish(&c.shared.sent, c.Sent)
	publish(&c.shared.sentBytes, c.SentBytes)
	publish(&c.shared.calls, c.Calls)
	publish(&c.shared.stale, c.Stale)
	publish(&c.shared.refused, c.Refused)
	publish(&c.shared.unroutable, c.Unroutable)
	publish(&c.shared.rested, c.Rested)
	publish(&c.shared.unsegmented, c.Unsegmented)
}

// publish stores only what changed: a store is a locked instruction, a load is not.
func publish(shared *atomic.Uint64, value uint64) {
	if shared.Load() != value {
		shared.Store(value)
	}
}

// snapshot is what was published last. Safe from any thread.
func (c *counters) snapshot() port.Stats {
	return port.Stats{
		Received:      c.shared.received.Load(),
		ReceivedBytes: c.shared.receivedBytes.Load(),
		Malformed:     c.shared.malformed.Load(),
		Sent:          c.shared.sent.Load(),
		SentBytes:     c.shared.sentBytes.Load(),
		Calls:         c.shared.calls.Load(),
		Stale:         c.shared.stale.Load(),
		Refused:       c.shared.refused.Load(),
		Unroutable:    c.shared.unroutable.Load(),
		Rested:        c.shared.rested.Load(),
		Unsegmented:   c.shared.unsegmented.Load(),
	}
}
