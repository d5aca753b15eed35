package receiver

import "ringcast/engine/port"

const (
	// NACKDelay is how long after a hole was seen its packet is asked for: it may be reordered and not lost.
	NACKDelay = 10 * port.Millisecond
	// The next pauses are nackPause, twice that and so on, but at least a round trip. It is asked for nackTries times,
	// over a short way in about a second.
	nackPause = 40 * port.Millisecond
	nackTries = 8
	// excuseSpan is how long a packet is not asked for that the publisher lacks itself. By then it was repaired there,
	// and lost on its way here.
	excuseSpan = 500 * port.Millisecond
	// missingKept is room for missing packets that is kept when none is missing any more.
	missingKept = 64
)

// missing are the packets that have not come yet.
type missing struct {
	holes []hole // at most MaxGap
	trip  *RoundTrip
}

// A hole is one missing packet.
type hole struct {
	ext   uint64
	at    port.Time // when to ask (again)
	first port.Time // when it was asked for
	tries uint8
}

// clear forgets the packets, and keeps the memory.
func (m *missing) clear() { m.holes = m.holes[:0] }

// add notes that the packets from first up to end have not come yet. It returns when to ask for them, port.Never when
// none was noted.
func (m *missing) add(first, end uint64, now port.Time) (askAt port.Time) {
	askAt = port.Never
	for e := first; e < end && len(m.holes) < MaxGap; e++ {
		askAt = now + NACKDelay
		m.holes = append(m.holes, hole{ext: e, at: askAt})
	}
	return askAt
}

// excuse is Excuse.
func (m *missing) excuse(now port.Time, seq uint16) {
	for i := range m.holes {
		if h := &m.holes[i]; uint16(h.ext) == seq && h.tries == 0 {
			h.at = max(h.at, now+excuseSpan)
		}
	}
}

// answered notes that a retransmission brought a packet.
func (m *missing) answered(ext uint64, at port.Time) {
	for i := range m.holes {
		if h := &m.holes[i]; h.ext == ext && h.tries > 0 {
			m.trip.note(at-h.first, h.tries)
			return
		}
	}
}

// appendDue is AppendMissing.
func (m *missing) appendDue(now port.Time, seqs []uint16, r *Receiver) ([]uint16, port.Time) {
	next := port.Never
	keep := m.holes[:0]
	for _, h := range m.holes {
		if r.Came(h.ext) || r.highest-h.ext >= window {
			continue
		}
		if h.at <= now && len(seqs) < cap(seqs) {
			seqs = append(seqs, uint16(h.ext))
			if h.tries == 0 {
				h.first = now
			}
			h.tries++
			if h.tries >= nackTries {
				continue
			}
			h.at = now + max(nackPause*port.Time(h.tries), m.trip.patience())
		}
		next = min(next, h.at)
		keep = append(keep, h)
	}
	if m.holes = keep; len(keep) == 0 && cap(keep) > missingKept {
		m.holes = nil // a burst's memory
	}
	return seqs, next
}
