package adapt

// A Rung is one choice of a video track.
type Rung struct {
	// Rate is in bits a second, of RTP packets with their headers; 0 while the rung is silent.
	Rate uint32
	// Size is the mean size of a packet, in bytes.
	Size uint16
}

// A Ladder is a track's rungs, the lowest first. A silent rung keeps its place. All subscribers of a track read one.
type Ladder []Rung

// AudioOnly is the rung below the lowest.
const AudioOnly = -1

// MaxRungs is the most rungs that a ladder can have.
const MaxRungs = 16

// StartRate is the rate, in bits a second, that a viewer of whom nothing is known is thought to receive.
const StartRate = 2_500_000

// StartRung is the highest rung of at most a rate, in bits a second, or the lowest rung if there is none. It is 0 while
// none is sent.
func (l Ladder) StartRung(rate float64) int { return max(l.within(rate), l.lowest(), 0) }

// Measured reports whether the rate of any rung is known.
func (l Ladder) Measured() bool { return l.lowest() != AudioOnly }

// within is the highest rung of at most a rate, or AudioOnly.
func (l Ladder) within(rate float64) int {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Rate > 0 && float64(l[i].Rate) <= rate {
			return i
		}
	}
	return AudioOnly
}

// lowest is the lowest rung that is not silent, or AudioOnly.
func (l Ladder) lowest() int { return l.above(AudioOnly) }

// Cut is the ladder without the rungs above one. It keeps at least one rung.
func (l Ladder) Cut(highest int) Ladder { return l[:min(max(highest, 0)+1, len(l))] }

// nearest is a rung if it is sent, or the next below that is, or else the lowest.
func (l Ladder) nearest(rung int) int {
	if to := l.below(min(rung, len(l)) + 1); to != AudioOnly {
		return to
	}
	return l.lowest()
}

// above is the next rung above one, or that one where there is none.
func (l Ladder) above(rung int) int {
	for i := rung + 1; i < len(l); i++ {
		if l[i].Rate > 0 {
			return i
		}
	}
	return rung
}

// below is the next rung below one, or AudioOnly.
func (l Ladder) below(rung int) int {
	for i := min(rung, len(l)) - 1; i >= 0; i-- {
		if l[i].Rate > 0 {
			return i
		}
	}
	return AudioOnly
}

// rate is that of a rung; AudioOnly has none.
func (l Ladder) rate(rung int) float64 {
	if rung < 0 || rung >= len(l) {
		return 0
	}
	return float64(l[rung].Rate)
}
