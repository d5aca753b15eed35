package adapt

import "slices"

const (
	longTrain = 10    // packets from which on a train measures the link
	enough    = 25000 // kbit/s; a link that carries more is not told from a faster one
	sizeUnit  = 8     // bytes
)

// A burst is a train that is long enough to measure the link by.
type burst struct {
	first uint16
	from  uint16 // arrival of the third packet, low bits of ticks
	took  uint16 // until the last arrival, in ticks
	n     uint8  // packets; 0 for no burst
	size  uint8  // of a packet, in sizeUnit
	got   uint8  // packets that arrived, from the third on
}

// capacity is the median rate at which the last bursts arrived. One burst at a time is under way.
type capacity struct {
	burst   burst
	samples [5]uint16 // kbit/s, the newest first
	n       uint8
}

// sent notes a train.
func (c *capacity) sent(f Fill) {
	if f.Packets >= longTrain && c.burst.n == 0 {
		size := uint8(min(f.Size/sizeUnit, 255))
		c.burst = burst{first: f.First, n: uint8(min(f.Packets, 255)), size: size}
	}
}

// arrived takes in a packet's arrival, and reports whether a burst is measured.
func (c *capacity) arrived(number uint16, at ticks) (measured bool) {
	b := &c.burst
	k := int16(number - b.first)
	if b.n == 0 || k < 2 {
		return false
	}
	if k < int16(b.n) {
		b.note(uint16(at))
	}
	if k >= int16(b.n)-1 {
		measured = c.add(b)
		b.n = 0
	}
	return measured
}

// note takes in the arrival of one of the burst's packets.
func (b *burst) note(at uint16) {
	if b.got == 0 {
		b.from = at
	}
	b.got++
	b.took = uint16(max(int16(at-b.from), int16(b.took)))
}

// add keeps a burst's rate. A burst of which most was lost says nothing.
func (c *capacity) add(b *burst) bool {
	if b.got < b.n/2 {
		return false
	}
	rate := enough
	if b.took > 0 {
		bits := int(b.got-1) * int(b.size) * sizeUnit * 8
		rate = min(rate, bits*milli/int(b.took))
	}
	copy(c.samples[1:], c.samples[:])
	c.samples[0] = uint16(rate)
	c.n = min(c.n+1, uint8(len(c.samples)))
	return true
}

// forget drops all samples.
func (c *capacity) forget() { c.n = 0 }

// newest is the last sample, in bits a second.
func (c *capacity) newest() float64 { return float64(c.samples[0]) * 1000 }

// median is that of the last samples, in bits a second; 0 without samples.
func (c *capacity) median() float64 {
	if c.n == 0 {
		return 0
	}
	s := c.samples
	known := s[:c.n]
	slices.Sort(known)
	return float64(known[(c.n-1)/2]) * 1000
}
