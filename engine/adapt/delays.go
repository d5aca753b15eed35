package adapt

const (
	bucketShift = 10 // a bucket is 1,024 ticks, 256 ms, of the receiver's clock
	noSample    = 0xFFFF
	numLows     = 4

	flat         = 10 * milli // a standing queue varies by less
	flatLeast    = 20 * milli
	flatMost     = 300 * milli
	rebaseBudget = 300 * milli // a minute
	clockJump    = 2 * second
	rising       = 2 * milli
)

// delays measures the queue that trains meet: how much longer than the shortest one they took. Queues are in ticks.
type delays struct {
	base    ticks  // least owd, receiver's clock less ours
	last    uint16 // queue of the train before; noSample while base is unknown
	bucket  uint16
	low     uint16          // least queue of the bucket in hand
	lows    [numLows]uint16 // of the buckets before it, the newest first
	rebased uint16          // how much base was raised in this minute
}

// restart forgets the base and the buckets.
func (d *delays) restart() {
	d.last = noSample
	d.forget()
}

// known reports whether base is.
func (d *delays) known() bool { return d.last != noSample }

// forget drops the buckets, but not the base.
func (d *delays) forget() {
	d.low = noSample
	for i := range d.lows {
		d.lows[i] = noSample
	}
}

// forgetRises drops all buckets but the last, so that only later differences count.
func (d *delays) forgetRises() {
	for i := range d.lows[1:] {
		d.lows[i+1] = noSample
	}
}

// leak raises the base by a tick a second: clocks differ by up to 250 ppm.
func (d *delays) leak(seconds ticks) { d.base += seconds }

// sample takes in the owd of one train. It is false when the receiver's clock, or ours, jumped.
func (d *delays) sample(owd ticks) (queue uint16, ok bool) {
	if !d.known() {
		d.base, d.last = owd, 0
	}
	q := int32(owd - d.base)
	if jump := q - int32(d.last); jump > clockJump || jump < -clockJump {
		d.restart()
		return 0, false
	}
	if q < 0 {
		d.base, q = owd, 0
	}
	d.last = uint16(min(q, noSample-1))
	d.low = min(d.low, d.last)
	return d.last, true
}

// turn ends the bucket in hand when a packet arrived in a later one. It returns how many have passed.
func (d *delays) turn(arrival ticks) (ended int) {
	b := uint16(arrival >> bucketShift)
	if !d.known() {
		d.bucket = b
		return 0
	}
	n := int16(b - d.bucket)
	if n <= 0 {
		return 0
	}
	d.bucket = b
	if d.low != noSample {
		copy(d.lows[1:], d.lows[:])
		d.lows[0] = d.low
		d.low = noSample
	}
	return int(n)
}

// standing is the queue that did not go away during the last two buckets.
func (d *delays) standing() uint16 {
	if d.lows[0] == noSample {
		return 0
	}
	return min(d.lows[0], d.lows[1])
}

// rises is how many of the last three differences between buckets went up.
func (d *delays) rises() (n int) {
	for i := range numLows - 1 {
		if d.lows[i+1] != noSample && int(d.lows[i])-int(d.lows[i+1]) >= rising {
			n++
		}
	}
	return n
}

// draining reports whether the queue became shorter.
func (d *delays) draining() bool {
	return d.lows[1] != noSample && int(d.lows[1])-int(d.lows[0]) >= rising
}

// lingers reports whether the queue would take more than two seconds to go away.
func (d *delays) lingers() bool {
	return d.lows[1] != noSample && (int(d.lows[1])-int(d.lows[0]))*8 < int(d.lows[0])
}

// grown is how much longer the queue became during the last four buckets.
func (d *delays) grown() uint16 {
	if d.lows[numLows-1] == noSample {
		return 0
	}
	return d.lows[0] - min(d.lows[numLows-1], d.lows[0])
}

// level reports whether the last four buckets saw the same queue, up to a limit.
func (d *delays) level(limit uint16) bool {
	least, most := uint16(noSample), uint16(0)
	for _, x := range d.lows {
		least, most = min(least, x), max(most, x)
	}
	return most != noSample && most-least <= limit
}

// rebase takes a level queue for a longer way, within a minute's budget.
func (d *delays) rebase() bool {
	q := d.standing()
	if !d.level(flat) || q > flatMost || d.rebased+q > rebaseBudget {
		return false
	}
	d.raise(q)
	return true
}

// rebaseStubborn takes a queue that a step down did not lower for somebody else's.
func (d *delays) rebaseStubborn() bool {
	if !d.level(4 * flat) {
		return false
	}
	d.raise(d.standing())
	return true
}

// raise makes a queue part of the way.
func (d *delays) raise(q uint16) {
	d.rebased = min(d.rebased+q, rebaseBudget)
	d.base += ticks(q)
	d.last -= min(d.last, q)
	for i := range d.lows {
		d.lows[i] -= min(d.lows[i], q)
	}
}
