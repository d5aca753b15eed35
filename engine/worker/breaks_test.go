package worker

import (
	"testing"

	"ringcast/engine/api"
	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
)

// newSSRC sends one frame of the video under another SSRC.
func (p *pub) newSSRC(ssrc uint32, seq uint64, ts uint32, key bool) {
	p.lab.Helper()
	p.send(packet{ssrc: ssrc, pt: pubVP8, seq: seq, ts: ts, ext: []byte{idMID << 4, 'v'}, payload: vp8(true, key, "new source")})
}

// A layer went on under another SSRC. What comes late of the old one has another numbering: it must not
// move the new one's.
func TestLatePacketOfOldSSRC(t *testing.T) {
	for name, old := range map[string]uint64{"ahead": 20_000, "behind": 10, "near": 103} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			s := l.watch(1, watched(false)...)
			p.frame(old, 0, true)
			p.newSSRC(0xA999, 100, 500, true)
			p.frame(old+1, 3000, false)                                                                                                                            // late
			p.send(packet{ssrc: videoRTX, pt: pubRTX, seq: 1, ts: 1500, payload: append([]byte{byte((old + 2) >> 8), byte(old + 2)}, vp8(true, false, "old")...)}) // later still
			l.forget()
			for seq := uint64(101); seq < 110; seq++ {
				p.newSSRC(0xA999, seq, uint32(seq)*3000, false)
			}
			if n := len(s.media(subVideo)); n != 9 {
				t.Errorf("%d packets of 9 of the new source passed", n)
			}
			for _, r := range s.media(subVideo) {
				if string(r.payload[2:]) != "new source" {
					t.Errorf("%q was sent behind the new source", r.payload[2:])
				}
			}
		})
	}
}

// A sender report of the old SSRC is not the new one's clock.
func TestLateReportOfOldSSRC(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.newSSRC(0xA999, 100, 500_000_000, true)
	p.report(videoSSRC, 90)
	if x := l.stream(1).pub.tracks[0].layers[0]; x.reported || x.clock.RTP != 500_000_000 {
		t.Errorf("the layer's clock is the old source's: %+v", x.clock)
	}
}

// A retransmission may come before the first packet of its layer; what it restored stays.
func TestRTXBeforeFirstPacket(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Encodings[0].SSRC = 0
	p := l.publish(1, 1, tracks...)
	p.send(packet{ssrc: videoRTX, pt: pubRTX, seq: 1, ts: 0, payload: append([]byte{0, 7}, vp8(true, true, "key")...)})
	p.frame(8, 3000, false)
	if h := &l.stream(1).pub.tracks[0].layers[0].history; h.next-h.first != 2 || !h.key.valid {
		t.Errorf("%d packets are held, keyframe %t; expected both", h.next-h.first, h.key.valid)
	}
}

// Behind a break of the numbering the timestamps go on as time did, also where the new source's clock is
// known by then: it has nothing in common with the old one's.
func TestTimestampsAcrossSSRCChange(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 1_000_000, true)
	p.report(videoSSRC, 1_000_000)
	l.pass(100 * port.Millisecond)
	p.newSSRC(0xA999, 100, 0x5000_0000, false)
	p.report(0xA999, 0x5000_0000)
	l.pass(100 * port.Millisecond)
	p.newSSRC(0xA999, 101, 0x5000_0000+9000, true)
	got := s.media(subVideo)
	if len(got) != 2 {
		t.Fatalf("%d packets", len(got))
	}
	if d := got[1].Timestamp - got[0].Timestamp; d < 17_000 || d > 19_000 {
		t.Errorf("200 ms later the timestamp moved by %d; expected 18000", d)
	}
}

// The same at a worker that follows: the old clock is gone with the break.
func TestFollowerClockAcrossBreak(t *testing.T) {
	x := newPair(t, false)
	x.p.frame(0, 1_000_000, true)
	x.p.report(videoSSRC, 1_000_000)
	x.pass(100 * port.Millisecond)
	x.p.newSSRC(0xA999, 100, 0x5000_0000, true)
	x.exchange()
	got := x.s.media(subVideo)
	if len(got) != 2 {
		t.Fatalf("%d packets", len(got))
	}
	if d := got[1].Timestamp - got[0].Timestamp; d < 8000 || d > 10_000 {
		t.Errorf("100 ms later the timestamp moved by %d; expected 9000", d)
	}
	x.follower.forget()
	x.pass(1200 * port.Millisecond)
	reported := 0
	for _, f := range x.s.reports() {
		if info, ok := f.SenderInfo(); ok {
			reported++
			want := got[1].Timestamp + ticks(int64(f.at-got[1].at), 90_000)
			if d := int32(info.RTP - want); d < -900 || d > 900 {
				t.Errorf("a sender report is %d units off the media of after the break; want at most 900", d)
			}
		}
	}
	if reported == 0 {
		t.Error("no sender reports after the break")
	}
}

// A new run begins behind the latest timestamp that was sent, not behind that of a late packet.
func TestRunBehindLatePacket(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	p.frame(2, 90_000, false)
	p.frame(1, 45_000, false) // late
	l.tell(bus.Message{Kind: bus.PublicationClosed, Stream: 1, Generation: 1})
	q := l.publish(1, 2, published()...)
	q.frame(0, 0x7000_0000, true)
	got := s.media(subVideo)
	if len(got) != 4 {
		t.Fatalf("%d packets", len(got))
	}
	if d := int32(got[3].Timestamp - got[1].Timestamp); d <= 0 {
		t.Errorf("the new run's timestamps begin %d behind what was sent", -d)
	}
}

// A loss is asked for after its own pause, however long an older one's is by then.
func TestNACKOfANewLoss(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	p.frame(0, 0, true)
	p.frame(2, 0, false) // 1 never comes
	l.pass(500 * port.Millisecond)
	p.asked()
	p.frame(4, 0, false)
	p.sound(0, 0)
	p.sound(2, 0)
	l.pass(nackDelay)
	all := p.asked()
	if v, a := seqs(all, videoSSRC), seqs(all, audioSSRC); len(v) == 0 || v[len(v)-1] != 3 || len(a) != 1 {
		t.Errorf("after %v s asked for %v of video and %v of audio; expected 3 and 1", nackDelay.Seconds(), v, a)
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
				p.lab.quietly(p.path, p.seal(packet{ssrc: 1 + ssrc, pt: pubVP8, seq: 3 + 20*n + k, payload: vp8(true, false, "")}))
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
	if n := count(p.asked(), rtcp.TransportCC); n < 10 {
		t.Errorf("%d feedbacks in a second after the path came back", n)
	}
}

// A peer that nominates once, as Firefox does, is sent to again when it checks over the path that another
// session took from it.
func TestPathTakenAway(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.frame(0, 0, true)
	thief := l.party(api.Subscriber, 1, watched(true)...)
	l.receive(s.path, thief.request(false)) // from a forged address
	l.pass(port.Second)
	l.receive(s.path, s.request(false))
	l.forget()
	p.frame(1, 3000, false)
	if len(s.media(subVideo)) != 1 {
		t.Error("a subscriber whose address another session named is never sent to again, though it checks")
	}
}

// A subscriber that cannot play what is published is told so: the controller's goodbye finds its way.
func TestGoodbyeAfterCodecMismatch(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Formats[0].Codec = 3 // VP9
	p := l.publish(1, 1, tracks...)
	s := l.watch(1, watched(true)...)
	p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: 0, payload: []byte{0x08, 0x82, 0}})
	l.pass(port.Millisecond)
	if m := l.said(bus.SessionEnded); len(m) != 1 || m[0].Reason != api.ReasonCodec {
		t.Fatalf("ended: %+v", m)
	}
	l.forget()
	notify := bus.Message{Kind: bus.SendRecord, ID: s.spec.ID, Data: []byte{21, 1, 2, 3}}
	end := closed(s.party)
	l.w.HandleMessage(l.now, &notify)
	l.w.HandleMessage(l.now, &end)
	l.poll()
	if n := len(s.sent()); n != 1 {
		t.Errorf("%d records were sent; expected the close_notify", n)
	}
}

// A publisher cannot make the worker's memory grow past the cap with tiny packets.
func TestTinyPacketsStayUnderTheCap(t *testing.T) {
	h := newHistory(newMemory(nil), historyCapVideo)
	p := bus.Packet{Flags: bus.KeyframeStart}
	for n := range uint64(600_000) {
		p.Number = n
		h.append(&p, nil, nil)
		p.Flags = 0
	}
	if got := h.size(); got > 2*historyCapVideo {
		t.Errorf("the history takes %d bytes; its cap is %d", got, historyCapVideo)
	}
}

// A publisher that alternates payload types does not flood the controller.
func TestFormatChangesAreFew(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	other := tracks[0].Formats[0]
	other.PayloadType, other.RTX = 98, 99
	tracks[0].Formats = append(tracks[0].Formats, other)
	p := l.publish(1, 1, tracks...)
	for seq := range uint64(1000) {
		p.send(packet{ssrc: videoSSRC, pt: uint8(96 + seq%2*2), seq: seq, payload: vp8(true, false, "")})
	}
	if n := len(l.said(bus.FormatActive)); n > 20 {
		t.Errorf("%d messages to the controller for 1000 packets", n)
	}
}
