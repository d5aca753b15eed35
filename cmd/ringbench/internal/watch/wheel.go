package watch

import "time"

const (
	// tick is a wheel's resolution. A lap of slots ticks reaches further than any deadline.
	tick  = int64(5 * time.Millisecond)
	slots = 1024
)

// A wheel wakes viewers. One entry of each viewer counts, that of its next deadline. The wheel skips entries that an
// earlier one has overtaken.
type wheel struct {
	slots [slots][]*viewer
	done  int64 // the last tick that is over
}

// schedule wakes v at a monotonic time, unless v wakes earlier anyway.
func (w *wheel) schedule(v *viewer, at int64) {
	t := min(max((at+tick-1)/tick, w.done+1), w.done+slots-1)
	if v.tick > w.done && v.tick <= t {
		return
	}
	v.tick = t
	w.slots[t%slots] = append(w.slots[t%slots], v)
}

// advance calls wake for each viewer whose time has come.
func (w *wheel) advance(now int64, wake func(v *viewer)) {
	for w.done < now/tick {
		w.done++
		due := w.slots[w.done%slots]
		// No new entry comes into this slot in the meantime: it would be a lap ahead.
		w.slots[w.done%slots] = due[:0]
		for i, v := range due {
			due[i] = nil
			if v.tick == w.done {
				v.tick = 0
				wake(v)
			}
		}
	}
}

// next is the latest time of the next advance.
func (w *wheel) next() int64 { return (w.done + 1) * tick }
