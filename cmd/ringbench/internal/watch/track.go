package watch

import (
	"time"

	"ringcast/cmd/ringbench/internal/media"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

const (
	// window is the most that a packet's number may be below the newest.
	window = 4096
	// maxAsk is the largest hole that NACKs ask for.
	maxAsk = 1024
	// freeze is the longest time without a whole frame that is no freeze.
	freeze = 200 * time.Millisecond

	// A NACK for a hole leaves after nackDelay, since reordering is no loss, and again each nackPause, which is
	// libwebrtc's without a known round trip. After nackTries the hole is given up.
	nackDelay = 10 * time.Millisecond
	nackPause = 100 * time.Millisecond
	nackTries = 10
)

// A track follows the numbering of one media line.
type track struct {
	info *rtp.Track

	ssrc     uint32
	started  bool
	restarts uint64 // changes to another source
	unwrap   rtp.Unwrapper
	first    uint64 // extended sequence numbers
	highest  uint64
	media    uint64 // packets that arrived as media
	// pastExpected and pastMedia are the sums of earlier sources.
	pastExpected, pastMedia uint64
	sunk                    Count // the sink's counts that are in the figures already

	// The fields below are for receiver reports (RFC 3550 section 6.4.1 and appendix A.8).
	expectedPrior, mediaPrior uint64
	transit, jitter           int64 // in timestamp units, jitter times 16
	lastSR                    uint32
	lastSRAt                  int64

	check *checker // of a sampled viewer; nil for others
}

// accept notes a media packet that arrived at a wall-clock time and returns its extended number. Where check is set the
// packet must be authentic.
func (t *track) accept(h *rtp.Header, at int64) uint64 {
	if t.started && h.SSRC != t.ssrc {
		t.restarts++
		t.pastExpected, t.pastMedia = t.expected(), t.pastMedia+t.media
		t.started, t.unwrap, t.media = false, rtp.Unwrapper{}, 0
		t.expectedPrior, t.mediaPrior, t.jitter, t.lastSR = 0, 0, 0, 0
		if t.check != nil {
			t.check.restart()
		}
	}
	ext := t.unwrap.Unwrap(h.Sequence)
	if !t.started {
		t.started, t.ssrc, t.first, t.highest = true, h.SSRC, ext, ext
	}
	t.first, t.highest = min(t.first, ext), max(t.highest, ext)
	t.media++
	t.measure(h, at)
	return ext
}

// measure takes a packet into the interarrival jitter (RFC 3550 appendix A.8).
func (t *track) measure(h *rtp.Header, at int64) {
	rate := int64(t.rate())
	transit := at/int64(time.Microsecond)*rate/1_000_000 - int64(h.Timestamp)
	if t.media > 1 {
		d := int64(int32(transit - t.transit))
		t.jitter += max(d, -d) - (t.jitter+8)>>4
	}
	t.transit = transit
}

func (t *track) rate() uint32 {
	if t.info.Kind == rtp.Audio {
		return rtp.Opus.ClockRate()
	}
	return rtp.VP8.ClockRate() // the same for all video
}

// expected is the number of media packets by the numbering, of all sources together.
func (t *track) expected() uint64 {
	if !t.started {
		return t.pastExpected
	}
	return t.pastExpected + t.highest - t.first + 1
}

// received is the number of these that arrived as media.
func (t *track) received() uint64 { return t.pastMedia + t.media }

// absorb takes over a sink's counts in place of the socket's. It returns the packets and bytes of all sources since the
// last call.
func (t *track) absorb(c Count) (packets, bytes uint64) {
	packets, bytes = c.Packets-t.sunk.Packets, c.Bytes-t.sunk.Bytes
	if c.Media > t.sunk.Media {
		t.media += c.Media - t.sunk.Media
		t.highest = max(t.highest, t.unwrap.Unwrap(c.Sequence))
	}
	t.sunk = c
	return packets, bytes
}

// report makes the report block of this source (RFC 3550 section 6.4.1).
func (t *track) report(wall int64) rtcp.ReportBlock {
	expected := t.highest - t.first + 1
	b := rtcp.ReportBlock{
		SSRC: t.ssrc, Lost: int32(max(min(int64(expected-t.media), 1<<23-1), -1<<23)),
		Highest: uint32(t.highest - 1<<16), // cycles count from 0; the unwrapper starts at 1
		Jitter:  uint32(t.jitter >> 4), LastSR: t.lastSR,
	}
	interval := int64(expected - t.expectedPrior)
	if lost := interval - int64(t.media-t.mediaPrior); lost > 0 && interval > 0 {
		b.FractionLost = uint8(min(lost<<8/interval, 255))
	}
	t.expectedPrior, t.mediaPrior = expected, t.media
	if t.lastSR != 0 {
		b.Delay = uint32((wall - t.lastSRAt) * 65536 / int64(time.Second))
	}
	return b
}

type bitmap [window / 64]uint64

func (b *bitmap) has(ext uint64) bool { return b[ext%window/64]&(1<<(ext%64)) != 0 }
func (b *bitmap) set(ext uint64)      { b[ext%window/64] |= 1 << (ext % 64) }
func (b *bitmap) drop(ext uint64)     { b[ext%window/64] &^= 1 << (ext % 64) }

// A checker follows a sampled viewer's track: which packets came, which are missing, and whether frames are whole.
type checker struct {
	highest uint64 // as the checker has seen it; 0 before the first
	seen    bitmap
	marked  bitmap // packets that end frames
	gone    bitmap // holes that are given up
	key     uint64 // the newest packet that begins a keyframe
	missing []hole
	asking  bool // NACK was negotiated
	plain   bool // RTX was not, so that a packet that was sent again looks like a late one
	gaveUp  bool // a hole, since the last look: a keyframe is needed

	duplicate, late, recovered uint64

	player player
	stamps stamps
}

// A player counts the frames that a decoder could show.
type player struct {
	// front is the first packet that was not played; whole is set while all of its frame so far was.
	front   uint64
	whole   bool
	framed  bool
	frameAt int64

	frames, keyframes, freezes uint64
	frozen                     time.Duration
	// keyframe is the timestamp of the keyframe that was counted last.
	keyframe uint32
}

// key counts a keyframe by its timestamp, and reports whether it is another one. Each of its packets may look like the
// start of one, with parameter sets or another slice.
func (p *player) key(timestamp uint32) (another bool) {
	if another = p.keyframes == 0 || timestamp != p.keyframe; another {
		p.keyframes, p.keyframe = p.keyframes+1, timestamp
	}
	return another
}

// stamps compares a ringbench publisher's own count with the sequence numbers: they part where the publisher's
// packets were lost before the server numbered them. Each layer has a count of its own.
type stamps struct {
	layer uint8
	leap  int64 // the stamp's count minus the extended number
	known bool  // leap is, for the layer

	found, damaged, recut, upstream uint64
}

// A packet is one arrival: its extended number, whether it begins a keyframe or ends a frame, and whether it is a
// retransmission for certain.
type packet struct {
	ext                 uint64
	key, marker, resent bool
}

type hole struct {
	ext   uint64
	at    int64 // of the next NACK
	tries int
}

func (c *checker) restart() {
	c.highest, c.key, c.missing, c.seen, c.marked, c.gone = 0, 0, c.missing[:0], bitmap{}, bitmap{}, bitmap{}
	c.player.whole, c.stamps.known = false, false
}

// note takes in a packet that arrived at a monotonic time, in ns. It reports whether the packet counts as media: it is
// new and no retransmission.
func (c *checker) note(p packet, at int64) (counts bool) {
	ext, again := p.ext, p.resent
	switch {
	case c.highest == 0:
		c.highest, c.player.front = ext, ext
	case ext > c.highest:
		first := c.highest + 1
		if ext-first >= window { // only the last lap matters
			first = ext - window + 1
		}
		for e := first; e <= ext; e++ {
			c.seen.drop(e)
			c.marked.drop(e)
			c.gone.drop(e)
			switch {
			case ext-e > maxAsk:
				c.gone.set(e)
			case e < ext:
				c.missing = append(c.missing, hole{ext: e, at: at + int64(nackDelay)})
			}
		}
		c.highest = ext
	case c.highest-ext >= window:
		c.late++
		return !again
	case c.seen.has(ext):
		c.duplicate++
		return false
	case again || c.asked(ext):
		c.recovered++
		again = true
	default:
		c.late++
	}
	c.seen.set(ext)
	if p.key {
		c.key = max(c.key, ext)
	}
	if p.marker {
		c.marked.set(ext)
	}
	c.advance(at)
	return !again
}

// asked reports whether a NACK asked for a packet, so that its arrival is a retransmission.
func (c *checker) asked(ext uint64) bool {
	if !c.plain {
		return false
	}
	for i := range c.missing {
		if c.missing[i].ext == ext {
			return c.missing[i].tries > 0
		}
	}
	return c.gone.has(ext)
}

// advance plays the packets that have become playable at a time.
func (c *checker) advance(at int64) {
	p := &c.player
	if p.front+window <= c.highest {
		p.front, p.whole = c.highest-window+1, false
	}
	for ; p.front <= c.highest; p.front++ {
		switch {
		case c.seen.has(p.front):
			if !c.marked.has(p.front) {
				continue
			}
			if p.whole {
				p.frame(at)
			}
			p.whole = true // the packet after a frame's last begins one
		case c.gone.has(p.front):
			p.whole = false
		case c.wholeKey():
			p.front, p.whole = c.key-1, true
		default:
			return
		}
	}
}

// wholeKey reports whether a whole keyframe came after the hole in hand. A decoder goes on with it, and a browser asks
// for nothing before it any more.
func (c *checker) wholeKey() bool {
	if c.key <= c.player.front {
		return false
	}
	for e := c.key; e <= c.highest && c.seen.has(e); e++ {
		if c.marked.has(e) {
			return true
		}
	}
	return false
}

// frame counts a whole frame.
func (p *player) frame(at int64) {
	p.frames++
	p.thaw(at)
	p.framed, p.frameAt = true, at
}

// finish counts a freeze that lasts as one that ends now, and another one that begins.
func (p *player) finish(now int64) {
	if p.thaw(now) {
		p.frameAt = now
	}
}

// thaw counts the freeze that ends now, if there is one.
func (p *player) thaw(now int64) bool {
	gap := time.Duration(now - p.frameAt)
	if !p.framed || gap <= freeze {
		return false
	}
	p.freezes++
	p.frozen += gap
	return true
}

// due appends the numbers of the packets to ask for now, as many as fit. It returns the time of the next call; 0 is
// never.
func (c *checker) due(now int64, seqs []uint16) ([]uint16, int64) {
	next := int64(0)
	keep := c.missing[:0]
	for _, m := range c.missing {
		if c.highest-m.ext >= window || m.ext < c.player.front || c.seen.has(m.ext) {
			continue
		}
		if m.at <= now {
			if m.tries == nackTries {
				c.gone.set(m.ext)
				c.gaveUp = true
				continue
			}
			if c.asking && len(seqs) < cap(seqs) {
				seqs = append(seqs, uint16(m.ext))
			}
			m.tries++
			m.at = now + int64(nackPause)
		}
		if next == 0 || m.at < next {
			next = m.at
		}
		keep = append(keep, m)
	}
	c.missing = keep
	c.advance(now)
	return seqs, next
}

// stamp checks a payload of a ringbench publisher. ok is false for any other payload.
func (c *checker) stamp(codec rtp.Codec, payload []byte, ext uint64) (s media.Stamp, ok bool) {
	s, finding := media.ReadStamp(codec, payload)
	if finding == media.Unstamped {
		return s, false
	}
	x := &c.stamps
	x.found++
	switch finding {
	case media.Damaged:
		x.damaged++
		return s, false
	case media.Recut: // the server's packets do not correspond to the publisher's
		x.recut++
		x.known = false
		return s, true
	}
	leap := int64(s.Count - ext)
	if x.known && s.Layer == x.layer && leap > x.leap {
		x.upstream += uint64(leap - x.leap)
	}
	// An older packet may still have the old leap, or the old layer.
	if !x.known || ext == c.highest {
		x.layer, x.leap, x.known = s.Layer, leap, true
	}
	return s, true
}
