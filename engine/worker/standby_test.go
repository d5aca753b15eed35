package worker

import (
	"testing"

	"ringcast/engine/bus"
	"ringcast/engine/port"
	"ringcast/engine/rtcp"
	"ringcast/engine/rtp"
)

// spare is the stream of publishers that stand by for those of stream 1.
const spare = 2

// standBy connects a publisher and lets it stand by.
func (l *lab) standBy(generation bus.Generation, tracks ...rtp.Track) *pub {
	l.Helper()
	p := l.publish(1, 0, tracks...) // generation 0 opens no publication
	l.tell(bus.PublicationOpened(spare, generation, l.w.address(), p.spec))
	return p
}

// A publication's media has paused when no picture came for pictureSilence. RTCP, padding and sound do not hide that.
// Sound alone has soundSilence.
func TestPausesAreReported(t *testing.T) {
	const step = 20 * port.Millisecond
	for _, x := range []struct {
		name string
		send func(p *pub, n uint64) // each step after the first second
		at   port.Time              // of the report, after the last media that counts; 0 for none
	}{
		{"pictures go on", func(p *pub, n uint64) { p.frame(n, uint32(n)*1800, false) }, 0},
		{"silence", func(*pub, uint64) {}, pictureSilence},
		{"reports alone", func(p *pub, n uint64) { p.report(videoSSRC, uint32(n)*1800) }, pictureSilence},
		{"sound alone", func(p *pub, n uint64) { p.sound(n, uint32(n)*960) }, pictureSilence},
		{"padding alone", func(p *pub, n uint64) {
			p.send(packet{ssrc: videoSSRC, pt: pubVP8, seq: n, ts: uint32(n) * 1800, padding: 100})
		}, pictureSilence},
	} {
		t.Run(x.name, func(t *testing.T) {
			l := newLab(t, 0, 1)
			p := l.publish(1, 1, published()...)
			var last, reported port.Time
			for n := range uint64(150) {
				if n < 50 {
					p.frame(n, uint32(n)*1800, n == 0)
					p.sound(n, uint32(n)*960)
					last = l.now
				} else {
					x.send(p, n)
				}
				l.pass(step)
				if reported == 0 && len(l.said(bus.KindMediaPaused)) > 0 {
					reported = l.now
				}
			}
			if n := len(l.said(bus.KindMediaFlows)); n != 1 {
				t.Errorf("%d reports that media flows; expected 1", n)
			}
			paused := l.said(bus.KindMediaPaused)
			if x.at == 0 && len(paused) > 0 || x.at > 0 && len(paused) != 1 {
				t.Fatalf("%d reports of a pause; expected one: %t", len(paused), x.at > 0)
			}
			if x.at > 0 && (reported < last+x.at || reported > last+x.at+step) {
				t.Errorf("the pause was reported %v after the last picture; expected %v", reported-last, x.at)
			}
			p.frame(1000, 1000*1800, true)
			if n := len(l.said(bus.KindMediaFlows)); x.at > 0 && n != 2 {
				t.Errorf("%d reports that media flows after the pause; expected 2", n)
			}
		})
	}
}

// A publisher of sound with DTX sends a packet each 400 ms. One that is lost is no pause.
func TestPausesOfSound(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, audioTracks()...)
	for n := range uint64(20) {
		if n%5 != 4 {
			p.sound(n, uint32(n)*19200)
		}
		l.pass(400 * port.Millisecond)
	}
	if n := len(l.said(bus.KindMediaPaused)); n != 0 {
		t.Errorf("%d pauses of a publisher with DTX; expected none", n)
	}
	l.pass(soundSilence)
	if n := len(l.said(bus.KindMediaPaused)); n != 1 {
		t.Errorf("%d pauses after %v of silence; expected 1", n, soundSilence)
	}
}

func audioTracks() []rtp.Track { return published()[1:] }

// A publisher that connects and never sends media pauses, too, so that a standby gets its stream.
func TestPauseWithoutMedia(t *testing.T) {
	l := newLab(t, 0, 1)
	p := l.publish(1, 1, published()...)
	for range 10 {
		p.report(videoSSRC, 0)
		l.pass(pictureSilence / 8)
	}
	if n := len(l.said(bus.KindMediaPaused)); n != 1 {
		t.Errorf("%d pauses; expected 1", n)
	}
}

// A publisher that stands by is received like any other. When it gets the stream, a keyframe is requested before its
// next packet, sound goes on, and the controller hears again what it sends. The one before stands by in its turn.
func TestStandbyGetsTheStream(t *testing.T) {
	l := newLab(t, 0, 1)
	old := l.publish(1, 1, published()...)
	s := l.watch(1, watched(true)...)
	next := l.standBy(2, published()...)
	for n := range uint64(100) {
		old.frame(n, uint32(n)*1800, n == 0)
		old.sound(n, uint32(n)*960)
		next.frame(5000+n, 77+uint32(n)*1800, n == 0)
		next.sound(9000+n, 99+uint32(n)*960)
		l.pass(20 * port.Millisecond)
	}
	if n := count(next.asked(), rtcp.RR); n == 0 {
		t.Error("no receiver report to the publisher that stands by")
	}
	before := s.media(subVideo)
	l.forget()

	l.tell(bus.PublicationOpened(1, 3, 0, next.spec))
	if n := count(next.asked(), rtcp.PLI); n != 1 {
		t.Errorf("%d keyframes were requested at once; expected 1", n)
	}
	if n := len(s.media(subAudio)); n != 1 {
		t.Errorf("%d packets of sound at once; expected the newest", n)
	}
	flows, active := l.said(bus.KindMediaFlows), l.said(bus.KindFormatActive)
	if len(flows) != 1 || flows[0].Generation != 3 || len(active) != 2 || active[0].Generation != 3 {
		t.Errorf("the controller was told %v and %v; expected both of generation 3", flows, active)
	}
	if _, known := l.w.announced[spare]; known || l.stream(spare) != nil {
		t.Error("the stream of the standby is left")
	}
	l.tell(bus.PublicationOpened(spare, 4, 0, old.spec))
	next.frame(5100, 77+100*1800, true)
	old.frame(100, 100*1800, false)
	after := s.media(subVideo)
	if len(after) != 1 || string(after[0].payload[2:]) != "frame 5100" {
		t.Fatalf("%d packets after the change; expected the keyframe of the standby", len(after))
	}
	if last := before[len(before)-1]; after[0].Sequence != last.Sequence+1 {
		t.Errorf("sequence number %d follows %d; expected no gap", after[0].Sequence, last.Sequence)
	}
	if p := l.stream(spare).pub; p == nil || p.session == nil || p.tracks[0].layers[0].history.Next() != 1 {
		t.Error("the publisher of before is not received")
	}
	if l.reuses > 0 {
		t.Errorf("%d nonces were used twice", l.reuses)
	}
}

// Publishers name the layers of their SSRCs in their first packets only. A publisher whose place changes keeps them.
func TestStandbyKeepsItsSources(t *testing.T) {
	l := newLab(t, 0, 1)
	tracks := published()
	tracks[0].Encodings = []rtp.Encoding{{RID: "f"}, {RID: "q"}}
	tracks[0].Extensions[rtp.RID] = idRID
	p := l.publish(1, 1, tracks...)
	send := func(ssrc uint32, n uint64, rid string) {
		x := packet{ssrc: ssrc, pt: pubVP8, seq: n, ts: uint32(n) * 3000, payload: vp8(true, n == 0, "")}
		if rid != "" {
			x.ext = append([]byte{idRID << 4}, rid...)
		}
		p.send(x)
	}
	send(0x11, 0, "f")
	send(0x12, 0, "q")
	other := l.standBy(2, published()...)
	l.tell(bus.PublicationOpened(1, 3, 0, other.spec))
	l.tell(bus.PublicationOpened(spare, 4, 0, p.spec))
	send(0x11, 1, "")
	send(0x12, 1, "")
	for i, layer := range l.stream(spare).pub.tracks[0].layers {
		if n := layer.history.Next(); n != 1 {
			t.Errorf("layer %d: %d packets; expected 1", i, n)
		}
	}
	if n := l.drops(DropUnbound); n != 0 {
		t.Errorf("%d packets were of no layer", n)
	}
}

// The reports to a subscriber relate timestamps to time. That relation stays as it was when a publisher with other
// clocks and delays gets the stream. So players need not adjust, and picture and sound stay together.
func TestClocksOutliveThePublisher(t *testing.T) {
	l := newLab(t, 0, 1)
	old, next := l.publish(1, 1, published()...), l.standBy(2, published()...)
	s := l.watch(1, watched(true)...)
	began := l.now
	// Pictures come later after their capture than sound, and each publisher has a delay of its own.
	stamp := func(rate, since port.Time) uint32 { return uint32((l.now - began - since) * rate / port.Second) }
	send := func(p *pub, n uint64, key bool, picture, sound port.Time, base uint32) {
		p.frame(n, base+stamp(90_000, picture), key)
		p.sound(n, 7*base+stamp(48_000, sound))
		if n%25 == 0 {
			p.report(videoSSRC, base+stamp(90_000, 0))
			p.report(audioSSRC, 7*base+stamp(48_000, 0))
		}
	}
	const ms = port.Millisecond
	newest := func() map[uint32]rtcp.SenderInfo {
		all := make(map[uint32]rtcp.SenderInfo)
		for _, f := range s.reports() {
			if info, ok := f.SenderInfo(); ok {
				all[f.SSRC] = info
			}
		}
		return all
	}
	for n := range uint64(150) {
		send(old, n, n == 0, 80*ms, 5*ms, 1000)
		send(next, 4000+n, n == 0, 30*ms, 20*ms, 0x1234567)
		l.pass(20 * ms)
	}
	before := newest()
	for n := range uint64(40) {
		send(next, 4150+n, false, 30*ms, 20*ms, 0x1234567)
		l.pass(20 * ms)
	}
	l.tell(bus.PublicationOpened(1, 3, 0, next.spec))
	l.forget()
	for n := range uint64(100) {
		send(next, 4190+n, n == 0, 30*ms, 20*ms, 0x1234567)
		l.pass(20 * ms)
	}
	after := newest()
	// moved is how much earlier the same timestamp is played.
	moved := func(ssrc uint32, rate int64) port.Time {
		a, b := before[ssrc], after[ssrc]
		return port.Time(int64(int32(b.RTP-a.RTP))*int64(port.Second)/rate - (fromNTP(b.NTP) - fromNTP(a.NTP)))
	}
	picture, sound := moved(subVideo, 90_000), moved(subAudio, 48_000)
	t.Logf("the relation of pictures moved by %d us, that of sound by %d us", picture/port.Microsecond,
		sound/port.Microsecond)
	if len(before) != 2 || len(after) != 2 || !within(picture, sound, ms) || !within(picture, 0, ms) {
		t.Errorf("the relation of pictures moved by %v, that of sound by %v; expected neither to move", picture, sound)
	}
}

// A publisher whose picture stopped gives its place up. It does not get it back by sound alone.
func TestSoundAloneDoesNotReturn(t *testing.T) {
	l := newLab(t, 0, 1)
	p, other := l.publish(1, 1, published()...), l.standBy(2, published()...)
	p.frame(0, 0, true)
	p.sound(0, 0)
	l.tell(bus.PublicationOpened(1, 3, 0, other.spec))
	l.tell(bus.PublicationOpened(spare, 4, 0, p.spec))
	l.forget()
	for n := range uint64(100) {
		p.sound(1+n, uint32(1+n)*960)
		l.pass(20 * port.Millisecond)
	}
	if n := len(l.said(bus.KindMediaFlows)); n != 0 {
		t.Errorf("%d reports that media flows while the picture is away; expected none", n)
	}
	p.frame(1, 9000, true)
	if n := len(l.said(bus.KindMediaFlows)); n != 1 {
		t.Errorf("%d reports that media flows when the picture is back; expected 1", n)
	}
}
