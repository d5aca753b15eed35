package srtp

import "slices"

// maxIndex is the highest index of an SRTP packet: 48 bits (RFC 3711 section 3.3.1).
const maxIndex = 1<<48 - 1

// windowLen is the number of packets by which SRTP may arrive after the latest. It is a power of two well above the
// needs of a burst of retransmissions.
const windowLen = 1024

// A window remembers which of the last windowLen indices of one source were seen (RFC 3711 section
// 3.3.2). Its zero value has seen nothing.
type window struct {
	highest uint64
	started bool
	// seen is a ring of bits: index i is at i modulo windowLen.
	seen [windowLen / 64]uint64
}

// guess returns the index that a sequence number most likely stands for (RFC 3711 section 3.3.1 and appendix A). It is
// the one nearest to the highest seen, starting with a rollover counter of 0.
func (w *window) guess(seq uint16) uint64 {
	if !w.started {
		return uint64(seq)
	}
	index := int64(w.highest) + int64(int16(seq-uint16(w.highest)))
	if index < 0 { // nothing precedes the first round
		return uint64(seq)
	}
	return uint64(index)
}

// fresh reports whether index is neither seen nor too old to judge.
func (w *window) fresh(index uint64) bool {
	if !w.started || index > w.highest {
		return true
	}
	return w.highest-index < windowLen && w.seen[index%windowLen/64]&(1<<(index%64)) == 0
}

// accept marks index, which is fresh and authenticated, as seen.
func (w *window) accept(index uint64) {
	switch {
	case !w.started:
		w.started, w.highest = true, index
	case index <= w.highest:
	case index-w.highest >= windowLen:
		w.seen = [windowLen / 64]uint64{}
		w.highest = index
	default:
		for w.highest < index {
			w.highest++
			w.seen[w.highest%windowLen/64] &^= 1 << (w.highest % 64)
		}
	}
	w.seen[index%windowLen/64] |= 1 << (index % 64)
}

// A source is an Opener's memory of one SSRC's SRTP.
type source struct {
	ssrc uint32
	// heard is the number of the session's last packet from the source.
	heard uint64
	window
}

// sources finds windows by SSRC. There are few of them, and packets of one come in rows, so a list
// that remembers its last hit beats a map.
type sources struct {
	list []*source
	last *source
}

// find returns the source of ssrc, nil where nothing authentic came from it yet.
func (s *sources) find(ssrc uint32) *source {
	if s.last != nil && s.last.ssrc == ssrc {
		return s.last
	}
	for _, src := range s.list {
		if src.ssrc == ssrc {
			s.last = src
			return src
		}
	}
	return nil
}

// add starts a window for ssrc. It allocates: once for each source of a session.
func (s *sources) add(ssrc uint32) *source {
	src := &source{ssrc: ssrc}
	s.list = append(s.list, src)
	return src
}

// forget removes the source that was heard longest ago, of those that keep does not keep, and returns its SSRC.
func (s *sources) forget(keep func(ssrc uint32) bool) (ssrc uint32, ok bool) {
	oldest := -1
	for i, src := range s.list {
		if (oldest < 0 || src.heard < s.list[oldest].heard) && !keep(src.ssrc) {
			oldest = i
		}
	}
	if oldest < 0 {
		return 0, false
	}
	ssrc = s.list[oldest].ssrc
	s.list = append(s.list[:oldest], s.list[oldest+1:]...)
	s.last = nil
	return ssrc, true
}

// A graveyard remembers the last SSRCs whose windows were forgotten, since later packets of theirs may be replays. It
// is searched for authentic packets of unknown sources only.
type graveyard struct {
	ssrcs []uint32
	next  int
}

func (g *graveyard) add(ssrc uint32, size int) {
	if len(g.ssrcs) < size {
		g.ssrcs = append(g.ssrcs, ssrc)
		return
	}
	g.ssrcs[g.next%size] = ssrc
	g.next++
}

func (g *graveyard) has(ssrc uint32) bool { return slices.Contains(g.ssrcs, ssrc) }

// controlWindowLen is the number of packets by which SRTCP may arrive after the latest (RFC 3711 section 3.3.2 asks for
// at least 64).
const controlWindowLen = 64

// A controlSource is which of the last SRTCP indices of one SSRC were seen: bit i is highest-i.
type controlSource struct {
	ssrc    uint32
	highest uint32
	seen    uint64
	// heard is the number of the session's last packet from the source.
	heard uint32
}

// A source of SRTCP gives way to a new one once it was not among the last forgetAfter packets of its session. The SSRCs
// of the last maxForgottenControl of those are remembered.
const (
	forgetAfter         = 1024
	maxForgottenControl = 256
)

// controlSources finds SRTCP windows by SSRC, and counts the session's packets.
type controlSources struct {
	list      []controlSource
	forgotten graveyard
	taken     uint32
}

// fresh reports whether ssrc's packet index is neither seen nor too old to judge. known reports that an authentic
// packet of ssrc came before.
func (s *controlSources) fresh(ssrc, index uint32) (fresh, known bool) {
	for i := range s.list {
		c := &s.list[i]
		if c.ssrc != ssrc {
			continue
		}
		if index > c.highest {
			return true, true
		}
		age := c.highest - index
		return age < controlWindowLen && c.seen&(1<<age) == 0, true
	}
	return true, false
}

// accept marks index, which is fresh and authenticated, as seen.
func (s *controlSources) accept(ssrc, index uint32) {
	s.taken++
	for i := range s.list {
		c := &s.list[i]
		if c.ssrc != ssrc {
			continue
		}
		if index > c.highest {
			c.seen <<= index - c.highest // shifts of 64 and more give 0
			c.highest = index
		}
		c.seen |= 1 << (c.highest - index)
		c.heard = s.taken
		return
	}
	s.list = append(s.list, controlSource{ssrc: ssrc, highest: index, seen: 1, heard: s.taken})
}

// hasRoom reports whether there is room for one more source, of at most limit, if one that is silent for long is
// forgotten.
func (s *controlSources) hasRoom(limit int) bool {
	return len(s.list) < limit || s.taken-s.list[s.oldest()].heard >= forgetAfter
}

// makeRoom forgets the source that was heard longest ago if there are limit of them.
func (s *controlSources) makeRoom(limit int) {
	if len(s.list) < limit {
		return
	}
	i := s.oldest()
	s.forgotten.add(s.list[i].ssrc, maxForgottenControl)
	s.list = append(s.list[:i], s.list[i+1:]...)
}

func (s *controlSources) oldest() int {
	oldest := 0
	for i := range s.list {
		if s.taken-s.list[i].heard > s.taken-s.list[oldest].heard {
			oldest = i
		}
	}
	return oldest
}
