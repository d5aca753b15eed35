package sim

import (
	"encoding/binary"
	"math/bits"

	"ringcast/engine/port"
)

// An estimator is a browser's own estimate of the rate, of packets without a number, for REMB.
type estimator struct {
	rate float64 // bits a second
	at   port.Time
	// bytes are those of the last half seconds, the first not yet over.
	bytes [3]int
	slot  port.Time
	start port.Time
	// base is the least delay of all packets, least that since the last report, by the timestamps.
	base, least   port.Time
	first         uint32
	began, judged bool
}

const (
	estimateSlot = 500 * port.Millisecond
	// overuse is the delay above the least at which the estimate falls, to fallTo of the rate that came.
	overuse = 60 * port.Millisecond
	fallTo  = 0.85
	// riseBy is how much the estimate rises in a second, up to headroom times the rate that came.
	riseBy   = 0.08
	headroom = 1.5
	// learning is how long the estimate is the rate that came.
	learning  = 5 * port.Second
	leastREMB = 30_000
)

// add counts a packet.
func (e *estimator) add(now port.Time, size int) {
	if e.start == 0 {
		e.start, e.slot = now, now
	}
	for now-e.slot >= estimateSlot {
		e.slot = max(e.slot+estimateSlot, now-3*estimateSlot)
		copy(e.bytes[1:], e.bytes[:2])
		e.bytes[0] = 0
	}
	e.bytes[0] += size
}

// delay takes in the delay of a packet without a number.
func (e *estimator) delay(now port.Time, timestamp uint32) {
	if !e.began {
		e.began, e.first, e.base = true, timestamp, now
	}
	d := now - port.Time(int32(timestamp-e.first))*port.Second/90_000
	e.base = min(e.base+port.Time(10*port.Microsecond), d)
	if !e.judged || d < e.least {
		e.judged, e.least = true, d
	}
}

// estimate is the rate to report.
func (e *estimator) estimate(now port.Time) uint64 {
	e.add(now, 0)
	came := float64(e.bytes[1]+e.bytes[2]) * 8 / (2 * estimateSlot).Seconds()
	switch {
	case e.slot < e.start+learning:
		e.rate = max(e.rate, came)
	case e.judged && e.least-e.base > overuse:
		e.rate = min(e.rate, fallTo*came)
	case e.rate < headroom*came:
		e.rate *= 1 + riseBy*(now-e.at).Seconds()
	}
	e.rate = max(e.rate, leastREMB)
	e.at, e.judged = now, false
	return uint64(e.rate)
}

// appendREMB appends an estimate about one source (draft-alvestrand-rmcat-remb-03 section 2.2).
func appendREMB(dst []byte, rate uint64, media uint32) []byte {
	exponent := max(0, bits.Len64(rate)-18)
	dst = append(dst, 0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 'R', 'E', 'M', 'B', 1)
	mantissa := rate >> exponent
	dst = append(dst, byte(exponent)<<2|byte(mantissa>>16), byte(mantissa>>8), byte(mantissa))
	return binary.BigEndian.AppendUint32(dst, media)
}
