package receiver

import (
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// statistics are for receiver reports (RFC 3550 section 6.4.1 and appendix A.8).
type statistics struct {
	received uint64 // as media
	// expectedPrior and receivedPrior are the counts at the last report.
	expectedPrior, receivedPrior uint64
	transit                      int64
	jitter                       int64 // in timestamp units, times 16
	lastSR                       uint32
	lastSRArrival                port.Time
}

// count takes in a fresh packet; newest is set when no later one came before it.
func (x *statistics) count(p *Packet, clockRate uint32, newest bool) {
	x.received++
	if newest {
		x.measure(p.Timestamp, p.Arrival, clockRate)
	}
}

// measure takes a packet into the interarrival jitter (RFC 3550 appendix A.8).
func (x *statistics) measure(timestamp uint32, at port.Time, clockRate uint32) {
	transit := int64(int32(rtp.Ticks(int64(at), clockRate) - timestamp))
	if x.received > 1 {
		d := int64(int32(transit - x.transit))
		if d < 0 {
			d = -d
		}
		x.jitter += d - (x.jitter+8)>>4
	}
	x.transit = transit
}

// NoteSenderReport notes the publisher's sender report of some NTP time, for the next report back.
func (r *Receiver) NoteSenderReport(ntp uint64, arrival port.Time) {
	r.statistics.lastSR, r.statistics.lastSRArrival = uint32(ntp>>16), arrival
}

// Report makes the report block about this source (RFC 3550 section 6.4.1).
func (r *Receiver) Report(now port.Time) rtcp.ReportBlock {
	x := &r.statistics
	expected := r.highest - r.lowest + 1
	lost := int64(expected) - int64(x.received)
	b := rtcp.ReportBlock{
		SSRC:    r.SSRC,
		Lost:    int32(max(min(lost, 1<<23-1), -1<<23)),
		Highest: uint32(r.highest - 1<<16), // cycles count from 0; the unwrapper starts at 1
		Jitter:  uint32(x.jitter >> 4),
		LastSR:  x.lastSR,
	}
	interval := expected - x.expectedPrior
	if l := int64(interval) - int64(x.received-x.receivedPrior); l > 0 {
		b.FractionLost = uint8(min(l<<8/int64(interval), 255))
	}
	x.expectedPrior, x.receivedPrior = expected, x.received
	if x.lastSR != 0 {
		b.Delay = rtp.Ticks(int64(now-x.lastSRArrival), 1<<16)
	}
	return b
}
