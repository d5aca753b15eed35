package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/srtp"
	"ringcast/engine/worker/receiver"
)

// A layer's clock goes through the same span as its media. A subscriber that maps a packet's timestamp by the report
// comes to the moment that the publisher meant.
func TestSenderReports(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	start := l.now
	ticks := func(rate int64) uint32 { return uint32(int64(l.now-start) * rate / int64(port.Second)) }
	const videoBase, audioBase = uint32(0xFFFFFF00), uint32(7_000_000)
	seq := uint64(0)
	feed := func() {
		p.frame(seq, videoBase+ticks(90_000), seq == 0)
		p.sound(seq, audioBase+ticks(48_000))
		seq++
		l.pass(20 * port.Millisecond)
	}
	for range 150 {
		feed()
	}
	p.report(videoSSRC, videoBase+ticks(90_000))
	for range 100 {
		feed()
	}
	p.report(audioSSRC, audioBase+ticks(48_000))
	l.forget()
	for range 150 {
		feed()
	}
	media := map[uint32][]received{subVideo: s.media(subVideo), subAudio: s.media(subAudio)}
	rates := map[uint32]float64{subVideo: 90_000, subAudio: 48_000}
	reported := make(map[uint32]int)
	described := make(map[uint32]int)
	for _, f := range s.reports() {
		if f.Type == rtcp.SDES {
			described[f.SSRC]++
		}
		if info, ok := f.SenderInfo(); ok {
			reported[f.SSRC]++
			checkReport(t, &f, info, media[f.SSRC], rates[f.SSRC])
		}
	}
	for ssrc := range media {
		if reported[ssrc] < 2 || reported[ssrc] > 4 || described[ssrc] != reported[ssrc] {
			t.Errorf("SSRC %x: %d sender reports and %d descriptions in 3 s", ssrc, reported[ssrc], described[ssrc])
		}
	}
}

// checkReport compares a sender report with the media of its SSRC, in ticks of rate a second. 250 packets were sent
// before.
func checkReport(t *testing.T, f *feedback, info rtcp.SenderInfo, media []received, rate float64) {
	t.Helper()
	// The report is about now, by the server's wall clock.
	if d := fromNTP(info.NTP) - int64(f.at) - labWall; d < -1e6 || d > 1e6 {
		t.Errorf("the report's clock is %d ns off", d)
	}
	// A packet captured at its arrival has the timestamp that the report gives for that moment.
	last, sent := media[0], 0
	for _, r := range media {
		if r.at <= f.at {
			last = r
			sent++
		}
	}
	want := float64(f.at-last.at) / 1e9 * rate
	if d := float64(int32(info.RTP-last.Timestamp)) - want; d < -100 || d > 100 {
		t.Errorf("SSRC %x: the report is %v units off the media", f.SSRC, d)
	}
	if int(info.Packets) != 250+sent {
		t.Errorf("SSRC %x: reports %d packets; %d were sent", f.SSRC, info.Packets, 250+sent)
	}
	if info.Octets == 0 || info.Octets > info.Packets*20 {
		t.Errorf("SSRC %x: reports %d octets of payload in %d packets", f.SSRC, info.Octets, info.Packets)
	}
}

// Receiver reports tell a publisher about each SSRC that it sends.
func TestReceiverReports(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(10, 0, true)
	p.report(videoSSRC, 0)
	p.frame(11, 0, false)
	p.frame(14, 0, false)
	p.sound(65535, 0)
	p.sound(65536, 960)
	l.forget()
	l.pass(1300 * port.Millisecond)
	blocks := make(map[uint32]rtcp.ReportBlock)
	for _, f := range p.asked() {
		if f.Type != rtcp.RR {
			continue
		}
		var b rtcp.ReportBlock
		for x := f.Blocks(); x.Next(&b); {
			blocks[b.SSRC] = b
		}
	}
	v, a := blocks[videoSSRC], blocks[audioSSRC]
	if v.Lost != 2 || v.Highest != 14 || v.FractionLost != 2*256/5 || v.LastSR == 0 || v.Delay == 0 {
		t.Errorf("video: %+v", v)
	}
	if a.Lost != 0 || a.Highest != 65536 || a.LastSR != 0 {
		t.Errorf("audio: %+v", a)
	}
}

// A subscriber's report says when our sender report came and how long ago that was. The rest is the round trip.
func TestRoundTripOfSubscribers(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	for seq := range uint64(150) {
		p.frame(seq, uint32(seq)*1800, seq == 0)
		l.pass(20 * port.Millisecond)
	}
	p.report(videoSSRC, 150*1800)
	l.forget()
	for seq := uint64(150); count(s.reports(), rtcp.SR) == 0; seq++ {
		p.frame(seq, uint32(seq)*1800, false)
		l.pass(20 * port.Millisecond)
	}
	var ntp uint64
	for _, f := range s.reports() {
		if info, ok := f.SenderInfo(); ok {
			ntp = info.NTP
		}
	}
	const trip, held = 70 * port.Millisecond, 300 * port.Millisecond
	l.now = port.Time(fromNTP(ntp)-labWall) + trip + held
	b := rtcp.ReportBlock{SSRC: subVideo, LastSR: uint32(ntp >> 16), Delay: rtp.Ticks(int64(held), 1<<16)}
	s.rtcp(rtcp.AppendReceiverReport(nil, 1, []rtcp.ReportBlock{b, {SSRC: subAudio}}))
	c := &l.w.counters
	if c.RoundTrips[bucketOf(RoundTripBounds[:], trip)] != 1 || (c.RoundTripSum-trip).Seconds() > 0.001 {
		t.Errorf("round trips %v, %v s in all; expected one of %v s", c.RoundTrips, c.RoundTripSum.Seconds(),
			trip.Seconds())
	}
}

// Blocks that answer no sender report, or claim what cannot be, have no round trip.
func TestRoundTripOfReports(t *testing.T) {
	const wall = labWall + 65_535_900_000_000 // the seconds' low 16 bits wrap around soon
	for _, c := range []struct {
		name string
		at   int64 // when the block arrives, in ns after the sender report
		held int64 // for how long the peer says that it had the report, in ns
		want port.Time
		ok   bool
	}{
		{"0", 0, 0, 0, true},
		{"50 ms", 50e6, 0, 50 * port.Millisecond, true},
		{"200 ms over a wrap-around", 5200e6, 5000e6, 200 * port.Millisecond, true},
		{"9 s", 9e9, 0, 9 * port.Second, true},
		{"11 s", 11e9, 0, 0, false},
		{"a peer whose clock is a little fast", 1000e6, 1000_500_000, 0, true},
		{"a report that was held longer than it exists", 1000e6, 1100e6, 0, false},
		{"the longest possible time", 1e9, 65535e9, 0, false},
	} {
		b := rtcp.ReportBlock{LastSR: uint32(toNTP(wall) >> 16), Delay: uint32(c.held << 16 / 1e9)}
		got, ok := roundTrip(wall+c.at, &b)
		if d := got - c.want; ok != c.ok || d < -port.Millisecond/10 || d > port.Millisecond/10 {
			t.Errorf("%s: %v s (%t); expected %v s (%t)", c.name, got.Seconds(), ok, c.want.Seconds(), c.ok)
		}
	}
	if _, ok := roundTrip(wall, &rtcp.ReportBlock{}); ok {
		t.Error("a block that answers no sender report has a round trip")
	}
}

// A publisher that did not offer reduced-size RTCP is sent only compounds: each begins with a report and names us. One
// that did is sent feedback alone.
func TestCompoundsToPublisher(t *testing.T) {
	for _, compound := range []bool{false, true} {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		p.spec.CompoundRTCP = compound
		l.watch(1, watched(true)...)
		transport := func(n byte) []byte { return []byte{idTransport<<4 | 1, 0, n} }
		// no keyframe: a PLI
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: 1, ext: transport(1), payload: vp8(true, false, ""),
		})
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 4, ext: transport(2), payload: vp8(true, false, "")}) // a NACK
		l.pass(2 * port.Second)
		seen := make(map[rtcp.Type]int)
		for _, d := range p.sent() {
			data, result := p.sealer.OpenRTCP(append([]byte(nil), d.data...))
			if result != srtp.OpenOK {
				t.Fatalf("RTCP to the publisher: %v", result)
			}
			var x rtcp.Packet
			var kinds []rtcp.Type
			for r := rtcp.NewReader(data); r.Next(&x); {
				kinds = append(kinds, x.Type)
				seen[x.Type]++
			}
			whole := len(kinds) > 1 && kinds[0] == rtcp.RR && kinds[1] == rtcp.SDES
			alone := len(kinds) == 1 && kinds[0] != rtcp.RR
			if !whole && (compound || !alone) {
				t.Errorf("compound %t: a datagram of %v; expected a report and our name first, or feedback alone",
					compound, kinds)
			}
		}
		for _, kind := range []rtcp.Type{rtcp.PLI, rtcp.NACK, rtcp.TransportCC, rtcp.RR} {
			if seen[kind] == 0 {
				t.Errorf("compound %t: no %v was sent", compound, kind)
			}
		}
	}
}

// Feedback of the transport-wide numbers takes a twentieth of the media's rate, within 4 and 20 pieces a second. There
// is none without media, and each packet is reported within 250 ms.
func TestTransportFeedback(t *testing.T) {
	for _, c := range []struct {
		name        string
		every       port.Time // between packets
		size        int       // of a packet, in bytes
		least, most int       // pieces of feedback in 10 s
	}{
		{"30 kbit/s of sound", 20 * port.Millisecond, 75, 36, 40},
		{"109 kbit/s", 10 * port.Millisecond, 136, 95, 100},
		{"200 kbit/s", 10 * port.Millisecond, 250, 165, 184},
		{"2 Mbit/s", 5 * port.Millisecond, 1250, 180, 200},
		{"20 Mbit/s", 500 * port.Microsecond, 1250, 190, 200},
		{"a packet in two seconds", 2 * port.Second, 1250, 5, 5},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			l.forget()
			start, pieces := l.now, 0
			for seq := uint64(0); l.now < start+10*port.Second; seq++ {
				x := packet{
					ssrc: videoSSRC, pt: pubVP8, seq: seq, ts: uint32(seq), payload: vp8(true, seq == 0, ""),
					ext: []byte{idTransport<<4 | 1, byte(seq >> 8), byte(seq)},
				}
				x.payload = append(x.payload, make([]byte, c.size-rtp.HeaderLen-8-len(x.payload))...)
				p.send(x)
				if l.pass(c.every); seq%100 == 99 {
					pieces += count(p.asked(), rtcp.TransportCC)
					l.forget()
				}
			}
			pieces += count(p.asked(), rtcp.TransportCC)
			if pieces < c.least || pieces > c.most {
				t.Errorf("%d pieces of feedback in ten seconds; expected %d to %d", pieces, c.least, c.most)
			}
			l.pass(maxFeedback)
			l.forget()
			l.pass(2 * port.Second)
			if n := count(p.asked(), rtcp.TransportCC); n != 0 {
				t.Errorf("%d pieces of feedback about nothing", n)
			}
		})
	}
}

// Losses on the way up are asked for once they are no reordering, by one NACK for all subscribers.
func TestUpstreamNACK(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	p.frame(4, 0, false)
	p.frame(2, 0, false)
	l.forget()
	l.pass(receiver.NACKDelay - 1)
	if n := len(seqs(p.asked(), videoSSRC)); n != 0 {
		t.Fatal("reordering was taken for loss")
	}
	l.pass(1)
	if got := seqs(p.asked(), videoSSRC); len(got) != 2 || got[0] != 1 || got[1] != 3 {
		t.Fatalf("asked for %v; expected 1 and 3", got)
	}
	p.frame(1, 0, false)
	p.frame(3, 0, false)
	l.pass(2 * port.Second)
	if got := seqs(p.asked(), videoSSRC); len(got) != 0 {
		t.Errorf("asked for %v again, which came", got)
	}
}

// The round trip to a publisher is the time from a NACK to the retransmission of the packet.
func TestRoundTripToPublisher(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.frame(2, 6000, false)
	l.pass(receiver.NACKDelay)
	const trip = 35 * port.Millisecond
	l.pass(trip)
	r := &l.stream(1).pub.tracks[0].layers[0].upstream.receiver
	if got := r.RoundTrip(); got != 0 {
		t.Errorf("the round trip is %v s before the first retransmission; expected 0, unknown", got.Seconds())
	}
	p.send(packet{
		ssrc: videoRTX, pt: pubRTX, seq: 1, ts: 3000, payload: append([]byte{0, 1}, vp8(true, false, "")...),
	})
	if got := r.RoundTrip(); got != trip {
		t.Errorf("the round trip is %v s; expected %v", got.Seconds(), trip.Seconds())
	}
}

// Many losses of many layers at once fill more than a datagram: then there are several, each in its frame.
func TestNACKFitsItsFrame(t *testing.T) {
	l := newLab(t, 0, 1)
	l.lenient = true
	v := simulcast()[0]
	v.Encodings = append(v.Encodings, v.Encodings[1])
	v.Encodings[0].SSRC, v.Encodings[1].SSRC, v.Encodings[2].SSRC = 1, 2, 3
	v.Encodings[2].RID = "mid"
	p := l.publish(1, 1, v)
	for n := range uint64(130) {
		for ssrc := range uint32(3) {
			p.send(packet{ssrc: 1 + ssrc, pt: pubVP8, seq: 2 + 20*n, payload: vp8(true, n == 0, "")})
			for k := range uint64(18) { // one of twenty is lost
				p.lab.quietly(p.path, p.seal(packet{
					ssrc: 1 + ssrc, pt: pubVP8, seq: 3 + 20*n + k, payload: vp8(true, false, ""),
				}))
			}
		}
	}
	l.pass(port.Second)
	if l.strayed > 0 {
		t.Errorf("%d datagrams outgrew their frames", l.strayed)
	}
}

// A session whose path was lost and nominated again gets feedback as before.
func TestFeedbackAfterPathLoss(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	send := func(seq uint64) {
		p.send(packet{
			ssrc: videoSSRC, pt: pubVP8, seq: seq, payload: vp8(true, seq == 0, ""),
			ext: []byte{idTransport<<4 | 1, byte(seq >> 8), byte(seq)},
		})
	}
	send(0)
	thief := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(p.path, thief.check()) // the peer closed that session and uses its socket for another
	l.pass(port.Second)
	p.path = pathOf(4000)
	l.receive(p.path, p.check())
	l.forget()
	for seq := uint64(1); seq < 100; seq++ {
		send(seq)
		l.pass(10 * port.Millisecond)
	}
	if n := count(p.asked(), rtcp.TransportCC); n < 3 {
		t.Errorf("%d feedbacks in a second after the path came back; expected 3 or 4", n)
	}
}
