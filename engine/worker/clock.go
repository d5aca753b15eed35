package worker

import (
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// A layer's timestamps count in a clock of their own. A bus.Clock ties that clock to the worker's time. By that, tracks
// are played together and layers follow each other. The owner of a publication has two for each layer:
//
//   - upstream.arrivals, from the arrival of the layer's packets. A packet can be late and never early, so the earliest
//     count.
//   - layer.clock, for subscribers' reports and for followers. It is a copy of arrivals, until the publisher's reports
//     relate the clocks of its tracks.
//
// The publisher's wall clock only relates its tracks. Subscribers' reports carry the server's wall clock, which is
// never set. So subscribers notice neither the publisher's first report nor a step of its clock.

const (
	// clockInterval is the least time between two clocks of a layer that followers are sent, if they are from reports.
	// arrivalsInterval is that for clocks from arrivals.
	clockInterval    = 200 * port.Millisecond
	arrivalsInterval = port.Second
	// maxLateness is how much later than the earliest packets another may come and still belong to the same clock.
	maxLateness = port.Second
	// maxStep is how far the publisher's wall clock may leave ours between two reports. Beyond, it was set, or the
	// report was held up. Then the time of the report is read off the layer's own clock.
	maxStep = 250 * port.Millisecond
	// maxSkew is how far apart a report and the arrivals may place the same timestamp.
	maxSkew = 10 * port.Second
	// arrivalsLeak and wallSlew bound the drift that is followed, as its inverse: 1/4096 is 244 ppm, 1/2048 twice that.
	arrivalsLeak = 4096
	wallSlew     = 2048
)

// A wall is the publisher's wall clock as the owner of the publication sees it. It is one for all tracks. With one for
// each, delays in the network would tear picture and sound apart.
type wall struct {
	// offset is the wall clock, in nanoseconds since 1900, minus our time.
	offset int64
	// lag is how much later reports come than offset lets expect.
	lag port.Time
	// at is when the last report came, 0 before the first.
	at port.Time
}

// clockRate is the layer's RTP clock in Hz.
func (l *layer) clockRate() uint32 {
	return l.pub.tracks[l.track].spec.Formats[0].Codec.ClockRate()
}

// timestampAt is the timestamp that a clock of rate Hz shows at a time.
func timestampAt(c *bus.Clock, at port.Time, rate uint32) uint32 {
	return c.RTP + rtp.Ticks(int64(at-c.At), rate)
}

// momentOf is the time at which a clock of rate Hz shows a timestamp. There is one each 2^32 ticks. The nearest to near
// is returned.
func momentOf(c *bus.Clock, timestamp uint32, near port.Time, rate uint32) port.Time {
	d := int64(int32(timestamp - timestampAt(c, near, rate)))
	return near + port.Time(d*int64(port.Second)/int64(rate))
}

// tick takes the arrival of a packet that came in order into the layer's clocks. It reports whether the packet begins a
// frame.
func (w *Worker) tick(l *layer, timestamp uint32, arrival port.Time) bool {
	u := l.upstream
	c := &u.arrivals
	if c.Valid && c.RTP == timestamp {
		return false // a frame comes when its first packet does
	}
	rate := l.clockRate()
	at := momentOf(c, timestamp, arrival, rate)
	follows := c.Valid && at <= arrival && arrival-at <= maxLateness
	if follows {
		at += (at - c.At) / arrivalsLeak
	} else {
		at = arrival
	}
	*c = bus.Clock{At: at, RTP: timestamp, Epoch: l.epoch, Valid: true}
	if u.reported && !follows {
		// The last report is void once timestamps jump.
		u.reported = within(momentOf(&l.clock, timestamp, arrival, rate), arrival, maxSkew)
	}
	if !u.reported {
		l.clock = *c
		w.tellClock(l, arrival, arrivalsInterval)
	}
	return true
}

// takeClock takes the clocks of a publisher's sender report, which are those of a layer.
func (w *Worker) takeClock(p *publication, l *layer, info *rtcp.SenderInfo, arrival port.Time) {
	u := l.upstream
	u.receiver.NoteSenderReport(info.NTP, arrival)
	if info.NTP == 0 {
		return // a publisher without a wall clock (RFC 3550 section 6.4.1)
	}
	rate := l.clockRate()
	arrived := arrival // when media of the report's timestamp came, or will come
	if u.arrivals.Valid {
		arrived = momentOf(&u.arrivals, info.RTP, arrival, rate)
		if !within(arrived, arrival, maxSkew) {
			w.count(IgnoredReports)
			return
		}
	}
	at := arrived
	if u.reported {
		// The last report is more precise, if timestamps went on since.
		if x := momentOf(&l.clock, info.RTP, arrival, rate); within(x, arrived, maxSkew) {
			at = x
		}
	}
	l.clock = bus.Clock{At: p.wall.take(fromNTP(info.NTP), at, arrival), RTP: info.RTP, Epoch: l.epoch, Valid: true}
	u.reported = true
	w.tellClock(l, arrival, clockInterval)
}

// take notes a time that the wall clock showed, by a report that came at arrival. It returns when that was in our time.
// at is the same by the layer's clock so far. A wall clock that is new, or was set, goes on from there, and so do all
// tracks.
func (c *wall) take(ntp int64, at, arrival port.Time) port.Time {
	early := port.Time(ntp-c.offset) + c.lag - arrival
	switch {
	case c.at == 0:
		c.offset, c.lag = ntp-int64(at), arrival-at
	case !within(early, 0, maxStep):
		c.offset = ntp - int64(at)
	default:
		most := (arrival - c.at) / wallSlew
		c.offset += int64(max(-most, min(early, most)))
	}
	c.at = max(c.at, arrival)
	return port.Time(ntp - c.offset)
}

// within reports whether two times are at most so far apart.
func within(a, b, most port.Time) bool { return a-b <= most && b-a <= most }

// tellClock sends the followers a layer's clock, unless they were sent one less than an interval ago.
func (w *Worker) tellClock(l *layer, now, interval port.Time) {
	u := l.upstream
	if len(l.pub.followers) == 0 || u.clockTold != 0 && now-u.clockTold < interval {
		return
	}
	u.clockTold = now
	for _, f := range l.pub.followers {
		w.sendClock(l, f.address)
	}
}

// knowsTime reports whether the layer's clock holds for an epoch of its numbering, and that epoch is the present one.
func (l *layer) knowsTime(epoch uint32) bool {
	return l.clock.Valid && l.clock.Epoch == epoch && l.epoch == epoch
}
