package adapt

// losses counts the packets that were reported as arrived and as lost, in buckets of the receiver's clock.
type losses struct {
	reported uint16 // reports went up to here; later numbers are news
	begun    bool
	// open is how many of the numbers just before reported are missing and may still arrive. opening counts those of
	// the report in hand.
	open, opening uint8
	full          uint8     // buckets since all packets carry numbers
	got           [3]uint16 // in the bucket in hand, and in the two before
	lost          [3]uint16
	slow          uint16 // loss of about two seconds, in 1/65535
}

// lateness is how many later packets have to be reported before a missing one is lost.
const lateness = 3

// status takes in one packet's. later is how many packets after it the same report covers. news is set for a number
// that earlier reports did not reach.
func (l *losses) status(number uint16, received bool, later int) (news bool) {
	if !l.begun {
		l.begun, l.reported = true, number
	}
	if int16(number-l.reported) < 0 {
		if received {
			l.late()
		}
		return false
	}
	l.lost[0] += uint16(l.open)
	l.open = 0
	l.reported = number + 1
	switch {
	case received:
		l.got[0]++
	case later < lateness:
		l.opening++
	default:
		l.lost[0]++
	}
	return true
}

// late turns a loss into a gain.
func (l *losses) late() {
	switch {
	case l.open > 0:
		l.open--
	case l.lost[0] > 0:
		l.lost[0]--
	case l.lost[1] > 0: // it was counted before the bucket ended
		l.lost[1]--
	}
	l.got[0]++
}

// end ends a report.
func (l *losses) end() { l.open, l.opening = l.opening, 0 }

// turn begins buckets.
func (l *losses) turn(n int) {
	for range min(n, len(l.got)) {
		if sum := uint32(l.got[0]) + uint32(l.lost[0]); sum > 0 {
			ratio := uint32(l.lost[0]) * 65535 / sum
			l.slow = uint16(int32(l.slow) + (int32(ratio)-int32(l.slow))/8)
		}
		copy(l.got[1:], l.got[:])
		copy(l.lost[1:], l.lost[:])
		l.got[0], l.lost[0] = 0, 0
	}
}

// recent counts the packets of the last two whole buckets.
func (l *losses) recent() (got, lost int) {
	return int(l.got[1]) + int(l.got[2]), int(l.lost[1]) + int(l.lost[2])
}

// slowRatio is the loss of about two seconds, 0 to 1.
func (l *losses) slowRatio() float64 { return float64(l.slow) / 65535 }

// restart begins to count again.
func (l *losses) restart() {
	l.got, l.lost, l.slow = [3]uint16{}, [3]uint16{}, 0
	l.open, l.opening, l.full = 0, 0, 0
}
