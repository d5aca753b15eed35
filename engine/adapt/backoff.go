package adapt

// backoff makes the next step up later where the last one did not hold.
type backoff struct {
	level    uint8 // the wait is calmSpan × 2^level
	failures uint8 // in a row, on rung failed
	failed   int8
	denied   uint8 // probes in a row that showed too little
}

// penalize notes that a rung did not hold. The second failure in a row on one rung weighs double.
func (b *backoff) penalize(rung int8) {
	step := uint8(1)
	if b.failed == rung {
		b.failures = min(b.failures+1, 100)
		if b.failures >= 2 {
			step = 2
		}
	} else {
		b.failed, b.failures = rung, 0
	}
	b.level = min(b.level+step, maxBackoff)
}

// distrusts reports whether a step up to a rung needs more evidence than bursts: that rung or a lower one failed.
func (b *backoff) distrusts(rung int) bool { return rung >= int(b.failed) }

// wait is how long no step up is made.
func (b *backoff) wait() ticks { return calmSpan << b.level }

// forgive shortens the wait after a long calm.
func (b *backoff) forgive() { b.level -= min(b.level, 1) }
