package netpath

import (
	"math"

	"ringcast/engine/port"
)

// segmentSize is the payload of cross traffic's packets, in bytes.
const segmentSize = 1448

// A Transfer describes a bulk transfer beside the media.
type Transfer struct {
	// Path is the way there; acknowledgements take Back.
	Path Path
	Back port.Time
	// Start and Stop are its first and its last moment.
	Start, Stop port.Time
}

// A Flow is a Transfer under way.
type Flow struct {
	Transfer
	clock *Clock

	control congestion
	inUse   int // packets under way
	sending bool
	// Delivered counts bytes.
	Delivered int64
	delivered int64 // packets
}

// congestion decides how much of a flow is under way.
type congestion interface {
	// window is how many packets may be under way.
	window() float64
	// pace is the least time between two packets; 0 where acknowledgements alone clock them.
	pace() port.Time
	acked(now, sent port.Time, rate float64)
	lost(now port.Time)
}

// NewCubic makes a flow that fills queues until they overflow, as CUBIC does (RFC 9438).
func NewCubic(c *Clock, t Transfer) *Flow {
	return start(c, t, &cubic{size: 10, threshold: math.Inf(1)})
}

// NewBBR makes a flow that sends at the rate that it measures, with short tries of a quarter more, as BBR does.
func NewBBR(c *Clock, t Transfer) *Flow {
	const firstWindow, firstTrip = 10 * segmentSize * 8, 0.1
	return start(c, t, &bbr{rtt: port.Never, rate: firstWindow / firstTrip})
}

func start(c *Clock, t Transfer, control congestion) *Flow {
	f := &Flow{Transfer: t, clock: c, control: control}
	c.At(t.Start, f.send)
	return f
}

// send sends as much as the window allows, and goes on when there is more.
func (f *Flow) send() {
	f.sending = false
	now := f.clock.Now()
	for f.inUse < int(f.control.window()) && now < f.Stop {
		f.one(now)
		if pace := f.control.pace(); pace > 0 {
			f.later(now + pace)
			return
		}
	}
}

func (f *Flow) later(t port.Time) {
	if !f.sending {
		f.sending = true
		f.clock.At(t, f.send)
	}
}

// one sends a packet and sees to its acknowledgement, or to the news that it is lost.
func (f *Flow) one(sent port.Time) {
	f.inUse++
	before := f.delivered
	arrival, ok := f.Path.Pass(sent, segmentSize)
	if !ok {
		// Later packets tell, a little more than a round trip after it was sent.
		f.clock.At(sent+2*f.Back+10*port.Millisecond, func() {
			f.inUse--
			f.control.lost(f.clock.Now())
			f.resume()
		})
		return
	}
	f.clock.At(arrival+f.Back, func() {
		f.inUse--
		f.delivered++
		f.Delivered += segmentSize
		now := f.clock.Now()
		rate := float64(f.delivered-before) * segmentSize * 8 / max((now-sent).Seconds(), 1e-6)
		f.control.acked(now, sent, rate)
		f.resume()
	})
}

func (f *Flow) resume() {
	if !f.sending {
		f.send()
	}
}

// cubic is the window of RFC 9438 without its details for small windows.
type cubic struct {
	size, threshold, largest float64
	since                    port.Time // of the last loss
}

func (c *cubic) window() float64 { return c.size }
func (c *cubic) pace() port.Time { return 0 }

func (c *cubic) acked(now, _ port.Time, _ float64) {
	if c.size < c.threshold {
		c.size++
		return
	}
	const scale, beta = 0.4, 0.7
	k := math.Cbrt(c.largest * (1 - beta) / scale)
	t := (now - c.since).Seconds() - k
	target := scale*t*t*t + c.largest
	c.size += max(target-c.size, 0.01) / c.size
}

func (c *cubic) lost(now port.Time) {
	if now-c.since < 100*port.Millisecond {
		return // one reduction a round trip
	}
	c.since, c.largest = now, c.size
	c.size = max(2, c.size*0.7)
	c.threshold = c.size
}

// bbr is BBR's model: the largest rate of ten round trips and the least round trip of ten seconds.
type bbr struct {
	rate    float64 // bits a second
	rateAt  port.Time
	rtt     port.Time
	rttAt   port.Time
	phase   int
	phaseAt port.Time
	probing port.Time // until when little is sent, to see the least round trip
	full    bool      // the start is over
	last    float64
	stalled int
}

var gains = [...]float64{1.25, 0.75, 1, 1, 1, 1, 1, 1}

func (b *bbr) roundTrip() port.Time {
	if b.rtt == port.Never {
		return 100 * port.Millisecond
	}
	return b.rtt
}

func (b *bbr) window() float64 {
	if b.probing > 0 {
		return 4
	}
	return max(4, 2*b.rate*b.roundTrip().Seconds()/(segmentSize*8))
}

func (b *bbr) pace() port.Time {
	gain := 2.885
	if b.full {
		gain = gains[b.phase]
	}
	return port.Time(segmentSize * 8 / (b.rate * gain) * float64(port.Second))
}

func (b *bbr) acked(now, sent port.Time, rate float64) {
	rtt := now - sent
	switch {
	case rtt <= b.rtt:
		b.rtt, b.rttAt = rtt, now
	case b.probing == 0 && now-b.rttAt > 10*port.Second:
		b.probing, b.rtt = now+200*port.Millisecond, rtt
	}
	if b.probing > 0 && now >= b.probing {
		b.probing, b.rttAt = 0, now
	}
	if rate >= b.rate || now-b.rateAt > 10*b.roundTrip() {
		b.rate, b.rateAt = rate, now
	}
	if now-b.phaseAt >= b.roundTrip() {
		b.phaseAt = now
		b.phase = (b.phase + 1) % len(gains)
		if !b.full {
			if b.rate < 1.25*b.last {
				b.stalled++
			} else {
				b.stalled, b.last = 0, b.rate
			}
			b.full = b.stalled >= 3
		}
	}
}

func (b *bbr) lost(port.Time) {}
