// Package budget bounds memory that several threads use, without a lock.
package budget

import (
	"math"
	"sync/atomic"
)

// A Budget is a number of bytes that several threads draw from. All methods may be called from any thread.
type Budget struct {
	limit int64
	held  atomic.Int64
}

// New makes a budget of limit bytes; 0 or less is no limit.
func New(limit int64) *Budget {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	return &Budget{limit: limit}
}

// Take draws n bytes and reports whether they were there to draw. It leaves a sixteenth to Overdraw.
func (b *Budget) Take(n int) bool {
	if b.held.Add(int64(n)) <= b.limit-b.limit/16 {
		return true
	}
	b.held.Add(-int64(n))
	return false
}

// Overdraw draws n bytes that cannot be done without, even if the limit is reached.
func (b *Budget) Overdraw(n int) { b.held.Add(int64(n)) }

// Give returns n bytes.
func (b *Budget) Give(n int) { b.held.Add(-int64(n)) }

// Held returns the number of bytes that are drawn.
func (b *Budget) Held() int64 { return b.held.Load() }

// Limit returns the budget's size in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Tight reports whether less than an eighth of the budget is left, Ample whether more than a quarter is.
func (b *Budget) Tight() bool { return b.held.Load() > b.limit-b.limit/8 }

// Ample is the opposite of Tight, with room between them so that users do not swing.
func (b *Budget) Ample() bool { return b.held.Load() < b.limit-b.limit/4 }
