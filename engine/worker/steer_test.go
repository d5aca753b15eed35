package worker

import (
	"fmt"
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
	"ringcast/engine/worker/receiver"
)

// A subscriber starts at a keyframe that is at most joinAge old, else it waits for the next.
func TestStartAtKeyframe(t *testing.T) {
	for _, c := range []struct {
		age    port.Time
		starts bool
	}{
		{0, true},
		{joinAge - 20*port.Millisecond, true},
		{joinAge + 20*port.Millisecond, false},
		{5 * port.Second, false},
	} {
		t.Run(fmt.Sprint(c.age.Seconds()), func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			p.frame(0, 0, false)
			p.frame(1, 1000, true)
			keyed := l.now
			seq := uint64(2)
			for ; l.now-keyed < c.age; seq++ {
				l.pass(10 * port.Millisecond)
				p.frame(seq, uint32(1000+seq), false)
			}
			l.forget()
			s := l.watch(1, watched(true)...)
			l.pass(port.Second / 2) // a start in the past is paced
			got := s.media(subVideo)
			if !c.starts {
				if len(got) > 0 {
					t.Fatalf("it was sent %d packets from a keyframe %v s old", len(got), c.age.Seconds())
				}
				if count(p.asked(), rtcp.PLI) == 0 {
					t.Error("no keyframe was asked for")
				}
				p.frame(seq, 90_000, false)
				if len(s.media(subVideo)) > 0 {
					t.Error("it started without a keyframe")
				}
				p.frame(seq+1, 93_000, true)
				if got = s.media(subVideo); len(got) != 1 || got[0].payload[1] != 0 {
					t.Errorf("at the next keyframe it was sent %d packets", len(got))
				}
				return
			}
			if uint64(len(got)) != seq-1 {
				t.Fatalf("it was sent %d packets; expected %d, from the keyframe on", len(got), seq-1)
			}
			if got[0].payload[1] != 0 {
				t.Error("the first packet is not the keyframe's")
			}
			for i := 1; i < len(got); i++ {
				if got[i].Sequence != got[0].Sequence+uint16(i) {
					t.Errorf("packet %d has sequence number %d after %d", i, got[i].Sequence, got[i-1].Sequence)
				}
			}
		})
	}
}

// A start in the past is sent in small bursts.
func TestCatchUpIsPaced(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	for seq := range uint64(100) {
		p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: seq, payload: vp8(seq == 0, true, "key")})
	}
	l.pass(300 * port.Millisecond)
	l.forget()
	s := l.watch(1, watched(true)...)
	l.pass(200 * port.Millisecond)
	got := s.media(subVideo)
	if len(got) != 100 {
		t.Fatalf("%d packets of 100 came", len(got))
	}
	for i := range got {
		if burst := int(catchUp.burst); i >= burst && got[i].at-got[i-burst].at < catchUp.pause {
			t.Fatalf("packets %d to %d left within %v s", i-burst, i, (got[i].at - got[i-burst].at).Seconds())
		}
	}
}

// Audio starts at the live edge, at once.
func TestAudioStartsLive(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	for seq := range uint64(10) {
		p.sound(seq, uint32(seq)*960)
		l.pass(20 * port.Millisecond)
	}
	s := l.watch(1, watched(true)...)
	got := s.media(subAudio)
	if len(got) != 1 || string(got[0].payload) != "sound 9" {
		t.Fatalf("it was sent %d packets; expected the last one", len(got))
	}
	p.sound(11, 11*960)
	p.sound(10, 10*960) // late
	got = s.media(subAudio)
	if len(got) != 3 || got[2].Sequence != got[0].Sequence+1 || got[1].Sequence != got[0].Sequence+2 {
		t.Errorf("after it came %d packets", len(got)-1)
	}
}

// Audio that paused goes on with the next packet, and its timestamps with it.
func TestAudioRestartsAfterPause(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	p.sound(0, 0)
	l.pass(10 * port.Second)
	p.sound(1, 480_000)
	got := s.media(subAudio)
	if len(got) != 2 || got[1].Sequence != got[0].Sequence+1 || got[1].Timestamp != got[0].Timestamp+480_000 {
		t.Fatalf("after a pause: %+v", got)
	}
}

// stall keeps a subscriber from being sent anything for a while, by taking its path away.
func stall(s *sub, span port.Time, f func(i int)) {
	session := s.lab.w.sessions[s.spec.ID]
	selected := session.selected
	session.selected = -1
	for i := range int(span / (20 * port.Millisecond)) {
		s.lab.pass(20 * port.Millisecond)
		f(i)
	}
	session.selected = selected
}

// A subscriber that is more than a second late jumps to a fresh keyframe. Sequence numbers go on without a gap, and
// timestamps as the publisher's do.
func TestStallJump(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	before := s.media(subVideo)
	l.forget()
	seq := uint64(1)
	stall(s, 3*port.Second, func(i int) {
		p.frame(seq, uint32(seq)*1800, seq == 145)
		seq++
	})
	p.frame(seq, uint32(seq)*1800, false)
	l.pass(port.Second)
	got := s.media(subVideo)
	if len(got) == 0 || string(got[0].payload[2:]) != "frame 145" {
		t.Fatalf("%d packets; expected those from keyframe 145 on", len(got))
	}
	for i, r := range got {
		if r.Sequence != before[0].Sequence+1+uint16(i) {
			t.Errorf("packet %d has sequence number %d; the last before the stall had %d",
				i, r.Sequence, before[0].Sequence)
		}
	}
	if d := got[0].Timestamp - before[0].Timestamp; d != 145*1800 {
		t.Errorf("the timestamp went on by %d; expected %d", d, 145*1800)
	}
	if l.drops(DropStalled) == 0 {
		t.Error("the skipped packets were not counted")
	}
	// Packets of before the jump can still be resent, byte by byte.
	l.forget()
	s.nack(subVideo, before[0].Sequence)
	if again := s.media(subVideo); len(again) == 1 && string(again[0].raw) != string(before[0].raw) {
		t.Error("a packet of before the jump came again with other bytes")
	}
}

// Without a fresh keyframe, the late subscriber waits for one, and the worker requests it.
func TestStallWithoutKeyframe(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	p.asked()
	seq := uint64(1)
	stall(s, 3*port.Second, func(int) {
		p.frame(seq, uint32(seq)*1800, false)
		seq++
	})
	l.forget()
	for range 50 {
		l.pass(20 * port.Millisecond)
		p.frame(seq, uint32(seq)*1800, false)
		seq++
	}
	if n := len(s.media(subVideo)); n > 0 {
		t.Errorf("it was sent %d packets that it cannot decode", n)
	}
	if count(p.asked(), rtcp.PLI) == 0 {
		t.Error("no keyframe was asked for")
	}
	p.frame(seq, uint32(seq)*1800, true)
	if n := len(s.media(subVideo)); n != 1 {
		t.Errorf("at the keyframe it was sent %d packets", n)
	}
}

// simulcast returns a publisher's track of two layers, which have RIDs.
func simulcast() []rtp.Track {
	v := videoOf(pubVP8, pubRTX)
	v.Encodings = []rtp.Encoding{{RID: "hi"}, {RID: "lo"}}
	v.Extensions = rtp.ExtensionMap{rtp.MID: idMID, rtp.RID: idRID, rtp.RepairedRID: idRepaired}
	return []rtp.Track{v}
}

const loSSRC, hiSSRC = 0xD001, 0xD002

// layer sends one frame of a simulcast layer, with its RID.
func (p *pub) layer(ssrc uint32, seq uint64, ts uint32, payload []byte) {
	p.lab.Helper()
	rid := "lo"
	if ssrc == hiSSRC {
		rid = "hi"
	}
	p.send(packet{
		ssrc: ssrc, pt: pubVP8, seq: seq, ts: ts, marker: true,
		ext: append([]byte{idMID << 4, 'v', idRID<<4 | 1}, rid...), payload: payload,
	})
}

// A switch to another layer happens at its keyframe. Sequence numbers, picture IDs and TL0PICIDX go on by one, and
// timestamps are of the same clock.
func TestLayerSwitch(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, simulcast()...)
	s := l.watch(1, watched(false)[0])
	// The two layers' clocks begin far from each other.
	const loBase, hiBase = uint32(0xFFFFF000), uint32(0x10000000)
	start := l.now
	ticks := func() uint32 { return uint32((l.now - start) * 90 / port.Millisecond) }
	lo, hi := uint64(100), uint64(5000)
	sendLo := func(key bool) {
		p.layer(loSSRC, lo, loBase+ticks(), vp8ID(true, key, uint16(lo), uint8(lo), fmt.Sprint("lo ", lo)))
		lo++
	}
	sendHi := func(key bool, size int) {
		payload := vp8ID(true, key, uint16(3*hi), uint8(5*hi), fmt.Sprint("hi ", hi))
		p.layer(hiSSRC, hi, hiBase+ticks(), append(payload, make([]byte, size)...))
		hi++
	}
	sendLo(true)
	sendHi(false, 0)
	p.report(loSSRC, loBase+ticks())
	p.report(hiSSRC, hiBase+ticks())
	for range 60 { // the publisher prefers the high layer; still no keyframe of it
		l.pass(20 * port.Millisecond)
		sendLo(false)
		sendHi(false, 500)
	}
	if best := l.stream(1).pub.tracks[0].top(); best.rid != "hi" {
		t.Fatalf("the best layer is %q", best.rid)
	}
	if count(p.asked(), rtcp.PLI) == 0 {
		t.Error("no keyframe of the better layer was asked for")
	}
	l.pass(20 * port.Millisecond)
	sendLo(false)
	sendHi(true, 500)
	for range 10 {
		l.pass(20 * port.Millisecond)
		sendLo(false)
		sendHi(false, 500)
	}
	got := s.media(subVideo)
	switched := 0
	for i := 1; i < len(got); i++ {
		if goesOn(t, &got[i-1], &got[i]) {
			switched++
		}
	}
	if switched != 1 {
		t.Fatalf("%d switches among %d packets; expected one", switched, len(got))
	}
	checkResends(t, s, got[len(got)-30], got[len(got)-15], got[len(got)-1]) // on either side of the switch
}

// checkResends fails if resends of video packets differ from them by a byte.
func checkResends(t *testing.T, s *sub, packets ...received) {
	t.Helper()
	for _, r := range packets {
		s.lab.forget()
		s.nack(subVideo, r.Sequence)
		again := s.media(subVideo)
		if len(again) != 1 || string(again[0].raw) != string(r.raw) {
			t.Errorf("the resend of %d differs", r.Sequence)
		}
	}
}

// goesOn checks that b follows a packet as the next of one stream, and reports whether the layer changed between them.
func goesOn(t *testing.T, a, b *received) (switched bool) {
	t.Helper()
	if b.Sequence != a.Sequence+1 {
		t.Errorf("sequence number %d follows %d", b.Sequence, a.Sequence)
	}
	if d := int32(b.Timestamp - a.Timestamp); d <= 0 {
		t.Errorf("packet %d: the timestamp moved by %d", b.Sequence, d)
	}
	if string(b.payload[7:9]) != "hi" || string(a.payload[7:9]) != "lo" {
		return false
	}
	ida, oka := rtp.ParsePictureID(rtp.VP8, a.payload)
	idb, okb := rtp.ParsePictureID(rtp.VP8, b.payload)
	if !oka || !okb || idb.ID != (ida.ID+1)&0x7FFF || idb.TL0 != ida.TL0+1 {
		t.Errorf("at the switch the picture IDs are %d and %d, TL0 %d and %d", ida.ID, idb.ID, ida.TL0, idb.TL0)
	}
	if b.payload[6] != 0 {
		t.Error("the switch is not at a keyframe")
	}
	// Both were captured at moments 20 ms apart, or the same.
	if d := b.Timestamp - a.Timestamp; d > 1800+2 {
		t.Errorf("at the switch the timestamp moved by %d; expected at most 20 ms", d)
	}
	return true
}

// A jump of the publisher's numbering is a break. The subscriber waits for a keyframe, which the worker requests, and
// goes on with its own numbering.
func TestEpochBreak(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	p.frame(1, 3000, false)
	l.pass(2 * port.Second)
	p.asked()
	l.forget()
	p.frame(2+2*receiver.MaxGap, 180_000, false)
	l.pass(10 * port.Millisecond)
	if count(p.asked(), rtcp.PLI) != 1 {
		t.Error("no keyframe was asked for at the break")
	}
	if n := len(s.media(subVideo)); n != 0 {
		t.Errorf("%d packets were sent across the break", n)
	}
	p.frame(3+2*receiver.MaxGap, 183_000, true)
	p.frame(4+2*receiver.MaxGap, 186_000, false)
	got := s.media(subVideo)
	if len(got) != 2 || got[0].payload[1] != 0 {
		t.Fatalf("%d packets after the break", len(got))
	}
	highest := l.stream(1).all()[0].tracks[1].highest
	if got[1].Sequence != uint16(highest) || got[0].Sequence != uint16(highest)-1 {
		t.Errorf("sequence numbers %d, %d; the highest is %d", got[0].Sequence, got[1].Sequence, highest)
	}
	l.forget()
	s.nack(subVideo, got[0].Sequence-1, got[0].Sequence-2) // of before the break: gone
	if n := len(s.media(subVideo)); n != 0 {
		t.Errorf("%d packets of before the break were resent", n)
	}
}

// A subscriber that starts in the past of a stream of 4,000 packets a second catches up with it.
func TestCatchUpWithAFastStream(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()[:1]...)
	seq := uint64(1)
	var s *sub
	for ms := range 1400 {
		for k := range 4 {
			p.frame(seq, uint32(ms/16)*1440, ms%1000 == 0 && k == 0)
			seq++
		}
		l.pass(port.Millisecond)
		if ms == 400 {
			s = l.watch(1, watched(true)[:1]...)
		}
		l.forget()
	}
	x := &l.w.sessions[s.spec.ID].sub.tracks[0]
	if behind := x.have().history.Next() - x.cursor; behind > 300 {
		t.Errorf("a second later %d packets are pending; want at most 300, of catchUp.age", behind)
	}
	if n := l.drops(DropStalled); n != 0 {
		t.Errorf("%d packets were skipped; want none", n)
	}
}

// After a break of the numbering, timestamps go on as time did. The new source's clock may be known by then, but has
// nothing in common with the old one's.
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

// A new span begins after the latest timestamp that was sent, not after that of a late packet.
func TestSpanAfterLatePacket(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	s := l.watch(1, watched(false)...)
	p.frame(0, 0, true)
	p.frame(2, 90_000, false)
	p.frame(1, 45_000, false) // late
	l.tell(bus.PublicationClosed(1, 1))
	q := l.publish(1, 2, published()...)
	q.frame(0, 0x7000_0000, true)
	got := s.media(subVideo)
	if len(got) != 4 {
		t.Fatalf("%d packets", len(got))
	}
	if d := int32(got[3].Timestamp - got[1].Timestamp); d <= 0 {
		t.Errorf("the new span's timestamps begin %d before the latest that was sent", -d)
	}
}

const hour = 3600 * port.Second

// A stream that comes back after more than a day goes on where time is.
func TestTimestampsAfterADay(t *testing.T) {
	for _, pause := range []port.Time{hour, 27 * hour, 30 * hour, 680 * hour} {
		l := newLab(t, 0, 1)
		p := l.publish(1, 1, published()...)
		s := l.watch(1, watched(false)...)
		p.frame(0, 1000, true)
		l.now += pause
		l.tell(bus.PublicationClosed(1, 1))
		q := l.publish(1, 2, published()...)
		q.frame(0, 0x7000_0000, true)
		got := s.media(subVideo)
		if len(got) != 2 {
			t.Fatalf("%d packets; expected 2", len(got))
		}
		want := uint32(int64(pause/port.Second) * 90_000)
		if d := got[1].Timestamp - got[0].Timestamp; d != want {
			t.Errorf("after a pause of %d h the timestamp moved by %d; expected %d", pause/hour, d, want)
		}
	}
}
