package hook

import "sync"

const (
	// maxQueue bounds the events that wait: at 300 bytes each they take about a megabyte.
	maxQueue = 4096
	// maxBatch is the greatest number of events in one POST.
	maxBatch = 100
)

// A queue holds the events that wait to be sent. newQueue makes it.
type queue struct {
	mu      sync.Mutex // guards the fields below
	waiting []Event
	dropped uint64
	closed  bool
	// news has a token when something changed.
	news chan struct{}
}

func newQueue() *queue { return &queue{news: make(chan struct{}, 1)} }

// push adds an event, in place of the oldest where the queue is full. It never waits.
func (q *queue) push(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxQueue {
		q.waiting = q.waiting[1:]
		q.dropped++
	}
	q.waiting = append(q.waiting, e)
	q.poke()
}

// close ends the queue: take returns what waits, and then nothing.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// take waits for events and returns the oldest, at most maxBatch. None is the end.
func (q *queue) take() []Event {
	for {
		if batch, end := q.try(); len(batch) > 0 || end {
			return batch
		}
		<-q.news
	}
}

func (q *queue) try() (batch []Event, end bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	batch = append(batch, q.waiting[:n]...)
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil // the memory of a long queue is free again
	}
	return batch, q.closed
}

// count returns the number of events that wait, and of those that were dropped.
func (q *queue) count() (waiting int, dropped uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.dropped
}
