package report

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// A histogram's resolution and range: 1 µs to 5 min, three significant digits.
	unit    = time.Microsecond
	longest = 5 * time.Minute
	digits  = 3
)

// A Histogram counts durations. They must begin at the moment when an event should have happened, not when the harness
// came to it. Otherwise a delay of the harness hides the delays to be found (coordinated omission).
type Histogram struct {
	mu sync.Mutex // guards h
	h  *hdrhistogram.Histogram
}

// NewHistogram makes an empty histogram of about 200 KB.
func NewHistogram() *Histogram {
	return &Histogram{h: hdrhistogram.New(1, int64(longest/unit), digits)}
}

// Record counts a duration. One out of range counts as the range's end: clocks of two machines can make a delay
// negative.
func (h *Histogram) Record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.h.RecordValue(min(max(int64(d/unit), 0), int64(longest/unit))) // in range
}

// Merge adds the counts of other. The opposite merge must not run at the same time.
func (h *Histogram) Merge(other *Histogram) {
	h.mu.Lock()
	defer h.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	h.h.Merge(other.h)
}

// Since returns the counts after earlier, which is an older copy of this histogram.
func (h *Histogram) Since(earlier *Histogram) *Histogram {
	h.mu.Lock()
	now := h.h.Export()
	h.mu.Unlock()
	earlier.mu.Lock()
	then := earlier.h.Export()
	earlier.mu.Unlock()
	for i := range now.Counts {
		now.Counts[i] -= then.Counts[i]
	}
	return &Histogram{h: hdrhistogram.Import(now)}
}

// Quantiles are the figures of a histogram, in milliseconds.
type Quantiles struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Quantiles computes the figures; all are 0 for an empty histogram.
func (h *Histogram) Quantiles() Quantiles {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.h.TotalCount() == 0 {
		return Quantiles{}
	}
	v := h.h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9})
	ms := func(n int64) float64 { return float64(n) * float64(unit) / float64(time.Millisecond) }
	return Quantiles{
		Count: h.h.TotalCount(), P50: ms(v[0]), P90: ms(v[1]), P99: ms(v[2]), P999: ms(v[3]), Max: ms(h.h.Max()),
	}
}
