package watch

import "time"

// A size is that of a picture in pixels, which names a rung of the ladder.
type size struct{ width, height int }

// rungs records the sizes of a viewer's pictures. Times are monotonic, in ns.
type rungs struct {
	now      size
	since    int64
	key      uint64 // the number of the last keyframe's packet, with the source's above it
	lasted   map[size]time.Duration
	switches uint64
}

// see takes in a keyframe's size and number. One that was sent again may be older than the last.
func (r *rungs) see(s size, number uint64, now int64) {
	if number < r.key {
		return
	}
	r.key = number
	if s == r.now {
		return
	}
	r.settle(now)
	if r.now != (size{}) {
		r.switches++
	}
	r.now = s
}

// settle adds the time up to now to the present size.
func (r *rungs) settle(now int64) {
	if r.now != (size{}) {
		if r.lasted == nil {
			r.lasted = map[size]time.Duration{}
		}
		r.lasted[r.now] += time.Duration(now - r.since)
	}
	r.since = now
}
