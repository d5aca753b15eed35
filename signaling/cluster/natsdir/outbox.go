//go:build !nocluster

package natsdir

import "sync"

// outbox keeps the work of the writer. A message may be dropped, a subscription is not.
type outbox struct {
	mu       sync.Mutex
	messages []message
	interest map[string]interest // by stream
	changes  []change
	wake     chan struct{}
	metrics  *Metrics
}

// message is to be published.
type message struct {
	subject, reply string
	data           []byte
	failed         func() // may be nil; called where the client refuses the message
}

// change is a subscription to make or to end.
type change struct {
	subject string
	on      bool
}

// interest is why messages about a stream are wanted.
type interest uint8

const (
	serves interest = 1 << iota
	listens
)

// publish queues a message. It reports false where the queue is full.
func (o *outbox) publish(m message) bool {
	o.mu.Lock()
	full := len(o.messages) >= pending
	if !full {
		o.messages = append(o.messages, m)
	}
	o.mu.Unlock()
	if full {
		o.metrics.dropped.WithLabelValues("queue").Inc()
		return false
	}
	o.kick()
	return true
}

// want adds or removes an interest in a stream, and queues the changes of subscriptions that follow.
func (o *outbox) want(stream string, why interest, on bool) {
	o.mu.Lock()
	before := o.interest[stream]
	after := before | why
	if !on {
		after = before &^ why
	}
	if o.interest == nil {
		o.interest = make(map[string]interest)
	}
	if o.interest[stream] = after; after == 0 {
		delete(o.interest, stream)
	}
	if before&serves != after&serves {
		o.changes = append(o.changes, change{where(stream), after&serves != 0})
	}
	if (before == 0) != (after == 0) {
		o.changes = append(o.changes, change{up(stream), after != 0})
	}
	o.mu.Unlock()
	o.kick()
}

// take returns what is queued. Subscriptions go before messages: an announcement finds its own stream served.
func (o *outbox) take() ([]change, []message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changes, messages := o.changes, o.messages
	o.changes, o.messages = nil, nil
	return changes, messages
}

func (o *outbox) kick() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
