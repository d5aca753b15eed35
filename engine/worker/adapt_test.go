package worker

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"testing"

	"ringcast/engine/adapt"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/testenv/netpath"
)

// An audience is a simulcaster of three layers of 160, 460 and 920 kbit/s and viewers with links.
type audience struct {
	*simulcaster
	viewers []*viewer
}

// A viewer receives over a link and reports each 100 ms, as browsers do.
type viewer struct {
	*sub
	link     netpath.Bottleneck
	deaf     bool // sends no feedback
	taken    int  // datagrams of the lab that were looked at
	arrivals rtcp.Arrivals
	noted    bool
	flying   []flight
	reported port.Time
	highest  int // of video, -1 before the first
	// These count what arrived.
	video, audio, retransmissions, padding int
	numbered                               int
}

// A flight is a packet on its way.
type flight struct {
	at   port.Time
	data []byte
}

// newAudience makes the publisher, and lets its layers be measured.
func newAudience(t *testing.T) *audience {
	t.Helper()
	c := &audience{simulcaster: newSimulcaster(t, sizes, "hi", "mid", "lo")}
	c.l.w.cfg.Adapt = true
	for rid, e := range map[string]struct {
		size  int
		every port.Time
	}{"lo": {550, ms(30)}, "mid": {1120, ms(20)}, "hi": {1120, ms(10)}} {
		c.rung(rid).size, c.rung(rid).every = e.size, e.every
	}
	c.l.tell(closed(c.s.party)) // the simulcaster's own viewer
	c.l.pass(port.Millisecond)
	c.pass(2 * port.Second)
	return c
}

// join adds a viewer with a link of a rate in bits a second.
func (c *audience) join(rate float64, tracks ...rtp.Track) *viewer {
	c.Helper()
	if tracks == nil {
		tracks = watched(true)[:1]
	}
	v := &viewer{sub: c.l.watch(1, tracks...), highest: -1}
	v.link = netpath.Bottleneck{Rate: netpath.Always(rate), Longest: ms(300)}
	c.viewers = append(c.viewers, v)
	return v
}

// pass lets time pass for all.
func (c *audience) pass(span port.Time) {
	c.Helper()
	for end := c.l.now + span; c.l.now < end; {
		c.run(ms(10))
		for _, v := range c.viewers {
			v.step()
		}
	}
}

// step takes in the packets that arrived meanwhile, and reports.
func (v *viewer) step() {
	l := v.lab
	for ; v.taken < len(l.sent); v.taken++ {
		d := l.sent[v.taken]
		if d.path != v.path || d.data[0] <= 3 {
			continue
		}
		if at, ok := v.link.Pass(d.at, len(d.data)+28); ok {
			v.flying = append(v.flying, flight{at + ms(20), d.data})
		}
	}
	for len(v.flying) > 0 && v.flying[0].at <= l.now {
		v.arrive(v.flying[0])
		v.flying = v.flying[1:]
	}
	if l.now < v.reported+ms(100) {
		return
	}
	v.reported = l.now
	if v.noted && !v.deaf {
		b, _ := v.arrivals.AppendFeedback(nil, 1200, 1, subVideo)
		v.rtcp(b)
		v.noted = false
	}
	if int64(l.now/ms(100))%50 == 0 {
		l.receive(v.path, v.check())
	}
}

// arrive takes in one packet.
func (v *viewer) arrive(f flight) {
	l := v.lab
	l.Helper()
	if rtp.IsRTCP(f.data) {
		return
	}
	var h rtp.Header
	data, result := v.opener.OpenRTP(append([]byte(nil), f.data...))
	if result != srtp.OpenOK || !h.Parse(data, &rtp.ExtensionMap{rtp.MID: 11, rtp.TransportSequence: 13}) {
		l.Fatalf("a viewer was sent something that does not open: %v", result)
	}
	if n, ok := h.Value(data, rtp.TransportSequence); ok {
		v.arrivals.Note(binary.BigEndian.Uint16(n), int64(f.at)+1000*int64(port.Second))
		v.noted = true
		v.numbered++
	}
	switch {
	case h.SSRC == subAudio:
		v.audio++
	case h.SSRC == subVideoRTX && data[0]&rtp.PaddingBit != 0:
		if n := int(data[len(data)-1]); n != len(data)-h.HeaderLen {
			l.Errorf("a packet of padding alone says %d bytes, want %d", n, len(data)-h.HeaderLen)
		}
		v.padding++
	case h.SSRC == subVideoRTX:
		v.retransmissions++
	default:
		v.video++
		v.ask(int(h.Sequence))
	}
}

// ask asks for the packets that are missing before one.
func (v *viewer) ask(sequence int) {
	if v.highest < 0 {
		v.highest = sequence
	}
	d := int(int16(uint16(sequence - v.highest)))
	var missing []uint16
	for i := 1; i < d && i < 100; i++ {
		missing = append(missing, uint16(v.highest+i))
	}
	if d > 0 {
		v.highest = sequence
	}
	if len(missing) > 0 {
		v.nack(subVideo, missing...)
	}
}

// setRate changes the rate of a viewer's link.
func (v *viewer) setRate(rate float64) { v.link.Rate = netpath.Always(rate) }

// rid is the layer that a viewer is sent, "" for none.
func (c *audience) rid(v *viewer) string {
	s := c.l.w.sessions[v.spec.ID].sub
	if s.selector != nil && s.selector.Have() == adapt.AudioOnly {
		return ""
	}
	return s.video().have().rid
}

// until lets time pass until a viewer is sent a layer, at most a span.
func (c *audience) until(v *viewer, rid string, span port.Time) port.Time {
	c.Helper()
	start := c.l.now
	for c.rid(v) != rid {
		if c.pass(ms(10)); c.l.now-start > span {
			c.Fatalf("a viewer is sent layer %q after %.1f s, want %q", c.rid(v), span.Seconds(), rid)
		}
	}
	c.Logf("layer %q after %.2f s", rid, (c.l.now - start).Seconds())
	return c.l.now - start
}

// A viewer is sent the layer that its link carries: a lower one soon after it became narrow, a higher one after it
// became wide. The controller hears of each switch. A viewer that is well has few numbers.
func TestViewerFollowsItsLink(t *testing.T) {
	c := newAudience(t)
	v := c.join(10e6)
	other := c.join(10e6)
	c.pass(20 * port.Second)
	if got := c.rid(v); got != "hi" {
		t.Errorf("a viewer of 10 Mbit/s is sent layer %q, want hi", got)
	}
	before := v.numbered
	c.pass(10 * port.Second)
	if got := v.numbered - before; got < 5 || got > 40 {
		t.Errorf("%d packets of 10 s carried numbers, want about 13", got)
	}
	c.l.forget()
	c.restart()
	v.setRate(400e3)
	c.until(v, "lo", 3*port.Second)
	c.pass(5 * port.Second)
	v.setRate(10e6)
	c.until(v, "hi", 60*port.Second)
	if got := c.rid(other); got != "hi" || c.l.w.sessions[other.spec.ID].sub.selector.Cause() != adapt.CauseStart {
		t.Errorf("the other viewer is sent layer %q, want hi all the time", got)
	}
	if v.retransmissions+v.padding == 0 || c.l.counted(SentPaddings) == 0 {
		t.Error("no padding was sent before the viewer went up")
	}
	var got []uint8
	for _, m := range c.l.said(bus.KindSwitched) {
		if m.ID != v.spec.ID || m.Generation != 1 || m.Track != 0 {
			t.Errorf("the controller was told %+v, want a switch of the viewer", m)
		}
		got = append(got, m.Layer)
	}
	if len(got) < 2 || got[len(got)-1] != 0 || !slices.Contains(got, 2) {
		t.Errorf("the controller was told of layers %v, want 2 and 0 in the end", got)
	}
}

// Numbers end soon after a viewer's start, if all is well. Reports of a crowd that joins would take too much otherwise.
func TestNumbersAfterStart(t *testing.T) {
	c := newAudience(t)
	v := c.join(10e6)
	c.pass(2 * port.Second)
	if v.numbered < 150 {
		t.Errorf("%d packets of 2 s carried numbers, want all of about 200", v.numbered)
	}
	c.pass(port.Second)
	before := v.numbered
	c.pass(3 * port.Second)
	if got := v.numbered - before; got < 2 || got > 15 {
		t.Errorf("%d packets of 3 s carried numbers, want about 4", got)
	}
}

// restart makes viewers go on after forget.
func (c *audience) restart() {
	for _, v := range c.viewers {
		v.taken = 0
	}
}

// A viewer whose link carries not even the lowest layer is sent sound alone, and video again when it does.
func TestSoundAlone(t *testing.T) {
	c := newAudience(t)
	v := c.join(10e6)
	c.pass(10 * port.Second)
	v.setRate(60e3)
	c.until(v, "", 60*port.Second)
	c.pass(port.Second) // packets are on their way
	video := v.video
	c.pass(10 * port.Second)
	if v.video != video {
		t.Errorf("%d packets of video arrived while there is no room for them, want none", v.video-video)
	}
	if v.padding == 0 {
		t.Error("no packet of padding alone arrived, want one a second")
	}
	v.setRate(10e6)
	c.until(v, "hi", 120*port.Second)
}

// A viewer without transport-wide reports goes down because it asks for much. Its receiver reports about the same video
// have to show losses, or it has to ask for the same packets again.
func TestGuessesOfADeafViewer(t *testing.T) {
	whole := []rtcp.ReportBlock{{SSRC: subVideo}}
	for _, x := range []struct {
		name   string
		blocks []rtcp.ReportBlock
		again  uint16 // of 50 packets that it asks for, so many were asked for before
		stays  bool
	}{
		{"nothing is missing", whole, 0, true},
		{"a third is missing", []rtcp.ReportBlock{{SSRC: subVideo, FractionLost: 85}}, 0, false},
		{"of the sound a third is missing", []rtcp.ReportBlock{{SSRC: subAudio, FractionLost: 85}}, 0, true},
		{"no report", nil, 0, true},
		{"no report, little is asked for again", nil, 2, true},
		{"no report, much is asked for again", nil, 25, false},
		{"an old report shows nothing, much is asked for again", whole, 25, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newAudience(t)
			v := c.join(10e6)
			v.deaf = true
			c.pass(5 * port.Second)
			var newest uint16
			for i := range 20 {
				report := rtcp.AppendReceiverReport(nil, 1, x.blocks)
				if i > 0 && x.again > 0 {
					report = rtcp.AppendReceiverReport(nil, 1, nil)
				}
				c.pass(port.Second / 2)
				var asked []uint16
				for n := range x.again {
					asked = append(asked, newest-n)
				}
				newest = uint16(v.highest)
				for n := range 50 - x.again {
					asked = append(asked, newest-n)
				}
				v.rtcp(rtcp.AppendNACK(report, 1, subVideo, asked))
			}
			if got := c.rid(v); (got == "hi") != x.stays {
				t.Errorf("the viewer is sent layer %q; want hi: %t", got, x.stays)
			}
		})
	}
}

// Somebody may choose the highest layer, at once. Another choice lifts the bound.
func TestChoice(t *testing.T) {
	for _, on := range []bool{true, false} {
		t.Run(fmt.Sprint("adapt ", on), func(t *testing.T) {
			c := newAudience(t)
			c.l.w.cfg.Adapt = on
			v := c.join(10e6)
			c.pass(10 * port.Second)
			id := bus.LayerID{Stream: 1, Generation: 1, Track: 0, Layer: 2}
			c.l.tell(bus.Choose(0, v.spec.ID, id))
			c.until(v, "lo", port.Second)
			c.pass(20 * port.Second)
			if got := c.rid(v); got != "lo" {
				t.Errorf("the viewer is sent layer %q after a while, want lo", got)
			}
			id.Layer = 1
			c.l.tell(bus.Choose(0, v.spec.ID, id))
			c.until(v, "mid", port.Second)
			id.Layer = bus.BestLayer
			c.l.tell(bus.Choose(0, v.spec.ID, id))
			c.until(v, "hi", 20*port.Second)
			for _, m := range []bus.LayerID{{Stream: 1, Generation: 9}, {Stream: 1, Generation: 1, Track: 9}} {
				c.l.tell(bus.Choose(0, v.spec.ID, m)) // of another publication, or of none of its tracks
			}
			c.pass(port.Second)
			if got := c.rid(v); got != "hi" {
				t.Errorf("a choice that names no track changed the layer to %q", got)
			}
		})
	}
}

// Lies of one viewer are counted or believed, about the liar alone. Other viewers and the publisher notice nothing.
func TestFeedbackThatLies(t *testing.T) {
	report := func(number uint16, count int, at int64) []byte {
		var a rtcp.Arrivals
		for i := range count {
			a.Note(number+uint16(i), at+int64(i)*int64(port.Millisecond))
		}
		b, _ := a.AppendFeedback(nil, 1200, 1, subVideo)
		return b
	}
	remb := func(exponent byte, mantissa uint32) []byte {
		b := []byte{0x8F, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 'R', 'E', 'M', 'B', 1, 0, 0, 0, 0, 0, 0, 0}
		b[17] = exponent<<2 | byte(mantissa>>16)
		binary.BigEndian.PutUint16(b[18:], uint16(mantissa))
		binary.BigEndian.PutUint32(b[20:], subVideo)
		return b
	}
	for _, x := range []struct {
		name    string
		lie     func(v *viewer, i int) []byte
		dropped DropReason
	}{
		{"numbers never sent", func(v *viewer, i int) []byte {
			return report(v.subscriber().transport+uint16(i), 200, int64(v.lab.now))
		}, DropReport},
		{"times that jump", func(v *viewer, i int) []byte {
			return report(v.subscriber().transport-20, 20, int64(i)*17*int64(port.Second))
		}, NumDropReasons},
		{"all lost", func(v *viewer, _ int) []byte {
			return endlessReport(v.subscriber().transport-30_000, 30_000)
		}, DropRTCPFlood},
		{"REMB of 0", func(*viewer, int) []byte { return remb(0, 0) }, NumDropReasons},
		{"REMB of 10 Tbit/s", func(*viewer, int) []byte { return remb(63, 0x3FFFF) }, NumDropReasons},
		{"NACKs of everything", func(v *viewer, _ int) []byte {
			var all []uint16
			for i := range uint16(200) {
				all = append(all, uint16(v.subscriber().video().highest)-i)
			}
			return rtcp.AppendNACK(nil, 1, subVideo, all)
		}, DropResends},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := newAudience(t)
			liar, other := c.join(10e6), c.join(10e6)
			c.pass(8 * port.Second)
			asked, got := len(c.asked), other.video
			for i := range 1000 {
				for range 3 {
					liar.rtcp(x.lie(liar, i))
				}
				c.pass(ms(10))
			}
			if n := other.video - got; n < 950 || c.rid(other) != "hi" {
				t.Errorf("the other viewer got %d packets of layer %s, want 1000 of hi", n, c.rid(other))
			}
			if n := len(c.asked) - asked; n > 12 {
				t.Errorf("%d keyframes were asked for in 10 s, want at most 12", n)
			}
			if x.dropped < NumDropReasons && c.l.drops(x.dropped) == 0 {
				t.Errorf("nothing was counted as %v", x.dropped)
			}
			if most := 10*paddingRate + paddingBurst; liar.retransmissions*1200+liar.padding*255 > most+20*resendLimit {
				t.Errorf("%d retransmissions and %d packets of padding, want a bound",
					liar.retransmissions, liar.padding)
			}
		})
	}
}

// subscriber is the worker's state of a viewer.
func (v *viewer) subscriber() *subscriber { return v.lab.w.sessions[v.spec.ID].sub }

// endlessReport says of many numbers that they did not arrive.
func endlessReport(number uint16, count int) []byte {
	b := []byte{0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0}
	binary.BigEndian.PutUint16(b[12:], number)
	binary.BigEndian.PutUint16(b[14:], uint16(count))
	for ; count > 0; count -= 8191 {
		b = binary.BigEndian.AppendUint16(b, uint16(min(count, 8191)))
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)/4-1))
	return b
}

// Padding has a budget.
func TestPaddingBudget(t *testing.T) {
	var sub subscriber
	now, bytes := 100*port.Second, 0
	for range 1000 {
		now += ms(10)
		if sub.affordsPadding(now, 1200) {
			bytes += 1200
		}
	}
	if least, most := 10*paddingRate+paddingBurst-1200, 10*paddingRate+paddingBurst; bytes < least || bytes > most {
		t.Errorf("%d bytes of padding in 10 s, want %d to %d", bytes, least, most)
	}
	if now += math.MaxInt64 / 2; !sub.affordsPadding(now, paddingBurst) || sub.affordsPadding(now, 1) {
		t.Error("after a pause there is more or less to spend than a burst")
	}
}
