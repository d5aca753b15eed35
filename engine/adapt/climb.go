package adapt

const (
	climbStep  = 5 * milli  // least growth from train to train
	climbSteps = 4          // steps until a climb is certain
	climbTotal = 50 * milli // least growth in all
	climbLeast = 80 * milli // least queue at its end

	steepSteps = 2 // steps until a climb by steepTotal is certain
	steepTotal = 60 * milli
)

// climb is a queue that grows from train to train. Queues are in ticks.
type climb struct {
	from, last uint16 // the queue of its first and of its last train
	began      uint16 // when its first train was sent, low bits of ticks
	steps      uint8
}

// sample takes in a train. Once the climb is certain, share is how many seconds the queue grew in a second.
func (c *climb) sample(sent ticks, queue uint16) (share float64, certain bool) {
	if c.steps == 0 || queue < c.last+climbStep {
		*c = climb{from: queue, last: queue, steps: 1, began: uint16(sent)}
		return 0, false
	}
	c.last = queue
	c.steps = min(c.steps+1, 100)
	grown, span := queue-c.from, uint16(sent)-c.began
	if span == 0 || queue < climbLeast {
		return 0, false
	}
	steps := int(c.steps) - 1
	gentle := steps >= climbSteps && grown >= climbTotal && grown >= span/8
	steep := steps >= steepSteps && grown >= steepTotal && queue >= standingMost && grown >= span/2
	return float64(grown) / float64(span), gentle || steep
}
