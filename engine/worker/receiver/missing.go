package receiver

import "ringcast/engine/port"

const (
	// NACKDelay is how long after a hole was seen its packet is asked for: it may be reordered and not lost.
	NACKDelay = 10 * port.Millisecond
	// The next pauses are nackPause, twice that and so on. It is asked for nackTries times, in about a second.
	nackPause = 40 * port.Millisecond
	nackTries = 8
	// missingKept is room for missing packets that is kept when none is missing any more.
	missingKept = 64
)

// missing are the packets that have not come yet, at most MaxGap.
type missing []hole

// A hole is one missing packet.
type hole struct {
	ext   uint64
	at    port.Time // when to ask (again)
	tries uint8
}

// clear forgets all, and keeps the memory.
func (m *missing) clear() { *m = (*m)[:0] }

// add notes that the packets from first up to end have not come yet. It returns when to ask for them, port.Never when
// none was noted.
func (m *missing) add(first, end uint64, now port.Time) (askAt port.Time) {
	askAt = port.Never
	for e := first; e < end && len(*m) < MaxGap; e++ {
		askAt = now + NACKDelay
		*m = append(*m, hole{ext: e, at: askAt})
	}
	return askAt
}

// appendDue is AppendMissing.
func (m *missing) appendDue(now port.Time, seqs []uint16, r *Receiver) ([]uint16, port.Time) {
	next := port.Never
	keep := (*m)[:0]
	for _, h := range *m {
		if r.Came(h.ext) || r.highest-h.ext >= window {
			continue
		}
		if h.at <= now && len(seqs) < cap(seqs) {
			seqs = append(seqs, uint16(h.ext))
			h.tries++
			if h.tries >= nackTries {
				continue
			}
			h.at = now + nackPause*port.Time(h.tries)
		}
		next = min(next, h.at)
		keep = append(keep, h)
	}
	if *m = keep; len(keep) == 0 && cap(keep) > missingKept {
		*m = nil // a burst's memory
	}
	return seqs, next
}
