package access

import (
	"container/heap"
	"net/netip"
	"time"

	"ringcast/engine/api"
)

// maxCached is the greatest number of answers that are kept.
const maxCached = 10_000

// A question identifies the requests that one answer holds for.
type question struct {
	token  Digest
	action Action
	role   api.Role
	stream string
	// bySource is set where the answer holds for one source alone, also where that is unknown.
	bySource bool
	source   netip.Addr
}

// from is the same question about one source alone.
func (q question) from(source netip.Addr) question {
	q.bySource, q.source = true, source
	return q
}

// A cached answer may be given again until it ends.
type cached struct {
	question
	answer
	ends  time.Time
	place int // in the heap
}

// A cache holds answers, the one that ends first on top. Where there are too many, that one makes room: a flood of
// denials, which end soon, displaces no long answer.
type cache struct {
	byQuestion map[question]*cached
	heap       []*cached
}

// find returns the answer to a question. One whose time is over may be below the top. Ends by the two clocks get out of
// order where one is set.
func (c *cache) find(q question, now time.Time) (answer, bool) {
	for len(c.heap) > 0 && !now.Before(c.heap[0].ends) {
		c.drop()
	}
	e, ok := c.byQuestion[q]
	if !ok || !now.Before(e.ends) {
		return answer{}, false
	}
	return e.answer, true
}

// keep makes an answer known for its time to live, and in no case beyond its end.
func (c *cache) keep(q question, a answer, now time.Time) {
	ends := now.Add(a.ttl)
	if a.allow && !a.until.IsZero() && a.until.Before(ends) {
		ends = a.until
	}
	if !now.Before(ends) {
		return
	}
	if e, ok := c.byQuestion[q]; ok {
		e.answer, e.ends = a, ends
		heap.Fix(c, e.place)
		return
	}
	if len(c.heap) == maxCached {
		if ends.Before(c.heap[0].ends) {
			return
		}
		c.drop()
	}
	e := &cached{question: q, answer: a, ends: ends}
	c.byQuestion[q] = e
	heap.Push(c, e)
}

// drop forgets the answer that ends first.
func (c *cache) drop() {
	e := heap.Pop(c).(*cached)
	delete(c.byQuestion, e.question)
}

// Len implements heap.Interface.
func (c *cache) Len() int { return len(c.heap) }

// Less implements heap.Interface.
func (c *cache) Less(i, j int) bool { return c.heap[i].ends.Before(c.heap[j].ends) }

// Swap implements heap.Interface.
func (c *cache) Swap(i, j int) {
	c.heap[i], c.heap[j] = c.heap[j], c.heap[i]
	c.heap[i].place, c.heap[j].place = i, j
}

// Push implements heap.Interface.
func (c *cache) Push(x any) {
	e := x.(*cached)
	e.place = len(c.heap)
	c.heap = append(c.heap, e)
}

// Pop implements heap.Interface.
func (c *cache) Pop() any {
	last := len(c.heap) - 1
	e := c.heap[last]
	c.heap[last] = nil
	c.heap = c.heap[:last]
	return e
}
