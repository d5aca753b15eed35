package secret

import (
	"log/slog"
	"sync"
	"time"
)

// maxPeers bounds what is remembered of other nodes. Beyond it all is forgotten, and learned again.
const maxPeers = 4096

// disorder is the most by which a message of a node may be older than another of it that came before.
const disorder = 2 * time.Second

// Clocks know by how much the clocks of other nodes differ from ours, and the newest of their messages.
type Clocks struct {
	log *slog.Logger
	now func() time.Time

	mu     sync.Mutex               // guards the fields below, which are by the nodes' ids
	ahead  map[string]time.Duration // of their clocks
	newest map[string]time.Time     // of their messages
}

// NewClocks makes clocks that know nothing yet. now is our own clock, time.Now where nil.
func NewClocks(log *slog.Logger, now func() time.Time) *Clocks {
	if now == nil {
		now = time.Now
	}
	return &Clocks{log: log, now: now, ahead: make(map[string]time.Duration), newest: make(map[string]time.Time)}
}

// Learn takes the time that a node's clock shows now. The caller knows that it is fresh. A clock that differs by more
// than Span is logged when it is noticed.
func (c *Clocks) Learn(id string, theirs time.Time) {
	ahead := theirs.Sub(c.now())
	c.mu.Lock()
	before := c.ahead[id]
	if len(c.ahead) >= maxPeers {
		clear(c.ahead)
	}
	c.ahead[id] = ahead
	c.mu.Unlock()
	if ahead.Abs() > Span && before.Abs() <= Span {
		c.log.Warn("the clock of another node differs from ours", "node", id, "ahead", ahead.Round(time.Second))
	}
}

// Fresh reports whether a message is new enough to come from its issuer, and not from somebody who has kept it.
func (c *Clocks) Fresh(m Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	newest := c.newest[m.Issuer]
	if m.Time.After(newest) {
		if len(c.newest) >= maxPeers {
			clear(c.newest)
		}
		c.newest[m.Issuer] = m.Time
	}
	return newest.Sub(m.Time) <= disorder
}

// Now is the time on a node's clock. It is that of ours if nothing is known of the node's.
func (c *Clocks) Now(id string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Add(c.ahead[id])
}
