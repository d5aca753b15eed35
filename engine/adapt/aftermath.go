package adapt

// aftermath remembers the last step down, to tell from its effect whether loss and delay are ours.
type aftermath struct {
	loss  uint16 // before a step down for loss, in 1/65535; 0 for none
	floor uint16 // loss that does not depend on our rate, in 1/65535
	queue uint16 // before a step down for delay, in ticks; 0 for none
}

// expect notes a step down to less than two thirds of the rate.
func (a *aftermath) expect(sy symptoms) {
	switch sy.cause {
	case CauseLoss:
		a.loss = uint16(sy.loss * 65535)
	case CauseDelay:
		a.queue = sy.queue
	}
}

// learnLoss compares the loss after the step. Where the share that arrived did not grow, the rest is not ours.
func (a *aftermath) learnLoss(after float64) {
	if a.loss == 0 {
		return
	}
	before := float64(a.loss) / 65535
	a.loss = 0
	if (1-after)/(1-before) <= 1.1 {
		a.floor = uint16(min(after, floorMost) * 65535)
	}
}

// learnQueue compares the queue after the step. One that hardly became shorter is not ours.
func (a *aftermath) learnQueue(after uint16) (foreign bool) {
	before := a.queue
	a.queue = 0
	return before > 0 && after >= flatLeast && 4*int(after) >= 3*int(before)
}

// foreignLoss is the loss that is not ours, 0 to 1.
func (a *aftermath) foreignLoss() float64 { return float64(a.floor) / 65535 }
