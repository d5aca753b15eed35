package worker

import "ringcast/engine/port"

// A pacer splits packets that could all be sent now into bursts with pauses between.
type pacer struct {
	// age is how old a packet must be to count: live media is not held back.
	age   port.Time
	burst uint64 // packets sent at once
	pause port.Time
	// turns bounds the bursts for all that is pending. More than burst packets are sent at once where that takes too
	// many.
	turns uint64
}

// catchUp paces a subscriber that starts in the past, because some receivers' socket buffers hold 64 KB. Ten turns
// let it catch up with a stream that is faster than a burst in each pause.
var catchUp = pacer{age: 60 * port.Millisecond, burst: 16, pause: 5 * port.Millisecond, turns: 10}

// full reports whether a burst ends before its nth packet. pending is how many packets were to be sent at its start.
func (p *pacer) full(n, pending uint64) bool { return n > p.burst && n > pending/p.turns }
