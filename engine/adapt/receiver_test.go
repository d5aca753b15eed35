package adapt_test

import (
	"slices"

	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/testenv/netpath"
)

const (
	mtu       = 1200
	mostAsked = 10
)

// A browser sends reports on numbered packets at a distance, where there are any. It sends a receiver report and an
// estimate, in one datagram, all the time.
type browser struct {
	name             string
	reports, unasked port.Time
}

var (
	chromium = browser{"Chromium", 100 * port.Millisecond, port.Second / 5}
	firefox  = browser{"Firefox", 70 * port.Millisecond, port.Second * 10 / 44}
)

// A receiver is the viewer's browser: it reports and asks for packets again.
type receiver struct {
	viewer *viewer
	browser
	back  port.Time // the way of its feedback
	clock netpath.Receiver
	deaf  bool // sends no transport-wide reports
	// guesses makes it ask for two packets of three although they came, each 700 ms, as GStreamer may.
	guesses bool
	// repeats makes it ask until the packet comes, each 100 ms and mostAsked times.
	repeats, waits bool
	// unreported keeps its receiver reports back.
	unreported bool
	// lossy is the share of reports that the way back loses.
	lossy float64
	// estimate is the REMB that a deaf receiver sends each second, in bits a second; 0 for none.
	estimate func() float64

	arrivals rtcp.Arrivals
	noted    bool // something is to be reported
	began    bool
	expected uint16
	missing  map[uint16]lostPacket
	came     int // packets since it guessed last
	// Of its receiver reports: packets that came, came again, and were passed over since the last one.
	received, again, gone int
}

type lostPacket struct {
	sequence uint16
	size     int
	asked    int // how often
}

func newReceiver(v *viewer, back port.Time) *receiver {
	r := &receiver{viewer: v, browser: chromium, back: back, missing: make(map[uint16]lostPacket)}
	v.clock.At(v.clock.Now(), r.report)
	v.clock.At(v.clock.Now(), r.unask)
	v.clock.At(v.clock.Now()+port.Second, r.remb)
	v.clock.At(v.clock.Now()+port.Second, r.guess)
	return r
}

// now is the receiver's clock.
func (r *receiver) now() port.Time {
	return r.clock.At(r.viewer.clock.Now()) + 1000*port.Second
}

// note records an arrival.
func (r *receiver) note(number uint16) {
	r.arrivals.Note(number, int64(r.now()))
	r.noted = true
}

// receive finds gaps and asks for them 20 ms later.
func (r *receiver) receive(sequence uint16, size int) {
	if !r.began {
		r.began, r.expected = true, sequence
	}
	delete(r.missing, sequence)
	r.received++
	r.came++
	if int16(sequence-r.expected) < 0 {
		r.again++
		return
	}
	gap := 0
	for ; r.expected != sequence; r.expected++ {
		r.missing[r.expected] = lostPacket{r.expected, size, 0}
		gap++
	}
	r.expected++
	r.gone += gap
	if gap > 0 && gap < 1000 {
		r.after(20*port.Millisecond, r.nack)
	}
}

func (r *receiver) after(span port.Time, f func()) { r.viewer.clock.At(r.viewer.clock.Now()+span, f) }

// nack asks for the missing packets. The server knows only those that it has sent.
func (r *receiver) nack() {
	keys := make([]uint16, 0, len(r.missing))
	for k := range r.missing {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	asked, again := make([]lostPacket, 0, len(keys)), 0
	for _, k := range keys {
		p := r.missing[k]
		if !r.viewer.late[k] {
			asked = append(asked, p)
			again += min(p.asked, 1)
		}
		if p.asked++; r.repeats && p.asked < mostAsked {
			r.missing[k] = p
		} else {
			delete(r.missing, k)
		}
	}
	if len(asked) > 0 {
		r.after(r.back, func() { r.viewer.pub.serve(func() { r.viewer.nacked(asked, again) }) })
	}
	if len(r.missing) > 0 && !r.waits {
		r.waits = true
		r.after(100*port.Millisecond, func() {
			r.waits = false
			r.nack()
		})
	}
}

// report sends what arrived, as a browser does.
func (r *receiver) report() {
	r.after(r.reports, r.report)
	if !r.noted || r.deaf {
		return
	}
	v := r.viewer
	v.tally.datagrams = append(v.tally.datagrams, v.clock.Now())
	r.noted = false
	b, _ := r.arrivals.AppendFeedback(nil, mtu, 1, 2)
	if v.pub.rand.Float64() < r.lossy {
		return
	}
	r.after(r.back, func() {
		if v.pub.halted() && v.pub.rand.Float64() < v.pub.lossy {
			return
		}
		v.pub.serve(func() { v.reported(b) })
	})
}

// reported takes in feedback.
func (v *viewer) reported(b []byte) {
	rd := rtcp.NewReader(b)
	var p rtcp.Packet
	for rd.Next(&p) {
		if t, ok := p.TransportReport(); ok {
			v.s.Report(v.clock.Now(), v.setting(), t)
			v.look()
		}
	}
}

// unask sends a receiver report. Packets sent again make up for those that were lost, as RFC 3550 appendix A.3 counts.
func (r *receiver) unask() {
	r.after(r.unasked, r.unask)
	v := r.viewer
	v.tally.datagrams = append(v.tally.datagrams, v.clock.Now())
	lost := max(r.gone-r.again, 0) * 256 / max(r.received-r.again+r.gone, 1)
	r.received, r.gone, r.again = 0, 0, 0
	if r.unreported {
		return
	}
	r.after(r.back, func() { v.pub.serve(func() { v.s.Lost(uint8(min(lost, 255))) }) })
}

// guess asks for packets that came. The server's budget answers few such requests, here none.
func (r *receiver) guess() {
	r.after(700*port.Millisecond, r.guess)
	if v, asked := r.viewer, r.came*2/3; r.guesses {
		r.after(r.back, func() {
			v.pub.serve(func() {
				v.s.NACKed(v.clock.Now(), v.setting(), asked, 0)
				v.look()
			})
		})
	}
	r.came = 0
}

// unsettled makes estimates of a receiver that takes late answers for a queue: they fall to less than a rate for five
// seconds of twenty.
func (r *receiver) unsettled(rate float64) func() float64 {
	return func() float64 {
		if r.viewer.clock.Now()%(20*port.Second) < 5*port.Second {
			return 0.7 * rate
		}
		return 1.5 * rate
	}
}

// remb sends an estimate each second.
func (r *receiver) remb() {
	r.after(port.Second, r.remb)
	if r.estimate == nil {
		return
	}
	rate := r.estimate()
	r.after(r.back, func() {
		r.viewer.s.REMB(r.viewer.clock.Now(), r.viewer.setting(), rate)
		r.viewer.look()
	})
}
