package sim

import (
	"encoding/binary"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/testenv/netpath"
)

// A Manner is how a browser reports.
type Manner struct {
	// Feedback is the period of transport-wide feedback, which is sent when numbered packets came; 0 is never.
	Feedback port.Time
	// Reports is the period of receiver reports; 0 is never. REMB adds an estimate to each. Sags makes the estimate
	// fall by itself.
	Reports    port.Time
	REMB, Sags bool
	// Clock is the browser's.
	Clock netpath.Receiver
}

// Chromium and Firefox are the manners of browsers, as measured. Blind is that of a player that only asks for packets.
var (
	Chromium = &Manner{Feedback: 100 * port.Millisecond, Reports: 200 * port.Millisecond, REMB: true}
	Firefox  = &Manner{Feedback: 100 * port.Millisecond, Reports: 227 * port.Millisecond, REMB: true, Sags: true}
	Blind    = &Manner{Reports: port.Second}
)

const (
	// A browser without a picture asks for one each firstPatience, and after a picture when it was the last for
	// patience.
	firstPatience = 200 * port.Millisecond
	patience      = 3 * port.Second
	lookInterval  = 50 * port.Millisecond
	// browserRetry and browserTries are how a browser asks for a packet.
	browserRetry = 100 * port.Millisecond
	browserTries = 10
	// tooMany missing packets are given up for a keyframe.
	tooMany = 1000
	// feedbackRoom is the most bytes of one feedback.
	feedbackRoom = 1200
)

// A Browser plays what a Subscriber receives, reports on it, and asks for pictures.
type Browser struct {
	*Manner
	Player
	// Datagrams counts those of RTCP but NACKs, Feedbacks those of transport-wide feedback, PLIs its requests.
	Datagrams, Feedbacks, PLIs int
	// Numbered counts packets with a number.
	Numbered int
	newest   uint16 // number

	s         *Subscriber
	arrivals  rtcp.Arrivals
	fresh     bool // there is something to report
	tagged    bool // the packet in hand has a number
	estimator estimator
	tallies   [2]tally // of audio and video
	asked     port.Time
}

// tally is a report block's memory.
type tally struct{ expected, received uint64 }

func newBrowser(s *Subscriber, m *Manner) *Browser {
	b := &Browser{Manner: m, Player: Player{r: &s.Video}, s: s}
	b.every(m.Feedback, b.feedback)
	b.every(m.Reports, b.report)
	b.every(lookInterval, b.look)
	return b
}

// every calls f at a period, from a time that chance draws.
func (b *Browser) every(period port.Time, f func()) {
	if period == 0 {
		return
	}
	var again func()
	again = func() {
		if b.s.gone {
			return
		}
		f()
		b.s.world.at(b.s.world.clock.Now()+period, again)
	}
	b.s.world.at(b.s.world.clock.Now()+port.Time(b.s.rand.Int64N(int64(period))), again)
}

// now is the browser's clock.
func (b *Browser) now() port.Time { return b.Clock.At(b.s.world.clock.Now()) + 1000*port.Second }

// numbered notes the number of a packet that came.
func (b *Browser) numbered(h *rtp.Header, data []byte) {
	if b == nil {
		return
	}
	v, ok := h.Value(data, rtp.TransportSequence)
	if b.tagged = ok; !ok {
		return
	}
	b.Numbered++
	b.fresh = true
	b.newest = binary.BigEndian.Uint16(v)
	b.arrivals.Note(b.newest, int64(b.now()))
}

// received takes in a packet of a track.
func (b *Browser) received(r *Reception, ext uint64, size int, resent bool) {
	if b == nil {
		return
	}
	now := b.s.world.clock.Now()
	if !b.tagged {
		b.estimator.add(now, size)
	}
	if r.spec.Kind != rtp.Video {
		return
	}
	if p := r.Packets[ext]; !b.tagged && !resent {
		b.estimator.delay(now, p.Timestamp)
	}
	if b.came(now, ext) {
		for e := range r.missing { // packets before the picture are not needed any more
			if e < b.next {
				delete(r.missing, e)
			}
		}
	}
}

func (b *Browser) send(packet []byte) {
	b.Datagrams++
	b.s.world.up(b.s, b.s.opener.SealRTCP(packet))
}

// feedback reports on the numbered packets.
func (b *Browser) feedback() {
	for more := b.fresh; more; {
		var packet []byte
		packet, more = b.arrivals.AppendFeedback(make([]byte, 0, 1400), feedbackRoom, 1, b.s.Video.spec.SSRC)
		if len(packet) > 0 {
			b.Feedbacks++
			b.send(packet)
		}
	}
	b.fresh = false
}

// report sends a receiver report.
func (b *Browser) report() {
	if b.s.connected == 0 {
		return
	}
	var blocks []rtcp.ReportBlock
	for i, r := range [...]*Reception{&b.s.Audio, &b.s.Video} {
		if r.begun {
			blocks = append(blocks, b.block(&b.tallies[i], r))
		}
	}
	packet := rtcp.AppendReceiverReport(make([]byte, 0, 1400), 1, blocks)
	if b.REMB {
		if b.Sags && b.s.rand.IntN(100) == 0 {
			b.estimator.rate *= 0.7
		}
		packet = appendREMB(packet, b.estimator.estimate(b.s.world.clock.Now()), b.s.Video.spec.SSRC)
	}
	b.send(packet)
}

func (b *Browser) block(t *tally, r *Reception) rtcp.ReportBlock {
	now := tally{r.High + 1 - r.Low, uint64(len(r.Packets))}
	x := rtcp.ReportBlock{
		SSRC: r.spec.SSRC, Highest: uint32(r.High - 1<<16), Lost: int32(now.expected - now.received),
	}
	if expected := now.expected - t.expected; expected > 0 {
		lost := int64(expected) - int64(now.received-t.received)
		x.FractionLost = uint8(min(255, 256*max(lost, 0)/int64(expected)))
	}
	*t = now
	if n := len(r.Reports); n > 0 {
		last := r.Reports[n-1]
		x.LastSR = uint32(last.NTP >> 16)
		x.Delay = uint32((b.s.world.clock.Now() - last.At) * 65536 / port.Second)
	}
	return x
}

// look asks for a keyframe when there was no picture for too long, though media comes.
func (b *Browser) look() {
	now := b.s.world.clock.Now()
	limit := patience
	if b.Shown == 0 {
		limit = firstPatience
	}
	r := &b.s.Video
	if len(r.missing) > tooMany {
		clear(r.missing)
		limit = 0
	}
	if !r.begun || now-r.Packets[r.High].At > patience || now-max(b.last, b.asked) < limit {
		return
	}
	b.asked = now
	b.PLIs++
	b.s.AskKeyframe()
}
