package worker

import "ringcast/engine/port"

const (
	// choreInterval is how often a stream's histories are tidied and its changes are reported to the controller.
	// Streams come due together, each choreGrid, so that a few of them wake the worker no more often than one.
	choreInterval = 500 * port.Millisecond
	choreGrid     = 100 * port.Millisecond
	// maxChores and maxTimeouts bound how many streams and sessions one HandleTimeout visits, so that packets wait for
	// none of many.
	maxChores   = 64
	maxTimeouts = 64
	// maxRecycled bounds the routes that one HandleTimeout revokes.
	maxRecycled = 256
)

// chore is a stream's place in the list of those to be visited.
type chore struct {
	next   *stream
	due    port.Time
	listed bool
}

// chores are the streams to be visited, in the order in which they come due. Streams with nothing left to do
// leave the list.
type chores struct{ head, tail *stream }

// nextChore is when chores are due that were done now.
func nextChore(now port.Time) port.Time {
	return (now + choreInterval + choreGrid - 1) / choreGrid * choreGrid
}

// add lists a stream, unless it is listed already.
func (c *chores) add(now port.Time, st *stream) {
	if st.chore.listed {
		return
	}
	st.chore = chore{due: nextChore(now), listed: true}
	if c.tail == nil {
		c.head = st
	} else {
		c.tail.chore.next = st
	}
	c.tail = st
}

// take removes the first stream if it is due, and returns nil if it is not.
func (c *chores) take(now port.Time) *stream {
	st := c.head
	if st == nil || st.chore.due > now {
		return nil
	}
	c.head = st.chore.next
	if c.head == nil {
		c.tail = nil
	}
	st.chore = chore{}
	return st
}

// next is when the first stream is due.
func (c *chores) next() port.Time {
	if c.head == nil {
		return port.Never
	}
	return c.head.chore.due
}

// doChores visits a few of the streams that are due.
func (w *Worker) doChores(now port.Time) {
	for range maxChores {
		st := w.chores.take(now)
		if st == nil {
			break
		}
		if w.tend(now, st.pub) {
			w.chores.add(now, st)
		}
	}
	w.current = nil
	// A round is over when all that was due has been visited; one that never ends is cut.
	if over := w.chores.next() > now || now >= w.storage.at+choreInterval; over && now >= w.storage.at {
		w.storage.tend(now, w.cfg.Workers)
	}
}

// tend does a publication's chores, and reports whether there will be more of them without news; p may be nil.
func (w *Worker) tend(now port.Time, p *publication) (more bool) {
	if p == nil || !w.blame(p) {
		return false
	}
	if p.session != nil {
		more = true
		w.tellHeard(p)
	}
	more = w.spare(now, p) || more
	for i := range p.tracks {
		t := &p.tracks[i]
		if p.session != nil {
			w.tellActive(p, t)
			w.survey(now, p, t)
		}
		for _, l := range t.layers {
			w.tidy(now, l)
			more = more || l.history.Size() > 0
		}
	}
	return more
}
