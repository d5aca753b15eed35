package adapt

const (
	watchDistance   = 850 * milli // between trains with numbers of a viewer who is well, and a spread
	watchSpread     = 100 * milli
	confirmDistance = 50 * milli
	confirmTrains   = 3
	alarmQueue      = 20 * milli
	alarmNACKs      = 7
	leastLost       = 13 // in 1/256 of the packets, about 5 %
	overdueSpan     = 300 * milli
	maxRaise        = 3 // thresholds are doubled at most three times: two bits
)

// alarms watches over a viewer of whom one train a second is reported.
type alarms struct {
	raise   uint8  // how often each cause's threshold was doubled, two bits each
	confirm uint8  // trains that are still to confirm
	pending Cause  // the reason why all video carries numbers
	lossy   bool   // the last receiver report shows losses
	nacked  uint16 // since markAsked
	most    uint16 // maximum of REMB since markMost, kbit/s
}

// counts are the packets sent since markTurned, and in the quarter second before.
type counts [2]uint16

// raised is how often a cause's threshold was doubled.
func (a *alarms) raised(c Cause) uint8 { return a.raise >> raiseShift(c) & maxRaise }

func raiseShift(c Cause) uint8 { return 2 * uint8(c-CauseDelay) }

// settle ends an alarm. A cause that was not borne out needs more next time.
func (a *alarms) settle(calm bool) {
	if a.pending != CauseNone && calm && a.raised(a.pending) < maxRaise {
		a.raise += 1 << raiseShift(a.pending)
	}
	a.pending = CauseNone
}

// lower makes raised thresholds half as high.
func (a *alarms) lower() {
	for c := CauseDelay; c <= CauseOverdue; c++ {
		if a.raised(c) > 0 {
			a.raise -= 1 << raiseShift(c)
		}
	}
}

// watch looks at the queue that a single train met. It reports whether that is an alarm.
func (a *alarms) watch(queue uint16) bool {
	least := uint16(alarmQueue) << a.raised(CauseDelay)
	if queue < least {
		a.confirm = 0
		return false
	}
	if a.confirm == 0 {
		a.confirm = confirmTrains + 1
	}
	a.confirm--
	if queue >= 5*least {
		a.confirm = 0
	}
	return a.confirm == 0
}

// recent is how many packets were sent in the last quarter to half second.
func (c *counts) recent() int { return int(c[0]) + int(c[1]) }

// asked is the share of the packets sent recently that were asked for again.
func (s *Selector) asked() float64 {
	return min(float64(s.alarms.nacked)/float64(max(s.counts.recent(), 1)), 1)
}
